//! The users of a node, their passwords and their permissions, which are read from a JSON file, the auth file.
//!
//! * `checker`: checks passwords; checks password hashes on the blocking pool.
//! * `file`: [`AuthFile`], which reads the auth file again when it changes.
//! * `parse`: parses the auth file into a [`CredentialStore`].
//! * `password`: one password of the auth file, in clear or as a hash.
//! * `permission`: the permissions that users may have.

mod checker;
mod file;
mod parse;
mod password;
mod permission;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use checker::{PasswordChecker, Saturated};
pub use file::AuthFile;
pub use parse::AuthFileError;
use password::Secret;
pub use permission::Permission;
use permission::Permissions;

use crate::http::basic_auth::BasicCredentials;

/// A user of the auth file.
struct User {
    /// The password of the user. A user without a password cannot log in.
    secret: Option<Arc<Secret>>,
    permissions: Permissions,
}

/// Whether a client has the permissions that its request requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The client has all required permissions.
    Granted,
    /// The user lacks a required permission, or the request has no credentials and clients without credentials lack
    /// it.
    Denied,
    /// The user does not exist, or the password is wrong.
    Unauthenticated,
    /// The password was not checked, because too many passwords are being checked at the moment.
    Saturated,
}

/// The users of one node, with their passwords and permissions.
pub struct CredentialStore {
    /// The permissions of every client, with or without credentials.
    all_users: Permissions,
    users: HashMap<String, User>,
    /// A password that unknown users' credentials are compared with. It makes the check of an unknown user as slow as
    /// that of a known user.
    decoy: Arc<Secret>,
    checker: PasswordChecker,
}

impl CredentialStore {
    /// Returns whether each of the `needed` permissions is granted. A permission may be granted to all users or to the
    /// user of `credentials`. If all users have all `needed` permissions, the credentials are not checked.
    pub async fn access(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> Access {
        let personal = self.personal(needed);
        if personal.is_empty() {
            return Access::Granted;
        }
        let Some(credentials) = credentials.filter(|credentials| !credentials.username.is_empty()) else {
            return Access::Denied;
        };
        match self.log_in(credentials).await {
            Err(Saturated) => Access::Saturated,
            Ok(None) => Access::Unauthenticated,
            Ok(Some(permissions)) if personal.into_iter().all(|needed| permissions.include(needed)) => Access::Granted,
            Ok(Some(_)) => Access::Denied,
        }
    }

    /// Like [`CredentialStore::access`], but blocks the thread while it checks a password. Returns whether the
    /// permissions are granted.
    pub fn access_blocking(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> bool {
        let personal = self.personal(needed);
        if personal.is_empty() {
            return true;
        }
        let Some(credentials) = credentials.filter(|credentials| !credentials.username.is_empty()) else {
            return false;
        };
        let user = self.users.get(&credentials.username);
        let secret = user.and_then(|user| user.secret.as_ref());
        let right = self.checker.check_blocking(secret.unwrap_or(&self.decoy), credentials);
        right & secret.is_some()
            && user.is_some_and(|user| personal.into_iter().all(|needed| user.permissions.include(needed)))
    }

    /// Returns the permissions of `needed` that not all users have.
    fn personal(&self, needed: &[Permission]) -> Vec<Permission> {
        needed.iter().copied().filter(|needed| !self.all_users.include(*needed)).collect()
    }

    /// Checks the password of a user. Returns the permissions of the user; `None` if the user does not exist or the
    /// password is wrong.
    async fn log_in(&self, credentials: &BasicCredentials) -> Result<Option<&Permissions>, Saturated> {
        let user = self.users.get(&credentials.username);
        let secret = user.and_then(|user| user.secret.as_ref());
        // For an unknown user, `decoy` is checked, so that the duration of the check does not reveal which users
        // exist.
        let right = self.checker.check(secret.unwrap_or(&self.decoy), credentials).await?;
        Ok(user.filter(|_| right & secret.is_some()).map(|user| &user.permissions))
    }

    /// Returns the password of a user; `None` if the user does not exist, has no password, or the auth file contains
    /// only a hash of the password.
    pub fn clear_password(&self, username: &str) -> Option<&str> {
        self.users.get(username)?.secret.as_ref()?.clear_text()
    }
}

impl std::fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialStore").field("users", &self.users.len()).finish_non_exhaustive()
    }
}
