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
    /// The effect of `PRAGMA foreign_keys`.
    pub(crate) settings: SettingsEffect,
}

/// The effect of `PRAGMA foreign_keys` on the statements after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingsEffect {
    /// The pragma takes effect, unless the batch is a transaction of several steps. SQLite ignores it there.
    Allowed,
    /// The pragma has no effect.
    None,
    /// The pragma fails, because SQLite would ignore it: a transaction is open.
    Refused,
}
