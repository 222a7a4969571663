//! What came of a batch.

use std::sync::Arc;
use std::time::Duration;

use super::{Block, Columns, Failure, Rows};

/// What came of a batch, whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What came of each step, in order. After an aborted batch: up to and including the step that failed.
    pub steps: Vec<StepOutcome>,
    /// What is known of each step besides, in the same order. A database tells it for every step.
    pub facts: Vec<StepFacts>,
    /// How the batch ended.
    pub ending: Ending,
    /// The index of the log's entry that carried it; 0 if none did.
    pub log_index: u64,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Ending {
    /// Its effects are durable.
    #[default]
    Done,
    /// A step failed, and nothing of the batch remains. The index of that step, whose outcome is the last one.
    Aborted(usize),
    /// All steps ran, but the whole could not be committed (a deferred constraint, a full disk), and nothing remains.
    NotCommitted(Failure),
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// Its rows.
    Rows(Rows),
    /// What it changed.
    Changed(Changed),
    /// What each run of [`super::Action::RunEach`] changed.
    ChangedEach(Vec<Changed>),
    /// It failed, and nothing of it remains.
    Failed(Failure),
}

/// What is known of a step besides its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepFacts {
    /// SQLite could prepare its statements, and none of them writes.
    pub reads: bool,
    /// The statement whose rows are the outcome writes (RETURNING).
    pub returning: bool,
    /// How long it ran; zero unless the batch asked for it ([`super::Batch::timed`]).
    pub elapsed: Duration,
}

/// What a statement changed: itself, not its triggers and foreign-key actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// How many rows; 0 for anything but INSERT, REPLACE, UPDATE and DELETE.
    pub rows: u64,
    /// The rowid of the last row that an INSERT or REPLACE inserted.
    pub last_insert_id: Option<i64>,
}

/// A piece of an outcome that is told while it happens, so that it need not be held in memory.
///
/// For each step, in order: either one `Step`, or `Columns`, any number of `Rows`, and then `Step` with
/// [`StepOutcome::Rows`] that holds the last rows (or [`StepOutcome::Failed`] if the statement failed midway).
/// Then one `End`. When the other side stops for another reason, the parts stop without `End`.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A step began to yield rows.
    Columns(Arc<Columns>),
    /// Rows of that step.
    Rows(Block),
    /// The step ended.
    Step(StepOutcome, StepFacts),
    /// The batch ended.
    End(Ending),
}
