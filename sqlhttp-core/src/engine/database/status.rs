//! Counters, sizes and positions of a database.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handle::Database;
use crate::engine::integrity::report::IntegrityReport;
use crate::engine::replicated::progress::Progress;

/// Counters, sizes and positions of a database.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// The number of tasks in the write queue: batches, tasks of the owner, entries of a log.
    pub write_queue_len: usize,
    /// The number of reads in the read queue.
    pub read_queue_len: usize,
    /// The number of write batches that have been committed since the database was opened.
    pub batches_written: u64,
    /// The number of write transactions committed since the database was opened. One transaction commits a group of
    /// batches.
    pub groups_committed: u64,
    /// The number of read batches that have finished since the database was opened.
    pub batches_read: u64,
    /// The size of the database file, in bytes.
    pub file_bytes: u64,
    /// The size of the write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Why the database rejects writes; `None` while it accepts them.
    pub poisoned: Option<String>,
    /// The position of the database in the log that it applies; [`Progress::default`] if it applies none.
    pub progress: Progress,
    /// Why the database waits before it retries a log entry (a full disk, a lock of another process); `None` while it
    /// does not wait.
    pub waits_for: Option<String>,
    /// The index of the last log entry whose outcome contains a failure that only this node had: see
    /// [`Progress::decision_index`].
    pub decision_index: u64,
    /// The report of the last [`Database::check_integrity`] that has ended since the database was opened; `None` if
    /// none has.
    pub last_check: Option<Arc<IntegrityReport>>,
}

impl Database {
    /// Returns the current counters, sizes and positions.
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let len = |suffix: &str| {
            let path = shared.config.file().map(|file| {
                let mut path = file.clone().into_os_string();
                path.push(suffix);
                path
            });
            path.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |metadata| metadata.len())
        };
        Status {
            write_queue_len: shared.queue.len(),
            read_queue_len: self.inner.readers.queue_len(),
            batches_written: count(&shared.counters.batches_written),
            groups_committed: count(&shared.counters.groups_committed),
            batches_read: count(&shared.counters.batches_read),
            file_bytes: len(""),
            wal_bytes: len("-wal"),
            poisoned: shared.poisoned().map(|why| why.to_string()),
            progress: shared.progress(),
            waits_for: shared.waits_for().map(|why| why.to_string()),
            decision_index: shared.progress().decision_index,
            last_check: shared.checks.last(),
        }
    }
}
