//! The destination of the results of a batch.

use std::sync::Arc;

use crate::engine::watch::StopReason;
use crate::model::{Block, Columns, StepInfo, StepOutcome};

/// The destination of the results of a batch.
pub(crate) trait Sink {
    /// Receives a block of rows of the current step, before the step has ended.
    fn rows(&mut self, columns: &Arc<Columns>, block: Block) -> Result<(), RunError>;
    /// Receives the outcome of a step that has ended. The outcome includes the last rows of the step, those not passed
    /// to [`Sink::rows`].
    fn step(&mut self, outcome: StepOutcome, info: StepInfo) -> Result<(), RunError>;
}

/// Why a batch was stopped without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunError {
    /// The batch was interrupted, for this reason.
    Interrupted(StopReason),
    /// A statement of the batch ended the transaction, which other batches share.
    TransactionLost,
    /// The receiver of the results was dropped, or did not take a part within the stall timeout.
    SinkClosed,
    /// The rows of the batch take more bytes than may be held in memory.
    TooManyBytes {
        /// The maximum number of bytes of rows.
        limit: u64,
    },
}
