//! Large answers, which come in parts.
//!
//! The beginning is held back in the hope that the end comes soon: then the answer has a length, and a failure its own
//! status. A longer answer is sent as it comes. A failure after that becomes part of the answer if the protocol has a place
//! for it, and cuts the connection otherwise, because 200 has been said already.

use std::{error, io};

use bytes::Bytes;
use futures_util::stream;
use sqlhttp_core::{Block, Error, Part, PartStream, StepOutcome};

use super::outcome::ENCODED_INLINE_MAX;
use crate::http::reply::ReplyBody;

/// How much encoded output is held back, in bytes.
const HELD_BYTES_MAX: usize = 256 << 10;

/// How much encoded output is sent at a time after that, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Writes an answer part by part, as a protocol has it.
pub(crate) trait Encoder: Send + 'static {
    /// Why an answer that has begun cannot be finished.
    type Abort: error::Error + Send + 'static;

    /// Appends a part to `out`, which may be emptied after any call.
    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), Self::Abort>;

    /// Ends an answer of which some has been sent, because the database cannot go on. False, and nothing is appended, if
    /// the protocol has no place for the error.
    fn end_early(&mut self, error: &Error, out: &mut Vec<u8>) -> bool {
        let _ = (error, out);
        false
    }
}

/// An answer whose beginning is there.
pub(crate) enum EncodedAnswer {
    /// All of it is there.
    Whole(Vec<u8>),
    /// There is more to come. Dropping the body interrupts the statement.
    Stream(ReplyBody),
}

/// Why an answer cannot be finished.
pub(crate) enum StreamError<A> {
    /// The protocol cannot go on.
    Abort(A),
    /// The database cannot.
    Error(Error),
}

/// Encodes until the end, or until enough is there to send the first of it.
pub(crate) async fn begin<E: Encoder>(
    parts: Box<dyn PartStream>,
    encoder: E,
) -> Result<EncodedAnswer, StreamError<E::Abort>> {
    let out = Vec::with_capacity(PIECE_BYTES);
    let mut encoding = EncodingState { parts, encoder: Some(encoder), out, ended: false };
    encoding.fill(HELD_BYTES_MAX).await?;
    Ok(if encoding.ended { EncodedAnswer::Whole(encoding.out) } else { EncodedAnswer::Stream(encoding.into_body()) })
}

/// An answer that is being encoded.
struct EncodingState<E> {
    parts: Box<dyn PartStream>,
    /// `None` after a panic in it.
    encoder: Option<E>,
    out: Vec<u8>,
    ended: bool,
}

impl<E: Encoder> EncodingState<E> {
    /// Encodes until the end, or until there are at least `bytes`.
    async fn fill(&mut self, bytes: usize) -> Result<(), StreamError<E::Abort>> {
        while !self.ended && self.out.len() < bytes {
            let part = match self.parts.next().await {
                Some(part) => part.map_err(StreamError::Error)?,
                None => return Err(StreamError::Error(Error::Closed)),
            };
            self.ended = matches!(part, Part::End(_));
            self.encode(part).await?;
        }
        Ok(())
    }

    /// Encodes a part: a large one on a thread that may be kept busy.
    async fn encode(&mut self, part: Part) -> Result<(), StreamError<E::Abort>> {
        let is_large = bytes_of(&part) > ENCODED_INLINE_MAX;
        if let Some(encoder) = self.encoder.as_mut().filter(|_| !is_large) {
            return encoder.part(part, &mut self.out).map_err(StreamError::Abort);
        }
        let Some(mut encoder) = self.encoder.take() else { return Err(StreamError::Error(Error::Closed)) };
        let mut out = std::mem::take(&mut self.out);
        let encoding = tokio::task::spawn_blocking(move || {
            let encoded = encoder.part(part, &mut out);
            (encoder, out, encoded)
        });
        let Ok((encoder, out, encoded)) = encoding.await else { return Err(StreamError::Error(Error::Closed)) };
        (self.encoder, self.out) = (Some(encoder), out);
        encoded.map_err(StreamError::Abort)
    }

    /// The same for an answer of which some has been sent.
    async fn fill_or_end(&mut self, bytes: usize) -> Result<(), StreamError<E::Abort>> {
        let Err(error) = self.fill(bytes).await else { return Ok(()) };
        if let (StreamError::Error(error), Some(encoder)) = (&error, &mut self.encoder) {
            self.ended = encoder.end_early(error, &mut self.out);
        }
        if self.ended { Ok(()) } else { Err(error) }
    }

    /// What is there already, and then the rest as it comes.
    fn into_body(self) -> ReplyBody {
        ReplyBody::stream(stream::try_unfold(self, async |mut encoding| {
            while encoding.out.is_empty() && !encoding.ended {
                encoding.fill_or_end(PIECE_BYTES).await.map_err(cut_short)?;
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

/// The bytes of the rows of a part.
fn bytes_of(part: &Part) -> usize {
    match part {
        Part::Rows(block) => block.byte_len(),
        Part::Step(StepOutcome::Rows(rows), _) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    }
}

fn cut_short<A: error::Error>(error: StreamError<A>) -> io::Error {
    let why = match error {
        StreamError::Abort(abort) => abort.to_string(),
        StreamError::Error(error) => error.to_string(),
    };
    tracing::warn!("an answer was cut short: {why}");
    io::Error::other(why)
}
