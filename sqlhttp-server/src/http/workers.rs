//! The worker threads, which serve connections: one for each processor, each with a single-threaded runtime.
//!
//! A connection stays on its thread, so its requests wake no other thread. Waking a thread is most of what a short
//! request costs apart from the network. The work on these threads is short: reads run under a budget of the engine. A
//! read that exceeds the budget, and every write, runs on another thread.
//!
//! All connections of a thread are one task. When a group of writes is committed, the writer thread wakes many
//! connections at once. If each connection were a task, each would cost a system call. As one task they cost one system
//! call together.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sqlhttp_core::STACK_BYTES;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A future that serves one connection until it closes.
type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The worker threads. Dropping this stops them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

struct Worker {
    /// The queue of new connections. Its length is bounded although the channel is not, because each connection holds
    /// one of the server's connection slots.
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    /// The number of connections of this thread.
    connections: Arc<AtomicUsize>,
}

/// A slot for one connection on a worker thread. The connection already counts as one of that thread.
pub(crate) struct WorkerSlot {
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    count_guard: ConnectionCountGuard,
}

/// Drop guard: decrements the number of connections of a thread.
struct ConnectionCountGuard(Arc<AtomicUsize>);

impl Workers {
    /// Starts a thread for each processor.
    pub(crate) fn start() -> io::Result<Workers> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let workers = (0..count).map(|index| Worker::start(index, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Workers { workers, stop })
    }

    /// Takes a slot on the thread with the fewest connections.
    pub(crate) fn take_slot(&self) -> Option<WorkerSlot> {
        let worker = self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some(WorkerSlot {
            sender: worker.sender.clone(),
            count_guard: ConnectionCountGuard(worker.connections.clone()),
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl WorkerSlot {
    /// Serves a connection on the thread. If the thread has ended, the future is dropped, which closes the connection.
    pub(crate) fn serve(self, serving: impl Future<Output = ()> + Send + 'static) {
        let WorkerSlot { sender, count_guard } = self;
        let counted = async move {
            let _count_guard = count_guard;
            serving.await;
        };
        let _ = sender.send(Box::pin(counted));
    }
}

impl Drop for ConnectionCountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    fn start(index: usize, stop: CancellationToken) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("sqlhttp-http-{index}")).stack_size(STACK_BYTES);
        thread.spawn(move || {
            // The connections run in a spawned task and not in `block_on`: each wake-up of the future that `block_on`
            // runs is a system call, even from the same thread. The task is unconstrained, because tokio's cooperative
            // budget is for a single task and all connections would share it. Each connection does little work per
            // poll.
            let served = runtime.spawn(tokio::task::unconstrained(serve_all(receiver)));
            runtime.block_on(stop.cancelled());
            served.abort();
        })?;
        Ok(Worker { sender, connections: Arc::default() })
    }
}

/// Serves all connections from the queue. Ends when all senders have been dropped and all connections are closed.
async fn serve_all(mut arriving: mpsc::UnboundedReceiver<ConnectionFuture>) {
    let mut serving = FuturesUnordered::new();
    loop {
        tokio::select! {
            arrived = arriving.recv() => match arrived {
                // A panic in one connection must not end the other connections of this thread.
                Some(connection) => serving.push(AssertUnwindSafe(connection).catch_unwind()),
                None => break,
            },
            Some(ended) = serving.next(), if !serving.is_empty() => {
                if ended.is_err() {
                    tracing::error!("serving a connection has panicked");
                }
            }
        }
    }
    while serving.next().await.is_some() {}
}
