//! The reasons why a batch has no outcome.

use std::sync::Arc;

use super::SqlError;

/// The reason why a batch has no outcome. (A failing statement is part of an outcome: see [`super::Failure`].)
///
/// The enum is deliberately exhaustive: a protocol that does not translate every variant does not compile.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A queue is full, or the batch waited too long for its turn. Nothing was executed. Retry later.
    #[error("the database is overloaded: {0}")]
    Overloaded(&'static str),
    /// The deadline passed before the batch started or while it ran. None of its effects remain.
    #[error("the time limit was exceeded")]
    Timeout,
    /// Another process or connection held a lock of the database for longer than the busy timeout
    /// ([`SQLITE_BUSY`](https://sqlite.org/rescode.html#busy)). Nothing took effect. Retry.
    #[error("{0}")]
    Busy(SqlError),
    /// The database is closed or is being closed. A retry on this instance cannot succeed.
    #[error("the database is closed")]
    Closed,
    /// The cluster has no known leader at the moment. Nothing took effect. Retry.
    #[error("leader not found")]
    NoLeader,
    /// A temporary condition prevents writes: a full disk, no free file descriptors, a lock of another process. Nothing
    /// took effect. Retry.
    #[error("the database cannot write at the moment: {0}")]
    Unavailable(Arc<str>),
    /// The batch was appended to the log but not applied before its deadline. It may have taken effect, or may take
    /// effect later. Check the data before a retry.
    #[error("the write is in the log, but was not applied in time: its outcome is unknown")]
    Unknown,
    /// The leader changed while the batch was being replicated. It may have taken effect, or may take effect later.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The database was opened read-only, and the operation needs to write.
    #[error("the database is read-only")]
    ReadOnly,
    /// An earlier failure of the disk or of the engine made further writes unsafe. The operator has to intervene.
    #[error("the database takes no more writes: {0}")]
    Poisoned(Arc<str>),
    /// SQLite failed in an operation that is not a client's statement: opening, configuring, a backup, a checkpoint.
    #[error("{action}: {source}")]
    Sqlite {
        /// The operation ("open database", "back up").
        action: &'static str,
        /// SQLite's error.
        source: SqlError,
    },
    /// A file operation failed.
    #[error("{action} '{path}': {source}")]
    Io {
        /// The operation ("create directory").
        action: &'static str,
        /// The path of the file.
        path: String,
        /// The operating system's error.
        source: Arc<std::io::Error>,
    },
    /// The SQLite library or the options do not permit safe operation.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// Whether the same request may succeed if it is sent again a little later.
    pub fn retry(&self) -> bool {
        matches!(self, Error::Overloaded(_) | Error::Timeout | Error::Busy(_) | Error::NoLeader | Error::Unavailable(_))
    }
}
