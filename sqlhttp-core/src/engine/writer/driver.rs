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
use crate::engine::run::{Mode, Stop, run_batch};
use crate::engine::session::Level;
use crate::engine::sinks::Held;
use crate::engine::sqlite::probe;
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Atomicity, Batch, Changed, Ending, Error, Failure, Outcome, StepFacts, StepOutcome};

/// What came of a member.
pub(in crate::engine) enum Member {
    /// An outcome; it counts once the group has committed.
    Outcome(Outcome),
    /// Given up; nothing of it remains.
    GivenUp(Error),
    /// The transaction is gone.
    Lost {
        /// The error, if it is the member's own and final.
        own: Option<Error>,
        /// The step that ended the transaction, and how it failed, if one did.
        failed: Option<(usize, Failure)>,
    },
}

impl Member {
    fn lost(own: Option<Error>) -> Self {
        Member::Lost { own, failed: None }
    }
}

/// Whether a member has the transaction for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Company {
    Alone,
    Shared,
}

impl Writer<'_> {
    pub(in crate::engine) fn run_in_savepoint(
        &mut self,
        limits: Limits,
        batch: &Batch,
        company: Company,
        mode: Mode<'_>,
        mut sink: Held,
    ) -> Member {
        if let Err(error) = self.session.savepoint(Level::Member) {
            return Member::lost(Some(engine_error("open savepoint", error)));
        }
        self.session.begin_run(limits);
        let result = run_batch(&mut self.session, batch, mode, &mut sink);
        self.session.end_run();
        if company == Company::Shared && self.session.is_dirty() {
            // Nobody could tell before (a statement that depended on an earlier one): neighbours must not see it.
            return Member::lost(None);
        }
        self.end_member(result, sink)
    }

    fn end_member(&mut self, result: Result<Ending, Stop>, sink: Held) -> Member {
        let lost = self.session.is_autocommit();
        let (keep, member) = match result {
            Err(Stop::Interrupted(StopReason::Company)) => return Member::lost(None),
            Err(Stop::Interrupted(reason)) if lost => return Member::lost(Some(stop_error(reason))),
            Err(Stop::TransactionLost) => return Member::Lost { own: None, failed: sink.last_failure() },
            Err(Stop::Interrupted(reason)) => (false, Member::GivenUp(stop_error(reason))),
            Err(Stop::Sink | Stop::TooManyBytes { .. }) => (false, Member::GivenUp(Error::Closed)),
            Ok(ending @ Ending::Done) if !lost => match self.session.open_constraint() {
                None => (true, Member::Outcome(sink.into_outcome(ending))),
                Some(failure) => (false, Member::Outcome(sink.into_outcome(Ending::NotCommitted(failure)))),
            },
            Ok(ending) => (false, Member::Outcome(sink.into_outcome(ending))),
        };
        if lost {
            return member;
        }
        let ended = if keep { self.session.release(Level::Member) } else { self.session.undo(Level::Member) };
        match ended {
            Ok(()) => member,
            Err(error) => Member::lost(Some(engine_error("end savepoint", error))),
        }
    }

    /// A statement that cannot run inside a transaction.
    pub(in crate::engine) fn run_bare(&mut self, limits: &Limits, batch: &Batch) -> ToldStep {
        let mode = Mode { savepoints: false, shared: false, ..self.mode() };
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
        let options = &self.shared.blueprint.options;
        let (block_bytes, rows_max) = (options.block_bytes, options.rows_max);
        Mode { savepoints: true, shared: false, block_bytes, rows_max, known: &[], first_step: 0, settings_hold: false }
    }

    pub(in crate::engine) fn sink(&self, batch: &Batch) -> Held {
        let limit = self.shared.blueprint.options.held_bytes_max;
        Held::new(batch.steps.len(), limit, Stop::TooManyBytes { limit })
    }
}

/// What came of one step, and what is known of it.
pub(in crate::engine) type ToldStep = (StepOutcome, StepFacts);

pub(in crate::engine) fn failed(failure: Failure) -> ToldStep {
    (StepOutcome::Failed(failure), StepFacts::default())
}

pub(in crate::engine) fn single_step(mut outcome: Outcome) -> ToldStep {
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
