//! The options and the result of an integrity check of an open database.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The options of an integrity check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    /// The rate limit in pages per second; `None` for no limit. Most pages are read several times: once in their
    /// b-tree, once for their rows, and those of indexes once more for each row if they do not fit the cache.
    pub pages_per_second: Option<NonZeroU32>,
}

impl Default for CheckOptions {
    /// 4,000 pages per second: 16 MB with the usual page size, some per cent of what a disk can do.
    fn default() -> Self {
        CheckOptions { pages_per_second: NonZeroU32::new(4000) }
    }
}

/// The result of an integrity check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrityReport {
    /// When it ended, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// How long it took.
    pub took: Duration,
    /// The number of pages read from the file or the write-ahead log.
    pub pages_read: u64,
    /// The damages, in SQLite's words; at most 20. Empty if the database is sound.
    pub damages: Vec<String>,
}

impl IntegrityReport {
    /// Returns whether no damage was found.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// The last report, and whether a check is running.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    last: Mutex<Option<Arc<IntegrityReport>>>,
    pub(super) running: AtomicBool,
}

impl Checks {
    /// The report of the last check that ended.
    pub(crate) fn last(&self) -> Option<Arc<IntegrityReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn store(&self, report: &IntegrityReport) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(report.clone()));
    }
}
