//! `/db/execute?queue`: queued writes. rqlite acknowledges a queued write before it is applied. This server
//! acknowledges it only when it is durable.

use std::time::Instant;

use hyper::StatusCode;
use hyper::body::Incoming;
use sqlhttp_core::Error;
use sqlhttp_rqlite::{Endpoint, Params, encode_queued};

use super::answer::ReplyContext;
use super::reply::{error, from_protocol, refused};
use super::statements;
use crate::api::exchange::Exchange;
use crate::api::outcome::log_error;
use crate::http::reply::{EarlyResponse, HttpResponse};

/// Handles a queued write: runs its statements. The response contains the sequence number of the queued write.
pub(crate) async fn answer(
    exchange: &Exchange<'_>,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let (endpoint, started) = (Endpoint::Queue, Instant::now());
    require_open(exchange)?;
    let call = statements::read_call(exchange, endpoint, &params, body).await?;
    let (batch, shape) = call.into_batch(endpoint, &params).map_err(refused)?;
    let identity = &exchange.context.identity;
    let number = identity.next_queue_number();
    let counters = &exchange.context.counters;
    counters.queued_executions.add(1);
    counters.queued_executions_num_stmts_rx.add(batch.steps.len());
    counters.queued_executions_wait.add(usize::from(params.wait));
    let deadline = statements::deadline(exchange, params.db_timeout);
    let queue = &exchange.database.queued_writes;
    // A successful response means that the write is durable, so a request without `wait` also waits. If the request has
    // the parameter `timeout`, it limits the time of waiting.
    let applied = match params.wait || params.timeout_given {
        false => queue.write(batch, deadline).await,
        true => tokio::time::timeout(params.timeout, queue.write(batch, deadline)).await.map_err(|_| {
            counters.queued_executions_wait_timeout.add(1);
            wait_timeout()
        })?,
    };
    applied.map_err(|why| {
        counters.queued_executions_failed.add(1);
        let counter = match why {
            Error::NoLeader | Error::Removed => &counters.queued_executions_no_leader,
            Error::LeadershipLost => &counters.queued_executions_leadership_lost,
            _ => &counters.queued_executions_unknown_error,
        };
        counter.add(1);
        Box::new(write_error(&why))
    })?;
    counters.queued_executions_ok.add(1);
    identity.record_executed(number);
    let context = ReplyContext { endpoint, shape, served_by: None, started };
    Ok(from_protocol(encode_queued(number, &context.shape, &context.trailer(0))))
}

/// Refuses a queued write while the node is not open. Once it is open, the queue waits for a leader, as other writes
/// do.
fn require_open(exchange: &Exchange<'_>) -> Result<(), EarlyResponse> {
    if exchange.database.replication.as_ref().is_none_or(|replication| replication.is_open()) {
        return Ok(());
    }
    let counters = &exchange.context.counters;
    counters.queued_executions.add(1);
    counters.leader_not_found.add(1);
    Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found")))
}

fn wait_timeout() -> EarlyResponse {
    Box::new(error(StatusCode::REQUEST_TIMEOUT, "queue wait timeout"))
}

/// Logs the error of a queued write and builds the response to it, whose status is never 200.
fn write_error(why: &Error) -> HttpResponse {
    log_error(why);
    match why {
        Error::Overloaded(_)
        | Error::Timeout
        | Error::Busy(_)
        | Error::Closed
        | Error::NoLeader
        | Error::Removed
        | Error::Unavailable(_) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        Error::Unauthorized => error(StatusCode::UNAUTHORIZED, &why.to_string()),
        // The error message may contain a path, which must not be shown to clients.
        Error::Io { .. } => error(StatusCode::INTERNAL_SERVER_ERROR, "the disk failed"),
        Error::LeadershipLost
        | Error::Unknown
        | Error::ConnectionLost(_)
        | Error::ReadOnly
        | Error::Poisoned(_)
        | Error::Sqlite { .. }
        | Error::Unsupported(_)
        | Error::Failed { .. }
        | Error::Row(_) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
