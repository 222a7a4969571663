//! Parses the auth file into a [`CredentialStore`].

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::checker::PasswordChecker;
use super::password::Secret;
use super::permission::{Permission, Permissions};
use super::{CredentialStore, User};

/// The username of the entry whose permissions all users have, in the auth file. rqlite calls it `AllUsers`.
const ALL_USERS: &str = "*";

/// The maximum size of the auth file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The reason for which an auth file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// The auth file cannot be read.
    #[error("auth file '{}': {source}", path.display())]
    Read {
        /// The path of the auth file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The auth file is larger than 16 MiB.
    #[error("auth file '{}': it is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The auth file is not a JSON array of users.
    #[error("auth file '{}': it must be a JSON array of {{username, password, perms}}: {source}", path.display())]
    Malformed {
        /// The path of the auth file.
        path: PathBuf,
        /// The error of the JSON parser, with the position in the file.
        source: serde_json::Error,
    },
    /// A password starts like a bcrypt or argon2 hash but is not a valid one, or is a hash that is too expensive to
    /// check.
    #[error("auth file '{}': the password of user '{username}': {reason}", path.display())]
    Password {
        /// The path of the auth file.
        path: PathBuf,
        /// The user whose password is rejected.
        username: String,
        /// The reason for which the password is rejected.
        reason: String,
    },
    /// A user has a permission that does not exist.
    #[error(
        "auth file '{}': user '{username}': there is no permission '{name}'; the permissions are {}",
        path.display(),
        Permission::all_names()
    )]
    Permission {
        /// The path of the auth file.
        path: PathBuf,
        /// The user that has the unknown permission.
        username: String,
        /// The unknown name of a permission, as written in the file.
        name: String,
    },
    /// The operating system provides no random bytes.
    #[error("auth file '{}': no random bytes: {source}", path.display())]
    Random {
        /// The path of the auth file.
        path: PathBuf,
        /// The error of the operating system.
        source: getrandom::Error,
    },
}

/// An entry of the auth file. Unknown JSON members are ignored.
#[derive(Deserialize)]
struct UserEntry {
    #[serde(default, alias = "Username")]
    username: Option<String>,
    #[serde(default, alias = "Password")]
    password: Option<String>,
    #[serde(default, alias = "Perms")]
    perms: Option<Vec<String>>,
}

impl CredentialStore {
    /// Reads and parses an auth file.
    pub fn read(path: &Path) -> Result<Self, AuthFileError> {
        let failed = |source| AuthFileError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = Vec::new();
        let bytes = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
        if bytes as u64 > FILE_BYTES_MAX {
            return Err(AuthFileError::TooLarge(path.to_owned()));
        }
        CredentialStore::parse(&text, path)
    }

    /// Parses the content of an auth file. `path` appears in error messages. If two entries have the same username,
    /// the later one applies.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, AuthFileError> {
        let entries: Vec<UserEntry> = serde_json::from_slice(text)
            .map_err(|source| AuthFileError::Malformed { path: path.to_owned(), source })?;
        let mut all_users = Permissions::default();
        let mut users = HashMap::new();
        for entry in entries {
            let names = entry.perms.unwrap_or_default();
            let permissions = Permissions::from_names(&names).map_err(|name| AuthFileError::Permission {
                path: path.to_owned(),
                username: entry.username.clone().unwrap_or_default(),
                name: name.to_owned(),
            })?;
            match entry.username {
                None => tracing::warn!("auth file '{}': an entry without a username is ignored", path.display()),
                Some(name) if name == ALL_USERS => all_users = permissions,
                Some(username) => {
                    let secret = parse_secret(&username, entry.password, path)?;
                    users.insert(username, User { secret, permissions });
                }
            }
        }
        let checker =
            PasswordChecker::new().map_err(|source| AuthFileError::Random { path: path.to_owned(), source })?;
        Ok(CredentialStore { all_users, decoy: choose_decoy(&users), users, checker })
    }
}

fn parse_secret(username: &str, password: Option<String>, path: &Path) -> Result<Option<Arc<Secret>>, AuthFileError> {
    let wrong = |reason| AuthFileError::Password { path: path.to_owned(), username: username.to_owned(), reason };
    password.map(|password| Secret::parse(password).map(Arc::new).map_err(wrong)).transpose()
}

/// Chooses the password that unknown users' credentials are compared with. If any user has a hashed password, it is a
/// hash: checking a hash takes so long that the response time would otherwise reveal which users exist.
fn choose_decoy(users: &HashMap<String, User>) -> Arc<Secret> {
    let mut secrets = users.values().filter_map(|user| user.secret.as_ref());
    let hash = secrets.find(|secret| secret.hash().is_some());
    hash.map_or_else(|| Arc::new(Secret::Clear(String::new())), Arc::clone)
}
