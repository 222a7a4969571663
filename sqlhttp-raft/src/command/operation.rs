//! What an entry of the log does.

use std::sync::Arc;

use sqlhttp_core::Batch;

/// Something that an entry does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Runs a batch.
    Batch {
        batch: Arc<Batch>,
        /// It does not share its transaction.
        exclusive: bool,
        /// How many steps of SQLite's virtual machine it may take; 0 for no limit.
        steps_max: u64,
    },
    /// Takes a place in the log, and does nothing.
    Barrier,
    /// Replaces all content by this database file.
    Replace(Arc<[u8]>),
}
