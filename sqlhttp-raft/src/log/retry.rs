//! Retries file operations of the log while the disk is full or file descriptors are exhausted.
//!
//! Only repeatable operations are retried: writing the same bytes at the same offset, creating a file, opening a
//! directory. A failed sync is never repeated, because the operating system may have dropped the pages that it could
//! not write.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::observer::{Event, Observer};

/// The time between two attempts of a file operation.
const PAUSE: Duration = Duration::from_millis(100);
/// The minimum time between two reports that the same file operation is still being retried.
const WARN_EVERY: Duration = Duration::from_secs(5);

/// Retries file operations. While an operation is being retried, `waits_for` contains the reason.
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

    /// The reason why the log cannot be written at the moment; `None` if no file operation is being retried.
    pub(super) fn waits_for(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    /// Ends all retries, because the node is being closed. Operations that are being retried return their error.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`DiskRetry::stop`] has been called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Repeats a file operation until it succeeds, fails with an error that is not temporary, or [`DiskRetry::stop`] is
    /// called.
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

/// Returns whether an error may be temporary: the disk or a quota is full, or there are too many open files.
pub(crate) fn can_pass(error: &io::Error) -> bool {
    // 23 and 24 are ENFILE and EMFILE, for which the standard library has no error kind.
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        || cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}
