//! One step of a batch: a text, and the values for it.

use std::time::Duration;

use super::mode::Mode;
use super::sink::{RunError, Sink};
use crate::engine::dump::VirtualTable;
use crate::engine::session::Session;
use crate::model::{Action, Bindings, Changed, Expect, Failure, Rows, Step, StepInfo, StepOutcome};

/// A step that runs.
pub(super) struct Run<'s, S: Sink> {
    pub(super) session: &'s mut Session,
    pub(super) mode: Mode<'s>,
    pub(super) sink: &'s mut S,
    pub(super) summary: StepSummary,
    /// The number of blocks that the sink has taken.
    pub(super) blocks_sent: u64,
    /// Virtual tables of a dump, whose shadow tables the text fills.
    pub(super) restored_tables: Vec<VirtualTable>,
}

/// The combined properties of the statements of a step.
#[derive(Default)]
pub(super) struct StepSummary {
    /// A statement has been prepared.
    pub(super) has_statements: bool,
    /// The only statement of the text has failed while it ran.
    pub(super) only_one_failed: bool,
    pub(super) failed: bool,
    pub(super) writes: bool,
    /// The last statement writes and returns rows (RETURNING).
    pub(super) returning: bool,
}

impl StepSummary {
    pub(super) fn info(&self, elapsed: Duration) -> StepInfo {
        StepInfo { reads: self.has_statements && !self.failed && !self.writes, returning: self.returning, elapsed }
    }
}

/// The values for the statements of a text.
pub(super) struct BindingCursor<'b> {
    pub(super) bindings: &'b Bindings,
    /// The number of values that have been bound.
    pub(super) used: usize,
}

/// The result of the statements of a text.
pub(super) enum StatementResult {
    Rows(Rows),
    Changed(Changed),
}

/// Why a step did not succeed.
pub(super) enum StepError {
    /// It failed, which is its outcome.
    Failed(Failure),
    /// It has no outcome, nor has its batch.
    Aborted(RunError),
}

impl From<RunError> for StepError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::TooManyBytes { limit } => StepError::Failed(Failure::TooManyBytes { limit }),
            error => StepError::Aborted(error),
        }
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        StepError::Failed(failure)
    }
}

impl<S: Sink> Run<'_, S> {
    /// Runs the step.
    pub(super) fn step(&mut self, step: &Step) -> Result<StepOutcome, StepError> {
        match &step.action {
            Action::Fail(failure) => Err(failure.clone().into()),
            Action::Run { sql, bindings } => Ok(match self.run_text(sql, bindings, step.expect)? {
                StatementResult::Rows(rows) => StepOutcome::Rows(rows),
                StatementResult::Changed(changed) => StepOutcome::Changed(changed),
            }),
            Action::RunEach { sql, bindings } => Ok(StepOutcome::ChangedEach(self.run_each(sql, bindings)?)),
        }
    }

    /// Runs the text once for each set of values.
    fn run_each(&mut self, sql: &str, sets: &[Result<Bindings, Failure>]) -> Result<Vec<Changed>, StepError> {
        let mut all = Vec::with_capacity(sets.len());
        for set in sets {
            let bindings = set.as_ref().map_err(Failure::clone)?;
            if let StatementResult::Changed(changed) = self.run_text(sql, bindings, Expect::Count)? {
                all.push(changed);
            }
        }
        Ok(all)
    }
}
