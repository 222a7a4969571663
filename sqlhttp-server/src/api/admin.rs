//! Work on a whole database: copies of it, and the macros and backups of its configuration.

use std::path::{Path, PathBuf};

use sqlhttp_core::{BoxFuture, Error};

use crate::process::scratch::ScratchFile;

/// Copies a database and replaces its content, for rqlite's `/db/backup` and `/db/load`.
pub(crate) trait Copies: Send + Sync {
    /// Returns whether the cluster has a leader. A copy may be stale without one. A single database is its own leader.
    fn has_leader(&self) -> bool {
        true
    }

    /// A text that names another way to load a file that exceeds the limit of request bodies; empty if there is none.
    fn large_file_hint(&self) -> &'static str {
        ""
    }

    /// Writes a copy of the database's present state to a file that does not exist. `vacuumed`: the copy is rebuilt, so
    /// that it has no free pages.
    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>>;

    /// Replaces all content by that of a database file, which is checked before and removed after. Returns the index of
    /// the log entry that carries the replacement; 0 where there is no log.
    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>>;

    /// Returns an unused path for a file that is to be loaded, on the file system of the database.
    fn scratch_file(&self) -> ScratchFile;
}

/// Runs a database's macros and backups (sqliterg). Dropping a future cancels the run as soon as possible.
pub trait Macros: Send + Sync {
    /// Runs the macro of this name. Returns the number of rows that each statement changed.
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>>;

    /// Makes a backup, and removes the oldest ones beyond the configured number.
    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>>;
}

/// Why a macro or a backup did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no such macro, or no backup directory.
    #[error("{0}")]
    NotFound(String),
    /// The file exists already (a second backup within a minute).
    #[error("{0}")]
    AlreadyExists(String),
    /// A statement or the backup failed.
    #[error("{message}")]
    Failed {
        /// The index of the failed statement, from 0; `None` if the backup failed.
        statement: Option<usize>,
        /// The text of the error.
        message: String,
    },
    /// The database returned no outcome.
    #[error(transparent)]
    Database(#[from] Error),
}
