//! The body of a request that is read while it is sent.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The number of bytes in a chunk.
const CHUNK_BYTES: usize = 64 * 1024;
/// The maximum number of chunks that are read but not yet sent.
const CHUNKS_AHEAD_MAX: usize = 4;

/// The error of a source that cannot be read, or that contains fewer bytes than its length says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SourceError(io::Error);

/// A body whose bytes a thread reads, because reading a file blocks.
#[derive(Debug)]
pub(super) struct SourceBody {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl SourceBody {
    /// Creates a body of `length` bytes. It fails if the source contains fewer bytes, and ignores further ones.
    pub(super) fn new(source: Box<dyn Read + Send>, length: u64) -> SourceBody {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        tokio::task::spawn_blocking(move || read_chunks(source.take(length), &sender));
        SourceBody { chunks, left: length }
    }
}

/// Reads until the end, until an error, or until the body is dropped.
fn read_chunks(mut source: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        if matches!(read, Ok(0)) || sender.blocking_send(read.map(|_| chunk.into())).is_err() {
            return;
        }
    }
}

impl Body for SourceBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.chunks.poll_recv(cx).map(|received| match received {
            Some(Ok(chunk)) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Some(Ok(Frame::data(chunk)))
            }
            Some(Err(error)) => Some(Err(SourceError(error))),
            None => {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter");
                Some(Err(SourceError(error)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
