//! One connection: its socket, and HTTP on it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::handle::handle;
use super::state::{Limits, State};
use crate::tls::{HTTP_2, Tls};

/// How long a client may leave us waiting to send it more.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// How long the rest of a body that nobody wants is read. Closing a socket with unread bytes resets the connection,
/// and the answer might be lost.
const LINGER: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take if headers may take forever.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// The least and the usual size of a connection's buffers, in bytes. (hyper insists on 8 KiB.)
const BUFFER_BYTES: usize = 128 << 10;

/// How many requests one HTTP/2 connection may have running.
const STREAMS_MAX: u32 = 128;

/// How long an HTTP/2 connection may be silent before we ask whether the client is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    unread_bytes: AtomicBool,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Peer { address, unread_bytes: AtomicBool::new(false) })
    }

    /// The client may still be sending what nobody will read.
    pub(crate) fn expect_unread_bytes(&self) {
        self.unread_bytes.store(true, Ordering::Relaxed);
    }
}

/// Serves a connection to its end. `watcher` tells it when to finish what runs and close.
pub(crate) async fn serve<S>(socket: S, peer: Arc<Peer>, state: Arc<State>, tls: Option<Tls>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = Socket::new(socket, Arc::clone(&peer), Arc::clone(&state));
    let served = match tls {
        None => serve_http1(socket, peer, state, watcher).await.map_err(|error| error.to_string()),
        Some(tls) => serve_tls(socket, peer, state, tls, watcher).await,
    };
    if let Err(error) = served {
        tracing::debug!("connection ended: {error}");
    }
}

async fn serve_tls<S>(
    socket: Socket<S>,
    peer: Arc<Peer>,
    state: Arc<State>,
    tls: Tls,
    watcher: Watcher,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = state.limits.header_timeout.unwrap_or(HANDSHAKE_MAX);
    let handshake = tokio::time::timeout(limit, tls.acceptor.accept(socket)).await;
    let socket = match handshake.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))) {
        Ok(socket) => socket,
        Err(why) => {
            tracing::warn!(target: "http", "http: TLS handshake error from {}: {why}", peer.address);
            return Ok(());
        }
    };
    let served = if socket.get_ref().1.alpn_protocol() == Some(HTTP_2) {
        serve_http2(socket, peer, state, watcher).await
    } else {
        serve_http1(socket, peer, state, watcher).await
    };
    served.map_err(|error| error.to_string())
}

async fn serve_http1<S>(socket: S, peer: Arc<Peer>, state: Arc<State>, watcher: Watcher) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = http1_builder(&state.limits);
    let service = service_fn(|request| respond(Arc::clone(&state), Arc::clone(&peer), request));
    watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await
}

async fn serve_http2<S>(socket: S, peer: Arc<Peer>, state: Arc<State>, watcher: Watcher) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = http2_builder(&state.limits);
    let service = service_fn(|request| respond(Arc::clone(&state), Arc::clone(&peer), request));
    watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await
}

async fn respond(
    state: Arc<State>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<super::reply::HttpResponse, Infallible> {
    Ok(handle(&state, &peer, request).await)
}

/// HTTP/1 as this server speaks it. The time for the headers runs from the end of the request before, so it is also
/// how long a connection may be idle.
pub(crate) fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(BUFFER_BYTES.max(limits.header_bytes_max.saturating_add(8 << 10)));
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// A socket that counts bytes, gives up on clients that do not read, and closes without losing the last answer.
pub(crate) struct Socket<S> {
    inner: S,
    peer: Arc<Peer>,
    state: Arc<State>,
    /// Runs while the client does not take what we send.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while the socket is shut down and what still comes is read.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(crate) fn new(inner: S, peer: Arc<Peer>, state: Arc<State>) -> Self {
        Socket { inner, peer, state, stalled: None, lingering: None }
    }

    /// The client may still be sending what nobody will read.
    pub(crate) fn expect_unread_bytes(&self) {
        self.peer.expect_unread_bytes();
    }

    /// Counts what was sent, or fails once the client has been stalling for too long.
    fn after_write(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                self.stalled = None;
                self.state.metrics.sent_bytes.inc_by(len as u64);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL_MAX)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Reads until the client has noticed that we are done, or the time is over.
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
            self.state.metrics.received_bytes.inc_by(len as u64);
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
        if self.peer.unread_bytes.load(Ordering::Relaxed) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
