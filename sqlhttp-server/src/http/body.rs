//! Reading a request's body: limited in bytes and in time. A compressed body is decompressed under the same limits.

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

/// The maximum memory that is allocated for the rest of a body before it arrives, in bytes.
const PREALLOCATED_BYTES_MAX: u64 = 256 << 10;

/// The size of the chunks in which a body is decompressed, in bytes.
const DECODED_CHUNK_BYTES: usize = 16 << 10;

/// The reason why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The body, or what it decompresses to, is longer than allowed.
    TooLarge {
        /// The maximum length, in bytes.
        max: u64,
        /// The flag that sets the maximum.
        flag: &'static str,
    },
    /// The memory limit for all bodies together is reached, or the system has no memory.
    NoMemory {
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// The body took longer than allowed.
    TooSlow {
        /// The flag that sets the time limit.
        flag: &'static str,
    },
    /// The connection failed, or the client violated HTTP.
    Broken(hyper::Error),
    /// The body could not be decompressed as `Content-Encoding` states.
    Undecodable(io::Error),
}

impl BodyLimits {
    fn too_large(&self) -> BodyError {
        BodyError::TooLarge { max: self.bytes_max, flag: self.flags.body }
    }

    fn no_memory(&self) -> BodyError {
        BodyError::NoMemory { flag: self.flags.bodies }
    }

    /// Appends a chunk to a body after claiming the memory for it.
    fn push(
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

/// Reads a whole body. Its memory stays claimed until `claim` is dropped.
pub(crate) async fn read(
    body: Incoming,
    coding: Option<ContentCoding>,
    limits: BodyLimits,
    claim: &MemoryClaim<'_>,
) -> Result<Bytes, BodyError> {
    // The declared length is too large: refuse the body before the client sends it.
    if body.size_hint().lower() > limits.bytes_max {
        return Err(limits.too_large());
    }
    let reading = pin!(async {
        match coding {
            None => collect(body, &limits, claim).await,
            // Boxed, because it is rare and its future is large.
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

/// Reads a body that is not compressed. A body that arrives in one chunk, as most do, is returned without a copy.
async fn collect(mut body: Incoming, limits: &BodyLimits, claim: &MemoryClaim<'_>) -> Result<Bytes, BodyError> {
    let first = next_chunk_within(&mut body, limits, limits.bytes_max).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    // `read` has checked that this is within the limit.
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

/// Reads a body chunk by chunk.
pub(crate) struct BodyChunks {
    body: Option<Incoming>,
}

impl BodyChunks {
    /// The chunks of a body of any length. `None` is an empty body.
    pub(crate) fn new(body: Option<Incoming>) -> Self {
        BodyChunks { body }
    }

    /// Returns the next chunk; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        next_chunk(body).await
    }

    /// Reads chunks until they have at least this many bytes, or the body ends.
    pub(crate) async fn at_least(&mut self, bytes: usize) -> Result<Bytes, BodyError> {
        let mut head = BytesMut::new();
        while head.len() < bytes {
            let Some(chunk) = self.next().await? else { break };
            head.extend_from_slice(&chunk);
        }
        Ok(head.freeze())
    }
}

/// Returns the next chunk, or an error if it is longer than `left` bytes.
async fn next_chunk_within(body: &mut Incoming, limits: &BodyLimits, left: u64) -> Result<Option<Bytes>, BodyError> {
    match next_chunk(body).await? {
        Some(chunk) if chunk.len() as u64 > left => Err(limits.too_large()),
        chunk => Ok(chunk),
    }
}

/// The next piece of data; trailers are passed over.
async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
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

/// The chunks of a compressed body. A [`BodyError`] passes through the decoder as the source of an I/O error;
/// [`as_body_error`] unwraps it.
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

/// Reads a decoder to its end. An exceeded limit is a [`BodyError`] as the source of an I/O error.
async fn read_decoded(
    mut reader: impl AsyncRead + Unpin,
    limits: &BodyLimits,
    claim: &MemoryClaim<'_>,
) -> io::Result<Bytes> {
    let mut whole = BodyBuffer::with_capacity(DECODED_CHUNK_BYTES);
    let mut chunk = BytesMut::with_capacity(DECODED_CHUNK_BYTES);
    loop {
        // Decompression does not wait while there is input. This yields to the other requests of the thread from time
        // to time.
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

fn as_body_error(error: io::Error) -> BodyError {
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
