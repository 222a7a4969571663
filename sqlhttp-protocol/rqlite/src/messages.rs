//! The error messages of the rqlite protocol, for failed statements and failed requests.

use std::borrow::Cow;

use sqlhttp_core::{Error, Failure, SqlError, StepInfo, TransactionKeyword};

use crate::endpoint::Endpoint;
use crate::reply_shape::ReplyShape;

const SQLITE_READONLY: i32 = 8;

/// Returns the error message for a failed statement.
pub(crate) fn failure<'f>(failure: &'f Failure, info: StepInfo, shape: &ReplyShape) -> Cow<'f, str> {
    match failure {
        Failure::Sql(error) if error.primary_code() == SQLITE_READONLY && may_only_read(shape) => {
            "attempt to change database via query operation".into()
        }
        Failure::Sql(error) => sql_error(error).into(),
        Failure::TransactionControl(keyword) => transaction_control(*keyword, shape.transaction).into(),
        Failure::NotAllowed(what) if what.starts_with("PRAGMA") => "disallowed pragma".into(),
        Failure::Timeout => timeout(info.reads || shape.endpoint == Endpoint::Query).into(),
        Failure::NotAllowed(_)
        | Failure::MissingNamed(_)
        | Failure::MissingPositional(_)
        | Failure::NotEnough { .. }
        | Failure::TooManyRows { .. }
        | Failure::TooManyBytes { .. }
        | Failure::BadParameter { .. }
        | Failure::SurplusValue(_)
        | Failure::UnexpectedRows { .. } => failure.to_string().into(),
        Failure::Protocol { message, .. } => message.into(),
    }
}

fn may_only_read(shape: &ReplyShape) -> bool {
    matches!(shape.endpoint, Endpoint::Query | Endpoint::Request)
}

/// Returns SQLite's message without the error code. If the message is empty, returns the generic message for the code.
fn sql_error(error: &SqlError) -> &str {
    if error.message.is_empty() { &error.generic } else { &error.message }
}

/// Returns the error message for a statement that controls transactions (BEGIN, COMMIT and so on). Where SQLite itself
/// would fail, it is SQLite's message. Statements that would leave a transaction open have messages of this server.
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

/// Returns the error message for a request that failed as a whole. `reads`: whether the request only reads.
pub(crate) fn error_text(error: &Error, reads: bool) -> Cow<'_, str> {
    match error {
        Error::Timeout => timeout(reads).into(),
        Error::Busy(source) => sql_error(source).into(),
        Error::Closed => "store not open".into(),
        Error::ReadOnly => "attempt to write a readonly database".into(),
        Error::LeadershipLost => "leadership lost while committing log".into(),
        Error::NoLeader => "leader not found".into(),
        Error::Unauthorized => "unauthorized".into(),
        Error::Sqlite { action, source } => format!("{action}: {}", sql_error(source)).into(),
        // The path of the file is left out: it is of use to the operator, not to the client.
        Error::Io { action, source, .. } => format!("{action}: {source}").into(),
        Error::Overloaded(_)
        | Error::Removed
        | Error::Unavailable(_)
        | Error::Unknown
        | Error::ConnectionLost(_)
        | Error::Poisoned(_)
        | Error::Unsupported(_)
        | Error::Row(_) => error.to_string().into(),
        Error::Failed { failure: Failure::Sql(error), .. } => sql_error(error).into(),
        Error::Failed { failure: Failure::Timeout, .. } => timeout(reads).into(),
        Error::Failed { failure, .. } => failure.to_string().into(),
    }
}

/// Returns the error message for a request that the leader refuses because of its credentials.
pub(crate) fn unauthorized(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Execute | Endpoint::Queue => "remote Execute not authorized",
        Endpoint::Query | Endpoint::Sql => "remote query not authorized",
        Endpoint::Request => "remote Request not authorized",
        Endpoint::Load => "remote load not authorized",
    }
}
