//! A connection on which requests to one node are multiplexed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::dialer::{BoxedStream, Dialer, Target};
use super::frame::{self, BODY_BYTES_MAX, Frame};
use super::hello::Purpose;
use super::message::{self, REFUSAL, RESPONSE, Request};

/// The maximum number of requests that wait to be written to a connection.
const QUEUED_MAX: usize = 1024;
/// The length, in bytes, up to which frames are combined into one write to the connection.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// Why a request to another node has no response.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The peer has not received the request, or has refused it. The request had no effect and may be repeated.
    NotSent(String),
    /// The connection broke, or the time has passed, after the request was sent. The request may have had an effect.
    Lost(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotSent(why) | CallError::Lost(why) => f.write_str(why),
        }
    }
}

/// A client for the requests of one purpose to one node. It opens a connection when a request needs one, and keeps it.
pub(crate) struct RpcClient {
    dialer: Arc<Dialer>,
    target: Target,
    purpose: Purpose,
    /// The runtime on which the connection is read and written.
    runtime: Handle,
    slot: Arc<Mutex<Slot>>,
}

/// The connection of a client.
#[derive(Default)]
struct Slot {
    open: Option<Arc<Connection>>,
    /// The result of the task that opens the next connection. All requests that need the connection wait for the same
    /// task, so each of them fails when it fails. The task continues if the request that has started it is dropped,
    /// because a heartbeat may be dropped sooner than a connection can be opened.
    opening: Option<Opening>,
}

/// The connection that a task opens, or why it cannot be opened.
type Opening = Shared<BoxFuture<'static, Result<Arc<Connection>, String>>>;

/// An open connection. When the last reference is dropped, the connection is closed.
struct Connection {
    requests: mpsc::Sender<Outgoing>,
    next_id: AtomicU32,
    closed: Arc<AtomicBool>,
}

/// A request that waits to be written.
struct Outgoing {
    id: u32,
    frame: Vec<u8>,
    state: Arc<SendState>,
    reply: oneshot::Sender<Frame>,
}

/// Whether a request waits to be written, has been written, or has been abandoned by its caller. A request is either
/// sent or abandoned, never both: a caller that has abandoned it may send it again.
#[derive(Debug, Default)]
struct SendState(AtomicU8);

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const ABANDONED: u8 = 2;

impl SendState {
    /// Marks the request as sent. Returns `false` if its caller has abandoned it.
    fn try_send(&self) -> bool {
        self.0.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Marks the request as abandoned. Returns `false` if it may have been sent.
    fn try_abandon(&self) -> bool {
        self.0.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns the error of a request that ends without a response.
    fn error(&self, why: &str) -> CallError {
        if self.try_abandon() { CallError::NotSent(why.to_owned()) } else { CallError::Lost(why.to_owned()) }
    }
}

/// The requests that have been sent and have no response yet.
type Pending = Arc<Mutex<BTreeMap<u32, oneshot::Sender<Frame>>>>;

impl RpcClient {
    pub(super) fn new(dialer: Arc<Dialer>, target: Target, purpose: Purpose, runtime: Handle) -> RpcClient {
        RpcClient { dialer, target, purpose, runtime, slot: Arc::default() }
    }

    /// Sends a request and waits for its response, for at most `timeout`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call<R: Request>(&self, request: &R, timeout: Duration) -> Result<R::Response, CallError> {
        self.call_until(request, tokio::time::sleep(timeout)).await
    }

    /// Sends a request and waits for its response, until `end` is ready.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call_until<R: Request>(
        &self,
        request: &R,
        end: impl Future<Output = ()>,
    ) -> Result<R::Response, CallError> {
        let write = |out: &mut Vec<u8>| message::encode(out, request);
        let bytes = self.call_raw(R::KIND, write, end).await?;
        message::decode(&bytes).map_err(|error| CallError::Lost(error.to_string()))
    }

    /// Like [`RpcClient::call_until`], for a request that `write_body` encodes. Returns the encoded response.
    pub(super) async fn call_raw(
        &self,
        kind: u8,
        write_body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        end: impl Future<Output = ()>,
    ) -> Result<Vec<u8>, CallError> {
        let state = Arc::new(SendState::default());
        let called = tokio::select! {
            biased;
            answered = self.send(kind, write_body, state.clone()) => Some(answered),
            () = end => None,
        };
        let Some(answered) = called else {
            // The peer may be gone without having closed the connection. The next request opens another one.
            self.disconnect();
            return Err(state.error("timeout waiting for node to respond"));
        };
        let frame = answered?;
        match frame.kind {
            RESPONSE => Ok(frame.body),
            REFUSAL => Err(CallError::NotSent(String::from_utf8_lossy(&frame.body).into_owned())),
            _ => Err(CallError::Lost("the response of the node is malformed".to_owned())),
        }
    }

    async fn send(
        &self,
        kind: u8,
        write_body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        state: Arc<SendState>,
    ) -> Result<Frame, CallError> {
        let not_sent = |error: &dyn fmt::Display| CallError::NotSent(error.to_string());
        let connection = self.connected().await.map_err(CallError::NotSent)?;
        let id = connection.next_id.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        frame::push(&mut bytes, kind, id, write_body).map_err(|error| not_sent(&error))?;
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing { id, frame: bytes, state: state.clone(), reply };
        connection.requests.send(outgoing).await.map_err(|_| not_sent(&"the connection was closed"))?;
        answer.await.map_err(|_| state.error("the connection was closed before the response"))
    }

    /// Returns the open connection, or opens one.
    async fn connected(&self) -> Result<Arc<Connection>, String> {
        let opening = {
            let mut slot = lock(&self.slot);
            if let Some(open) = slot.open.as_ref().filter(|open| !open.closed.load(Ordering::Acquire)) {
                return Ok(open.clone());
            }
            if slot.open.take().is_some() && self.purpose == Purpose::Forward {
                self.dialer.reconnects.fetch_add(1, Ordering::Relaxed);
            }
            // A task that has panicked has left its result in the slot.
            let _ = slot.opening.take_if(|opening| opening.peek().is_some());
            slot.opening.get_or_insert_with(|| self.start_opening()).clone()
        };
        opening.await
    }

    /// Starts the task that opens a connection, on the runtime that will read and write it.
    fn start_opening(&self) -> Opening {
        let (dialer, target, purpose) = (self.dialer.clone(), self.target.clone(), self.purpose);
        let slot = self.slot.clone();
        let task = self.runtime.spawn(async move {
            let opened = open(&dialer, &target, purpose).await;
            let mut slot = lock(&slot);
            slot.opening = None;
            slot.open = opened.as_ref().ok().cloned();
            opened.map_err(|error| error.to_string())
        });
        async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared()
    }

    /// Makes the next request open another connection. The current one is closed when the requests that wait on it have
    /// ended.
    fn disconnect(&self) {
        lock(&self.slot).open = None;
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open(dialer: &Dialer, target: &Target, purpose: Purpose) -> io::Result<Arc<Connection>> {
    let (stream, _) = dialer.connect(target, purpose).await?;
    let (reader, writer) = tokio::io::split(stream);
    let (requests, queue) = mpsc::channel(QUEUED_MAX);
    let (pending, closed) = (Pending::default(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(run(reader, writer, queue, pending, closed.clone()));
    Ok(Arc::new(Connection { requests, next_id: AtomicU32::new(1), closed }))
}

/// Reads and writes a connection until it breaks or all its users are gone. Then the requests without a response fail.
async fn run(
    reader: ReadHalf<BoxedStream>,
    writer: WriteHalf<BoxedStream>,
    queue: mpsc::Receiver<Outgoing>,
    pending: Pending,
    closed: Arc<AtomicBool>,
) {
    tokio::select! {
        biased;
        _ = write_requests(writer, queue, &pending) => {}
        _ = read_responses(reader, &pending) => {}
    }
    closed.store(true, Ordering::Release);
    // Dropping a sender fails the request that waits for it.
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

async fn write_requests(
    mut writer: WriteHalf<BoxedStream>,
    mut queue: mpsc::Receiver<Outgoing>,
    pending: &Pending,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(first) = queue.recv().await {
        prepare(first, &mut buffer, pending);
        while buffer.len() < WRITE_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            prepare(next, &mut buffer, pending);
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        buffer.clear();
        buffer.shrink_to(WRITE_BYTES_MAX);
    }
    Ok(())
}

fn prepare(outgoing: Outgoing, buffer: &mut Vec<u8>, pending: &Pending) {
    let Outgoing { id, frame, state, reply } = outgoing;
    if reply.is_closed() || !state.try_send() {
        return;
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, reply);
    buffer.extend_from_slice(&frame);
}

async fn read_responses(reader: ReadHalf<BoxedStream>, pending: &Pending) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::with_capacity(64 << 10, reader);
    while let Some(frame) = frame::read(&mut reader, BODY_BYTES_MAX).await? {
        let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&frame.id);
        if let Some(reply) = waiting {
            crate::waiters::reply(reply, frame);
        }
    }
    Ok(())
}

/// A task that is aborted when this handle is dropped.
pub(super) struct AbortOnDrop<T>(pub(super) tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;
    use std::sync::atomic::AtomicU64;

    use tokio::time::Instant;

    use super::super::dialer::AddressBook;
    use super::super::hello::HELLO_TIMEOUT;
    use super::super::message::APPEND;
    use super::*;
    use crate::identity::{DirectoryState, Identity};

    #[tokio::test]
    async fn requests_that_wait_for_the_same_connection_fail_together() {
        let directory = tempfile::tempdir().unwrap();
        // The peer accepts connections, and never sends a byte.
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap().to_string();
        let dialer = Dialer {
            identity: Arc::new(Identity::open(directory.path(), DirectoryState::Creates, 1).unwrap()),
            addresses: Arc::new(AddressBook::default()),
            security: None,
            connect_timeout: HELLO_TIMEOUT,
            reconnects: AtomicU64::default(),
        };
        let client = RpcClient::new(Arc::new(dialer), Target::Address(address), Purpose::Forward, Handle::current());
        let call = || client.call_raw(APPEND, |_| Ok(()), std::future::pending());
        let mut first = std::pin::pin!(call());
        assert!(futures_util::poll!(&mut first).is_pending());
        let accepted = tokio::task::spawn_blocking(move || (peer.accept().unwrap(), peer)).await.unwrap();

        tokio::time::pause();
        let began = Instant::now();
        let results = tokio::join!(first, call(), call());
        assert!(began.elapsed() < HELLO_TIMEOUT * 2, "{:?}", began.elapsed());
        for result in <[_; 3]>::from(results) {
            assert!(matches!(result, Err(CallError::NotSent(_))), "{result:?}");
        }
        drop(accepted);
    }
}
