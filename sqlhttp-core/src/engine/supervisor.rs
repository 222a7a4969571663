//! The supervisor: one thread per process that interrupts runs (executions of batches) that have exceeded their limits,
//! and removes queued batches that have timed out.
//!
//! The supervisor is necessary because SQLite can work for minutes without calling the progress handler. It scans every
//! database every [`PERIOD`] while there is work, and sleeps without a timer while there is none.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::background::spawn;

/// The time between two scans of the supervisor.
pub(crate) const PERIOD: Duration = Duration::from_millis(4);
/// The number of scans without work after which the supervisor sleeps.
const IDLE_SCANS: u32 = 5;

/// A database, or another object with limits, that the supervisor scans.
pub(crate) trait Supervised: Send + Sync {
    /// Interrupts work that has exceeded its limits. Returns whether there has been work since the last call.
    fn supervise(&self, now: Instant) -> bool;
}

#[derive(Default)]
struct Supervisor {
    supervised: Vec<Weak<dyn Supervised>>,
    thread: Option<Thread>,
}

static SUPERVISOR: Mutex<Supervisor> = Mutex::new(Supervisor { supervised: Vec::new(), thread: None });
static ASLEEP: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, Supervisor> {
    SUPERVISOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a database to those that the supervisor scans, and starts the supervisor if it is not running. The database is
/// removed when it is dropped.
pub(crate) fn register(supervised: Weak<dyn Supervised>) {
    let mut supervisor = lock();
    supervisor.supervised.push(supervised);
    if supervisor.thread.is_some() {
        return;
    }
    match spawn("sqlhttp-supervisor", run) {
        Ok(handle) => supervisor.thread = Some(handle.thread().clone()),
        Err(error) => tracing::error!(%error, "statements that do not call the progress handler cannot be interrupted"),
    }
}

/// Wakes the supervisor thread if it sleeps. Must be called after new work has become visible to
/// [`Supervised::supervise`].
pub(crate) fn wake() {
    // Pairs with the fence in `sleep`: either this thread sees that the supervisor sleeps, or the supervisor sees the
    // work.
    fence(Ordering::SeqCst);
    if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::SeqCst) {
        let thread = lock().thread.clone();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

fn run() {
    let mut idle_scans = 0;
    loop {
        std::thread::sleep(PERIOD);
        idle_scans = if scan() { 0 } else { idle_scans + 1 };
        if idle_scans >= IDLE_SCANS {
            sleep();
            idle_scans = 0;
        }
    }
}

/// Scans every database. Returns whether any of them has had work since the last scan.
fn scan() -> bool {
    let all: Vec<_> = {
        let mut supervisor = lock();
        supervisor.supervised.retain(|one| one.strong_count() > 0);
        supervisor.supervised.iter().filter_map(Weak::upgrade).collect()
    };
    let now = Instant::now();
    let mut active = false;
    for one in all {
        active |= one.supervise(now);
    }
    active
}

/// Blocks the supervisor thread until there is work.
fn sleep() {
    ASLEEP.store(true, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    if scan() {
        ASLEEP.store(false, Ordering::SeqCst);
        return;
    }
    while ASLEEP.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
