//! The thread on which replication runs. It has its own Tokio runtime, so that requests cannot delay replication.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The replication thread. The thread ends when this value is dropped or [`Runtime::stop`] is called.
pub(crate) struct Runtime {
    handle: Handle,
    stop: watch::Sender<bool>,
}

impl Runtime {
    pub(crate) fn start() -> io::Result<Runtime> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("sqlhttp-raft".into());
        // The wait also ends when the sender is dropped.
        thread.spawn(move || runtime.block_on(async move { drop(stopped.wait_for(|stop| *stop).await) }))?;
        Ok(Runtime { handle, stop })
    }

    /// Runs a future on the replication thread, and waits for its output.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.handle.spawn(future).await.map_err(io::Error::other)
    }

    /// Starts a task on the replication thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}
