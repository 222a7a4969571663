//! What a database tells of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handle::Database;
use crate::engine::integrity::report::IntegrityReport;
use crate::engine::replicated::progress::Progress;

/// What a database tells of itself.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Batches that wait for the writer.
    pub write_queue_len: usize,
    /// Reads that wait for a reader.
    pub read_queue_len: usize,
    /// Batches the writer has finished since the start.
    pub batches_written: u64,
    /// Transactions it committed for them.
    pub groups_committed: u64,
    /// Reads finished since the start.
    pub batches_read: u64,
    /// Size of the database file, bytes.
    pub file_bytes: u64,
    /// Size of the write-ahead log, bytes.
    pub wal_bytes: u64,
    /// Why it takes no more writes, if so.
    pub poisoned: Option<String>,
    /// How far it is in the log that it applies; nowhere, if it applies none.
    pub progress: Progress,
    /// Why the log is not applied further for the moment, if so: a full disk, a foreign lock.
    pub waits_for: Option<String>,
    /// The index of the last entry in which a failure of this node alone became a result; 0 if none did. The log must not
    /// be applied again from before that entry.
    pub decision_index: u64,
    /// The result of the last [`Database::check_integrity`] that ended since the start.
    pub last_check: Option<Arc<IntegrityReport>>,
}

impl Database {
    /// What it tells of itself.
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
            decision_index: shared.decision_index(),
            last_check: shared.checks.last(),
        }
    }
}
