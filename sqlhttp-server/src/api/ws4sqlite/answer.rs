//! The HTTP response to a transaction in ws4sqlite's protocol.

use hyper::StatusCode;
use sqlhttp_core::{Answer, Error, Outcome, Part, PartStream};
use sqlhttp_ws4sqlite::{EncodeError, PartEncoder, Reply, ReplyShape, encode, encode_error};

use super::reply::error;
use crate::api::outcome::{is_small, log_error};
use crate::api::streaming::{self, EncodedAnswer, StreamError};
use crate::http::reply::{self, HttpResponse};

/// Builds the response to a transaction from the result of its batch.
pub(crate) async fn respond(answer: Result<Answer, Error>, shape: ReplyShape) -> HttpResponse {
    match answer {
        Ok(Answer::Whole(outcome)) => whole(outcome, shape).await,
        // Boxed, because this future is large and rarely needed.
        Ok(Answer::Parts(parts)) => Box::pin(in_parts(parts, shape)).await,
        Err(error) => database_error(&error),
    }
}

/// Logs an error of the database and builds the response to a batch that has no outcome because of it.
pub(crate) fn database_error(error: &Error) -> HttpResponse {
    log_error(error);
    from_protocol(encode_error(error))
}

/// Builds the response to a request whose work has panicked on another thread.
pub(crate) fn panicked() -> HttpResponse {
    error(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
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

async fn in_parts(parts: Box<dyn PartStream>, shape: ReplyShape) -> HttpResponse {
    match streaming::begin(parts, PartEncoder::new(shape)).await {
        Ok(EncodedAnswer::Whole(body)) => reply::json(200, body),
        Ok(EncodedAnswer::Stream(body)) => reply::with_type(StatusCode::OK, "application/json", body),
        Err(StreamError::Encode(error)) => from_protocol(error.reply),
        Err(StreamError::Error(error)) => database_error(&error),
    }
}

impl streaming::Encoder for PartEncoder {
    type Error = EncodeError;

    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        PartEncoder::part(self, part, out)
    }
}
