//! Operations on a whole database: copying and replacing it, macros and backups.

use std::path::{Path, PathBuf};

use sqlhttp_core::{BoxFuture, CheckOptions, Database, Error};

use crate::http::basic_auth::BasicCredentials;
use crate::process::scratch::ScratchFile;

/// Copies a database to a file, replaces its content with the content of a file, and checks its content. The endpoints
/// `/db/backup`, `/db/load` and `/verify` use this.
pub(crate) trait Copies: Send + Sync {
    /// Returns a hint for a database file that is too large for a request body: another way to load the file. Empty if
    /// there is no other way.
    fn large_file_hint(&self) -> &'static str {
        ""
    }

    /// Returns the maximum length of a database file that is loaded, in bytes, and the flag that sets it. `None` if the
    /// limit is that of all request bodies.
    fn file_bytes_max(&self) -> Option<(u64, &'static str)> {
        None
    }

    /// Returns `false` if the disk is known to have no space for a file of this length that is to be loaded.
    fn has_space_for(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }

    /// Writes a copy of the current state of the database to the file `to`, which must not exist. If `vacuumed` is set,
    /// the copy is rebuilt as by VACUUM, so that it has no free pages.
    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>>;

    /// Checks a database file, replaces the whole content of the database with the file's content, and removes the
    /// file. Returns the index of the Raft log entry that contains the replacement; 0 if there is no Raft log. If the
    /// leader of a cluster carries out the replacement, it checks the credentials of the client.
    fn load_file(&self, file: PathBuf, credentials: Option<BasicCredentials>) -> BoxFuture<'_, Result<u64, Error>>;

    /// Computes the digest of the content. If `deep` is set, also checks the integrity of the database.
    fn check_content(&self, deep: bool) -> BoxFuture<'_, Result<CheckedContent, Error>>;

    /// Returns an unused path at which a file that is to be loaded can be stored. It is on the same file system as the
    /// database.
    fn scratch_file(&self) -> ScratchFile;
}

/// The result of [`Copies::check_content`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedContent {
    /// The digest of the content.
    pub(crate) digest: u128,
    /// The damages that the integrity check has found.
    pub(crate) damages: Vec<String>,
}

/// Computes the digest of the content of a database. If `deep` is set, also checks its integrity.
pub(crate) async fn check_content(database: &Database, deep: bool) -> Result<CheckedContent, Error> {
    let digest = database.content_digest().await?.digest;
    let damages = match deep {
        true => database.check_integrity(CheckOptions::with_rate(None)).await?.damages,
        false => Vec::new(),
    };
    Ok(CheckedContent { digest, damages })
}

/// Runs the macros (configured lists of statements) and the backups of a database, as in sqliterg. Dropping a returned
/// future cancels its macro or backup as soon as possible.
pub trait Macros: Send + Sync {
    /// Runs the macro `name`. Returns, for each of its statements, the number of rows that the statement has changed.
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>>;

    /// Makes a backup. Then removes the oldest backups if there are more than the configured number.
    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>>;
}

/// The reason why a macro or a backup has failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The macro does not exist, or no directory for backups is configured. The string is the error message.
    #[error("{0}")]
    NotFound(String),
    /// The backup file already exists. This happens if two backups are made within a minute.
    #[error("{0}")]
    AlreadyExists(String),
    /// A statement of a macro has failed, or the backup has failed.
    #[error("{message}")]
    Failed {
        /// The index of the failed statement in the macro, starting at 0; `None` if a backup has failed.
        statement: Option<usize>,
        /// The error message.
        message: String,
    },
    /// The database returned this error instead of an outcome.
    #[error(transparent)]
    Database(#[from] Error),
}
