//! The users of a node, their passwords and their permissions, from a JSON file.
//!
//! * `checker`: checks passwords, hashed ones on the blocking pool.
//! * `file`: [`AuthFile`], which reads the file again when it changes.
//! * `parse`: parses the file into a [`CredentialStore`].
//! * `password`: one password of the file, in clear or as a hash.
//! * `permission`: the permissions.

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

/// A user of the file.
struct User {
    /// The password. A user without one cannot log in.
    secret: Option<Arc<Secret>>,
    permissions: Permissions,
}

/// The result of checking credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All permissions are granted.
    Granted,
    /// The user lacks a permission, or there are no credentials.
    Denied,
    /// The user does not exist, or the password is wrong.
    Unauthenticated,
    /// Too many passwords are being checked; this one was not checked.
    Saturated,
}

/// The users of one node.
pub struct CredentialStore {
    /// The permissions of all users, and of clients without credentials.
    all_users: Permissions,
    users: HashMap<String, User>,
    /// The password that the credentials of unknown users are compared with, so that their check takes as long as that
    /// of others.
    decoy: Arc<Secret>,
    checker: PasswordChecker,
}

impl CredentialStore {
    /// Returns whether each of the `needed` permissions is granted, either to all users (then the credentials are not
    /// checked) or to the user of the credentials.
    pub async fn access(&self, credentials: Option<&BasicCredentials>, needed: &[Permission]) -> Access {
        let personal: Vec<_> = needed.iter().copied().filter(|needed| !self.all_users.include(*needed)).collect();
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

    /// Checks credentials. Returns the permissions of the user; `None` if the user does not exist or the password is
    /// wrong.
    async fn log_in(&self, credentials: &BasicCredentials) -> Result<Option<&Permissions>, Saturated> {
        let user = self.users.get(&credentials.username);
        let secret = user.and_then(|user| user.secret.as_ref());
        // Unknown users are checked too, so that the time of the check does not reveal which users exist.
        let right = self.checker.check(secret.unwrap_or(&self.decoy), credentials).await?;
        Ok(user.filter(|_| right & secret.is_some()).map(|user| &user.permissions))
    }

    /// Returns the password of a user, if the file contains it in clear.
    pub fn clear_password(&self, username: &str) -> Option<&str> {
        self.users.get(username)?.secret.as_ref()?.clear_text()
    }
}

impl std::fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialStore").field("users", &self.users.len()).finish_non_exhaustive()
    }
}
