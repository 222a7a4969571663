//! The thread that replication runs on. It has a runtime of its own, so that no request keeps it waiting.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The thread. It ends when this is dropped, or told to.
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
        // It ends when the sender is gone, too.
        thread.spawn(move || runtime.block_on(async move { drop(stopped.wait_for(|stop| *stop).await) }))?;
        Ok(Runtime { handle, stop })
    }

    /// Runs something there, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        self.handle.spawn(work).await.map_err(io::Error::other)
    }

    /// Runs something there, as long as it takes.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}
