//! How a batch runs.

use crate::model::Failure;

/// How a batch runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'k> {
    /// Steps that may fail alone get a savepoint. Not needed where nothing can be written.
    pub(crate) savepoints: bool,
    /// Whether other batches share the transaction, so that losing it is not this batch's own affair.
    pub(crate) grouped: bool,
    /// How many bytes of rows make a block.
    pub(crate) block_bytes: usize,
    /// How many rows a result may have.
    pub(crate) rows_max: Option<u64>,
    /// Steps that are known to fail and to take the whole transaction with them, so that they are not run again.
    pub(crate) known_failures: &'k [(usize, Failure)],
    /// The number of the first step in the batch that this one is a part of.
    pub(crate) first_step: usize,
    /// A `PRAGMA foreign_keys` takes effect for the statements after it.
    pub(crate) settings_take_effect: bool,
}
