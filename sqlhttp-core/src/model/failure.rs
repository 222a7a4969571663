//! Why a step failed. A failure is data: it belongs to the step's outcome, and the protocols put it into words.

use std::fmt;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Failure {
    /// SQLite said no.
    Sql(SqlError),
    /// BEGIN, COMMIT, SAVEPOINT and their kin, which the engine alone may use.
    TransactionControl(TransactionKeyword),
    /// Something the database's policy does not allow a client; the text names it ("ATTACH", "PRAGMA journal_mode").
    NotAllowed(String),
    /// A parameter with this name (no prefix) found no value.
    MissingNamed(String),
    /// The parameter at this position (from 1) found no value.
    MissingPositional(usize),
    /// Fewer values than parameters.
    NotEnough {
        /// How many parameters there are.
        want: usize,
        /// How many values were given.
        got: usize,
    },
    /// The result has more rows than this limit allows.
    TooManyRows {
        /// The limit, in rows.
        limit: u64,
    },
    /// The result takes more memory than this limit allows, and it must be held until the batch has committed.
    TooManyBytes {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The batch took longer than its deadline allows.
    Timeout,
    /// A protocol refused the step before SQLite saw it.
    Protocol {
        /// The status that the protocol gives it.
        status: u16,
        /// The text for the client.
        message: String,
    },
}

/// What SQLite said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SqlError {
    /// The extended result code (<https://sqlite.org/rescode.html>).
    pub code: i32,
    /// The generic text of that code, as `sqlite3_errstr` gives it.
    pub generic: String,
    /// The text that tells what happened, as `sqlite3_errmsg` gives it.
    pub message: String,
    /// Where in the SQL text, in bytes, if SQLite can tell.
    pub offset: Option<u32>,
}

/// The statements that begin and end transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TransactionKeyword {
    /// BEGIN
    Begin,
    /// COMMIT or END
    Commit,
    /// ROLLBACK, also ROLLBACK TO
    Rollback,
    /// SAVEPOINT
    Savepoint,
    /// RELEASE
    Release,
}

impl SqlError {
    /// The primary result code: the low eight bits.
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
