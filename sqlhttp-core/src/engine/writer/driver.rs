//! Runs one batch inside a transaction. Shared by the two kinds of groups: batches that callers send ([`super::group`])
//! and entries of the Raft log ([`crate::engine::replicated`]). A group is the batches that share one transaction.
//!
//! Both kinds begin a transaction, run each batch in a savepoint, and commit. Everything else differs, so each kind has
//! a loop of its own:
//!
//! | | batches of callers | entries of the Raft log |
//! |---|---|---|
//! | BEGIN fails | every caller receives the error | roll back, wait, retry |
//! | limits of a batch | deadline, cancellation; 100 ms in a group | VM steps; also a time if there is no other node |
//! | a batch must not share the transaction | the batch runs after the group | the group ends before the batch |
//! | a batch ends the transaction | (1) | (2) |
//! | a statement meets a failure of this node | the error is its result | roll back, wait, retry; or stop |
//! | the group ends | after `group_time_max` | after 20 ms or 8 MiB of rows |
//! | COMMIT | the data | the data and the record of progress |
//! | COMMIT fails | (3) | roll back, wait, retry |
//! | results | one reply for each batch | one list for all entries, or a call of `on_applied` for each outcome |
//! | one transaction per step | a failed COMMIT fails its step only | progress is recorded after each step |
//!
//! 1. The batches before that batch run again in a group. Then that batch runs in a transaction of its own.
//! 2. All batches of the group run again. The statement that ended the transaction does not run; its error is its
//!    result.
//! 3. After an I/O error, or if another process holds the lock of the database, every caller receives the error. After
//!    any other error each batch runs again in a transaction of its own.

use super::thread::Writer;
use crate::engine::error::engine_error;
use crate::engine::run::{Mode, RunError, SettingsEffect, run_batch};
use crate::engine::session::Savepoint;
#[cfg(feature = "fault-injection")]
use crate::engine::simulation::{self, Mutation};
use crate::engine::sinks::BufferedSink;
use crate::engine::sqlite::probe;
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Atomicity, Batch, Changed, Ending, Error, Failure, Outcome, StepInfo, StepOutcome};

/// The result of one batch of a group (a member of the group).
pub(in crate::engine) enum MemberResult {
    /// The batch has an outcome, which is valid once the transaction of the group has committed.
    Outcome(Outcome),
    /// The batch has no outcome, and none of its effects remain. The other batches of the group are not affected.
    GivenUp(Error),
    /// The transaction has ended or must be rolled back, so the effects of all batches of the group are lost.
    Lost {
        /// The error for the caller of this batch; `None` if the batch may run again.
        error: Option<Error>,
        /// The index of the step whose statement ended the transaction, and the failure of that step; `None` if no
        /// statement ended it.
        failed: Option<(usize, Failure)>,
    },
}

impl MemberResult {
    fn lost(error: Option<Error>) -> Self {
        MemberResult::Lost { error, failed: None }
    }
}

/// Whether a batch shares its transaction with other batches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Isolation {
    /// The batch has a transaction of its own.
    Exclusive,
    /// The batch is a member of a group: other batches share its transaction.
    Grouped,
}

impl Writer<'_> {
    /// Runs a batch in a savepoint of the open transaction. If the batch succeeds, the savepoint is released; otherwise
    /// the transaction is rolled back to the savepoint.
    pub(in crate::engine) fn run_in_savepoint(
        &mut self,
        limits: Limits,
        batch: &Batch,
        isolation: Isolation,
        mode: Mode<'_>,
        mut sink: BufferedSink,
    ) -> MemberResult {
        if let Err(error) = self.session.savepoint(Savepoint::Member) {
            return MemberResult::lost(Some(engine_error("open savepoint", error)));
        }
        self.session.begin_run(limits);
        let result = run_batch(&mut self.session, batch, mode, &mut sink);
        self.session.end_run();
        if isolation == Isolation::Grouped && self.session.is_dirty() {
            // The batch has changed the state of the connection. Classification did not detect that, because the
            // statement depends on an earlier one of the batch. Other members must not see the changed state.
            return MemberResult::lost(None);
        }
        self.end_member(result, sink)
    }

    /// Releases the savepoint of a batch that has run, or rolls back to it, and returns the result of the batch.
    fn end_member(&mut self, result: Result<Ending, RunError>, sink: BufferedSink) -> MemberResult {
        let lost = self.session.is_autocommit();
        let (keep, member) = match result {
            Err(RunError::Interrupted(StopReason::GroupTime)) => return MemberResult::lost(None),
            Err(RunError::Interrupted(reason)) if lost => return MemberResult::lost(Some(stop_error(reason))),
            Err(RunError::TransactionLost) => return MemberResult::Lost { error: None, failed: sink.last_failure() },
            Err(RunError::Interrupted(reason)) => (false, MemberResult::GivenUp(stop_error(reason))),
            Err(RunError::SinkClosed | RunError::TooManyBytes { .. }) => (false, MemberResult::GivenUp(Error::Closed)),
            Ok(ending @ Ending::Done) if !lost => match self.session.deferred_violation() {
                None => (true, MemberResult::Outcome(sink.into_outcome(ending))),
                Some(failure) => (false, MemberResult::Outcome(sink.into_outcome(Ending::NotCommitted(failure)))),
            },
            Ok(ending) => (false, MemberResult::Outcome(sink.into_outcome(ending))),
        };
        if lost {
            return member;
        }
        #[cfg(feature = "fault-injection")]
        let keep = keep || simulation::is_mutated(Mutation::KeepFailedBatch);
        let ended = if keep { self.session.release(Savepoint::Member) } else { self.session.undo(Savepoint::Member) };
        match ended {
            Ok(()) => member,
            Err(error) => MemberResult::lost(Some(engine_error("end savepoint", error))),
        }
    }

    /// Runs a batch of one step whose statement can only run outside a transaction, for example VACUUM.
    pub(in crate::engine) fn run_outside_transaction(&mut self, limits: &Limits, batch: &Batch) -> StepResult {
        let mode = Mode { savepoints: false, grouped: false, ..self.mode() };
        let mut sink = self.sink(batch);
        self.session.begin_run(limits.clone());
        self.session.set_outside_transaction(true);
        let result = run_batch(&mut self.session, batch, mode, &mut sink);
        self.session.set_outside_transaction(false);
        self.session.end_run();
        // VACUUM may have changed rowids, and statements after it in the same text are committed.
        self.session.publish_everything();
        match result {
            Ok(ending) => single_step(sink.into_outcome(ending)),
            Err(_) => failed(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None))),
        }
    }

    /// The mode in which batches that callers send are run.
    pub(in crate::engine) fn mode(&self) -> Mode<'static> {
        let options = &self.shared.config.options;
        let (block_bytes, rows_max) = (options.block_bytes, options.rows_max);
        Mode {
            savepoints: true,
            grouped: false,
            block_bytes,
            rows_max,
            known_failures: &[],
            first_step: 0,
            settings: SettingsEffect::Allowed,
        }
    }

    /// Creates a sink that collects the results of a batch in memory, up to `held_bytes_max` of the options.
    pub(in crate::engine) fn sink(&self, batch: &Batch) -> BufferedSink {
        let limit = self.shared.config.options.held_bytes_max;
        BufferedSink::new(batch.steps.len(), limit, RunError::TooManyBytes { limit })
    }
}

/// The outcome of one step, and further information about the step.
pub(in crate::engine) type StepResult = (StepOutcome, StepInfo);

/// The result of a step that failed before or after its statements ran.
pub(in crate::engine) fn failed(failure: Failure) -> StepResult {
    (StepOutcome::Failed(failure), StepInfo::default())
}

/// Converts the outcome of a batch with one step to the result of that step.
pub(in crate::engine) fn single_step(mut outcome: Outcome) -> StepResult {
    let info = outcome.info.pop().unwrap_or_default();
    let step = match (outcome.ending, outcome.steps.pop()) {
        (Ending::NotCommitted(failure), _) => StepOutcome::Failed(failure),
        (_, Some(step)) => step,
        (_, None) => StepOutcome::Changed(Changed::default()),
    };
    (step, info)
}

/// Returns one step of a batch as a batch of its own.
pub(in crate::engine) fn one_step(batch: &Batch, step: usize) -> Batch {
    let steps = batch.steps.get(step).cloned().into_iter().collect();
    Batch { steps, atomicity: Atomicity::Each, stamp: batch.stamp, timed: batch.timed, settings: batch.settings }
}
