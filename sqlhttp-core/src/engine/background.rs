//! Starts the engine's threads. Threads that copy or check a whole database have a low priority.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Builder, JoinHandle, Thread};

use crate::model::Error;

/// The nice value of low-priority threads. The range is 0 to 19; 19 is the lowest priority.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// The stack size that a thread needs if it calls a [`Database`](crate::Database) or runs clients' statements, in
/// bytes.
///
/// SQLite recurses once for each view inside a view. Only the schema limits that depth, and a stack overflow ends the
/// process. Unused stack takes address space, but no memory.
pub const STACK_BYTES: usize = 64 << 20;

thread_local! {
    /// Whether this thread is one of the engine.
    static OF_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the calling thread is one that [`spawn`] has started.
pub(crate) fn is_engine_thread() -> bool {
    OF_ENGINE.get()
}

/// Starts a named thread with a stack of [`STACK_BYTES`].
pub(crate) fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let spawned = Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(move || {
        OF_ENGINE.set(true);
        work();
    });
    spawned.map_err(|source| Error::Io { action: "start the thread", path: name.into(), source: Arc::new(source) })
}

/// Starts a thread with a low priority, on systems where threads have priorities. On a busy machine the thread's work
/// takes longer, but it does not slow the writer down.
pub(crate) fn spawn_low_priority(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    spawn(name, move || {
        lower_priority();
        work();
    })
    .map(drop)
}

#[cfg(target_os = "linux")]
fn lower_priority() {
    // On Linux the priority belongs to the thread.
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

/// Polls a future to completion on this thread, which is parked in between. Needs no async runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
