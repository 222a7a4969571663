//! A request body whose beginning decides how the rest is read: into memory, or into a file of any length. A compressed
//! body is decompressed in both cases.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Instant;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use hyper::body::{Body, Incoming};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::StreamReader;

use super::body::{BodyError, as_body_error, next_chunk};
use super::body_memory::{BodyBuffer, MemoryClaim};
use super::content::ContentCoding;
use crate::http::limits::BodyLimits;

/// The size of the pieces in which a body is read, in bytes. The beginning of a body is at most one piece.
const PIECE_BYTES: usize = 256 << 10;
/// The number of bytes after which the file is synced. The file need not be durable, but a sync of another file would
/// have to wait until the operating system has written all pages of this one.
const SYNC_BYTES: u64 = 16 << 20;

/// A request body of which only the beginning has been read.
pub(crate) struct PeekedBody {
    /// `None` for a request without a body.
    rest: Option<Pin<Box<dyn AsyncRead + Send>>>,
    head: BytesMut,
    /// The length of the body that the request declares, in bytes; 0 if it declares none.
    declared: u64,
    begun: Instant,
    limits: BodyLimits,
}

/// The limits of a body that is stored in a file.
pub(crate) struct FileLimits<'a> {
    /// The maximum length of the body after decompression, in bytes.
    pub(crate) bytes_max: u64,
    /// The name of the flag that sets the maximum length.
    pub(crate) flag: &'static str,
    /// Returns whether the disk has space for a number of bytes.
    pub(crate) has_space_for: &'a (dyn Fn(u64) -> bool + Send + Sync),
}

/// The reason why a body could not be stored in a file.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The body could not be read.
    Body(BodyError),
    /// The file could not be written.
    Disk(io::Error),
}

impl PeekedBody {
    /// Reads the first bytes of a body: `len` bytes, or more, or the whole body if it is shorter.
    pub(crate) async fn new(
        body: Option<Incoming>,
        coding: Option<ContentCoding>,
        limits: BodyLimits,
        len: usize,
    ) -> Result<PeekedBody, BodyError> {
        let declared = body.as_ref().map_or(0, |body| body.size_hint().lower());
        let rest = body.map(|body| reader(body, coding));
        let mut peeked = PeekedBody { rest, head: BytesMut::new(), declared, begun: Instant::now(), limits };
        while peeked.head.len() < len {
            let Some(rest) = &mut peeked.rest else { break };
            let reading = rest.read_buf(&mut peeked.head);
            let read = within(limits, peeked.begun, reading).await?;
            if read.map_err(as_body_error)? == 0 {
                break;
            }
        }
        Ok(peeked)
    }

    /// The first bytes of the body.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads the whole body into memory, within the limits of all bodies. The memory stays claimed until `claim` is
    /// dropped.
    pub(crate) async fn into_bytes(mut self, claim: &MemoryClaim<'_>) -> Result<Bytes, BodyError> {
        let limits = self.limits;
        if self.declared > limits.bytes_max || self.head.len() as u64 > limits.bytes_max {
            return Err(limits.too_large());
        }
        let Some(mut rest) = self.rest.take() else { return Ok(Bytes::new()) };
        let mut whole = BodyBuffer::with_capacity(self.head.len());
        limits.push(&mut whole, &self.head, 0, claim)?;
        let mut piece = BytesMut::new();
        loop {
            // A decoder never waits while it has input. So this call yields to the other connections of the thread.
            tokio::task::coop::consume_budget().await;
            piece.clear();
            piece.reserve(PIECE_BYTES);
            let reading = rest.read_buf(&mut piece);
            if within(limits, self.begun, reading).await?.map_err(as_body_error)? == 0 {
                return Ok(whole.freeze());
            }
            if (whole.len() + piece.len()) as u64 > limits.bytes_max {
                return Err(limits.too_large());
            }
            limits.push(&mut whole, &piece, 0, claim)?;
        }
    }

    /// Reads the rest of the body, up to the maximum length of a body in memory, and discards it: a client may read a
    /// response only after it has sent the body.
    ///
    /// # Errors
    /// The body is longer or too slow, or the connection has failed.
    pub(crate) async fn discard(mut self) -> Result<(), BodyError> {
        let (mut discarded, mut piece) = (0, std::mem::take(&mut self.head));
        loop {
            discarded += piece.len() as u64;
            if discarded > self.limits.bytes_max {
                return Err(self.limits.too_large());
            }
            piece.clear();
            if !self.fill(&mut piece).await? {
                return Ok(());
            }
        }
    }

    /// Writes the whole body to a new file. The time limit of bodies applies to each piece, not to the whole body.
    pub(crate) async fn store(mut self, file: &Path, limits: FileLimits<'_>) -> Result<(), StoreError> {
        let FileLimits { bytes_max, flag, has_space_for } = limits;
        let too_large = || StoreError::Body(BodyError::TooLarge { max: bytes_max, flag });
        let require_space = |bytes| match has_space_for(bytes) {
            true => Ok(()),
            false => Err(StoreError::Disk(io::ErrorKind::StorageFull.into())),
        };
        if self.declared > bytes_max {
            return Err(too_large());
        }
        require_space(self.declared.max(SYNC_BYTES))?;
        let mut file = File::create_new(file).await.map_err(StoreError::Disk)?;
        let (mut stored, mut synced) = (0, 0);
        let mut piece = std::mem::take(&mut self.head);
        loop {
            stored += piece.len() as u64;
            if stored > bytes_max {
                return Err(too_large());
            }
            file.write_all(&piece).await.map_err(StoreError::Disk)?;
            if stored - synced >= SYNC_BYTES {
                file.sync_data().await.map_err(StoreError::Disk)?;
                synced = stored;
                require_space(SYNC_BYTES)?;
            }
            piece.clear();
            if !self.fill(&mut piece).await.map_err(StoreError::Body)? {
                return file.flush().await.map_err(StoreError::Disk);
            }
        }
    }

    /// Reads the next piece. Returns `false` at the end of the body.
    async fn fill(&mut self, piece: &mut BytesMut) -> Result<bool, BodyError> {
        let Some(rest) = &mut self.rest else { return Ok(false) };
        let begun = Instant::now();
        piece.reserve(PIECE_BYTES);
        while piece.len() < PIECE_BYTES {
            tokio::task::coop::consume_budget().await;
            let reading = rest.read_buf(piece);
            if within(self.limits, begun, reading).await?.map_err(as_body_error)? == 0 {
                break;
            }
        }
        Ok(!piece.is_empty())
    }
}

/// Waits for a read until the time limit of bodies has passed since `begun`.
async fn within<T>(limits: BodyLimits, begun: Instant, reading: impl Future<Output = T>) -> Result<T, BodyError> {
    let Some(limit) = limits.timeout else { return Ok(reading.await) };
    let end = tokio::time::Instant::from_std(begun + limit);
    let too_slow = |_| BodyError::TooSlow { flag: limits.flags.body_timeout };
    tokio::time::timeout_at(end, reading).await.map_err(too_slow)
}

/// Returns a reader of the decompressed body. A [`BodyError`] is the source of its I/O errors.
fn reader(body: Incoming, coding: Option<ContentCoding>) -> Pin<Box<dyn AsyncRead + Send>> {
    let plain = StreamReader::new(Box::pin(chunks(body)));
    match coding {
        None => Box::pin(plain),
        Some(ContentCoding::Gzip) => {
            let mut decoder = GzipDecoder::new(plain);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Some(ContentCoding::Deflate) => Box::pin(ZlibDecoder::new(plain)),
        Some(ContentCoding::Brotli) => Box::pin(BrotliDecoder::new(plain)),
    }
}

fn chunks(body: Incoming) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(body, |mut body| async move {
        let chunk = next_chunk(&mut body).await.map_err(io::Error::other)?;
        Ok(chunk.map(|chunk| (chunk, body)))
    })
}
