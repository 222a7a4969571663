//! Who may do what on a cluster's node: users, their passwords and their permissions, from a JSON file.
//!
//! | module | what it is |
//! |---|---|
//! | `parse` | the file's text becomes a [`CredentialStore`] |
//! | `permission` | what there is to be allowed |
//! | `password` | one password as the file has it, in clear or as a hash |
//! | `checker` | hashes are checked aside, a few at a time, and not twice |
//! | `file` | [`AuthFile`]: the store in use, renewed when the file changes |

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

/// Somebody that the file names.
struct User {
    /// Without a password nobody can log in.
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
    /// There is no such user, or the password is wrong.
    Unauthenticated,
    /// So many passwords are being checked that this one is not.
    Saturated,
}

/// The users of one node.
pub struct CredentialStore {
    /// What anybody may do, whoever it is.
    all_users: Permissions,
    users: HashMap<String, User>,
    /// Stands in for the password of users that do not exist, so that they cost what the others cost.
    decoy: Arc<Secret>,
    checker: PasswordChecker,
}

impl CredentialStore {
    /// Whether each of the `needed` permissions is granted: to everybody (wrong credentials do no harm then), or to a
    /// user whose password is right.
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

    /// The permissions of a user whose password is right.
    async fn log_in(&self, credentials: &BasicCredentials) -> Result<Option<&Permissions>, Saturated> {
        let user = self.users.get(&credentials.username);
        let secret = user.and_then(|user| user.secret.as_ref());
        // The comparison is made for unknown users too, and its result ignored.
        let right = self.checker.check(secret.unwrap_or(&self.decoy), credentials).await?;
        Ok(user.filter(|_| right & secret.is_some()).map(|user| &user.permissions))
    }

    /// The password of a user, if the file has it in clear.
    pub fn clear_password(&self, username: &str) -> Option<&str> {
        self.users.get(username)?.secret.as_ref()?.clear_text()
    }
}

impl std::fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialStore").field("users", &self.users.len()).finish_non_exhaustive()
    }
}
