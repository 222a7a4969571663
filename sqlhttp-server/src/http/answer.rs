//! What a database answers, as HTTP.
//!
//! A large answer comes in parts. The beginning is held back in the hope that the end comes soon: then the answer has
//! a length, and a failure its own status. What is longer is sent as it comes. A failure after that cuts the
//! connection, because 200 has been said already.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use hyper::StatusCode;
use sqlhttp_core::{Answer, Block, Error, Outcome, Part, PartStream, StepOutcome};
use sqlhttp_ws4sqlite::{Abort, PartEncoder, Reply, ReplyShape, encode, encode_error};

use super::reply::{self, HttpResponse, ReplyBody};

/// How much encoded output is held back, in bytes.
const HELD_BYTES_MAX: usize = 256 << 10;

/// How much encoded output is sent at a time after that, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Outcomes with more rows than this are encoded on a thread that may be kept busy, in bytes.
const ENCODED_INLINE_MAX: usize = 1 << 20;

/// The answer to a transaction.
pub(crate) async fn respond(answer: Result<Answer, Error>, shape: ReplyShape) -> HttpResponse {
    match answer {
        Ok(Answer::Whole(outcome)) => whole(outcome, shape).await,
        Ok(Answer::Parts(parts)) => in_parts(Encoding::new(parts, shape)).await,
        Err(error) => database_error(&error),
    }
}

/// The answer when there is no outcome.
pub(crate) fn database_error(error: &Error) -> HttpResponse {
    match error {
        // Every client hears of these; a line for each would only add to the load.
        Error::Overloaded(_) | Error::Timeout | Error::Closed => tracing::debug!("no outcome: {error}"),
        Error::Busy(_) | Error::ReadOnly | Error::Unsupported(_) => tracing::warn!("no outcome: {error}"),
        Error::Poisoned(_) | Error::Sqlite { .. } | Error::Io { .. } => tracing::error!("no outcome: {error}"),
    }
    from_protocol(encode_error(error))
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

fn is_small(outcome: &Outcome) -> bool {
    let bytes = |step: &StepOutcome| match step {
        StepOutcome::Rows(rows) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    };
    outcome.steps.iter().map(bytes).sum::<usize>() <= ENCODED_INLINE_MAX
}

async fn in_parts(mut encoding: Encoding) -> HttpResponse {
    match encoding.fill(HELD_BYTES_MAX).await {
        Ok(()) if encoding.ended => reply::json(200, encoding.out),
        Ok(()) => reply::with_type(StatusCode::OK, "application/json", encoding.into_body()),
        Err(Stop::Abort(abort)) => from_protocol(abort.reply),
        Err(Stop::Error(error)) => database_error(&error),
    }
}

/// An answer that is being encoded.
struct Encoding {
    parts: Box<dyn PartStream>,
    encoder: PartEncoder,
    out: Vec<u8>,
    ended: bool,
}

/// Why an answer cannot be finished.
enum Stop {
    Abort(Abort),
    Error(Error),
}

impl Encoding {
    fn new(parts: Box<dyn PartStream>, shape: ReplyShape) -> Self {
        let out = Vec::with_capacity(PIECE_BYTES);
        Encoding { parts, encoder: PartEncoder::new(shape), out, ended: false }
    }

    /// Encodes until the end, or until there are at least `bytes`.
    async fn fill(&mut self, bytes: usize) -> Result<(), Stop> {
        while !self.ended && self.out.len() < bytes {
            let part = match self.parts.next().await {
                Some(part) => part.map_err(Stop::Error)?,
                None => return Err(Stop::Error(Error::Closed)),
            };
            self.ended = matches!(part, Part::End(_));
            self.encoder.part(part, &mut self.out).map_err(Stop::Abort)?;
        }
        Ok(())
    }

    /// What is there already, and then the rest as it comes. Dropping the body interrupts the statement.
    fn into_body(self) -> ReplyBody {
        ReplyBody::stream(stream::try_unfold(self, async |mut encoding| {
            if encoding.out.is_empty() {
                encoding.fill(PIECE_BYTES).await.map_err(cut)?;
            }
            if encoding.out.is_empty() {
                return Ok(None);
            }
            let capacity = if encoding.ended { 0 } else { PIECE_BYTES + PIECE_BYTES / 2 };
            let piece = std::mem::replace(&mut encoding.out, Vec::with_capacity(capacity));
            Ok(Some((Bytes::from(piece), encoding)))
        }))
    }
}

fn cut(stop: Stop) -> io::Error {
    let why = match stop {
        Stop::Abort(abort) => abort.to_string(),
        Stop::Error(error) => error.to_string(),
    };
    tracing::warn!("an answer was cut short: {why}");
    io::Error::other(why)
}
