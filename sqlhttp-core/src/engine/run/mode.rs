//! How a batch runs.

use crate::model::Failure;

/// How a batch runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'k> {
    /// Steps that may fail without the batch get a savepoint. Not needed on read-only connections.
    pub(crate) savepoints: bool,
    /// Other batches share the transaction, so if a statement ends it, the batch must be stopped.
    pub(crate) grouped: bool,
    /// The size of a block of rows, in bytes.
    pub(crate) block_bytes: usize,
    /// The largest number of rows in a result.
    pub(crate) rows_max: Option<u64>,
    /// Steps that are known to fail and to end the whole transaction. They are replaced by their failures.
    pub(crate) known_failures: &'k [(usize, Failure)],
    /// The number of the first step, if this batch is a part of a larger one.
    pub(crate) first_step: usize,
    /// `PRAGMA foreign_keys` takes effect for the statements after it.
    pub(crate) settings_take_effect: bool,
}
