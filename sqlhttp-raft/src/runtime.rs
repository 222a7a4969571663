//! The threads on which a node runs its tasks. Replication has a thread with a Tokio runtime of its own, so that no
//! request and no snapshot can delay a heartbeat.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// A thread with a Tokio runtime. The thread ends when this value is dropped or [`Runtime::stop`] is called.
pub(crate) struct Runtime {
    handle: Handle,
    stop: watch::Sender<bool>,
}

impl Runtime {
    /// Starts a thread with this name.
    pub(crate) fn start(name: &str) -> io::Result<Runtime> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(false);
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
