//! The parts that the two kinds of groups share: batches that their callers send ([`super::group`]) and entries of a log
//! ([`crate::engine::replicated`]).
//!
//! Both begin a transaction, run batches in it, each in a savepoint, and commit. Each decides differently at every point
//! between those, so each has a loop of its own:
//!
//! | | group of callers' batches | entries of a log |
//! |---|---|---|
//! | BEGIN fails | every caller receives the error | rolls back, waits, retries |
//! | limits of a batch | its caller's deadline and cancellation; 100 ms if others share the transaction | steps of the virtual machine; on a node without other voters also a time |
//! | a batch must not share the transaction | it runs after the group | the group ends before it |
//! | a batch ends the transaction | the batches before it run again, then it by itself | all run again with that statement replaced by its error |
//! | a statement fails because of this node (disk, memory) | its error is its result | rolls back, waits, retries, or stops the database |
//! | the group ends | after `group_time_max` | after 20 ms or 8 MiB of rows |
//! | COMMIT | alone | together with the record of progress |
//! | COMMIT fails | I/O error or lock: every caller receives it; otherwise each batch runs by itself | rolls back, waits, retries |
//! | results | one reply for each batch, after COMMIT | one list for all entries; `on_applied` for each outcome |
//! | a batch whose steps are transactions of their own | after a failed COMMIT the next step runs | progress is recorded after each step |

use super::thread::Writer;
use crate::engine::error::engine_error;
use crate::engine::run::{Mode, RunError, run_batch};
use crate::engine::session::Savepoint;
use crate::engine::sinks::BufferedSink;
use crate::engine::sqlite::probe;
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Atomicity, Batch, Changed, Ending, Error, Failure, Outcome, StepFacts, StepOutcome};

/// What came of a member.
pub(in crate::engine) enum MemberResult {
    /// An outcome; it counts once the group has committed.
    Outcome(Outcome),
    /// Given up; nothing of it remains.
    GivenUp(Error),
    /// The transaction is gone.
    Lost {
        /// The error, if it is the member's own and final.
        error: Option<Error>,
        /// The step that ended the transaction, and how it failed, if one did.
        failed: Option<(usize, Failure)>,
    },
}

impl MemberResult {
    fn lost(error: Option<Error>) -> Self {
        MemberResult::Lost { error, failed: None }
    }
}

/// Whether a member has the transaction for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Isolation {
    Exclusive,
    Grouped,
}

impl Writer<'_> {
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
            // Nobody could tell before (a statement that depended on an earlier one): neighbours must not see it.
            return MemberResult::lost(None);
        }
        self.end_member(result, sink)
    }

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

    /// A statement that cannot run inside a transaction.
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

    pub(in crate::engine) fn sink(&self, batch: &Batch) -> BufferedSink {
        let limit = self.shared.config.options.held_bytes_max;
        BufferedSink::new(batch.steps.len(), limit, RunError::TooManyBytes { limit })
    }
}

/// What came of one step, and what is known of it.
pub(in crate::engine) type StepResult = (StepOutcome, StepFacts);

pub(in crate::engine) fn failed(failure: Failure) -> StepResult {
    (StepOutcome::Failed(failure), StepFacts::default())
}

pub(in crate::engine) fn single_step(mut outcome: Outcome) -> StepResult {
    let facts = outcome.facts.pop().unwrap_or_default();
    let step = match (outcome.ending, outcome.steps.pop()) {
        (Ending::NotCommitted(failure), _) => StepOutcome::Failed(failure),
        (_, Some(step)) => step,
        (_, None) => StepOutcome::Changed(Changed::default()),
    };
    (step, facts)
}

/// One step of a batch as a batch of its own.
pub(in crate::engine) fn one_step(batch: &Batch, step: usize) -> Batch {
    let steps = batch.steps.get(step).cloned().into_iter().collect();
    Batch { steps, atomicity: Atomicity::Each, stamp: batch.stamp, timed: batch.timed, settings: batch.settings }
}
