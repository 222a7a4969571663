//! The result of a batch.

use std::sync::Arc;
use std::time::Duration;

use super::{Block, Changed, Columns, Failure, Rows};

/// The complete result of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The result of each step that ran, in order. If the batch was aborted, the last one belongs to the step that
    /// failed.
    pub steps: Vec<StepOutcome>,
    /// Further information about each of those steps, in the same order. A database fills it in for every step.
    pub info: Vec<StepInfo>,
    /// How the batch ended.
    pub ending: Ending,
    /// The index of the log entry that contained the batch; 0 if no log was involved.
    pub log_index: u64,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Ending {
    /// Its effects are durable.
    #[default]
    Done,
    /// A step failed and the whole batch was rolled back. The value is the index of that step, whose result is the last
    /// one.
    Aborted(usize),
    /// All steps ran, but the transaction could not commit (a deferred constraint, a full disk) and was rolled back.
    NotCommitted(Failure),
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// The rows that the step returned.
    Rows(Rows),
    /// The rows that the step changed.
    Changed(Changed),
    /// The rows that each run of a [`super::Action::RunEach`] changed.
    ChangedEach(Vec<Changed>),
    /// The step failed and its changes were rolled back. The exception is a statement with `OR FAIL` or `RAISE(FAIL)`,
    /// which keeps the rows that it changed before the failure (<https://sqlite.org/lang_conflict.html>).
    Failed(Failure),
}

impl StepOutcome {
    /// Inserts blocks that were streamed earlier before the rows of this result. No effect on a result without rows.
    pub fn prepend_blocks(&mut self, mut earlier: Vec<Block>) {
        if let StepOutcome::Rows(rows) = self
            && !earlier.is_empty()
        {
            earlier.append(&mut rows.blocks);
            rows.blocks = earlier;
        }
    }
}

/// Information about a step that is not part of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepInfo {
    /// Whether SQLite could prepare all statements of the step and none of them writes.
    pub reads: bool,
    /// Whether the statement that returned the rows writes, which means that it has a RETURNING clause.
    pub returning: bool,
    /// The time that the step ran; zero unless [`super::Batch::timed`] is set.
    pub elapsed: Duration,
}

/// A part of a streamed result. Parts are sent while the batch runs, so that the result need not fit into memory.
///
/// Each step sends, in order, either one `Step`, or `Columns`, any number of `Rows`, and then `Step`. In the second
/// case `Step` holds [`StepOutcome::Rows`] with the last rows, or [`StepOutcome::Failed`] if the statement failed
/// midway. `End` follows the last step. If the sender stops early for another reason, there is no `End`.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The step has started to return rows with these columns.
    Columns(Arc<Columns>),
    /// Rows of the current step.
    Rows(Block),
    /// The step has ended.
    Step(StepOutcome, StepInfo),
    /// The batch has ended.
    End(Ending),
}
