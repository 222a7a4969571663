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
    /// A value of the program cannot be a parameter: SQLite has no value for it. The step was not passed to SQLite.
    BadParameter {
        /// The name of the parameter, or its position, counted from 1.
        parameter: String,
        /// The reason.
        message: String,
    },
    /// The step did not change or return as many rows as the caller expects
    /// ([`Step::expect_changed`](super::Step::expect_changed), [`Step::expect_rows`](super::Step::expect_rows)).
    UnexpectedRows {
        /// The number that the caller expects.
        want: u64,
        /// The number of rows that the step changed or returned.
        got: u64,
    },
    /// No statement of the step has a parameter for this value: its name, or its position, counted from 1.
    SurplusValue(String),
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

const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_CONSTRAINT_CHECK: i32 = 275;
const SQLITE_CONSTRAINT_FOREIGNKEY: i32 = 787;
const SQLITE_CONSTRAINT_NOTNULL: i32 = 1299;
const SQLITE_CONSTRAINT_PRIMARYKEY: i32 = 1555;
const SQLITE_CONSTRAINT_UNIQUE: i32 = 2067;
const SQLITE_CONSTRAINT_ROWID: i32 = 2579;

impl Failure {
    /// The error that SQLite reported; `None` if SQLite reported none.
    pub fn sql_error(&self) -> Option<&SqlError> {
        match self {
            Failure::Sql(error) => Some(error),
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

    /// Whether another process or connection holds a lock of the database.
    pub fn is_busy(&self) -> bool {
        self.sql_error().is_some_and(SqlError::is_busy)
    }
}

impl SqlError {
    /// Whether a constraint was violated ([`SQLITE_CONSTRAINT`](https://sqlite.org/rescode.html#constraint)), also one
    /// that a trigger raised with `RAISE`.
    pub fn is_constraint(&self) -> bool {
        self.primary_code() == SQLITE_CONSTRAINT
    }

    /// Whether a UNIQUE constraint, a unique index or a PRIMARY KEY was violated.
    pub fn is_unique(&self) -> bool {
        [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID].contains(&self.code)
    }

    /// Whether a foreign key was violated.
    pub fn is_foreign_key(&self) -> bool {
        self.code == SQLITE_CONSTRAINT_FOREIGNKEY
    }

    /// Whether a NOT NULL constraint was violated.
    pub fn is_not_null(&self) -> bool {
        self.code == SQLITE_CONSTRAINT_NOTNULL
    }

    /// Whether a CHECK constraint was violated.
    pub fn is_check(&self) -> bool {
        self.code == SQLITE_CONSTRAINT_CHECK
    }

    /// Whether another process or connection holds a lock ([`SQLITE_BUSY`](https://sqlite.org/rescode.html#busy),
    /// [`SQLITE_LOCKED`](https://sqlite.org/rescode.html#locked)).
    pub fn is_busy(&self) -> bool {
        [SQLITE_BUSY, SQLITE_LOCKED].contains(&self.primary_code())
    }

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

impl std::error::Error for Failure {}

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
            Failure::BadParameter { parameter, message } => write!(f, "parameter {parameter}: {message}"),
            Failure::SurplusValue(value) => write!(f, "there is no parameter for the value {value}"),
            Failure::UnexpectedRows { want, got } => write!(f, "{got} rows instead of {want}"),
        }
    }
}
