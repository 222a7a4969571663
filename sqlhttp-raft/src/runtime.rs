//! The threads on which a node runs its tasks. Replication has a thread with a Tokio runtime of its own, so that no
//! request and no snapshot can delay a heartbeat.
//!
//! A simulated node (feature `sim`) has no threads: its tasks and its blocking work run on the thread of the
//! simulation.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinError;

/// The runtime that openraft uses.
#[cfg(not(feature = "sim"))]
pub(crate) type RaftRuntime = openraft_rt_tokio::TokioRuntime;
#[cfg(feature = "sim")]
pub(crate) use crate::sim::RaftRuntime;

/// Channels that contain the last value sent.
#[cfg(feature = "sim")]
pub(crate) use crate::sim::watch;
#[cfg(not(feature = "sim"))]
pub(crate) use tokio::sync::watch;

/// A thread with a Tokio runtime. The thread ends when this value is dropped or [`Runtime::stop`] is called.
pub(crate) struct Runtime {
    handle: Handle,
    stop: watch::Sender<bool>,
}

impl Runtime {
    /// Starts a thread with this name.
    pub(crate) fn start(name: &str) -> io::Result<Runtime> {
        let (stop, mut stopped) = watch::channel(false);
        #[cfg(feature = "sim")]
        if crate::sim::machine().is_some() {
            return Ok(Runtime { handle: Handle::current(), stop });
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        // The wait also ends when the sender is dropped.
        thread.spawn(move || runtime.block_on(async move { drop(stopped.wait_for(|stop| *stop).await) }))?;
        Ok(Runtime { handle, stop })
    }

    /// Runs a future on the thread, and waits for its output.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.handle.spawn(future).await.map_err(io::Error::other)
    }

    /// Starts a task on the thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Runs work that blocks on a thread for such work, and waits for its result.
///
/// # Errors
/// The work panicked, or the runtime is being shut down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(feature = "sim")]
    if crate::sim::machine().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Waits for a future of the database, whose threads do the work.
///
/// In a simulation, the calling thread is blocked meanwhile, so that the tasks of the node never run at the same time
/// as a thread of the database.
pub(crate) async fn engine<F: Future>(future: F) -> F::Output {
    #[cfg(feature = "sim")]
    if crate::sim::machine().is_some() {
        return crate::sim::block_on(future);
    }
    future.await
}
