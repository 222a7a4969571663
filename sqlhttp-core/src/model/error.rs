//! Why there is no outcome.

use std::sync::Arc;

use super::SqlError;

/// Why there is no outcome. (A failing statement is an outcome: see [`super::Failure`].)
///
/// Deliberately exhaustive: a protocol that does not know how to say one of these does not compile.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too much is waiting. The client's turn to wait; retry later.
    #[error("the database is overloaded: {0}")]
    Overloaded(&'static str),
    /// The deadline passed before the batch had a chance to run, or while it ran. Nothing of it took effect.
    #[error("the time limit was exceeded")]
    Timeout,
    /// Another process or connection held the database's lock for longer than the busy timeout. Retry.
    #[error("{0}")]
    Busy(SqlError),
    /// The database is closed or closing. Do not retry here.
    #[error("the database is closed")]
    Closed,
    /// No node of the cluster is known to be its leader at this moment. Nothing took effect. Retry.
    #[error("leader not found")]
    NoLeader,
    /// Something that can pass keeps the database from writing: a full disk, no descriptors, a foreign lock. Nothing took
    /// effect. Retry.
    #[error("the database cannot write at the moment: {0}")]
    Unavailable(Arc<str>),
    /// The batch has a place in the log, and was not applied before its deadline. It may have taken effect, or may yet. Do
    /// not retry without looking.
    #[error("the write is in the log, but was not applied in time: its outcome is unknown")]
    Unknown,
    /// The leader changed while the batch was on its way. It may have taken effect, or may yet.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The database was opened for reading only, and the caller asked for something that needs to write.
    #[error("the database is read-only")]
    ReadOnly,
    /// An earlier failure of the disk or of the engine itself made further writes unsafe. The operator's problem.
    #[error("the database takes no more writes: {0}")]
    Poisoned(Arc<str>),
    /// SQLite refused something that is no client's statement: opening, configuring, a backup, a checkpoint.
    #[error("{action}: {source}")]
    Sqlite {
        /// What was attempted ("open database", "back up").
        action: &'static str,
        /// What SQLite said.
        source: SqlError,
    },
    /// A file operation failed.
    #[error("{action} '{path}': {source}")]
    Io {
        /// What was attempted ("create directory").
        action: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The SQLite library or the options make a safe engine impossible.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// Whether the same request may succeed when it is sent again a little later.
    pub fn retry(&self) -> bool {
        matches!(self, Error::Overloaded(_) | Error::Timeout | Error::Busy(_) | Error::NoLeader | Error::Unavailable(_))
    }
}
