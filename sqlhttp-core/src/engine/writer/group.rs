//! Several batches in one transaction and one fsync, each as if it were alone.
//!
//! Each member of a group runs in its own savepoint. The traps, and the answers:
//! * a member leaves a deferred foreign key violated: RELEASE would not notice and COMMIT would fail for all; so
//!   SQLite is asked before RELEASE, and the member is undone;
//! * a member ends the whole transaction (OR ROLLBACK, RAISE(ROLLBACK), an interrupted write, a full disk): those
//!   before it run again as a group, then the culprit by itself, then the others;
//! * a member marks the connection (a temporary table, a PRAGMA) although nobody could tell beforehand: it runs again
//!   alone, on a connection that is replaced afterwards;
//! * a member takes long: its neighbours would wait for it, so it is interrupted, and runs again by itself after them;
//! * a member reads what a neighbour wrote and COMMIT fails: nobody is told anything before COMMIT has returned.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::queue::Job;
use super::thread::Writer;
use crate::engine::classify::runs_outside_transaction;
use crate::engine::run::{Mode, Stop, run_batch};
use crate::engine::session::{Level, engine_error};
use crate::engine::sinks::Held;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::sqlite::probe;
use crate::engine::watch::{Limits, StopReason};
use crate::model::{Atomicity, Batch, Changed, Ending, Error, Failure, Outcome, SqlError, StepFacts, StepOutcome};

/// What came of a member.
pub(super) enum Member {
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

/// How long a member of a group may take before it has to run by itself.
const MEMBER_TIME_MAX: Duration = Duration::from_millis(100);

/// Whether a member has the transaction for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Shared,
}

impl Writer<'_> {
    /// Runs all jobs, in as few transactions as may be.
    pub(super) fn run_jobs(&mut self, mut jobs: VecDeque<Box<Job>>) {
        while let Some(first) = jobs.front() {
            if let Some(why) = self.shared.poisoned() {
                jobs.drain(..).for_each(|job| job.answer(Err(Error::Poisoned(why.clone()))));
                return;
            }
            if let Err(error) = self.renew_for_callers() {
                jobs.drain(..).for_each(|job| job.answer(Err(error.clone())));
                return;
            }
            full::forget();
            let gate = self.shared.close_gate();
            if first.alone {
                if let Some(job) = jobs.pop_front() {
                    // While it runs, the time of the others may be up, and the queue is where that is noticed.
                    self.shared.queue.put_back(std::mem::take(&mut jobs));
                    self.run_alone(*job);
                }
            } else {
                self.run_group(&mut jobs);
            }
            if full::was_met() {
                self.free_space();
            }
            drop(gate);
            self.renew_or_later();
        }
    }

    /// Runs jobs from the front until one has to be alone or the time is up, and commits. On return `jobs` holds those
    /// that have not been answered.
    fn run_group(&mut self, jobs: &mut VecDeque<Box<Job>>) {
        if let Err(error) = self.session.begin_immediate() {
            return self.refuse(jobs, error);
        }
        let started = Instant::now();
        let mut done: Vec<(Box<Job>, Outcome)> = Vec::with_capacity(jobs.len());
        while jobs.front().is_some_and(|job| !job.alone)
            && let Some(job) = jobs.pop_front()
        {
            let has_neighbours = !done.is_empty() || !jobs.is_empty();
            let alone_at = has_neighbours.then(|| Instant::now() + MEMBER_TIME_MAX);
            match self.run_member(&job, Company::Shared, alone_at) {
                Member::Outcome(outcome) => done.push((job, outcome)),
                Member::GivenUp(error) => job.answer(Err(error)),
                Member::Lost { own, .. } => return self.start_over(done, job, own, jobs),
            }
            if started.elapsed() >= self.shared.blueprint.options.group_time_max {
                break;
            }
        }
        self.commit_group(done, jobs);
    }

    fn commit_group(&mut self, done: Vec<(Box<Job>, Outcome)>, jobs: &mut VecDeque<Box<Job>>) {
        match self.session.commit() {
            Ok(()) => {
                self.count(1, done.len());
                done.into_iter().for_each(|(job, outcome)| job.answer(Ok(outcome)));
            }
            Err(error) => {
                self.abandon_transaction();
                // Somebody who holds a lock would keep each of them waiting in turn.
                let busy = error.primary_code() == rusqlite::ffi::SQLITE_BUSY;
                if self.is_fatal(&error) || busy {
                    let error = engine_error("commit", error);
                    done.into_iter().for_each(|(job, _)| job.answer(Err(error.clone())));
                } else {
                    // Each by itself, so that each is told what is true for it.
                    for (mut job, _) in done.into_iter().rev() {
                        job.alone = true;
                        jobs.push_front(job);
                    }
                }
            }
        }
    }

    /// The transaction is gone: those before the culprit run again, the culprit alone, then the others.
    fn start_over(
        &mut self,
        done: Vec<(Box<Job>, Outcome)>,
        mut culprit: Box<Job>,
        own: Option<Error>,
        jobs: &mut VecDeque<Box<Job>>,
    ) {
        self.abandon_transaction();
        match own {
            Some(error) => culprit.answer(Err(error)),
            None => {
                culprit.alone = true;
                jobs.push_front(culprit);
            }
        }
        done.into_iter().rev().for_each(|(job, _)| jobs.push_front(job));
    }

    /// Nobody can be served: another process holds the lock, or the disk fails.
    fn refuse(&mut self, jobs: &mut VecDeque<Box<Job>>, error: SqlError) {
        self.abandon_transaction();
        self.is_fatal(&error);
        let error = engine_error("begin transaction", error);
        jobs.drain(..).for_each(|job| job.answer(Err(error.clone())));
    }

    /// Runs a job with no company: as one transaction, or each step as one if that is what its batch asks for.
    fn run_alone(&mut self, job: Job) {
        let result = match job.batch.atomicity {
            Atomicity::All => self.run_transaction(&job),
            Atomicity::Each => self.run_steps(&job),
        };
        job.answer(result);
    }

    fn run_transaction(&mut self, job: &Job) -> Result<Outcome, Error> {
        self.session.begin_immediate().map_err(|error| self.begin_error(error))?;
        let outcome = match self.run_member(job, Company::Alone, None) {
            Member::Outcome(outcome) => outcome,
            Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => {
                self.abandon_transaction();
                return Err(error);
            }
            Member::Lost { own: None, .. } => {
                self.abandon_transaction();
                return Err(Error::Poisoned("the transaction was lost".into()));
            }
        };
        if self.session.is_autocommit() {
            // The failed step has ended the transaction itself.
            return Ok(outcome);
        }
        match self.session.commit() {
            Ok(()) => {
                self.count(1, 1);
                Ok(outcome)
            }
            Err(error) => {
                self.abandon_transaction();
                if self.is_fatal(&error) || error.primary_code() == rusqlite::ffi::SQLITE_BUSY {
                    return Err(engine_error("commit", error));
                }
                Ok(Outcome { ending: Ending::NotCommitted(Failure::Sql(error)), ..outcome })
            }
        }
    }

    /// Each step in its own transaction, or in none if it must.
    fn run_steps(&mut self, job: &Job) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let _stamped = Stamped::new(job.stamp);
        self.session.begin_batch();
        for (index, step) in job.batch.steps.iter().enumerate() {
            let Batch { stamp, timed, settings, .. } = job.batch;
            let batch = Batch { steps: vec![step.clone()], atomicity: Atomicity::Each, stamp, timed, settings };
            let result = match job.limits.exceeded() {
                Some(reason) => Err(stop_error(reason)),
                None if runs_outside_transaction(&mut self.session, &batch) => Ok(self.run_bare(&job.limits, &batch)),
                None => self.run_step_transaction(job, &batch, index),
            };
            let (step, facts) = match result {
                Ok(told) => told,
                // Earlier steps have been committed, so there is an outcome to tell.
                Err(Error::Timeout) if !outcome.steps.is_empty() => failed(Failure::Timeout),
                Err(error) => return Err(error),
            };
            outcome.steps.push(step);
            outcome.facts.push(facts);
        }
        Ok(outcome)
    }

    fn run_step_transaction(&mut self, job: &Job, batch: &Batch, first_step: usize) -> Result<ToldStep, Error> {
        self.session.begin_immediate().map_err(|error| self.begin_error(error))?;
        let mode = Mode { first_step, ..self.mode() };
        let sink = self.sink(batch);
        match self.run_in_savepoint(job.limits.clone(), batch, Company::Alone, mode, sink) {
            Member::Outcome(outcome) => {
                let committed = if self.session.is_autocommit() { Ok(()) } else { self.session.commit() };
                if let Err(error) = committed {
                    self.abandon_transaction();
                    if self.is_fatal(&error) {
                        return Err(engine_error("commit", error));
                    }
                    return Ok(failed(Failure::Sql(error)));
                }
                self.count(1, 1);
                Ok(single_step(outcome))
            }
            Member::GivenUp(error) | Member::Lost { own: Some(error), .. } => {
                self.abandon_transaction();
                Err(error)
            }
            Member::Lost { own: None, .. } => {
                self.abandon_transaction();
                Err(Error::Poisoned("the transaction was lost".into()))
            }
        }
    }

    /// A statement that cannot run inside a transaction.
    pub(super) fn run_bare(&mut self, limits: &Limits, batch: &Batch) -> ToldStep {
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

    /// Runs a job inside the open transaction, as if it were alone there, until the moment at which it has to be so.
    fn run_member(&mut self, job: &Job, company: Company, alone_at: Option<Instant>) -> Member {
        if let Some(reason) = job.limits.exceeded_before_turn() {
            return Member::GivenUp(stop_error(reason));
        }
        let _stamped = Stamped::new(job.stamp);
        self.session.begin_batch();
        let mode = Mode { shared: company == Company::Shared, ..self.mode() };
        let sink = self.sink(&job.batch);
        let limits = Limits { alone_at, ..job.limits.clone() };
        self.run_in_savepoint(limits, &job.batch, company, mode, sink)
    }

    pub(super) fn run_in_savepoint(
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

    fn mode(&self) -> Mode<'static> {
        let options = &self.shared.blueprint.options;
        let (block_bytes, rows_max) = (options.block_bytes, options.rows_max);
        Mode { savepoints: true, shared: false, block_bytes, rows_max, known: &[], first_step: 0, settings_hold: false }
    }

    fn sink(&self, batch: &Batch) -> Held {
        let limit = self.shared.blueprint.options.held_bytes_max;
        Held::new(batch.steps.len(), limit, Stop::TooManyBytes { limit })
    }

    fn begin_error(&mut self, error: SqlError) -> Error {
        self.abandon_transaction();
        self.is_fatal(&error);
        engine_error("begin transaction", error)
    }

    fn abandon_transaction(&mut self) {
        if let Err(error) = self.session.rollback() {
            self.shared.poison(&format!("cannot roll back: {error}"));
        }
    }

    /// After an I/O error it is unknown what the disk holds, so the database takes no more writes. SQLite recovers from
    /// the log when it is opened again. A damaged page fails only the statements that meet it.
    fn is_fatal(&self, error: &SqlError) -> bool {
        let fatal = error.primary_code() == rusqlite::ffi::SQLITE_IOERR;
        if fatal {
            self.shared.poison(&format!("{} ({})", error.message, error.code));
        }
        fatal
    }
}

/// What came of one step, and what is known of it.
pub(super) type ToldStep = (StepOutcome, StepFacts);

fn failed(failure: Failure) -> ToldStep {
    (StepOutcome::Failed(failure), StepFacts::default())
}

pub(super) fn single_step(mut outcome: Outcome) -> ToldStep {
    let facts = outcome.facts.pop().unwrap_or_default();
    let step = match (outcome.ending, outcome.steps.pop()) {
        (Ending::NotCommitted(failure), _) => StepOutcome::Failed(failure),
        (_, Some(step)) => step,
        (_, None) => StepOutcome::Changed(Changed::default()),
    };
    (step, facts)
}

/// What to tell somebody whose batch was interrupted.
pub(crate) fn stop_error(reason: StopReason) -> Error {
    match reason {
        StopReason::Deadline => Error::Timeout,
        StopReason::Turn => Error::Overloaded("the write had to wait for longer than its timeout"),
        // Nobody listens any more.
        StopReason::Cancelled | StopReason::Budget | StopReason::Company | StopReason::Steps | StopReason::Fuse => {
            Error::Closed
        }
    }
}
