//! Failures and errors in the protocol's words.

use std::borrow::Cow;

use sqlhttp_core::{Error, Failure, SqlError, StepFacts, TransactionKeyword};

use crate::encode::{self, Detail};
use crate::endpoint::Endpoint;
use crate::reply::Reply;
use crate::shape::{Shape, Trailer};

const SQLITE_READONLY: i32 = 8;

/// Why a step failed.
pub(crate) fn failure<'f>(failure: &'f Failure, facts: StepFacts, shape: &Shape) -> Cow<'f, str> {
    match failure {
        Failure::Sql(error) if error.primary_code() == SQLITE_READONLY && may_only_read(shape) => {
            "attempt to change database via query operation".into()
        }
        Failure::Sql(error) => sql_error(error).into(),
        Failure::TransactionControl(keyword) => transaction_control(*keyword, shape.transaction).into(),
        Failure::NotAllowed(what) if what.starts_with("PRAGMA") => "disallowed pragma".into(),
        Failure::Timeout => timeout(facts.reads || shape.endpoint == Endpoint::Query).into(),
        Failure::NotAllowed(_)
        | Failure::MissingNamed(_)
        | Failure::MissingPositional(_)
        | Failure::NotEnough { .. }
        | Failure::TooManyRows { .. }
        | Failure::TooManyBytes { .. } => failure.to_string().into(),
        Failure::Protocol { message, .. } => message.into(),
    }
}

fn may_only_read(shape: &Shape) -> bool {
    matches!(shape.endpoint, Endpoint::Query | Endpoint::Request)
}

/// What SQLite said, and nothing else.
fn sql_error(error: &SqlError) -> &str {
    if error.message.is_empty() { &error.generic } else { &error.message }
}

/// In SQLite's words where they are true; what would leave a transaction open behind it is refused in ours.
fn transaction_control(keyword: TransactionKeyword, in_transaction: bool) -> &'static str {
    match keyword {
        TransactionKeyword::Begin if in_transaction => "cannot start a transaction within a transaction",
        TransactionKeyword::Begin => "BEGIN is not allowed: use the parameter transaction, or a script with its COMMIT",
        TransactionKeyword::Commit => "cannot commit - no transaction is active",
        TransactionKeyword::Rollback => "cannot rollback - no transaction is active",
        TransactionKeyword::Savepoint => "SAVEPOINT is not allowed",
        TransactionKeyword::Release => "RELEASE is not allowed",
    }
}

fn timeout(reads: bool) -> &'static str {
    if reads { "query timeout" } else { "execute timeout" }
}

/// The answer to a request that has no outcome.
///
/// | error | answer |
/// |---|---|
/// | `Timeout` | 200, and `query timeout` or `execute timeout` as the result of each statement (of the first, if all are one transaction) |
/// | `Busy`, `Closed`, `ReadOnly`, `LeadershipLost`, `Unknown` | 200 and a top-level error |
/// | `Overloaded`, `NoLeader`, `Unavailable` | 503 |
/// | `Poisoned`, `Sqlite`, `Io`, `Unsupported` | 500 |
pub fn encode_error(error: &Error, shape: &Shape, trailer: &Trailer) -> Reply {
    let reads = matches!(shape.endpoint, Endpoint::Query | Endpoint::Request);
    let text = error_text(error, reads);
    match error {
        Error::Timeout => {
            let facts = StepFacts { reads, ..StepFacts::default() };
            let texts = std::iter::repeat_n(&*text, shape.results_when_stopped());
            encode::encode_failures(texts, Detail { facts, shape }, trailer)
        }
        Error::Busy(_) | Error::Closed | Error::ReadOnly | Error::LeadershipLost | Error::Unknown => {
            encode::encode_top_level_error(&text, shape, trailer)
        }
        Error::NoLeader | Error::Overloaded(_) | Error::Unavailable(_) => Reply::error(503, &text),
        Error::Sqlite { .. } | Error::Io { .. } | Error::Poisoned(_) | Error::Unsupported(_) => {
            Reply::error(500, &text)
        }
    }
}

/// Why there is no outcome. `reads`: of what only reads.
pub(crate) fn error_text(error: &Error, reads: bool) -> Cow<'_, str> {
    match error {
        Error::Timeout => timeout(reads).into(),
        Error::Busy(source) => sql_error(source).into(),
        Error::Closed => "store not open".into(),
        Error::ReadOnly => "attempt to write a readonly database".into(),
        Error::LeadershipLost => "leadership lost while committing log".into(),
        Error::NoLeader => "leader not found".into(),
        Error::Sqlite { action, source } => format!("{action}: {}", sql_error(source)).into(),
        // The path is the operator's business, not the client's.
        Error::Io { action, source, .. } => format!("{action}: {source}").into(),
        Error::Overloaded(_) | Error::Unavailable(_) | Error::Unknown | Error::Poisoned(_) | Error::Unsupported(_) => {
            error.to_string().into()
        }
    }
}
