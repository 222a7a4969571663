//! The parameters of the run of a batch.

use crate::model::Failure;

/// The parameters of the run of a batch, which the writer and the readers set differently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'k> {
    /// Whether a step gets a savepoint if the batch continues after its failure. Not needed on read-only connections.
    pub(crate) savepoints: bool,
    /// Whether other batches share the transaction. If so, and a statement ends the transaction, the batch must be
    /// stopped.
    pub(crate) grouped: bool,
    /// The size of a block of rows, in bytes.
    pub(crate) block_bytes: usize,
    /// The maximum number of rows in the result of a statement; `None` for no limit. A statement that returns more
    /// fails.
    pub(crate) rows_max: Option<u64>,
    /// The indexes of steps that are known to fail and to end the whole transaction, with their failures. Such a step
    /// is not run; its failure becomes its outcome.
    pub(crate) known_failures: &'k [(usize, Failure)],
    /// The index of the batch's first step in a larger batch of which this one is a part; 0 if it is no part.
    pub(crate) first_step: usize,
    /// Whether `PRAGMA foreign_keys` takes effect for the statements after it. SQLite ignores it in a transaction of
    /// several steps.
    pub(crate) settings_take_effect: bool,
}
