//! The operations that an entry can contain.

use std::sync::Arc;

use sqlhttp_core::Batch;

/// An operation of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Runs a batch.
    Batch {
        batch: Arc<Batch>,
        /// Whether the batch runs in a transaction of its own.
        exclusive: bool,
        /// The maximum number of SQLite virtual machine steps; 0 for no limit.
        steps_max: u64,
    },
    /// Changes nothing. Its callers wait until everything before it in the log has been applied.
    Barrier,
    /// Replaces all content by that of this database file.
    Replace(Arc<[u8]>),
}
