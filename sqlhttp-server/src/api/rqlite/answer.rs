//! The HTTP response to a request with SQL statements, in rqlite's format.

use std::time::Instant;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use sqlhttp_core::{Answer, Ending, Error, Outcome, Part, PartStream};
use sqlhttp_rqlite::{EncodeError, Endpoint, PartEncoder, Reply, ReplyShape, Trailer, encode, encode_error};

use super::reply::{from_protocol, panicked, served_by};
use crate::api::outcome::{is_small, log_error};
use crate::api::streaming::{self, EncodedAnswer, StreamError};
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// The properties of a request that determine the format of its reply.
pub(crate) struct ReplyContext {
    pub(crate) endpoint: Endpoint,
    pub(crate) shape: ReplyShape,
    /// The value of the header with the node that has executed the statements; `None` for no header.
    pub(crate) served_by: Option<HeaderValue>,
    /// The time at which the server received the request.
    pub(crate) started: Instant,
}

impl ReplyContext {
    /// Returns the fields of the reply that follow the results. `raft_index` is the index of the Raft log entry that
    /// contains the batch; 0 if the batch is in no Raft log.
    pub(crate) fn trailer(&self, raft_index: u64) -> Trailer {
        Trailer { elapsed: self.started.elapsed(), raft_index }
    }
}

/// Builds the response to a request with SQL statements from the result of its batch.
pub(crate) async fn respond(answer: Result<Answer, Error>, mut context: ReplyContext) -> HttpResponse {
    match answer {
        Ok(Answer::Whole(outcome)) => {
            let served = !matches!(outcome.ending, Ending::NotCommitted(_));
            let address = context.served_by.take().filter(|_| served);
            served_by(whole(outcome, context).await.map_or_else(panicked, from_protocol), address)
        }
        // Boxed, because this future is large and rarely needed.
        Ok(Answer::Parts(parts)) => Box::pin(in_parts(parts, context)).await,
        Err(error) => {
            log_error(&error);
            let response = from_protocol(encode_error(&error, &context.shape, &context.trailer(0)));
            // rqlite reports a timeout as an error of the statements. So its response has the header with the node that
            // ran them.
            served_by(response, context.served_by.filter(|_| matches!(error, Error::Timeout)))
        }
    }
}

async fn whole(outcome: Outcome, context: ReplyContext) -> Option<Reply> {
    if is_small(&outcome) {
        return Some(encode(&outcome, &context.shape, &context.trailer(outcome.log_index)));
    }
    let encoding = move || encode(&outcome, &context.shape, &context.trailer(outcome.log_index));
    tokio::task::spawn_blocking(encoding).await.ok()
}

async fn in_parts(parts: Box<dyn PartStream>, context: ReplyContext) -> HttpResponse {
    let ReplyContext { endpoint, shape, served_by: address, started } = context;
    let media_type = endpoint.content_type().header();
    let raft_index = parts.log_index();
    let encoder = TimedEncoder { encoder: PartEncoder::new(shape.clone()), started, raft_index };
    match streaming::begin(parts, encoder).await {
        Ok(EncodedAnswer::Whole(body)) => {
            served_by(reply::with_type(StatusCode::OK, media_type, ReplyBody::Whole(body.into())), address)
        }
        Ok(EncodedAnswer::Stream(body)) => served_by(reply::with_type(StatusCode::OK, media_type, body), address),
        Err(StreamError::Encode(error)) => from_protocol(error.reply),
        Err(StreamError::Error(error)) => {
            log_error(&error);
            from_protocol(encode_error(&error, &shape, &Trailer { elapsed: started.elapsed(), raft_index: 0 }))
        }
    }
}

/// An encoder that adds the elapsed time to the end of the reply.
struct TimedEncoder {
    encoder: PartEncoder,
    started: Instant,
    raft_index: u64,
}

impl TimedEncoder {
    fn trailer(&self) -> Trailer {
        Trailer { elapsed: self.started.elapsed(), raft_index: self.raft_index }
    }
}

impl streaming::Encoder for TimedEncoder {
    type Error = EncodeError;

    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let trailer = self.trailer();
        self.encoder.part(part, &trailer, out)
    }

    fn end_early(&mut self, error: &Error, out: &mut Vec<u8>) -> bool {
        log_error(error);
        let trailer = self.trailer();
        self.encoder.end_early(error, &trailer, out);
        true
    }
}
