//! The error messages of the ws4sqlite protocol, and the HTTP status of a failed query or statement.

use std::borrow::Cow;

use sqlhttp_core::{Failure, SqlError, TransactionKeyword};

const SQLITE_BUSY: i32 = 5;
const NESTED_BEGIN: &str = "SQL logic error: cannot start a transaction within a transaction (1)";

/// The HTTP status of the reply if the batch exceeded its time limit. Nothing of the batch took effect.
///
/// Status 504 distinguishes this error from an overloaded database (503) and from a client that sends too slowly (408).
/// Proxies do not repeat a request after 504.
pub(crate) const TIMED_OUT: u16 = 504;

/// Returns the HTTP status and the error message for a failed query or statement. `says_begin`: whether its SQL text,
/// as sent by the client, begins with BEGIN.
pub(crate) fn failure(failure: &Failure, says_begin: bool) -> (u16, Cow<'_, str>) {
    match failure {
        Failure::Sql(error) => (500, sql_error(error).into()),
        // ws4sqlite rejects BEGIN only at the very start of the SQL text. It runs any other BEGIN, and SQLite fails
        // with this message.
        Failure::TransactionControl(TransactionKeyword::Begin) if !says_begin => (500, NESTED_BEGIN.into()),
        Failure::TransactionControl(_) | Failure::NotAllowed(_) => (400, failure.to_string().into()),
        Failure::MissingNamed(_) | Failure::MissingPositional(_) | Failure::NotEnough { .. } => {
            (500, failure.to_string().into())
        }
        Failure::TooManyRows { .. } | Failure::TooManyBytes { .. } | Failure::UnexpectedRows { .. } => {
            (500, failure.to_string().into())
        }
        Failure::BadParameter { .. } | Failure::SurplusValue(_) => (400, failure.to_string().into()),
        Failure::Timeout => (TIMED_OUT, failure.to_string().into()),
        Failure::Protocol { status, message } => (*status, message.into()),
    }
}

/// Formats an error of SQLite: the generic message for the code, the specific message unless both are the same, and the
/// extended result code.
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
}
