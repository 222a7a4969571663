//! One connection: the TLS handshake, HTTP/1 or HTTP/2 on the socket, and the time limits of the handshake and of the
//! requests.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::app::{App, Refused};
use super::handle::handle;
use super::head::Http1Stream;
use super::limits::Limits;
use super::peer::{Peer, RunningRequest};
use super::poll_on_wake::serve_until_shutdown;
use super::reply::{self, ReplyBody};
use super::socket::Socket;
use crate::process::tls::{HTTP_2, Tls};

/// The time limit of a TLS handshake if no time limit for request headers is configured.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of a connection's buffers, in bytes. If longer headers are allowed, the buffers are larger. (hyper requires
/// at least 8 KiB.)
const BUFFER_BYTES: usize = 128 << 10;

/// The maximum number of requests that may run at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// The time after which the server sends a PING to an HTTP/2 client that has sent no frame. The client must reply
/// within the same time, or the connection is closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The response to a plain HTTP request on a port that serves HTTPS. Its wording is the one of Go's `net/http`.
const PLAIN_TEXT_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The receiver of the signal for a graceful shutdown, on which a connection finishes its running requests and closes.
/// A connection keeps its receiver until it is closed. So the sender can await the end of all connections.
type Stopping = watch::Receiver<()>;

/// Serves a connection until it is closed. When `stopping` changes, the connection finishes its running requests and
/// closes.
pub(crate) async fn serve<A: App>(
    socket: TcpStream,
    peer: Arc<Peer>,
    app: Arc<A>,
    tls: Option<Tls>,
    stopping: Stopping,
) {
    let limit = app.transport().limits.first_request_timeout;
    let serving = async {
        let served = match tls {
            None => {
                let socket = Socket::new(socket, Arc::clone(&peer), Arc::clone(app.transport()));
                serve_http1(socket, &peer, &app, stopping).await.map_err(|error| error.to_string())
            }
            Some(tls) => serve_tls(socket, &peer, &app, tls, stopping).await,
        };
        if let Err(error) = served {
            tracing::debug!("connection ended: {error}");
        }
    };
    with_first_request_timeout(limit, &peer, serving).await;
}

/// Serves a connection, but closes it if the client has begun no request within `limit`.
async fn with_first_request_timeout(limit: Option<Duration>, peer: &Peer, serving: impl Future<Output = ()>) {
    let mut serving = pin!(serving);
    let mut timer = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
    poll_fn(|cx| {
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if timer.is_some() && peer.has_begun_request() {
            timer = None;
        }
        match &mut timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| tracing::debug!("connection ended: no request in time")),
            None => Poll::Pending,
        }
    })
    .await;
}

async fn serve_tls<A: App>(
    socket: TcpStream,
    peer: &Arc<Peer>,
    app: &Arc<A>,
    tls: Tls,
    stopping: Stopping,
) -> Result<(), String> {
    let limit = app.transport().limits.header_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
    let accepting = async {
        if speaks_plain_text(&socket).await? {
            refuse_plain_text(Socket::new(socket, Arc::clone(peer), Arc::clone(app.transport())), peer).await;
            return Err(io::Error::other("client sent an HTTP request to an HTTPS server"));
        }
        tls.acceptor.accept(Socket::new(socket, Arc::clone(peer), Arc::clone(app.transport()))).await
    };
    let handshake = tokio::time::timeout(limit, accepting).await;
    let socket = match handshake.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))) {
        Ok(socket) => socket,
        Err(why) => {
            tracing::warn!(target: "http", "http: TLS handshake error from {}: {why}", peer.address);
            return Ok(());
        }
    };
    let served = if socket.get_ref().1.alpn_protocol() == Some(HTTP_2) {
        serve_http2(socket, peer, app, stopping).await
    } else {
        serve_http1(socket, peer, app, stopping).await
    };
    served.map_err(|error| error.to_string())
}

/// Returns whether the client sends plain HTTP instead of TLS. Every TLS record begins with a control character, every
/// HTTP request with a letter.
async fn speaks_plain_text(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(socket.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic())
}

/// Sends `PLAIN_TEXT_ANSWER` and closes the socket. Errors are ignored, because the client may have disconnected.
async fn refuse_plain_text(mut socket: Socket<TcpStream>, peer: &Peer) {
    peer.expect_unread_bytes();
    if socket.write_all(PLAIN_TEXT_ANSWER).await.is_ok() {
        let _ = socket.shutdown().await;
    }
}

async fn serve_http1<S, A>(
    socket: S,
    peer: &Arc<Peer>,
    app: &Arc<A>,
    mut stopping: Stopping,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    let builder = http1_builder(&app.transport().limits);
    let socket = Http1Stream::new(socket, Arc::clone(peer), A::malformed_head);
    let service = service_fn(|request| respond(Arc::clone(app), Arc::clone(peer), request));
    serve_until_shutdown(builder.serve_connection(TokioIo::new(socket), service), stopping.changed()).await
}

async fn serve_http2<S, A>(
    socket: S,
    peer: &Arc<Peer>,
    app: &Arc<A>,
    mut stopping: Stopping,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    let builder = http2_builder(&app.transport().limits);
    let service = service_fn(|request| respond(Arc::clone(app), Arc::clone(peer), request));
    serve_until_shutdown(builder.serve_connection(TokioIo::new(socket), service), stopping.changed()).await
}

async fn respond<A: App>(
    app: Arc<A>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<TrackedBody>, Infallible> {
    let (response, running) = match RunningRequest::begin(peer) {
        Ok(running) => (handle(&*app, &running.peer, request).await, running),
        // This connection is being closed because its slot was given to another connection.
        Err(running) => (reply::closing(app.refusal(Refused::TooManyConnections)), running),
    };
    Ok(response.map(|body| TrackedBody { body, _running: running }))
}

/// The body of a response. It keeps the request counted as running until hyper has read the whole body.
struct TrackedBody {
    body: ReplyBody,
    _running: RunningRequest,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns hyper's settings for HTTP/1. hyper measures the time limit for headers from the end of the previous request,
/// so that limit is also the maximum time that a connection may be idle.
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
