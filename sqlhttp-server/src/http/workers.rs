//! The threads that serve connections: one for each processor, each with a runtime of its own.
//!
//! A connection stays on its thread, so that its requests wake no other thread, which is most of what a short request
//! costs besides the network. Nothing on these threads takes long: reads run under a budget, and what overruns it, and
//! all writes, run elsewhere.
//!
//! All connections of a thread are one task. When a group of writes is done, many of them are woken at once from another
//! thread; as tasks of their own each would cost a system call, as one they cost one together.

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

/// A connection from its beginning to its end.
type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads. Dropping this ends them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

struct Worker {
    /// Bounded by who hands over connections: each has taken one of the server's places.
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    connections: Arc<AtomicUsize>,
}

/// A connection's place on one of the threads.
pub(crate) struct WorkerSlot {
    sender: mpsc::UnboundedSender<ConnectionFuture>,
    count_guard: ConnectionCountGuard,
}

/// While this lives, the connection counts.
struct ConnectionCountGuard(Arc<AtomicUsize>);

impl Workers {
    /// Starts a thread for each processor.
    pub(crate) fn start() -> io::Result<Workers> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let workers = (0..count).map(|index| Worker::start(index, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Workers { workers, stop })
    }

    /// A place where the fewest connections are.
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
    /// Serves a connection here. If the threads have ended it is dropped, which closes it.
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
            // As a task, and not as what the thread blocks on: what wakes that is a system call, also from this thread. Each
            // connection does little at a time by itself, so that they need no common budget, which would end too soon.
            let served = runtime.spawn(tokio::task::unconstrained(serve_all(receiver)));
            runtime.block_on(stop.cancelled());
            served.abort();
        })?;
        Ok(Worker { sender, connections: Arc::default() })
    }
}

/// Serves all connections that arrive, until nobody hands over any more.
async fn serve_all(mut arriving: mpsc::UnboundedReceiver<ConnectionFuture>) {
    let mut serving = FuturesUnordered::new();
    loop {
        tokio::select! {
            arrived = arriving.recv() => match arrived {
                // One that panics must not take its neighbours with it.
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
