//! Waiting for a disk that is full, or for file descriptors, instead of giving the log up.
//!
//! Only operations that can be repeated wait here: a write of the same bytes at the same place, the creation of a file, the
//! opening of a directory. A sync that has failed is never repeated, because the system may have dropped the pages that it could not
//! write.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::observer::{Event, Observer};

/// How long to wait before the next attempt.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the waiting is logged.
const WARN_EVERY: Duration = Duration::from_secs(5);

/// Whether the log waits, and whether it still may.
pub(super) struct DiskRetry {
    observer: Arc<dyn Observer>,
    waits_for: Mutex<Option<Arc<str>>>,
    stopped: AtomicBool,
}

impl DiskRetry {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        DiskRetry { observer, waits_for: Mutex::default(), stopped: AtomicBool::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason why the log is not written at the moment, if it waits.
    pub(super) fn waits_for(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    /// Lets no operation wait any more, because the process ends.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Repeats an operation until it succeeds, or fails for a reason that does not pass by itself.
    pub(super) fn run<T>(&self, mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut warned: Option<Instant> = None;
        loop {
            let error = match operation() {
                Err(error) if can_pass(&error) && !self.stopped.load(Ordering::Relaxed) => error,
                result => {
                    if warned.is_some() {
                        *self.lock() = None;
                    }
                    return result;
                }
            };
            if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                self.observer.event(&Event::LogDelayed { error: &error });
                warned = Some(Instant::now());
                *self.lock() = Some(format!("the log waits: {error}").into());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether an error can pass by itself: the disk or a quota is full, or there are too many open files.
fn can_pass(error: &io::Error) -> bool {
    // ENFILE and EMFILE, for which the standard library has no kind.
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        || cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}
