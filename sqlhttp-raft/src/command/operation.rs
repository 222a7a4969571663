//! The operations that a Raft log entry can contain.

use std::sync::Arc;

use sqlhttp_core::Batch;

/// An operation of a Raft log entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Runs a batch on the database.
    Batch {
        batch: Arc<Batch>,
        /// Whether the batch runs in a transaction of its own, which it shares with no other batch.
        exclusive: bool,
        /// The maximum number of SQLite virtual machine steps that the batch may execute; 0 for no maximum.
        steps_max: u64,
    },
    /// Changes nothing. The caller receives its outcome when every earlier entry of the Raft log has been applied.
    Barrier,
    /// Replaces all content of the database with that of a database file. The value is the bytes of the file.
    Replace(Arc<[u8]>),
}
