//! The socket of a connection. It counts the bytes sent and received, fails if the client stops reading, and closes
//! without losing the last response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::peer::Peer;
use super::transport::Transport;

/// The maximum time that a write to the socket may wait for the client to read. After that, the write fails.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// The time for which received bytes are read and discarded before a socket is closed. Closing a socket with unread
/// bytes resets the connection, and the client could lose the response.
const LINGER: Duration = Duration::from_secs(2);

/// A socket that counts the bytes sent and received, fails if the client stops reading, and closes without losing the
/// last response.
pub(crate) struct Socket<S> {
    inner: S,
    peer: Arc<Peer>,
    transport: Arc<Transport>,
    /// The timer of a write that is waiting for the client to read; `None` if no write is waiting.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The timer that limits how long received bytes are discarded after the sending direction has been shut down.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(crate) fn new(inner: S, peer: Arc<Peer>, transport: Arc<Transport>) -> Self {
        Socket { inner, peer, transport, stalled: None, lingering: None }
    }

    /// Counts the bytes that a write has sent. Fails if the write has been waiting for longer than [`WRITE_STALL_MAX`].
    fn after_write(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                if self.stalled.take().is_some() {
                    self.peer.set_unsent(false);
                }
                self.transport.metrics.sent_bytes.inc_by(len as u64);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                self.peer.set_unsent(true);
                let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL_MAX)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Reads and discards bytes until the client closes the connection or [`LINGER`] has passed.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let len = buffer.filled().len() - before;
        if len > 0 {
            self.transport.metrics.received_bytes.inc_by(len as u64);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.after_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.after_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        if self.peer.has_unread_bytes() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
