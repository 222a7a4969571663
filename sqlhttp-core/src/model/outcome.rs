//! The result of a batch.

use std::sync::Arc;
use std::time::Duration;

use super::{Block, Changed, Columns, Error, Failure, Rows};

/// The complete result of a batch.
///
/// With the feature `serde`, outcomes are sent between nodes that may run different versions. In this type and in all
/// types that it contains, fields are not added, removed or reordered, and enums only get new variants after the last
/// one.
///
/// A failed step is a part of the outcome. [`Outcome::into_result`] turns it into an error.
#[must_use = "a failed statement is a part of the outcome: see `into_result`"]
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Outcome {
    /// The result of each step that ran, in order. If the batch was aborted, the last result is that of the step that
    /// failed.
    pub steps: Vec<StepOutcome>,
    /// Further information about each step in `steps`, in the same order. Every [`super::Backend`] provides it for
    /// every step.
    pub info: Vec<StepInfo>,
    /// How the batch ended.
    pub ending: Ending,
    /// The index of the Raft log entry that contained the batch; 0 if the batch did not go through a Raft log.
    pub log_index: u64,
}

/// How a batch ended. New variants are added after the last one, because the type is serialized (see [`Outcome`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ending {
    /// All steps of the batch have run, and the effects of the batch are durable.
    #[default]
    Done,
    /// A step failed and the whole batch was rolled back. The value is the index of the failed step, whose result is
    /// the last element of [`Outcome::steps`].
    Aborted(usize),
    /// All steps ran, but the transaction could not commit (a deferred constraint, a full disk) and was rolled back.
    NotCommitted(Failure),
}

/// The result of a step. New variants are added after the last one, because the type is serialized (see [`Outcome`]).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StepOutcome {
    /// The rows that the step returned.
    Rows(Rows),
    /// The number of rows that the step changed, and the last rowid that it inserted.
    Changed(Changed),
    /// The changes that each run of a [`super::Action::RunEach`] made, in order.
    ChangedEach(Vec<Changed>),
    /// The step failed and its changes were rolled back. The exception is a statement with `OR FAIL` or `RAISE(FAIL)`,
    /// which keeps the rows that it changed before the failure (<https://sqlite.org/lang_conflict.html>).
    Failed(Failure),
}

impl Outcome {
    /// Returns the results of all steps, or the failure that ended the batch. The result of a step after whose failure
    /// the batch has continued ([`super::OnError::Continue`], [`super::Atomicity::Each`]) is [`StepOutcome::Failed`].
    ///
    /// # Errors
    /// [`Error::Failed`]: a step failed and the batch was rolled back, or the transaction could not commit.
    pub fn into_result(mut self) -> Result<Vec<StepOutcome>, Error> {
        match self.ending {
            Ending::Done => Ok(self.steps),
            Ending::NotCommitted(failure) => Err(Error::Failed { step: None, failure }),
            Ending::Aborted(step) => match self.steps.pop() {
                Some(StepOutcome::Failed(failure)) => Err(Error::Failed { step: Some(step), failure }),
                // The outcome is not that of this engine.
                _ => Err(Error::Unsupported("the outcome of a failed batch contains no failure".to_owned())),
            },
        }
    }

    /// Returns the result of a batch of one step.
    ///
    /// # Errors
    /// [`Error::Failed`]: the step failed, or the transaction could not commit.
    pub fn into_only(self) -> Result<StepOutcome, Error> {
        let failed = |failure| Err(Error::Failed { step: None, failure });
        match self.into_result() {
            Ok(mut steps) => match steps.pop() {
                Some(StepOutcome::Failed(failure)) => failed(failure),
                outcome => Ok(outcome.unwrap_or(StepOutcome::Changed(Changed::default()))),
            },
            Err(Error::Failed { failure, .. }) => failed(failure),
            Err(error) => Err(error),
        }
    }
}

impl StepOutcome {
    /// The changes that the step made, in all its runs. A step that returned rows has also made changes if its
    /// statement has a RETURNING clause.
    pub fn changed(&self) -> Changed {
        match self {
            StepOutcome::Rows(rows) => rows.changed,
            StepOutcome::Changed(changed) => *changed,
            StepOutcome::ChangedEach(each) => Changed {
                rows: each.iter().map(|changed| changed.rows).sum(),
                last_insert_id: each.iter().rev().find_map(|changed| changed.last_insert_id),
            },
            StepOutcome::Failed(_) => Changed::default(),
        }
    }

    /// The rows that the step returned.
    ///
    /// # Errors
    /// [`Error::Failed`]: the step failed. [`RowError::NotRows`](super::RowError::NotRows): it returned no rows.
    pub fn into_rows(self) -> Result<Rows, Error> {
        match self {
            StepOutcome::Rows(rows) => Ok(rows),
            StepOutcome::Failed(failure) => Err(Error::Failed { step: None, failure }),
            StepOutcome::Changed(_) | StepOutcome::ChangedEach(_) => Err(super::RowError::NotRows.into()),
        }
    }

    /// Inserts blocks of rows that were streamed earlier before the rows of this result. Does nothing if the result is
    /// not [`StepOutcome::Rows`].
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StepInfo {
    /// True if SQLite could prepare all statements of the step and none of them writes.
    pub reads: bool,
    /// Whether the statement that returned the rows writes, which means that it has a RETURNING clause.
    pub returning: bool,
    /// How long the step ran; zero unless [`super::Batch::timed`] is set.
    pub elapsed: Duration,
}

/// A part of a streamed result. Parts are sent while the batch runs, so that the result need not fit into memory.
///
/// A step without streamed rows sends only `Step`. A step with streamed rows sends `Columns`, then any number of
/// `Rows`, then `Step`. In that case `Step` holds [`StepOutcome::Rows`] with the last rows, or [`StepOutcome::Failed`]
/// if the statement failed midway. `End` follows the `Step` of the last step. If the batch cannot be completed (for
/// example, because the database is closed), `End` is not sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The step has started to return rows with these columns.
    Columns(Arc<Columns>),
    /// Rows of the step that is running.
    Rows(Block),
    /// The step has ended.
    Step(StepOutcome, StepInfo),
    /// The batch has ended.
    End(Ending),
}
