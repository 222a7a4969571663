//! The time of the last backup of a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::Utc;

/// The time of the last backup of a database since the process started. All clones share one value.
#[derive(Debug, Clone, Default)]
pub struct LastBackup(Arc<AtomicI64>);

impl LastBackup {
    /// Records that a backup has succeeded now.
    pub(crate) fn record(&self) {
        self.0.store(Utc::now().timestamp(), Ordering::Relaxed);
    }

    /// Returns the time of the last backup, in seconds since the Unix epoch; `None` if no backup has succeeded since
    /// the process started.
    pub(crate) fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }
}
