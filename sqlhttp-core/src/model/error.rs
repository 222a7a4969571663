//! The error type of the crate.

use std::sync::Arc;

use super::{Failure, RowError, SqlError};

const SQLITE_READONLY: i32 = 8;

/// The error of a call.
///
/// A [`Backend`](super::Backend) fails with the reason why a batch has no outcome; a failing statement is a part of the
/// outcome ([`Failure`]). The methods of an [`Executor`](super::Executor) return a failing statement as
/// [`Error::Failed`], and a row that cannot be read as [`Error::Row`].
///
/// For an HTTP response, [`Error::is_unique`] and [`Failure::UnexpectedRows`] usually mean 409,
/// [`Error::is_constraint`] 422, [`Error::Unauthorized`] 401, [`Error::retry`] 503, and all others 500. SQLite's
/// messages contain the names of tables and columns.
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
    /// The connection to the server failed after the batch was sent. The batch may have taken effect. Only a client of
    /// a server returns this.
    #[error("{0}")]
    ConnectionLost(Arc<str>),
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
    /// A statement failed, and none of the effects of the call remain. Only an [`Executor`](super::Executor),
    /// [`Outcome::into_result`](super::Outcome::into_result) and transactions return this.
    #[error("{}{failure}", step.map(|step| format!("step {}: ", step + 1)).unwrap_or_default())]
    Failed {
        /// The index of the failed step in its batch, counted from 0 (the message counts from 1). `None` if the call
        /// ran only one step.
        step: Option<usize>,
        /// The reason.
        failure: Failure,
    },
    /// A row cannot be converted to the Rust type that the caller has asked for. If the call has written, its effects
    /// are durable: only the conversion has failed.
    #[error(transparent)]
    Row(#[from] RowError),
}

impl Error {
    /// Whether the same request may succeed if it is sent again a little later, and has had no effect: an overload
    /// ([`Error::Overloaded`]), a time limit ([`Error::Timeout`], [`Failure::Timeout`]), a lock ([`Error::is_busy`]),
    /// no leader ([`Error::NoLeader`]), a temporary condition ([`Error::Unavailable`]).
    pub fn retry(&self) -> bool {
        match self {
            Error::Overloaded(_) | Error::Timeout | Error::Busy(_) | Error::NoLeader | Error::Unavailable(_) => true,
            Error::Failed { failure, .. } => failure.is_busy() || *failure == Failure::Timeout,
            _ => false,
        }
    }

    /// Whether it is unknown if the write has taken effect, or will. Check the data before a retry.
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Error::Unknown | Error::LeadershipLost | Error::ConnectionLost(_))
    }

    /// Whether the time limit was exceeded.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout | Error::Failed { failure: Failure::Timeout, .. })
    }

    /// The failure of the statement; `None` if no statement failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Error::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// The error that SQLite reported; `None` if SQLite reported none.
    pub fn sql_error(&self) -> Option<&SqlError> {
        match self {
            Error::Failed { failure, .. } => failure.sql_error(),
            Error::Busy(error) | Error::Sqlite { source: error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether a constraint was violated: see [`SqlError::is_constraint`].
    pub fn is_constraint(&self) -> bool {
        self.sql_error().is_some_and(SqlError::is_constraint)
    }

    /// Whether a UNIQUE or PRIMARY KEY constraint was violated: see [`SqlError::is_unique`].
    pub fn is_unique(&self) -> bool {
        self.sql_error().is_some_and(SqlError::is_unique)
    }

    /// Whether a foreign key was violated: see [`SqlError::is_foreign_key`].
    pub fn is_foreign_key(&self) -> bool {
        self.sql_error().is_some_and(SqlError::is_foreign_key)
    }

    /// Whether another process or connection holds a lock of the database.
    pub fn is_busy(&self) -> bool {
        self.sql_error().is_some_and(SqlError::is_busy)
    }

    /// Whether a write was refused because the database is read-only, or because the call may only read.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Error::ReadOnly) || self.sql_error().is_some_and(|error| error.primary_code() == SQLITE_READONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32, step: Option<usize>) -> Error {
        let error = SqlError { code, generic: String::new(), message: "no".to_owned(), offset: Some(7) };
        Error::Failed { step, failure: Failure::Sql(error) }
    }

    #[test]
    fn errors_of_statements_have_predicates() {
        assert!(failed(2067, None).is_unique() && failed(1555, None).is_unique() && failed(2579, None).is_unique());
        assert!(failed(787, None).is_foreign_key() && failed(787, None).is_constraint());
        assert!(!failed(787, None).is_unique() && !failed(1, None).is_constraint());
        assert!(failed(5, None).is_busy() && failed(517, None).retry() && failed(6, None).is_busy());
        assert!(!failed(2067, None).retry());
        let timeout = Error::Failed { step: None, failure: Failure::Timeout };
        assert!(timeout.is_timeout() && Error::Timeout.is_timeout() && Error::Unknown.is_unknown_outcome());
        assert_eq!(failed(1, None).sql_error().and_then(|error| error.offset), Some(7));
    }

    #[test]
    fn a_step_of_several_is_named() {
        assert_eq!(failed(1, None).to_string(), "no");
        assert_eq!(failed(1, Some(2)).to_string(), "step 3: no");
    }
}
