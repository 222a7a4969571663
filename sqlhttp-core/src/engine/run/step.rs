//! Runs one step of a batch: an SQL text with its values.

use std::time::Duration;

use super::mode::Mode;
use super::sink::{RunError, Sink};
use crate::engine::bind::UsedValues;
use crate::engine::dump::VirtualTable;
use crate::engine::session::Session;
use crate::model::{Action, Bindings, Changed, Expect, Failure, Rows, Step, StepInfo, StepOutcome};

/// A step of a batch that is being run.
pub(super) struct Run<'s, S: Sink> {
    pub(super) session: &'s mut Session,
    pub(super) mode: Mode<'s>,
    pub(super) sink: &'s mut S,
    pub(super) summary: StepSummary,
    /// The number of blocks of rows that have been passed to the sink.
    pub(super) blocks_sent: u64,
    /// The virtual tables that the SQL text restores from a dump.
    pub(super) restored_tables: Vec<VirtualTable>,
}

/// The combined properties of all statements of a step.
#[derive(Default)]
pub(super) struct StepSummary {
    /// Whether a statement of the step has been prepared.
    pub(super) has_statements: bool,
    /// Whether the SQL text contains a single statement, which has failed while it ran.
    pub(super) only_one_failed: bool,
    pub(super) failed: bool,
    pub(super) writes: bool,
    /// Whether the last statement writes and returns rows (RETURNING).
    pub(super) returning: bool,
    /// The number of rows that the last statement has returned.
    pub(super) rows: u64,
}

impl StepSummary {
    pub(super) fn info(&self, elapsed: Duration) -> StepInfo {
        StepInfo { reads: self.has_statements && !self.failed && !self.writes, returning: self.returning, elapsed }
    }
}

/// The values for the parameters of all statements of an SQL text.
pub(super) struct BindingCursor<'b> {
    pub(super) bindings: &'b Bindings,
    pub(super) used: UsedValues,
}

/// The result of the statements of an SQL text.
pub(super) enum StatementResult {
    Rows(Rows),
    Changed(Changed),
}

/// Why a step of a batch did not succeed.
pub(super) enum StepError {
    /// The step failed. The failure is its outcome.
    Failed(Failure),
    /// The batch was stopped. Neither the step nor the batch has an outcome.
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
    /// Runs the step, and returns its outcome.
    pub(super) fn step(&mut self, step: &Step) -> Result<StepOutcome, StepError> {
        match &step.action {
            Action::Fail(failure) => Err(failure.clone().into()),
            Action::Run { sql, bindings } => Ok(match self.run_expecting(sql, bindings, step.expect)? {
                StatementResult::Rows(rows) => StepOutcome::Rows(rows),
                StatementResult::Changed(changed) => StepOutcome::Changed(changed),
            }),
            Action::RunEach { .. } if matches!(step.expect, Expect::ExactRows(_)) => {
                Err(Failure::NotAllowed("an expected number of rows for several sets of values".to_owned()).into())
            }
            Action::RunEach { sql, bindings } => {
                let expect = if let Expect::ExactCount(_) = step.expect { step.expect } else { Expect::Count };
                Ok(StepOutcome::ChangedEach(self.run_each(sql, bindings, expect)?))
            }
        }
    }

    /// Runs an SQL text. Fails if it does not change or return as many rows as `expect` says.
    fn run_expecting(&mut self, sql: &str, bindings: &Bindings, expect: Expect) -> Result<StatementResult, StepError> {
        let result = self.run_text(sql, bindings, expect)?;
        let (want, got) = match (expect, &result) {
            (Expect::ExactCount(want), StatementResult::Changed(changed)) => (want, changed.rows),
            (Expect::ExactRows(want), _) => (want, self.summary.rows),
            _ => return Ok(result),
        };
        if want == got { Ok(result) } else { Err(Failure::UnexpectedRows { want, got }.into()) }
    }

    /// Runs an SQL text once for each set of values.
    fn run_each(
        &mut self,
        sql: &str,
        sets: &[Result<Bindings, Failure>],
        expect: Expect,
    ) -> Result<Vec<Changed>, StepError> {
        let mut all = Vec::with_capacity(sets.len());
        for set in sets {
            let bindings = set.as_ref().map_err(Failure::clone)?;
            if let StatementResult::Changed(changed) = self.run_expecting(sql, bindings, expect)? {
                all.push(changed);
            }
        }
        Ok(all)
    }
}
