//! Restores failures and errors from the error messages of a server.

use sqlhttp_core::{Error, Failure, SqlError, TransactionKeyword};
use sqlhttp_text::sqlite::{code_of_message, description};

use crate::messages::TIMED_OUT;
use crate::reply::Refusal;

/// SQLITE_LOCKED, SQLITE_NOMEM and SQLITE_TOOBIG. Some messages with these codes begin with the description of the code
/// themselves: "database table is locked: t", "string or blob too big: the limit is …".
const DESCRIBED_IN_MESSAGE: [i32; 3] = [6, 7, 18];

const KEYWORDS: [TransactionKeyword; 5] = [
    TransactionKeyword::Begin,
    TransactionKeyword::Commit,
    TransactionKeyword::Rollback,
    TransactionKeyword::Savepoint,
    TransactionKeyword::Release,
];

/// The HTTP status that a failed query or statement would have without `noFail`, if the reply does not contain it.
pub(super) const UNKNOWN_STATUS: u16 = 500;

/// Returns the failure of a query or statement. `status`: the HTTP status of the reply.
pub(super) fn failure(status: u16, text: &str) -> Failure {
    // With `noFail`, the first letter is a capital.
    let plain = uncapitalized(text);
    if let Some(error) = sql_error(text) {
        return Failure::Sql(error);
    }
    // Old versions of ws4sqlite send SQLite's message alone.
    for message in [text, &plain] {
        if let Some(code) = code_of_message(message) {
            let generic = description(code).unwrap_or_default().to_owned();
            return Failure::Sql(SqlError { code, generic, message: message.to_owned(), offset: None });
        }
    }
    if status == TIMED_OUT || plain == Failure::Timeout.to_string() {
        return Failure::Timeout;
    }
    if let Some(operation) = text.strip_suffix(" is not allowed") {
        let keyword = KEYWORDS.into_iter().find(|keyword| keyword.to_string() == operation);
        return keyword.map_or_else(|| Failure::NotAllowed(operation.to_owned()), Failure::TransactionControl);
    }
    if let Some(name) = plain.strip_prefix("missing named argument \"").and_then(|rest| rest.strip_suffix('"')) {
        return Failure::MissingNamed(name.to_owned());
    }
    if let Some(Ok(index)) = plain.strip_prefix("missing argument with index ").map(str::parse) {
        return Failure::MissingPositional(index);
    }
    Failure::Protocol { status, message: text.to_owned() }
}

/// Returns the error of a response with an error status whose body is not the JSON error object of a server. A proxy
/// sends 408 and the statuses from 500 also after the server has received the request.
pub(super) fn foreign_error(status: u16, text: String) -> Error {
    match status {
        408 | 500.. if !is_unauthorized(&text) => Error::ConnectionLost(format!("{status}: {text}").into()),
        _ => error(Refusal::whole(status, text)),
    }
}

/// Whether the server has refused the credentials. `customErrorCode` may replace the status 401.
fn is_unauthorized(text: &str) -> bool {
    ["Unauthorized", "missing auth credentials", "wrong credentials"].contains(&text.trim())
}

/// Returns the error of a request that a server has refused, or that has failed, as a whole. The servers send the
/// statuses below 500 and 503 before they have carried anything out.
pub(super) fn error(refusal: Refusal) -> Error {
    let Refusal { status, error: text, .. } = refusal;
    let shown = || format!("{status}: {text}");
    if is_unauthorized(&text) {
        return Error::Unauthorized;
    }
    match status {
        401 | 403 => Error::Unauthorized,
        503 if text.contains("leader not found") => Error::NoLeader,
        503 => Error::Unavailable(shown().into()),
        TIMED_OUT if text == Error::Timeout.to_string() => Error::Timeout,
        TIMED_OUT if text == Error::Unknown.to_string() => Error::Unknown,
        500 if text == Error::LeadershipLost.to_string() => Error::LeadershipLost,
        500 => match sql_error(&text) {
            Some(error) if error.is_busy() => Error::Busy(error),
            Some(error) => Error::Failed { step: None, failure: Failure::Sql(error) },
            None => Error::ConnectionLost(shown().into()),
        },
        408 | 501.. => Error::ConnectionLost(shown().into()),
        _ => Error::Unsupported(shown()),
    }
}

/// Parses the text of an error of SQLite, as [`crate::messages::sql_error`] formats it: the description of the result
/// code, the message unless both are the same, and the extended result code. `None` if the text is not of this form.
fn sql_error(text: &str) -> Option<SqlError> {
    let text = text.strip_suffix(" (SQLITE_BUSY)").unwrap_or(text);
    let (text, code) = text.strip_suffix(')')?.rsplit_once(" (")?;
    let code: i32 = code.parse().ok()?;
    let generic = description(code)?;
    let begin = text.get(..generic.len()).filter(|begin| uncapitalized(begin) == uncapitalized(generic))?;
    let rest = &text[begin.len()..];
    let message = match rest.strip_prefix(": ") {
        Some(message) if !DESCRIBED_IN_MESSAGE.contains(&(code & 0xff)) => message.to_owned(),
        _ => format!("{generic}{rest}"),
    };
    Some(SqlError { code, generic: generic.to_owned(), message, offset: None })
}

fn uncapitalized(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;
    use crate::reply::capitalized;

    #[test]
    fn errors_of_sqlite_survive_with_and_without_no_fail() {
        for (code, message) in [
            (1, "no such table: nope"),
            (2067, "UNIQUE constraint failed: T.ID"),
            (1555, "too many (5)"),
            (19, ""),
            (20, "datatype mismatch"),
            (5, "database is locked"),
            (517, "database is locked"),
            (6, "database table is locked: t"),
            (7, "out of memory: the limit is 64 MiB"),
            (18, "string or blob too big: the limit is 1000000 bytes"),
        ] {
            let generic = description(code).unwrap().to_owned();
            let message = if message.is_empty() { generic.clone() } else { message.to_owned() };
            let error = SqlError { code, generic, message, offset: None };
            let text = messages::sql_error(&error);
            assert_eq!(failure(500, &text), Failure::Sql(error.clone()), "{text}");
            assert_eq!(failure(UNKNOWN_STATUS, &capitalized(&text)), Failure::Sql(error), "{text}");
        }
        assert!(failure(500, "UNIQUE constraint failed: t.a").is_unique());
        assert!(failure(500, "Database is locked").is_busy());
    }

    #[test]
    fn other_failures_survive() {
        for sent in [
            Failure::Timeout,
            Failure::NotAllowed("ATTACH".into()),
            Failure::TransactionControl(TransactionKeyword::Commit),
            Failure::MissingNamed("a\"b".into()),
            Failure::MissingPositional(2),
        ] {
            let (status, text) = messages::failure(&sent, false);
            assert_eq!(failure(status, &text), sent);
            assert_eq!(failure(UNKNOWN_STATUS, &capitalized(&text)), sent);
        }
        let text = "values should be an array or an object";
        assert_eq!(failure(500, text), Failure::Protocol { status: 500, message: text.to_owned() });
    }

    #[test]
    fn a_response_that_leaves_the_outcome_open_is_no_refusal() {
        let error = |status, text: &str| error(Refusal::whole(status, text));
        for (status, text) in [(408, "x"), (500, "Runtime error: x"), (502, "Bad Gateway (1)"), (504, "x"), (599, "")] {
            assert!(matches!(error(status, text), Error::ConnectionLost(_)), "{status}");
        }
        assert!(matches!(error(504, "the time limit was exceeded"), Error::Timeout));
        assert!(error(504, &Error::Unknown.to_string()).is_unknown_outcome());
        assert!(matches!(error(500, "leadership lost while committing log"), Error::LeadershipLost));
        assert!(matches!(error(503, "leader not found"), Error::NoLeader));
        assert!(error(503, "the database is overloaded: x").retry());
        assert!(error(500, "database is locked (5) (SQLITE_BUSY)").is_busy());
        assert!(error(500, "constraint failed: FOREIGN KEY constraint failed (787)").is_foreign_key());
        for (status, text) in [(401, "x"), (499, "Unauthorized"), (500, "wrong credentials"), (403, "")] {
            assert!(matches!(error(status, text), Error::Unauthorized), "{status}");
        }
        for status in [301, 400, 404, 413, 429] {
            assert!(matches!(error(status, "x"), Error::Unsupported(_)), "{status}");
            assert!(matches!(foreign_error(status, "x".to_owned()), Error::Unsupported(_)), "{status}");
        }
        for (status, text) in [(503, "leader not found"), (504, "the time limit was exceeded"), (408, ""), (500, "x")] {
            assert!(matches!(foreign_error(status, text.to_owned()), Error::ConnectionLost(_)), "{status}");
        }
        assert!(matches!(foreign_error(503, "Unauthorized".to_owned()), Error::Unauthorized));
    }
}
