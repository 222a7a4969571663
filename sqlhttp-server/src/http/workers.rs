//! The worker threads, which serve connections. There is one thread for each processor, and each has a single-threaded
//! runtime.
//!
//! A connection stays on its thread, so its requests wake no other thread. Apart from the network, waking a thread is
//! most of what a short request costs. The work on these threads is short, because the engine limits the reads that run
//! here. A read that exceeds these limits, and every write, runs on another thread.
//!
//! All connections of a thread are one tokio task. The writer thread commits the writes of several connections in one
//! transaction and then wakes all these connections at once. If each connection were a task, each wake-up would cost a
//! system call. For one task, all of them together cost one system call.

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

/// The worker threads. Dropping this value stops them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

struct Worker {
    /// The queue of new connections for this thread. The channel is unbounded, but the queue stays short: each
    /// connection holds one of the server's connection slots, whose number is limited.
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    /// The number of connections of this thread.
    connections: Arc<AtomicUsize>,
}

/// A reserved place for one connection on a worker thread. The thread's number of connections already includes it.
pub(crate) struct WorkerSlot {
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    count_guard: ConnectionCountGuard,
}

/// Drop guard: dropping it decrements the number of connections of a worker thread.
struct ConnectionCountGuard(Arc<AtomicUsize>);

impl Workers {
    /// Starts one worker thread for each processor.
    pub(crate) fn start() -> io::Result<Workers> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let workers = (0..count).map(|index| Worker::start(index, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Workers { workers, stop })
    }

    /// Reserves a place on the worker thread with the fewest connections. `None` if there are no threads.
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
    /// Serves a connection on the worker thread of this slot. If that thread has ended, the future is dropped, which
    /// closes the connection.
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
            // The connections run in a spawned task and not in `block_on`, because each wake-up of the future of
            // `block_on` is a system call, even if the same thread calls the waker. The task is unconstrained: tokio's
            // cooperative budget is per task, so all connections would share one budget. Each connection does little
            // work per poll.
            let served = runtime.spawn(tokio::task::unconstrained(serve_all(receiver)));
            runtime.block_on(stop.cancelled());
            served.abort();
        })?;
        Ok(Worker { sender, connections: Arc::default() })
    }
}

/// Serves all connections that arrive in the queue. Returns when all senders have been dropped and all connections are
/// closed.
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
