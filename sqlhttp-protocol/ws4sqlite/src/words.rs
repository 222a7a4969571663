//! Failures and errors in the protocol's words, with the status each of them gets.

use std::borrow::Cow;

use sqlhttp_core::{Error, Failure, SqlError, TransactionKeyword};

use crate::reply::{Refusal, Reply};

const SQLITE_BUSY: i32 = 5;
const NESTED_BEGIN: &str = "SQL logic error: cannot start a transaction within a transaction (1)";

/// The status for a batch that ran out of time. Nothing of it took effect; 504 tells that apart from "try again
/// soon" (503) and from a client that was slow to send (408), and no intermediary repeats the request by itself.
const TIMED_OUT: u16 = 504;

/// The status and the text of a failed item. `says_begin`: whether the item's own text begins with BEGIN.
pub(crate) fn failure(failure: &Failure, says_begin: bool) -> (u16, Cow<'_, str>) {
    match failure {
        Failure::Sql(error) => (500, sql_error(error).into()),
        // The original looked for BEGIN at the very start of the text. Any other BEGIN reached SQLite, which said this.
        Failure::TransactionControl(TransactionKeyword::Begin) if !says_begin => (500, NESTED_BEGIN.into()),
        Failure::TransactionControl(_) | Failure::NotAllowed(_) => (400, failure.to_string().into()),
        Failure::MissingNamed(_) | Failure::MissingPositional(_) | Failure::NotEnough { .. } => {
            (500, failure.to_string().into())
        }
        Failure::TooManyRows { .. } | Failure::TooManyBytes { .. } => (500, failure.to_string().into()),
        Failure::Timeout => (TIMED_OUT, failure.to_string().into()),
        Failure::Protocol { status, message } => (*status, message.into()),
    }
}

/// What SQLite said: the generic text, the specific text unless it is the same, the extended code.
pub(crate) fn sql_error(error: &SqlError) -> String {
    let SqlError { code, generic, message, .. } = error;
    let busy = if *code == SQLITE_BUSY { " (SQLITE_BUSY)" } else { "" };
    if message == generic || message.is_empty() {
        format!("{generic} ({code}){busy}")
    } else if message.starts_with(generic.as_str()) {
        format!("{message} ({code}){busy}")
    } else {
        format!("{generic}: {message} ({code}){busy}")
    }
}

/// The answer to a request that has no outcome.
///
/// | error | status |
/// |---|---|
/// | `Overloaded`, `Closed`, `NoLeader`, `Unavailable` | 503 |
/// | `Timeout`, `Unknown` | 504 |
/// | `Busy`, `ReadOnly`, `LeadershipLost`, `Poisoned`, `Sqlite`, `Io`, `Unsupported` | 500 |
pub fn encode_error(error: &Error) -> Reply {
    let (status, text) = match error {
        Error::Overloaded(_) | Error::Closed | Error::NoLeader | Error::Unavailable(_) => (503, error.to_string()),
        Error::Timeout | Error::Unknown => (TIMED_OUT, error.to_string()),
        Error::Busy(source) => (500, sql_error(source)),
        Error::ReadOnly => (500, "attempt to write a readonly database (8)".to_owned()),
        Error::Sqlite { action, source } => (500, format!("{action}: {}", sql_error(source))),
        // The path is the operator's business, not the client's.
        Error::Io { action, source, .. } => (500, format!("{action}: {source}")),
        Error::LeadershipLost | Error::Poisoned(_) | Error::Unsupported(_) => (500, error.to_string()),
    };
    Refusal::whole(status, text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(code: i32, generic: &str, message: &str) -> SqlError {
        SqlError { code, generic: generic.into(), message: message.into(), offset: None }
    }

    #[test]
    fn sql_errors_carry_the_generic_text_and_the_code() {
        let cases = [
            (sql(1, "SQL logic error", "no such table: nope"), "SQL logic error: no such table: nope (1)"),
            (sql(20, "datatype mismatch", "datatype mismatch"), "datatype mismatch (20)"),
            (sql(5, "database is locked", "database is locked"), "database is locked (5) (SQLITE_BUSY)"),
            (sql(517, "database is locked", "database is locked"), "database is locked (517)"),
            (
                sql(1555, "constraint failed", "UNIQUE constraint failed: T.ID"),
                "constraint failed: UNIQUE constraint failed: T.ID (1555)",
            ),
        ];
        for (error, want) in cases {
            assert_eq!(sql_error(&error), want);
        }
    }

    #[test]
    fn transaction_control() {
        let begin = Failure::TransactionControl(TransactionKeyword::Begin);
        assert_eq!(failure(&begin, true), (400, "BEGIN is not allowed".into()));
        assert_eq!(failure(&begin, false), (500, NESTED_BEGIN.into()));
        let commit = Failure::TransactionControl(TransactionKeyword::Commit);
        assert_eq!(failure(&commit, false), (400, "COMMIT is not allowed".into()));
        assert_eq!(failure(&Failure::NotAllowed("ATTACH".into()), false), (400, "ATTACH is not allowed".into()));
    }

    #[test]
    fn errors_have_a_status_each() {
        let busy = Error::Busy(sql(5, "database is locked", "database is locked"));
        let io = Error::Io {
            action: "read file",
            path: "/secret".into(),
            source: std::sync::Arc::new(std::io::Error::other("broken")),
        };
        for (error, status, text) in [
            (Error::Overloaded("x"), 503, "the database is overloaded: x"),
            (Error::Timeout, 504, "the time limit was exceeded"),
            (Error::Closed, 503, "the database is closed"),
            (Error::ReadOnly, 500, "attempt to write a readonly database (8)"),
            (busy, 500, "database is locked (5) (SQLITE_BUSY)"),
            (io, 500, "read file: broken"),
        ] {
            let reply = encode_error(&error);
            assert_eq!(reply.status, status);
            assert_eq!(reply.body, Refusal::whole(status, text).body());
        }
    }
}
