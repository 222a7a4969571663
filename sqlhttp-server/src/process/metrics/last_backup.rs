//! The time of a database's last backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::Utc;

/// The time of the last backup of a database since the process started. Clones share one value.
#[derive(Debug, Clone, Default)]
pub struct LastBackup(Arc<AtomicI64>);

impl LastBackup {
    /// Records a backup that has just succeeded.
    pub(crate) fn record(&self) {
        self.0.store(Utc::now().timestamp(), Ordering::Relaxed);
    }

    /// The time of the last backup, in seconds since the Unix epoch; `None` if there was none.
    pub(crate) fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }
}
