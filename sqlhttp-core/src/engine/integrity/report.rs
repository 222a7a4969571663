//! The options and the result of an integrity check of an open database.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The options of an integrity check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The maximum number of pages that the check reads per second; `None` for no limit. Most pages are read several
    /// times: once in their b-tree and once for their rows. Pages of indexes that do not fit into the cache are also
    /// read for each row.
    pub pages_per_second: Option<NonZeroU32>,
}

impl CheckOptions {
    /// Creates options with this maximum number of pages per second; `None` for no limit.
    pub const fn with_rate(pages_per_second: Option<NonZeroU32>) -> CheckOptions {
        CheckOptions { pages_per_second }
    }
}

impl Default for CheckOptions {
    /// 4,000 pages per second: 16 MB per second with the usual page size, some per cent of what a disk can do.
    fn default() -> Self {
        CheckOptions { pages_per_second: NonZeroU32::new(4000) }
    }
}

/// The report of an integrity check of an open database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntegrityReport {
    /// When the check ended, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// How long the check took.
    pub took: Duration,
    /// The number of pages that the check has read from the database file or the write-ahead log.
    pub pages_read: u64,
    /// The damages, in the words of SQLite's messages; at most 20. Empty if no damage was found.
    pub damages: Vec<String>,
}

impl IntegrityReport {
    /// Returns whether the check found no damage.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// The last report of an integrity check of a database, and whether a check is running.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    last: Mutex<Option<Arc<IntegrityReport>>>,
    pub(super) running: AtomicBool,
}

impl Checks {
    /// Returns the report of the last check that has ended; `None` if none has.
    pub(crate) fn last(&self) -> Option<Arc<IntegrityReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn store(&self, report: &IntegrityReport) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(report.clone()));
    }
}
