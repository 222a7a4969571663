//! Response bodies that are encoded and sent in parts, while the statement that produces them runs.
//!
//! The first [`HELD_BYTES_MAX`] bytes of a response body are buffered. If the body ends within them, the response has a
//! `Content-Length`, and an error gets its own status. A longer body is streamed with status 200. An error that occurs
//! after streaming has begun is written into the body if the protocol has a place for it. Otherwise the connection is
//! closed.

use std::{error, io};

use bytes::Bytes;
use futures_util::stream;
use sqlhttp_core::{Block, Error, Part, PartStream, StepOutcome};

use super::outcome::ENCODED_INLINE_MAX;
use crate::http::reply::ReplyBody;

/// The number of bytes of encoded output that are buffered before a response is streamed.
const HELD_BYTES_MAX: usize = 256 << 10;

/// The minimum size of a chunk of a streamed response, in bytes. The last chunk may be smaller.
const PIECE_BYTES: usize = 64 << 10;

/// Encodes the result of a batch part by part, in the format of a protocol.
pub(crate) trait Encoder: Send + 'static {
    /// The error with which the encoder stops the encoding of a result.
    type Error: error::Error + Send + 'static;

    /// Encodes one part and appends it to `out`. The caller may empty `out` between two calls.
    fn part(&mut self, part: Part, out: &mut Vec<u8>) -> Result<(), Self::Error>;

    /// Called if the database has failed after a part of the response was sent. Appends the error and the end of the
    /// body to `out` and returns `true`. Returns `false` and appends nothing if the protocol has no place for the
    /// error.
    fn end_early(&mut self, error: &Error, out: &mut Vec<u8>) -> bool {
        let _ = (error, out);
        false
    }
}

/// The encoded result of a batch, or its beginning if the rest is streamed.
pub(crate) enum EncodedAnswer {
    /// The whole encoded result.
    Whole(Vec<u8>),
    /// A response body that is still being produced while it is sent. Dropping it interrupts the statement.
    Stream(ReplyBody),
}

/// The reason why the result of a batch could not be encoded to its end.
pub(crate) enum StreamError<E> {
    /// The encoder has stopped with this error.
    Encode(E),
    /// The database has failed with this error.
    Error(Error),
}

/// Encodes the result of a batch. If more than [`HELD_BYTES_MAX`] bytes would have to be buffered, returns a body that
/// streams the buffered bytes and the rest.
pub(crate) async fn begin<E: Encoder>(
    parts: Box<dyn PartStream>,
    encoder: E,
) -> Result<EncodedAnswer, StreamError<E::Error>> {
    let out = Vec::with_capacity(PIECE_BYTES);
    let mut encoding = EncodingState { parts, encoder: Some(encoder), out, ended: false };
    encoding.fill(HELD_BYTES_MAX).await?;
    Ok(if encoding.ended { EncodedAnswer::Whole(encoding.out) } else { EncodedAnswer::Stream(encoding.into_body()) })
}

/// The state of a result that is being encoded.
struct EncodingState<E> {
    parts: Box<dyn PartStream>,
    /// The encoder; `None` if it has panicked on another thread.
    encoder: Option<E>,
    out: Vec<u8>,
    ended: bool,
}

impl<E: Encoder> EncodingState<E> {
    /// Encodes parts until the result ends or `out` has at least `bytes` bytes.
    async fn fill(&mut self, bytes: usize) -> Result<(), StreamError<E::Error>> {
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

    /// Encodes one part. A large part is encoded on the blocking pool.
    async fn encode(&mut self, part: Part) -> Result<(), StreamError<E::Error>> {
        let is_large = bytes_of(&part) > ENCODED_INLINE_MAX;
        if let Some(encoder) = self.encoder.as_mut().filter(|_| !is_large) {
            return encoder.part(part, &mut self.out).map_err(StreamError::Encode);
        }
        let Some(mut encoder) = self.encoder.take() else { return Err(StreamError::Error(Error::Closed)) };
        let mut out = std::mem::take(&mut self.out);
        let encoding = tokio::task::spawn_blocking(move || {
            let encoded = encoder.part(part, &mut out);
            (encoder, out, encoded)
        });
        let Ok((encoder, out, encoded)) = encoding.await else { return Err(StreamError::Error(Error::Closed)) };
        (self.encoder, self.out) = (Some(encoder), out);
        encoded.map_err(StreamError::Encode)
    }

    /// Like [`EncodingState::fill`], for a response of which a part has been sent. If the database fails, writes the
    /// error into the response if the protocol has a place for it, and returns the error otherwise.
    async fn fill_or_end(&mut self, bytes: usize) -> Result<(), StreamError<E::Error>> {
        let Err(error) = self.fill(bytes).await else { return Ok(()) };
        if let (StreamError::Error(error), Some(encoder)) = (&error, &mut self.encoder) {
            self.ended = encoder.end_early(error, &mut self.out);
        }
        if self.ended { Ok(()) } else { Err(error) }
    }

    /// Returns a response body that first sends the buffered bytes, and then encodes and sends the rest.
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

/// Returns the size of the rows in a part, in bytes.
fn bytes_of(part: &Part) -> usize {
    match part {
        Part::Rows(block) => block.byte_len(),
        Part::Step(StepOutcome::Rows(rows), _) => rows.blocks.iter().map(Block::byte_len).sum(),
        _ => 0,
    }
}

/// Logs that a streamed response ends early. Returns the error whose occurrence in the stream closes the connection.
fn cut_short<A: error::Error>(error: StreamError<A>) -> io::Error {
    let why = match error {
        StreamError::Encode(error) => error.to_string(),
        StreamError::Error(error) => error.to_string(),
    };
    tracing::warn!("a response was truncated: {why}");
    io::Error::other(why)
}
