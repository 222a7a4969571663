//! Accepting connections, and the end of it.

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

/// How many clients are told at once that there are too many; further ones are just disconnected.
const REFUSALS_MAX: usize = 64;

/// How long telling a client that may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait after the system has refused to give us a connection (it has no more file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long to wait then if a connection has been closed to make room.
const EVICTION_PAUSE: Duration = Duration::from_millis(5);

/// The pause between two log lines about connections that cannot be accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Serves until `shutdown` resolves: then accepts no more, finishes the requests that run (for as long as the
/// configuration allows), and returns. The databases are the caller's to close.
///
/// # Errors
/// The listener has no address, or the threads that serve connections cannot be started. What concerns one connection only is logged.
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
    /// Signals a graceful shutdown to the connections, each of which has a receiver.
    stopping: watch::Sender<()>,
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
                    // An idle connection that is closed frees its file descriptor in a moment.
                    let has_evicted = self.connection_slots.evict_one().is_some();
                    tokio::time::sleep(if has_evicted { EVICTION_PAUSE } else { ACCEPT_PAUSE }).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, address: SocketAddr) {
        // Answers are written whole; waiting to fill a packet would only delay them. (An error here means that the
        // client has gone already, which will be noticed.)
        let _ = socket.set_nodelay(true);
        match self.connection_slots.take(address, self.abort.child_token()) {
            Some(slot) => self.serve(socket, slot),
            None => self.refuse(socket, address),
        }
    }

    fn serve(&self, socket: TcpStream, slot: ConnectionSlot) {
        let (app, tls) = (Arc::clone(&self.app), self.tls.clone());
        let stopping = self.stopping.subscribe();
        // The socket is the accepting thread's until the connection's own thread takes it over.
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

    /// Over TLS nothing can be said before a handshake, and that costs too much here.
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
        // Nobody receives it if there are no connections.
        let _ = stopping.send(());
        if tokio::time::timeout(limit, stopping.closed()).await.is_err() {
            tracing::warn!("requests were still running after {limit:?} and have been given up");
        }
        abort.cancel();
        tasks.close();
        tasks.wait().await;
        drop(workers);
    }
}

/// How many connections may be open: as many as the operator allows, if the process may have so many files open.
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

/// Errors that `accept` reports for a connection that is gone before it was taken.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn send_refusal(mut socket: Socket<TcpStream>, refusal: HttpResponse) -> io::Result<()> {
    socket.write_all(&encode_http1(&refusal)).await?;
    socket.shutdown().await
}

/// A response as HTTP/1.1 writes it, for a client whose request is not read. The connection closes afterwards.
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
