//! Reading a request's body: bounded in bytes and in time, decompressed under the same bound.

use std::future::Future;
use std::io;
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use hyper::body::{Body, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::content::Coding;

/// The most that is set aside for a body before any of it has arrived, in bytes.
const PREALLOCATED_BYTES_MAX: u64 = 256 << 10;

/// What bounds a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long it may be, in bytes, compressed and decompressed.
    pub(crate) bytes_max: u64,
    /// How long the client may take to send it.
    pub(crate) timeout: Option<Duration>,
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is longer than allowed.
    TooLarge,
    /// It took longer than allowed.
    TooSlow,
    /// The connection failed, or the client did not keep to HTTP.
    Broken(hyper::Error),
    /// It is not what `Content-Encoding` says.
    Undecodable(io::Error),
}

/// Reads all of a body.
pub(crate) async fn read(body: Incoming, coding: Option<Coding>, bounds: Bounds) -> Result<Bytes, BodyError> {
    // What the client declares is enough to refuse it; no need to let it send.
    if body.size_hint().lower() > bounds.bytes_max {
        return Err(BodyError::TooLarge);
    }
    let reading = async {
        match coding {
            None => collect(body, bounds.bytes_max).await,
            Some(coding) => inflate(body, coding, bounds.bytes_max).await,
        }
    };
    within(bounds.timeout, reading).await
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T, BodyError>>) -> Result<T, BodyError> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or(Err(BodyError::TooSlow)),
    }
}

/// Most bodies arrive in one piece, which is then returned as it is.
async fn collect(mut body: Incoming, bytes_max: u64) -> Result<Bytes, BodyError> {
    let first = next_piece(&mut body, bytes_max).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let expected = body.size_hint().lower().min(PREALLOCATED_BYTES_MAX) as usize;
    let mut whole = BytesMut::with_capacity(first.len() + expected);
    whole.extend_from_slice(&first);
    while let Some(piece) = next_piece(&mut body, bytes_max - whole.len() as u64).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A body, piece by piece.
pub(crate) struct Pieces {
    body: Option<Incoming>,
    left: u64,
}

impl Pieces {
    /// The pieces of a body that may have this many bytes.
    pub(crate) fn new(body: Option<Incoming>, bytes_max: u64) -> Self {
        Pieces { body, left: bytes_max }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let piece = next_piece(body, self.left).await?;
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Pieces until there are this many bytes, or the end is there.
    pub(crate) async fn at_least(&mut self, bytes: usize) -> Result<Bytes, BodyError> {
        let mut head = BytesMut::new();
        while head.len() < bytes {
            let Some(piece) = self.next().await? else { break };
            head.extend_from_slice(&piece);
        }
        Ok(head.freeze())
    }
}

/// The next piece of data, which must not be longer than `bytes_max`; trailers are passed over.
async fn next_piece(body: &mut Incoming, bytes_max: u64) -> Result<Option<Bytes>, BodyError> {
    use http_body_util::BodyExt;
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        return if data.len() as u64 > bytes_max { Err(BodyError::TooLarge) } else { Ok(Some(data)) };
    }
}

async fn inflate(body: Incoming, coding: Coding, bytes_max: u64) -> Result<Bytes, BodyError> {
    let compressed = StreamReader::new(Box::pin(compressed_pieces(body, bytes_max)));
    let whole = match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(compressed);
            decoder.multiple_members(true);
            pull(decoder, bytes_max).await
        }
        Coding::Deflate => pull(ZlibDecoder::new(compressed), bytes_max).await,
        Coding::Brotli => pull(BrotliDecoder::new(compressed), bytes_max).await,
    };
    whole.map_err(as_body_error)?.ok_or(BodyError::TooLarge)
}

/// The body's pieces; an error of the body travels through the decoder inside an I/O error.
fn compressed_pieces(body: Incoming, bytes_max: u64) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((body, bytes_max), |(mut body, left)| async move {
        match next_piece(&mut body, left).await {
            Ok(Some(piece)) => {
                let left = left - piece.len() as u64;
                Ok(Some((piece, (body, left))))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Everything a reader yields; `None` if that is more than `bytes_max`.
async fn pull(mut reader: impl AsyncRead + Unpin, bytes_max: u64) -> io::Result<Option<Bytes>> {
    let mut whole = BytesMut::new();
    loop {
        // Decompressing never waits while input is there, and other requests want their turn.
        tokio::task::coop::consume_budget().await;
        whole.reserve(16 << 10);
        if reader.read_buf(&mut whole).await? == 0 {
            return Ok(Some(whole.freeze()));
        }
        if whole.len() as u64 > bytes_max {
            return Ok(None);
        }
    }
}

fn as_body_error(error: io::Error) -> BodyError {
    error.downcast::<BodyError>().unwrap_or_else(BodyError::Undecodable)
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::TooLarge => f.write_str("request body too large"),
            BodyError::TooSlow => f.write_str("request body too slow"),
            BodyError::Broken(error) => write!(f, "request body incomplete: {error}"),
            BodyError::Undecodable(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BodyError {}
