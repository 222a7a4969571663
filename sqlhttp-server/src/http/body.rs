//! Reading a request's body: bounded in bytes and in time, decompressed under the same bound.

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

/// The most that is set aside for a body before any of it has arrived, in bytes.
const PREALLOCATED_BYTES_MAX: u64 = 256 << 10;

/// How many bytes are decompressed at a time.
const DECODED_CHUNK_BYTES: usize = 16 << 10;

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is longer than allowed.
    TooLarge {
        /// How long it may be, in bytes.
        max: u64,
        /// The flag that says so.
        flag: &'static str,
    },
    /// All bodies together take as much memory as they may, or the system has no more.
    NoMemory {
        /// The flag that says how much that is.
        flag: &'static str,
    },
    /// It took longer than allowed.
    TooSlow {
        /// The flag that says how long it may take.
        flag: &'static str,
    },
    /// The connection failed, or the client did not keep to HTTP.
    Broken(hyper::Error),
    /// It is not what `Content-Encoding` says.
    Undecodable(io::Error),
}

impl BodyLimits {
    fn too_large(&self) -> BodyError {
        BodyError::TooLarge { max: self.bytes_max, flag: self.flags.body }
    }

    fn no_memory(&self) -> BodyError {
        BodyError::NoMemory { flag: self.flags.bodies }
    }

    /// Appends a piece to a body, for which there must be memory.
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

/// Reads all of a body. Its memory is claimed until `claim` is dropped.
pub(crate) async fn read(
    body: Incoming,
    coding: Option<ContentCoding>,
    limits: BodyLimits,
    claim: &MemoryClaim<'_>,
) -> Result<Bytes, BodyError> {
    // What the client declares is enough to refuse it; no need to let it send.
    if body.size_hint().lower() > limits.bytes_max {
        return Err(limits.too_large());
    }
    let reading = pin!(async {
        match coding {
            None => collect(body, &limits, claim).await,
            // Rare, and its state is large.
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

/// Most bodies arrive in one piece, which is then returned as it is.
async fn collect(mut body: Incoming, limits: &BodyLimits, claim: &MemoryClaim<'_>) -> Result<Bytes, BodyError> {
    let first = next_chunk_within(&mut body, limits, limits.bytes_max).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    // Not longer than the limits, which `read` has checked.
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

/// A body, piece by piece.
pub(crate) struct BodyChunks {
    body: Option<Incoming>,
}

impl BodyChunks {
    /// The pieces of a body of any length.
    pub(crate) fn new(body: Option<Incoming>) -> Self {
        BodyChunks { body }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        next_chunk(body).await
    }

    /// Pieces until there are this many bytes, or the end is there.
    pub(crate) async fn at_least(&mut self, bytes: usize) -> Result<Bytes, BodyError> {
        let mut head = BytesMut::new();
        while head.len() < bytes {
            let Some(chunk) = self.next().await? else { break };
            head.extend_from_slice(&chunk);
        }
        Ok(head.freeze())
    }
}

/// The next piece of data, which must not be longer than `left`.
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

/// The body's pieces; an error of the body travels through the decoder inside an I/O error.
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

/// Everything a reader yields. An error of the limits travels inside an I/O error.
async fn read_decoded(
    mut reader: impl AsyncRead + Unpin,
    limits: &BodyLimits,
    claim: &MemoryClaim<'_>,
) -> io::Result<Bytes> {
    let mut whole = BodyBuffer::with_capacity(DECODED_CHUNK_BYTES);
    let mut chunk = BytesMut::with_capacity(DECODED_CHUNK_BYTES);
    loop {
        // Decompressing never waits while input is there, and other requests want their turn.
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
