//! Reading of request bodies, with limits on the length and on the time. A compressed body is decompressed within the
//! same limits.

use std::io;
use std::pin::pin;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use hyper::body::{Body, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::body_memory::{BodyBuffer, MemoryClaim};
use super::content::ContentCoding;
use crate::http::limits::BodyLimits;

/// The maximum memory, in bytes, that is allocated for the rest of a request body before that rest arrives.
const PREALLOCATED_BYTES_MAX: u64 = 256 << 10;

/// The size, in bytes, of the chunks in which a compressed request body is decompressed.
const DECODED_CHUNK_BYTES: usize = 16 << 10;

/// The reason why a request body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The body is longer than allowed, before or after decompression.
    TooLarge {
        /// The maximum length of a body, in bytes.
        max: u64,
        /// The flag that sets the maximum length.
        flag: &'static str,
    },
    /// The bodies of all requests together have reached the memory limit, or the system could not allocate memory for
    /// this body.
    NoMemory {
        /// The flag that sets the memory limit.
        flag: &'static str,
    },
    /// The client took longer than allowed to send the body.
    TooSlow {
        /// The flag that sets the time limit.
        flag: &'static str,
    },
    /// The connection failed, or the client violated HTTP.
    Broken(hyper::Error),
    /// The body could not be decompressed with the coding that `Content-Encoding` states.
    Undecodable(io::Error),
}

impl BodyLimits {
    pub(super) fn too_large(&self) -> BodyError {
        BodyError::TooLarge { max: self.bytes_max, flag: self.flags.body }
    }

    fn no_memory(&self) -> BodyError {
        BodyError::NoMemory { flag: self.flags.bodies }
    }

    /// Appends a chunk to a body after claiming the memory for it from the budget that all bodies share.
    pub(super) fn push(
        &self,
        whole: &mut BodyBuffer,
        chunk: &[u8],
        expected: usize,
        claim: &MemoryClaim<'_>,
    ) -> Result<(), BodyError> {
        claim.grow_to((whole.len() + chunk.len()) as u64).map_err(|_| self.no_memory())?;
        whole.push(chunk, expected).map_err(|_| self.no_memory())
    }
}

/// Reads a whole request body within `limits` and decompresses it if `coding` is set. The memory of the body stays
/// claimed from the budget of all bodies until `claim` is dropped.
pub(crate) async fn read(
    body: Incoming,
    coding: Option<ContentCoding>,
    limits: BodyLimits,
    claim: &MemoryClaim<'_>,
) -> Result<Bytes, BodyError> {
    // If the declared length is too large, the body is refused before the client sends it.
    if body.size_hint().lower() > limits.bytes_max {
        return Err(limits.too_large());
    }
    let reading = pin!(async {
        match coding {
            None => collect(body, &limits, claim).await,
            // Boxed, because compressed bodies are rare and this future is large.
            Some(coding) => Box::pin(decompress(body, coding, &limits, claim)).await,
        }
    });
    match limits.timeout {
        None => reading.await,
        Some(limit) => {
            let too_slow = BodyError::TooSlow { flag: limits.flags.body_timeout };
            tokio::time::timeout(limit, reading).await.unwrap_or(Err(too_slow))
        }
    }
}

/// Reads a body that is not compressed. Most bodies arrive in one chunk; such a body is returned without a copy.
async fn collect(mut body: Incoming, limits: &BodyLimits, claim: &MemoryClaim<'_>) -> Result<Bytes, BodyError> {
    let first = next_chunk_within(&mut body, limits, limits.bytes_max).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    // `read` has checked that the declared length, and so this rest, is within the limit.
    let left = body.size_hint().lower();
    let expected = first.len() + left as usize;
    let mut whole = BodyBuffer::with_capacity(first.len() + left.min(PREALLOCATED_BYTES_MAX) as usize);
    limits.push(&mut whole, &first, expected, claim)?;
    drop(first);
    while let Some(chunk) = next_chunk_within(&mut body, limits, limits.bytes_max - whole.len() as u64).await? {
        limits.push(&mut whole, &chunk, expected, claim)?;
    }
    Ok(whole.freeze())
}

/// Reads a request body chunk by chunk. The length of the body is not limited.
pub(crate) struct BodyChunks {
    body: Option<Incoming>,
}

impl BodyChunks {
    /// Creates a reader for a body. `None` stands for an empty body.
    pub(crate) fn new(body: Option<Incoming>) -> Self {
        BodyChunks { body }
    }

    /// Returns the next chunk of the body; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        next_chunk(body).await
    }

    /// Reads chunks until they have at least `bytes` bytes together or the body ends. Returns what was read.
    pub(crate) async fn at_least(&mut self, bytes: usize) -> Result<Bytes, BodyError> {
        let mut head = BytesMut::new();
        while head.len() < bytes {
            let Some(chunk) = self.next().await? else { break };
            head.extend_from_slice(&chunk);
        }
        Ok(head.freeze())
    }
}

/// Returns the next chunk of a body; `None` at the end of the body. A chunk longer than `left` bytes is the error
/// [`BodyError::TooLarge`].
async fn next_chunk_within(body: &mut Incoming, limits: &BodyLimits, left: u64) -> Result<Option<Bytes>, BodyError> {
    match next_chunk(body).await? {
        Some(chunk) if chunk.len() as u64 > left => Err(limits.too_large()),
        chunk => Ok(chunk),
    }
}

/// Returns the next chunk of data of a body, and skips trailers. `None` at the end of the body.
pub(super) async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    use http_body_util::BodyExt;
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        return Ok(Some(data));
    }
}

async fn decompress(
    body: Incoming,
    coding: ContentCoding,
    limits: &BodyLimits,
    claim: &MemoryClaim<'_>,
) -> Result<Bytes, BodyError> {
    let compressed = StreamReader::new(Box::pin(compressed_chunks(body, *limits)));
    let whole = match coding {
        ContentCoding::Gzip => {
            let mut decoder = GzipDecoder::new(compressed);
            decoder.multiple_members(true);
            read_decoded(decoder, limits, claim).await
        }
        ContentCoding::Deflate => read_decoded(ZlibDecoder::new(compressed), limits, claim).await,
        ContentCoding::Brotli => read_decoded(BrotliDecoder::new(compressed), limits, claim).await,
    };
    whole.map_err(as_body_error)
}

/// Returns a stream of the chunks of a compressed body, as input for a decoder. A [`BodyError`] is the source of the
/// stream's I/O error, so it passes through the decoder; [`as_body_error`] unwraps it.
fn compressed_chunks(body: Incoming, limits: BodyLimits) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((body, limits.bytes_max), move |(mut body, left)| async move {
        match next_chunk_within(&mut body, &limits, left).await {
            Ok(Some(chunk)) => {
                let left = left - chunk.len() as u64;
                Ok(Some((chunk, (body, left))))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Reads a decoder to its end and returns the decompressed body. If a limit is exceeded, the result is an I/O error
/// whose source is a [`BodyError`].
async fn read_decoded(
    mut reader: impl AsyncRead + Unpin,
    limits: &BodyLimits,
    claim: &MemoryClaim<'_>,
) -> io::Result<Bytes> {
    let mut whole = BodyBuffer::with_capacity(DECODED_CHUNK_BYTES);
    let mut chunk = BytesMut::with_capacity(DECODED_CHUNK_BYTES);
    loop {
        // The decoder never waits while it has input. So this call yields to the other connections of the thread from
        // time to time.
        tokio::task::coop::consume_budget().await;
        chunk.clear();
        if reader.read_buf(&mut chunk).await? == 0 {
            return Ok(whole.freeze());
        }
        if (whole.len() + chunk.len()) as u64 > limits.bytes_max {
            return Err(io::Error::other(limits.too_large()));
        }
        limits.push(&mut whole, &chunk, 0, claim).map_err(io::Error::other)?;
    }
}

/// Returns the [`BodyError`] that is the source of an error of a decoder.
pub(super) fn as_body_error(error: io::Error) -> BodyError {
    error.downcast::<BodyError>().unwrap_or_else(BodyError::Undecodable)
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::TooLarge { max, flag } => {
                write!(f, "request body too large: more than {max} bytes, see -{flag}")
            }
            BodyError::NoMemory { flag } => write!(f, "too many request bodies in memory, see -{flag}"),
            BodyError::TooSlow { flag } => write!(f, "request body too slow, see -{flag}"),
            BodyError::Broken(error) => write!(f, "request body incomplete: {error}"),
            BodyError::Undecodable(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BodyError {}
