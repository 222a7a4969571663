//! The reasons why a step failed. A [`Failure`] is part of the step's outcome; each protocol crate converts it to an
//! error message for its clients.

use std::fmt;

/// The reason why a step failed. New variants are added after the last one, because the type is serialized (see
/// [`Outcome`](super::Outcome)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Failure {
    /// SQLite reported an error.
    Sql(SqlError),
    /// The step contains BEGIN, COMMIT, SAVEPOINT or another transaction-control statement, which only the engine may
    /// use.
    TransactionControl(TransactionKeyword),
    /// The database's policy does not allow clients this operation. The string names the operation ("ATTACH", "PRAGMA
    /// journal_mode").
    NotAllowed(String),
    /// The parameter with this name (without its prefix) has no value.
    MissingNamed(String),
    /// The parameter at this position, counted from 1, has no value.
    MissingPositional(usize),
    /// The step has fewer values than its SQL text has parameters.
    NotEnough {
        /// The number of parameters of the SQL text.
        want: usize,
        /// The number of values that the step provides.
        got: usize,
    },
    /// The result of the step has more rows than the limit permits.
    TooManyRows {
        /// The maximum number of rows of a result.
        limit: u64,
    },
    /// The result takes more memory than the limit permits. The limit applies to results that must be held in memory
    /// until the batch has committed.
    TooManyBytes {
        /// The maximum size of results held in memory, in bytes.
        limit: u64,
    },
    /// The batch ran out of time, or out of the virtual-machine steps that it was allowed.
    Timeout,
    /// The protocol crate rejected the step, so it was not passed to SQLite.
    Protocol {
        /// The status code of the protocol, for example an HTTP status.
        status: u16,
        /// The message for the client.
        message: String,
    },
}

/// An error that SQLite reported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SqlError {
    /// The extended result code (<https://sqlite.org/rescode.html>).
    pub code: i32,
    /// The generic description of the code, from `sqlite3_errstr` (<https://sqlite.org/c3ref/errcode.html>).
    pub generic: String,
    /// The specific error message, from `sqlite3_errmsg`.
    pub message: String,
    /// The byte offset of the error in the SQL text, from `sqlite3_error_offset`; `None` if SQLite reports none.
    pub offset: Option<u32>,
}

/// The statements that begin and end transactions and savepoints (<https://sqlite.org/lang_transaction.html>,
/// <https://sqlite.org/lang_savepoint.html>). New variants are added after the last one, because the type is serialized
/// (see [`Outcome`](super::Outcome)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TransactionKeyword {
    /// BEGIN.
    Begin,
    /// COMMIT or END.
    Commit,
    /// ROLLBACK, including ROLLBACK TO.
    Rollback,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE.
    Release,
}

impl SqlError {
    /// The primary result code: the low eight bits of the extended code
    /// (<https://sqlite.org/rescode.html#primary_result_codes_versus_extended_result_codes>).
    pub fn primary_code(&self) -> i32 {
        self.code & 0xff
    }
}

impl fmt::Display for TransactionKeyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransactionKeyword::Begin => "BEGIN",
            TransactionKeyword::Commit => "COMMIT",
            TransactionKeyword::Rollback => "ROLLBACK",
            TransactionKeyword::Savepoint => "SAVEPOINT",
            TransactionKeyword::Release => "RELEASE",
        })
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Sql(e) => e.fmt(f),
            Failure::TransactionControl(keyword) => write!(f, "{keyword} is not allowed"),
            Failure::NotAllowed(what) => write!(f, "{what} is not allowed"),
            Failure::MissingNamed(name) => write!(f, "missing named argument \"{name}\""),
            Failure::MissingPositional(index) => write!(f, "missing argument with index {index}"),
            Failure::NotEnough { want, got } => write!(f, "not enough args to execute query: want {want} got {got}"),
            Failure::TooManyRows { limit } => write!(f, "the result has more than {limit} rows"),
            Failure::TooManyBytes { limit } => write!(f, "the result has more than {limit} bytes"),
            Failure::Timeout => f.write_str("the time limit was exceeded"),
            Failure::Protocol { message, .. } => f.write_str(message),
        }
    }
}
