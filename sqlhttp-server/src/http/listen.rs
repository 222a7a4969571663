//! The accept loop of the server, and its graceful shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::{App, Refused};
use super::connection;
use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::handle::GaugeGuard;
use super::peer::Peer;
use super::poll_on_wake::run_until;
use super::reply::{HttpResponse, ReplyBody};
use super::socket::Socket;
use super::transport::Transport;
use super::workers::Workers;
use crate::process::memory;
use crate::process::tls::Tls;

/// The maximum number of clients to which status 503 is being sent at the same time because no connection slot is free.
/// Further clients are disconnected without a response.
const REFUSALS_MAX: usize = 64;

/// The time limit for sending status 503 to a client for which no connection slot is free.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause after `accept` has failed, for example because the process has no more file descriptors, if no idle
/// connection could be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pause after `accept` has failed, if an idle connection was closed to free its file descriptor.
const EVICTION_PAUSE: Duration = Duration::from_millis(5);

/// The minimum time between two log lines about connections that cannot be accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Serves `app` until `shutdown` resolves. Then it stops accepting connections, waits up to `shutdown_timeout` for the
/// running requests, and returns. The caller closes the databases afterwards.
///
/// Fails if the address of the listener cannot be read or the worker threads cannot be started. Errors of a single
/// connection are only logged.
pub(crate) async fn run<A: App>(
    listener: TcpListener,
    app: Arc<A>,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    app.listening(address);
    let server = Server::new(app, tls)?;
    tokio::select! {
        () = shutdown => {}
        () = server.accept_all(&listener) => {}
    }
    drop(listener);
    server.finish().await;
    Ok(())
}

struct Server<A> {
    app: Arc<A>,
    tls: Option<Tls>,
    connection_slots: Arc<ConnectionSlots>,
    refusals: Arc<Semaphore>,
    /// Signals a graceful shutdown to all connections. Each connection holds a receiver.
    stopping: watch::Sender<()>,
    /// Cancelling this token closes all connections.
    abort: CancellationToken,
    tasks: TaskTracker,
    workers: Workers,
}

impl<A: App> Server<A> {
    fn new(app: Arc<A>, tls: Option<Tls>) -> io::Result<Self> {
        Ok(Server {
            workers: Workers::start()?,
            connection_slots: ConnectionSlots::new(connections_max(app.transport())),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            stopping: watch::Sender::new(()),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            app,
            tls,
        })
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let mut logged: Option<Instant> = None;
        loop {
            match listener.accept().await {
                Ok((socket, address)) => self.admit(socket, address),
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        tracing::error!("cannot accept connections: {error}");
                        logged = Some(Instant::now());
                    }
                    // Closing an idle connection frees its file descriptor within a short time.
                    let has_evicted = self.connection_slots.evict_one().is_some();
                    tokio::time::sleep(if has_evicted { EVICTION_PAUSE } else { ACCEPT_PAUSE }).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, address: SocketAddr) {
        // Disables Nagle's algorithm: responses are written as a whole, so waiting for more data would only delay them.
        // An error of this call means that the client has disconnected, which the next read reports.
        let _ = socket.set_nodelay(true);
        match self.connection_slots.take(address, self.abort.child_token()) {
            Some(slot) => self.serve(socket, slot),
            None => self.refuse(socket, address),
        }
    }

    fn serve(&self, socket: TcpStream, slot: ConnectionSlot) {
        let (app, tls) = (Arc::clone(&self.app), self.tls.clone());
        let stopping = self.stopping.subscribe();
        // Removes the socket from the runtime of the current thread. The worker thread registers it with its own
        // runtime.
        let (Some(worker_slot), Ok(socket)) = (self.workers.take_slot(), socket.into_std()) else { return };
        let serving = async move {
            let peer = Arc::clone(&slot.peer);
            let _guards = (slot, GaugeGuard::new(&app.transport().metrics.connections));
            match TcpStream::from_std(socket) {
                Ok(socket) => {
                    let serving = connection::serve(socket, Arc::clone(&peer), Arc::clone(&app), tls, stopping);
                    run_until(peer.closing().cancelled(), serving).await;
                }
                Err(error) => tracing::error!("cannot take over a connection: {error}"),
            }
        };
        worker_slot.serve(self.tasks.track_future(serving));
    }

    /// Refuses a connection for which no slot is free: sends status 503 and closes the socket. A TLS connection is
    /// closed without a response, because a handshake would cost too much.
    fn refuse(&self, socket: TcpStream, address: SocketAddr) {
        self.app.transport().metrics.connections_refused.inc();
        let permit = Arc::clone(&self.refusals).try_acquire_owned();
        if let (None, Ok(permit)) = (&self.tls, permit) {
            let peer = Peer::new(address, self.abort.child_token());
            peer.expect_unread_bytes();
            let socket = Socket::new(socket, peer, Arc::clone(self.app.transport()));
            let refusal = self.app.refusal(Refused::TooManyConnections);
            self.tasks.spawn(async move {
                let _permit = permit;
                let _ = tokio::time::timeout(REFUSAL_TIMEOUT, send_refusal(socket, refusal)).await;
            });
        }
    }

    async fn finish(self) {
        let Server { app, stopping, abort, tasks, workers, .. } = self;
        let transport = app.transport();
        transport.stop();
        let limit = transport.limits.shutdown_timeout;
        // This fails only if there are no connections.
        let _ = stopping.send(());
        if tokio::time::timeout(limit, stopping.closed()).await.is_err() {
            tracing::warn!("requests were still running after {limit:?} and have been cancelled");
        }
        abort.cancel();
        tasks.close();
        tasks.wait().await;
        drop(workers);
    }
}

/// Returns the number of connection slots: the configured maximum, or fewer if the process may not open that many
/// files.
fn connections_max(transport: &Transport) -> usize {
    let wanted = transport.limits.connections_max;
    let Some(files) = memory::open_files_max() else { return wanted };
    let possible = memory::connections_within(files, transport.metrics.databases_len());
    if wanted > possible {
        let flag = transport.limits.flags.connections;
        tracing::warn!(
            "-{flag} is {wanted}, but this process may have only {files} files open: {possible} connections are \
             served at once. Raise the limit (ulimit -n; LimitNOFILE= of systemd) or set -{flag} lower"
        );
    }
    wanted.min(possible)
}

/// Returns whether an error of `accept` concerns only one connection, which the client closed before the server
/// accepted it. Other errors concern the listener.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn send_refusal(mut socket: Socket<TcpStream>, refusal: HttpResponse) -> io::Result<()> {
    socket.write_all(&encode_http1(&refusal)).await?;
    socket.shutdown().await
}

/// Encodes a response as HTTP/1.1 with `connection: close`, to send it to a client without reading its request.
fn encode_http1(response: &HttpResponse) -> Vec<u8> {
    let body: &[u8] = match response.body() {
        ReplyBody::Whole(bytes) => bytes,
        ReplyBody::Stream { .. } => &[],
    };
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
