//! The destination of results.

use std::sync::Arc;

use crate::engine::watch::StopReason;
use crate::model::{Block, Columns, StepInfo, StepOutcome};

/// The destination of the results of a batch.
pub(crate) trait Sink {
    /// Takes rows of the current step before the step has ended.
    fn rows(&mut self, columns: &Arc<Columns>, block: Block) -> Result<(), RunError>;
    /// Takes a step's outcome, which includes its last rows.
    fn step(&mut self, outcome: StepOutcome, info: StepInfo) -> Result<(), RunError>;
}

/// Why a batch was stopped without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunError {
    /// It was interrupted.
    Interrupted(StopReason),
    /// A statement ended the transaction, which other batches share.
    TransactionLost,
    /// The receiver of the results is gone, or too slow.
    SinkClosed,
    /// The rows take more bytes than may be held in memory.
    TooManyBytes {
        /// The limit, in bytes.
        limit: u64,
    },
}
