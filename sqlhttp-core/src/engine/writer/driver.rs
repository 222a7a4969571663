//! Runs one batch inside a transaction. Shared by the two kinds of groups: batches that callers send ([`super::group`])
//! and entries of a log ([`crate::engine::replicated`]).
//!
//! Both kinds begin a transaction, run batches in it, each in a savepoint, and commit. At every point between, they
//! behave differently, so each has a loop of its own:
//!
//! | | batches of callers | entries of a log |
//! |---|---|---|
//! | BEGIN fails | every caller receives the error | roll back, wait, retry |
//! | limits of a batch | deadline, cancellation; 100 ms in a group | steps; a time too without other voters |
//! | a batch must not share the transaction | it runs after the group | the group ends before it |
//! | a batch ends the transaction | (1) | (2) |
//! | a statement meets a failure of this node | the error is its result | roll back, wait, retry; or stop |
//! | the group ends | after `group_time_max` | after 20 ms or 8 MiB of rows |
//! | COMMIT | the data | the data and the record of progress |
//! | COMMIT fails | (3) | roll back, wait, retry |
//! | results | one reply for each batch | one list for all entries, or `on_applied` for each outcome |
//! | steps with a transaction each | a failed COMMIT fails its step only | progress is recorded after each step |
//!
//! 1. The batches before it run again, then it runs by itself.
//! 2. All run again, with the statement that ended the transaction replaced by its error.
//! 3. After an I/O error or a lock every caller receives the error; otherwise each batch runs by itself.

use super::thread::Writer;
use crate::engine::error::engine_error;
use crate::engine::run::{Mode, RunError, run_batch};
use crate::engine::session::Savepoint;
use crate::engine::sinks::BufferedSink;
use crate::engine::sqlite::probe;
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Atomicity, Batch, Changed, Ending, Error, Failure, Outcome, StepInfo, StepOutcome};

/// The result of a member.
pub(in crate::engine) enum MemberResult {
    /// Its outcome, which is valid once the group has committed.
    Outcome(Outcome),
    /// It has no outcome, and none of its effects remain.
    GivenUp(Error),
    /// The transaction has ended or must be rolled back, with the effects of all members.
    Lost {
        /// The member's error, if it must not run again.
        error: Option<Error>,
        /// The step that ended the transaction and its failure, if a statement did.
        failed: Option<(usize, Failure)>,
    },
}

impl MemberResult {
    fn lost(error: Option<Error>) -> Self {
        MemberResult::Lost { error, failed: None }
    }
}

/// Whether a member shares its transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Isolation {
    /// It has a transaction of its own.
    Exclusive,
    /// Other members share its transaction.
    Grouped,
}

impl Writer<'_> {
    /// Runs a batch in a savepoint of the open transaction. Releases the savepoint if the batch succeeds, and rolls
    /// back to it if not.
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
            // Classification cannot detect this: the statement depends on an earlier one. Other members must not see
            // its effect on the connection.
            return MemberResult::lost(None);
        }
        self.end_member(result, sink)
    }

    /// Ends the savepoint of a batch that has run.
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
        let ended = if keep { self.session.release(Savepoint::Member) } else { self.session.undo(Savepoint::Member) };
        match ended {
            Ok(()) => member,
            Err(error) => MemberResult::lost(Some(engine_error("end savepoint", error))),
        }
    }

    /// Runs a statement that can only run outside a transaction.
    pub(in crate::engine) fn run_outside_transaction(&mut self, limits: &Limits, batch: &Batch) -> StepResult {
        let mode = Mode { savepoints: false, grouped: false, ..self.mode() };
        let mut sink = self.sink(batch);
        self.session.begin_run(limits.clone());
        self.session.set_outside_transaction(true);
        let result = run_batch(&mut self.session, batch, mode, &mut sink);
        self.session.set_outside_transaction(false);
        self.session.end_run();
        match result {
            Ok(ending) => single_step(sink.into_outcome(ending)),
            Err(_) => failed(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None))),
        }
    }

    /// How batches of callers run.
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
            settings_take_effect: false,
        }
    }

    /// A sink for the results of a batch, with the limit of the options.
    pub(in crate::engine) fn sink(&self, batch: &Batch) -> BufferedSink {
        let limit = self.shared.config.options.held_bytes_max;
        BufferedSink::new(batch.steps.len(), limit, RunError::TooManyBytes { limit })
    }
}

/// The outcome of one step, and the properties of its statements.
pub(in crate::engine) type StepResult = (StepOutcome, StepInfo);

/// The result of a step that failed before or after its statements ran.
pub(in crate::engine) fn failed(failure: Failure) -> StepResult {
    (StepOutcome::Failed(failure), StepInfo::default())
}

/// The result of the only step of a batch.
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
