//! Where results go.

use std::sync::Arc;

use crate::engine::watch::StopReason;
use crate::model::{Block, Columns, StepFacts, StepOutcome};

/// Where results go.
pub(crate) trait Sink {
    /// Takes rows of the current step before the step has ended.
    fn rows(&mut self, columns: &Arc<Columns>, block: Block) -> Result<(), RunError>;
    /// Takes a step's outcome; its last rows are in it.
    fn step(&mut self, outcome: StepOutcome, facts: StepFacts) -> Result<(), RunError>;
}

/// Why a batch was given up without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RunError {
    /// It was interrupted.
    Interrupted(StopReason),
    /// A statement ended the transaction in which this batch and others run.
    TransactionLost,
    /// The other side is gone, or too slow.
    SinkClosed,
    /// The rows take more bytes than may be held.
    TooManyBytes {
        /// The limit, in bytes.
        limit: u64,
    },
}
