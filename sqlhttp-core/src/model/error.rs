//! The reasons why a batch has no outcome.

use std::sync::Arc;

use super::SqlError;

/// The reason why a batch has no outcome. (A failing statement is part of an outcome: see [`super::Failure`].)
///
/// The enum is deliberately exhaustive: a protocol that does not translate every variant does not compile.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A queue of the database is full, or the batch waited too long in it. Nothing was executed. Retry later.
    #[error("the database is overloaded: {0}")]
    Overloaded(&'static str),
    /// The deadline passed before the batch started or while it ran. None of the effects of the batch remain.
    #[error("the time limit was exceeded")]
    Timeout,
    /// Another process or connection held a lock of the database for longer than the busy timeout
    /// ([`SQLITE_BUSY`](https://sqlite.org/rescode.html#busy)). Nothing took effect. Retry.
    #[error("{0}")]
    Busy(SqlError),
    /// The database is closed or is being closed. A retry on the same database object cannot succeed.
    #[error("the database is closed")]
    Closed,
    /// The cluster has no known leader at the moment. Nothing took effect. Retry.
    #[error("leader not found")]
    NoLeader,
    /// This node was removed from its cluster. Nothing took effect. A retry succeeds only on another node, or after
    /// this node has joined again.
    #[error("this node was removed from the cluster")]
    Removed,
    /// The leader of the cluster does not permit the request to this user. Nothing took effect.
    #[error("unauthorized")]
    Unauthorized,
    /// A temporary condition prevents writes (a full disk, no free file descriptors, a lock of another process), or has
    /// ended a read (a snapshot replaces the content). Nothing took effect. Retry.
    #[error("the database is unavailable at the moment: {0}")]
    Unavailable(Arc<str>),
    /// The batch was appended to the Raft log but not applied before its deadline. The batch may have taken effect, or
    /// may take effect later. Check the data before a retry.
    #[error("the write is in the log, but was not applied in time: its outcome is unknown")]
    Unknown,
    /// The leader of the cluster changed while the batch was being replicated. The batch may have taken effect, or may
    /// take effect later.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The database was opened read-only, and the operation needs to write.
    #[error("the database is read-only")]
    ReadOnly,
    /// An earlier failure of the disk or of the engine made further writes unsafe. All writes are rejected until the
    /// operator intervenes.
    #[error("the database takes no more writes: {0}")]
    Poisoned(Arc<str>),
    /// SQLite failed in an operation that is not a statement of a client: opening or configuring a database, a backup,
    /// a checkpoint.
    #[error("{action}: {source}")]
    Sqlite {
        /// The operation that failed ("open database", "back up").
        action: &'static str,
        /// The error that SQLite reported.
        source: SqlError,
    },
    /// A file operation failed.
    #[error("{action} '{path}': {source}")]
    Io {
        /// The operation that failed ("create directory").
        action: &'static str,
        /// The path of the file.
        path: String,
        /// The error that the operating system reported.
        source: Arc<std::io::Error>,
    },
    /// The linked SQLite library or the given options do not permit safe operation. The string describes the problem.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// Whether the same request may succeed if it is sent again a little later.
    pub fn retry(&self) -> bool {
        matches!(self, Error::Overloaded(_) | Error::Timeout | Error::Busy(_) | Error::NoLeader | Error::Unavailable(_))
    }
}
