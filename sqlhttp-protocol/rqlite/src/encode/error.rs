//! Encodes replies to requests that failed as a whole, and the results of failed statements.

use sqlhttp_core::{Error, Failure, StepInfo};

use super::detail::Detail;
use super::trailer::{finish, write_trailer};
use crate::endpoint::Endpoint;
use crate::reply::Reply;
use crate::reply_shape::{ReplyShape, Trailer};
use crate::{json, messages};

/// The error of a reply with status 200 that was begun but cannot be completed, because the transaction was not
/// committed.
///
/// If the caller has already sent a part of the reply, it must close the connection, so that the client notices that
/// the reply is incomplete. Otherwise the caller must send `reply` instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be finished: {}", String::from_utf8_lossy(&reply.body))]
pub struct EncodeError {
    /// The reply to send instead if nothing has been sent yet.
    pub reply: Reply,
}

/// Encodes the reply to a request whose transaction could not be committed.
pub(super) fn not_committed(failure: &Failure, shape: &ReplyShape, trailer: &Trailer) -> EncodeError {
    let text = messages::failure(failure, StepInfo::default(), shape);
    EncodeError { reply: encode_top_level_error(&text, shape, trailer) }
}

/// Encodes the reply to a request that failed as a whole, so that there is no outcome.
///
/// | error | reply |
/// |---|---|
/// | `Timeout` | 200 and one result for each statement: `query timeout` or `execute timeout` |
/// | `Busy`, `Closed`, `ReadOnly`, `LeadershipLost`, `Unknown` | 200 and a top-level error |
/// | `ConnectionLost`, `Failed` | 200 and a top-level error |
/// | `Overloaded`, `NoLeader`, `Removed`, `Unavailable` | 503 |
/// | `Unauthorized` | 401 |
/// | `Poisoned`, `Sqlite`, `Io`, `Unsupported`, `Row` | 500 |
///
/// If all statements are one transaction, the reply to a timeout has only one result, unless the endpoint is
/// `/db/query`.
pub fn encode_error(error: &Error, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    let reads = matches!(shape.endpoint, Endpoint::Query | Endpoint::Request);
    let text = messages::error_text(error, reads);
    match error {
        Error::Timeout => encode_timeout(&text, reads, shape, trailer),
        Error::Busy(_)
        | Error::Closed
        | Error::ReadOnly
        | Error::LeadershipLost
        | Error::Unknown
        | Error::ConnectionLost(_)
        | Error::Failed { .. } => encode_top_level_error(&text, shape, trailer),
        Error::NoLeader | Error::Removed | Error::Overloaded(_) | Error::Unavailable(_) => Reply::error(503, &text),
        Error::Unauthorized => Reply::error(401, messages::unauthorized(shape.endpoint)),
        Error::Sqlite { .. } | Error::Io { .. } | Error::Poisoned(_) | Error::Unsupported(_) | Error::Row(_) => {
            Reply::error(500, &text)
        }
    }
}

/// Encodes a reply with status 200 that contains an error and no results.
pub fn encode_top_level_error(error: &str, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    let mut out = b"{\"results\":[],\"error\":".to_vec();
    json::write_string(&mut out, error);
    write_trailer(&mut out, shape, trailer);
    finish(out, shape)
}

/// Encodes the reply to a request that has timed out. The result of each statement is the error `text`.
fn encode_timeout(text: &str, reads: bool, shape: &ReplyShape, trailer: &Trailer) -> Reply {
    let info = StepInfo { reads, ..StepInfo::default() };
    let mut out = b"{\"results\":[".to_vec();
    for index in 0..shape.results_when_stopped() {
        if index > 0 {
            out.push(b',');
        }
        write_failure(&mut out, text, Detail { info, shape });
    }
    out.push(b']');
    write_trailer(&mut out, shape, trailer);
    finish(out, shape)
}

/// Writes the result of a failed statement, with `text` as its error message.
pub(super) fn write_failure(out: &mut Vec<u8>, text: &str, detail: Detail<'_>) {
    out.push(b'{');
    if detail.shape.associative && detail.is_query() {
        out.extend_from_slice(b"\"rows\":[]");
    }
    write_error(out, text);
}

/// Writes the error message as the last JSON member of a result, and the end of the result.
pub(super) fn write_error(out: &mut Vec<u8>, text: &str) {
    json::write_key(out, "error");
    json::write_string(out, text);
    out.push(b'}');
}
