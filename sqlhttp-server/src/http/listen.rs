//! Accepting connections, and the end of it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Peer, Socket};
use super::handle::Counted;
use super::state::State;
use super::workers::Workers;
use crate::tls::Tls;

/// How many clients are told at once that there are too many; further ones are just disconnected.
const REFUSALS_MAX: usize = 64;

/// How long telling a client that may take.
const REFUSAL_MAX: Duration = Duration::from_secs(3);

/// How long to wait after the system has refused to give us a connection (it has no more file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client reads that is one too many.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 44\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    {\"reqIdx\":-1,\"error\":\"Too many connections\"}";

/// Serves until `shutdown` resolves: then accepts no more, finishes the requests that run (for as long as the
/// configuration allows), and returns. The databases are the caller's to close.
///
/// # Errors
/// The listener has no address, or the threads that serve connections cannot be started. What concerns one connection only is logged.
pub async fn run(
    listener: TcpListener,
    state: Arc<State>,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    state.node.listens_on(listener.local_addr()?);
    let server = Server::new(state, tls)?;
    tokio::select! {
        () = shutdown => {}
        () = server.accept_all(&listener) => {}
    }
    drop(listener);
    server.finish().await;
    Ok(())
}

struct Server {
    state: Arc<State>,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    graceful: GracefulShutdown,
    abort: CancellationToken,
    tasks: TaskTracker,
    workers: Workers,
}

impl Server {
    fn new(state: Arc<State>, tls: Option<Tls>) -> io::Result<Self> {
        Ok(Server {
            workers: Workers::start()?,
            places: Arc::new(Semaphore::new(state.limits.connections_max.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            graceful: GracefulShutdown::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state,
            tls,
        })
    }

    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => self.admit(socket, Peer::new(address)),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!("cannot accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: Arc<Peer>) {
        // Answers are written whole; waiting to fill a packet would only delay them. (An error here means that the
        // client has gone already, which will be noticed.)
        let _ = socket.set_nodelay(true);
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => self.serve(socket, peer, place),
            Err(_) => self.refuse(socket, peer),
        }
    }

    fn serve(&self, socket: TcpStream, peer: Arc<Peer>, permit: OwnedSemaphorePermit) {
        let (state, tls, abort) = (Arc::clone(&self.state), self.tls.clone(), self.abort.clone());
        let watcher = self.graceful.watcher();
        // The socket is the accepting thread's until the connection's own thread takes it over.
        let (Some(place), Ok(socket)) = (self.workers.place(), socket.into_std()) else { return };
        let serving = async move {
            let _held = (permit, Counted::new(&state.metrics.connections));
            match TcpStream::from_std(socket) {
                Ok(socket) => {
                    let serving = connection::serve(socket, peer, Arc::clone(&state), tls, watcher);
                    abort.run_until_cancelled(serving).await;
                }
                Err(error) => tracing::error!("cannot take over a connection: {error}"),
            }
        };
        place.serve(self.tasks.track_future(serving));
    }

    /// Over TLS nothing can be said before a handshake, and that costs too much here.
    fn refuse(&self, socket: TcpStream, peer: Arc<Peer>) {
        self.state.metrics.connections_refused.inc();
        let place = Arc::clone(&self.refusals).try_acquire_owned();
        if let (None, Ok(place)) = (&self.tls, place) {
            let socket = Socket::new(socket, peer, Arc::clone(&self.state));
            self.tasks.spawn(async move {
                let _place = place;
                let _ = tokio::time::timeout(REFUSAL_MAX, tell_refusal(socket)).await;
            });
        }
    }

    async fn finish(self) {
        let Server { state, graceful, abort, tasks, workers, .. } = self;
        state.stop();
        let limit = state.limits.shutdown_timeout;
        if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still running after {limit:?} and have been given up");
        }
        abort.cancel();
        tasks.close();
        tasks.wait().await;
        drop(workers);
    }
}

/// Errors that `accept` reports for a connection that is gone before it was taken.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn tell_refusal(mut socket: Socket<TcpStream>) -> io::Result<()> {
    socket.expect_unread_bytes();
    socket.write_all(REFUSAL).await?;
    socket.shutdown().await
}
