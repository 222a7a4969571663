//! What a database answers, as HTTP.

use hyper::StatusCode;
use sqlhttp_core::{Answer, Block, Error, Outcome, Part, PartStream, StepOutcome};
use sqlhttp_ws4sqlite::{Abort, PartEncoder, Reply, ReplyShape, encode, encode_error};

use crate::http::reply::{self, HttpResponse};
use crate::http::streaming::{self, Begun, Stop};

/// Rows of more bytes than this are encoded on a thread that may be kept busy.
pub(crate) const ENCODED_INLINE_MAX: usize = 1 << 20;

/// The answer to a transaction.
pub(crate) async fn respond(answer: Result<Answer, Error>, shape: ReplyShape) -> HttpResponse {
    match answer {
        Ok(Answer::Whole(outcome)) => whole(outcome, shape).await,
        // Rare beside the others, and its state is larger.
        Ok(Answer::Parts(parts)) => Box::pin(in_parts(parts, shape)).await,
        Err(error) => database_error(&error),
    }
}

/// The answer when there is no outcome.
pub(crate) fn database_error(error: &Error) -> HttpResponse {
    log(error);
    from_protocol(encode_error(error))
}

/// Tells the operator why there is no outcome.
pub(crate) fn log(error: &Error) {
    match error {
        // Every client hears of these; a line for each would only add to the load.
        Error::Overloaded(_) | Error::Timeout | Error::Closed | Error::NoLeader => {
            tracing::debug!("no outcome: {error}")
        }
        Error::Busy(_)
        | Error::Unavailable(_)
        | Error::Unknown
        | Error::LeadershipLost
        | Error::ReadOnly
        | Error::Unsupported(_) => {
            tracing::warn!("no outcome: {error}");
        }
        Error::Poisoned(_) | Error::Sqlite { .. } | Error::Io { .. } => tracing::error!("no outcome: {error}"),
    }
}

/// The answer when work that was handed to another thread has panicked there.
pub(crate) fn panicked() -> HttpResponse {
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
}

fn from_protocol(protocol: Reply) -> HttpResponse {
    let response = reply::json(protocol.status, protocol.body);
    if protocol.status == StatusCode::SERVICE_UNAVAILABLE { reply::retry_later(response) } else { response }
}

async fn whole(outcome: Outcome, shape: ReplyShape) -> HttpResponse {
    if is_small(&outcome) {
        return from_protocol(encode(&outcome, &shape));
    }
    let encoded = tokio::task::spawn_blocking(move || encode(&outcome, &shape)).await;
    encoded.map_or_else(|_| panicked(), from_protocol)
}

/// Whether an outcome can be encoded without keeping others waiting.
pub(crate) fn is_small(outcome: &Outcome) -> bool {
    let bytes = |step: &StepOutcome| match step {
        StepOutcome::Rows(rows) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    };
    outcome.steps.iter().map(bytes).sum::<usize>() <= ENCODED_INLINE_MAX
}

async fn in_parts(parts: Box<dyn PartStream>, shape: ReplyShape) -> HttpResponse {
    match streaming::begin(parts, PartEncoder::new(shape)).await {
        Ok(Begun::Whole(body)) => reply::json(200, body),
        Ok(Begun::Stream(body)) => reply::with_type(StatusCode::OK, "application/json", body),
        Err(Stop::Abort(abort)) => from_protocol(abort.reply),
        Err(Stop::Error(error)) => database_error(&error),
    }
}

impl streaming::Encoder for PartEncoder {
    type Abort = Abort;

    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), Abort> {
        PartEncoder::part(self, part, out)
    }
}
