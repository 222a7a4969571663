//! Operations on a whole database: copies, replacement, macros and backups.

use std::path::{Path, PathBuf};

use sqlhttp_core::{BoxFuture, Error};

use crate::process::scratch::ScratchFile;

/// Copies a database to a file and replaces its content by that of a file, for rqlite's `/db/backup` and `/db/load`.
pub(crate) trait Copies: Send + Sync {
    /// Returns whether the cluster has a leader. Without a leader a copy may be stale. A single database is its own
    /// leader.
    fn has_leader(&self) -> bool {
        true
    }

    /// Returns a hint for a file that exceeds the limit of request bodies: another way to load it. Empty if there is
    /// none.
    fn large_file_hint(&self) -> &'static str {
        ""
    }

    /// Writes a copy of the database, in its current state, to a file that must not exist. If `vacuumed`, the copy is
    /// rebuilt, so that it has no free pages.
    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>>;

    /// Checks a database file, replaces all content of the database by that of the file, and removes the file. Returns
    /// the index of the log entry that contains the replacement, or 0 if there is no log.
    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>>;

    /// Returns an unused path for a file to be loaded, on the same file system as the database.
    fn scratch_file(&self) -> ScratchFile;
}

/// Runs the macros and backups of a database (sqliterg). Dropping a future cancels the run as soon as possible.
pub trait Macros: Send + Sync {
    /// Runs the macro `name`. Returns the number of rows that each statement has changed.
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>>;

    /// Makes a backup, then removes the oldest backups beyond the configured number.
    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>>;
}

/// The reason for which a macro or a backup has failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The macro does not exist, or no backup directory is configured.
    #[error("{0}")]
    NotFound(String),
    /// The backup file exists already: a second backup within a minute.
    #[error("{0}")]
    AlreadyExists(String),
    /// A statement or the backup failed.
    #[error("{message}")]
    Failed {
        /// The index of the failed statement, from 0; `None` if the backup has failed.
        statement: Option<usize>,
        /// The error text.
        message: String,
    },
    /// The database returned no outcome.
    #[error(transparent)]
    Database(#[from] Error),
}
