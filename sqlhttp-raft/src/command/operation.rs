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
    ///
    /// Written by older versions. Newer ones write the operations of a load.
    Replace(Arc<[u8]>),
    /// Begins a load: the following operations bring a database file of this length. The index of the entry identifies
    /// the load. An earlier load that is open ends without an effect.
    LoadBegin { bytes: u64 },
    /// A part of the file of the load that the entry at `load` began. It has no effect unless the load is open and the
    /// part follows the last one.
    LoadChunk { load: u64, offset: u64, bytes: Arc<[u8]> },
    /// Replaces all content of the database with that of the file, and ends the load. It only ends the load if the file
    /// is not complete, or if `checksum` is not its CRC-32. It is the only operation of its entry, because the file
    /// becomes the database.
    LoadCommit { load: u64, checksum: u32 },
    /// Ends a load without an effect.
    LoadAbort { load: u64 },
}
