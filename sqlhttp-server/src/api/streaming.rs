//! Responses that are encoded and sent in parts.
//!
//! The first [`HELD_BYTES_MAX`] bytes are buffered. If the response ends within them, it has a `Content-Length`, and a
//! failure has its own status. A longer response is streamed. A later failure is written into the response if the
//! protocol has a place for it; otherwise the connection is closed, because the status 200 has been sent already.

use std::{error, io};

use bytes::Bytes;
use futures_util::stream;
use sqlhttp_core::{Block, Error, Part, PartStream, StepOutcome};

use super::outcome::ENCODED_INLINE_MAX;
use crate::http::reply::ReplyBody;

/// The size of encoded output that is buffered before a response is streamed, in bytes.
const HELD_BYTES_MAX: usize = 256 << 10;

/// The least size of a piece of a streamed response, in bytes; the last piece may be smaller.
const PIECE_BYTES: usize = 64 << 10;

/// Encodes an answer part by part, in the format of a protocol.
pub(crate) trait Encoder: Send + 'static {
    /// The error that ends the encoding of an answer.
    type Abort: error::Error + Send + 'static;

    /// Encodes a part and appends it to `out`. The caller may empty `out` between two calls.
    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), Self::Abort>;

    /// Ends an answer that has been sent in part, because the database has failed. Returns `false` and appends nothing
    /// if the protocol has no place for the error.
    fn end_early(&mut self, error: &Error, out: &mut Vec<u8>) -> bool {
        let _ = (error, out);
        false
    }
}

/// An answer that is encoded, completely or up to the point where streaming begins.
pub(crate) enum EncodedAnswer {
    /// The whole answer.
    Whole(Vec<u8>),
    /// A body that is streamed. Dropping it interrupts the statement.
    Stream(ReplyBody),
}

/// The reason for which an answer cannot be completed.
pub(crate) enum StreamError<A> {
    /// The encoder has failed.
    Abort(A),
    /// The database has failed.
    Error(Error),
}

/// Encodes an answer to its end, or until [`HELD_BYTES_MAX`] bytes are encoded and the rest is to be streamed.
pub(crate) async fn begin<E: Encoder>(
    parts: Box<dyn PartStream>,
    encoder: E,
) -> Result<EncodedAnswer, StreamError<E::Abort>> {
    let out = Vec::with_capacity(PIECE_BYTES);
    let mut encoding = EncodingState { parts, encoder: Some(encoder), out, ended: false };
    encoding.fill(HELD_BYTES_MAX).await?;
    Ok(if encoding.ended { EncodedAnswer::Whole(encoding.out) } else { EncodedAnswer::Stream(encoding.into_body()) })
}

/// The state of an answer that is being encoded.
struct EncodingState<E> {
    parts: Box<dyn PartStream>,
    /// The encoder; `None` if it has panicked on another thread.
    encoder: Option<E>,
    out: Vec<u8>,
    ended: bool,
}

impl<E: Encoder> EncodingState<E> {
    /// Encodes until the answer ends or `out` has at least `bytes` bytes.
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

    /// Encodes a part; a large one on the blocking pool.
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

    /// Like [`EncodingState::fill`], for an answer that has been sent in part: writes an error of the database into the
    /// answer if the protocol allows it.
    async fn fill_or_end(&mut self, bytes: usize) -> Result<(), StreamError<E::Abort>> {
        let Err(error) = self.fill(bytes).await else { return Ok(()) };
        if let (StreamError::Error(error), Some(encoder)) = (&error, &mut self.encoder) {
            self.ended = encoder.end_early(error, &mut self.out);
        }
        if self.ended { Ok(()) } else { Err(error) }
    }

    /// Returns a body that sends the encoded bytes and then encodes and sends the rest.
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

/// Returns the size of the rows of a part, in bytes.
fn bytes_of(part: &Part) -> usize {
    match part {
        Part::Rows(block) => block.byte_len(),
        Part::Step(StepOutcome::Rows(rows), _) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    }
}

/// Logs that a streamed response ends early. Returns the error that closes the connection.
fn cut_short<A: error::Error>(error: StreamError<A>) -> io::Error {
    let why = match error {
        StreamError::Abort(abort) => abort.to_string(),
        StreamError::Error(error) => error.to_string(),
    };
    tracing::warn!("a response was truncated: {why}");
    io::Error::other(why)
}
