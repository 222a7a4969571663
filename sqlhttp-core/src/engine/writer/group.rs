//! Group commit: runs several batches in one transaction with one fsync. Each batch has the same result as in a
//! transaction of its own.
//!
//! A group is the batches that share a transaction; each of them is a member. Each member runs in its own savepoint.
//! Special cases:
//!
//! * A member leaves a deferred foreign key violated. RELEASE does not report the violation, and COMMIT would fail for
//!   the whole group. So the engine asks SQLite for violations before RELEASE, and rolls back the member.
//! * A member ends the whole transaction (OR ROLLBACK, RAISE(ROLLBACK), an interrupted write, a full disk). The members
//!   before that member run again as a group. Then that member runs in a transaction of its own, then the others run.
//! * A member changes the state of the connection (a temporary table, a PRAGMA), and classification has not detected
//!   that. The member runs again in a transaction of its own, on a connection that is replaced afterwards.
//! * A member runs for a long time while others wait. The member is interrupted, the members before it run again as a
//!   group, and then the member runs again in a transaction of its own.
//! * A member reads what another member wrote, and COMMIT fails. No caller receives a result before COMMIT has
//!   returned.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::driver::{Isolation, MemberResult, StepResult, failed, one_step, single_step};
use super::queue::Job;
use super::thread::Writer;
use crate::engine::classify::runs_outside_transaction;
use crate::engine::error::engine_error;
use crate::engine::run::Mode;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::watch::{Limits, stop_error};
use crate::model::{Atomicity, Batch, Ending, Error, Failure, Outcome, SqlError};

/// The maximum time that a batch may run in a group. A batch that runs longer is interrupted and runs again in a
/// transaction of its own.
const MEMBER_TIME_MAX: Duration = Duration::from_millis(100);

/// How the transaction of a single batch ended.
enum TransactionEnd {
    /// COMMIT has succeeded.
    Committed,
    /// A statement that failed has ended the transaction, so there was no COMMIT.
    ByItself,
    /// COMMIT failed with this error, and the transaction was rolled back.
    NotCommitted(SqlError),
}

impl Writer<'_> {
    /// Runs all jobs in as few transactions as possible, and replies to their callers.
    pub(in crate::engine) fn run_jobs(&mut self, mut jobs: VecDeque<Box<Job>>) {
        while let Some(first) = jobs.front() {
            if let Some(why) = self.shared.poisoned() {
                jobs.drain(..).for_each(|job| job.answer(Err(Error::Poisoned(why.clone()))));
                return;
            }
            if let Err(error) = self.renew_session_for_callers() {
                jobs.drain(..).for_each(|job| job.answer(Err(error.clone())));
                return;
            }
            full::forget();
            let rollback_lock = self.shared.lock_exclusive();
            if first.exclusive {
                if let Some(job) = jobs.pop_front() {
                    // The deadlines of the other jobs may pass while this job runs. The supervisor replies to such jobs
                    // only if they are in the queue.
                    self.shared.queue.put_back(std::mem::take(&mut jobs));
                    self.run_exclusive(*job);
                }
            } else {
                self.run_group(&mut jobs);
            }
            if full::was_met() {
                self.free_space();
            }
            drop(rollback_lock);
            self.try_renew_session();
        }
    }

    /// Runs jobs from the front of `jobs` in one transaction, and commits. Stops at a job that needs a transaction of
    /// its own, or after `group_time_max`. On return `jobs` contains the jobs whose callers have no reply yet.
    fn run_group(&mut self, jobs: &mut VecDeque<Box<Job>>) {
        if let Err(error) = self.session.begin_immediate() {
            return self.reply_error_to_all(jobs, error);
        }
        let started = Instant::now();
        let mut done: Vec<(Box<Job>, Outcome)> = Vec::with_capacity(jobs.len());
        while jobs.front().is_some_and(|job| !job.exclusive)
            && let Some(job) = jobs.pop_front()
        {
            let has_neighbours = !done.is_empty() || !jobs.is_empty();
            let leave_group_at = has_neighbours.then(|| Instant::now() + MEMBER_TIME_MAX);
            match self.run_member(&job, Isolation::Grouped, leave_group_at) {
                MemberResult::Outcome(outcome) => done.push((job, outcome)),
                MemberResult::GivenUp(error) => job.answer(Err(error)),
                MemberResult::Lost { error, .. } => return self.start_over(done, job, error, jobs),
            }
            if started.elapsed() >= self.shared.config.options.group_time_max {
                break;
            }
        }
        self.commit_group(done, jobs);
    }

    /// Commits the transaction of the jobs in `done`, and replies to their callers. If COMMIT fails and the jobs must
    /// run again, they are put in front of `jobs` instead.
    fn commit_group(&mut self, done: Vec<(Box<Job>, Outcome)>, jobs: &mut VecDeque<Box<Job>>) {
        match self.session.commit() {
            Ok(()) => {
                self.count(1, done.len());
                done.into_iter().for_each(|(job, outcome)| job.answer(Ok(outcome)));
            }
            Err(error) => {
                self.abandon_transaction();
                // While another process holds the lock of the database, running the jobs one by one would wait for the
                // busy timeout once per job.
                let busy = error.primary_code() == rusqlite::ffi::SQLITE_BUSY;
                if self.is_fatal(&error) || busy {
                    let error = engine_error("commit", error);
                    done.into_iter().for_each(|(job, _)| job.answer(Err(error.clone())));
                } else {
                    // Each job runs again in a transaction of its own, so that each caller receives its own result.
                    for (mut job, _) in done.into_iter().rev() {
                        job.exclusive = true;
                        jobs.push_front(job);
                    }
                }
            }
        }
    }

    /// Rolls back after `failed_job` has lost the transaction of the group. Puts the jobs back in front of `jobs`:
    /// first those of `done`, which run again, then `failed_job`, which runs again in a transaction of its own. If
    /// there is an `error`, the caller of `failed_job` receives it instead.
    fn start_over(
        &mut self,
        done: Vec<(Box<Job>, Outcome)>,
        mut failed_job: Box<Job>,
        error: Option<Error>,
        jobs: &mut VecDeque<Box<Job>>,
    ) {
        self.abandon_transaction();
        match error {
            Some(error) => failed_job.answer(Err(error)),
            None => {
                failed_job.exclusive = true;
                jobs.push_front(failed_job);
            }
        }
        done.into_iter().rev().for_each(|(job, _)| jobs.push_front(job));
    }

    /// Replies to the callers of all jobs with an error, because BEGIN failed: another process holds the lock of the
    /// database, or the disk has failed.
    fn reply_error_to_all(&mut self, jobs: &mut VecDeque<Box<Job>>, error: SqlError) {
        self.abandon_transaction();
        self.is_fatal(&error);
        let error = engine_error("begin transaction", error);
        jobs.drain(..).for_each(|job| job.answer(Err(error.clone())));
    }

    /// Runs a job that shares no transaction with other jobs, and replies. With [`Atomicity::All`] the job is one
    /// transaction, with [`Atomicity::Each`] each step is one.
    fn run_exclusive(&mut self, job: Job) {
        let result = match job.batch.atomicity {
            Atomicity::All => self.run_transaction(&job),
            Atomicity::Each => self.run_steps(&job),
        };
        job.answer(result);
    }

    /// Runs a job in a transaction of its own.
    fn run_transaction(&mut self, job: &Job) -> Result<Outcome, Error> {
        let (outcome, end) = self.in_own_transaction(|writer| writer.run_member(job, Isolation::Exclusive, None))?;
        match end {
            TransactionEnd::Committed => {
                self.count(1, 1);
                Ok(outcome)
            }
            TransactionEnd::ByItself => Ok(outcome),
            TransactionEnd::NotCommitted(error) if error.primary_code() == rusqlite::ffi::SQLITE_BUSY => {
                Err(engine_error("commit", error))
            }
            TransactionEnd::NotCommitted(error) => {
                Ok(Outcome { ending: Ending::NotCommitted(Failure::Sql(error)), ..outcome })
            }
        }
    }

    /// Runs a batch in a transaction that no other batch shares, and commits it.
    ///
    /// # Errors
    /// Returns an error if the batch has no outcome. None of the batch's effects remain, except perhaps after an I/O
    /// error at COMMIT.
    fn in_own_transaction(
        &mut self,
        run: impl FnOnce(&mut Self) -> MemberResult,
    ) -> Result<(Outcome, TransactionEnd), Error> {
        self.session.begin_immediate().map_err(|error| self.begin_error(error))?;
        let outcome = match run(self) {
            MemberResult::Outcome(outcome) => outcome,
            MemberResult::GivenUp(error) | MemberResult::Lost { error: Some(error), .. } => {
                self.abandon_transaction();
                return Err(error);
            }
            MemberResult::Lost { error: None, .. } => {
                self.abandon_transaction();
                return Err(Error::Poisoned("the transaction was lost".into()));
            }
        };
        if self.session.is_autocommit() {
            return Ok((outcome, TransactionEnd::ByItself));
        }
        match self.session.commit() {
            Ok(()) => Ok((outcome, TransactionEnd::Committed)),
            Err(error) => {
                self.abandon_transaction();
                if self.is_fatal(&error) {
                    Err(engine_error("commit", error))
                } else {
                    Ok((outcome, TransactionEnd::NotCommitted(error)))
                }
            }
        }
    }

    /// Runs each step of a job in its own transaction, or outside a transaction if the step contains a statement that
    /// requires that.
    fn run_steps(&mut self, job: &Job) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let _stamped = Stamped::new(job.stamp, self.shared.config.options.zone());
        self.session.begin_batch();
        for index in 0..job.batch.steps.len() {
            let batch = one_step(&job.batch, index);
            let result = match job.limits.exceeded() {
                Some(reason) => Err(stop_error(reason)),
                None if runs_outside_transaction(&mut self.session, &batch) => {
                    Ok(self.run_outside_transaction(&job.limits, &batch))
                }
                None => self.run_step_transaction(job, &batch, index),
            };
            let (step, info) = match result {
                Ok(result) => result,
                // Earlier steps have been committed, so the batch has an outcome.
                Err(Error::Timeout) if !outcome.steps.is_empty() => failed(Failure::Timeout),
                Err(error) => return Err(error),
            };
            outcome.steps.push(step);
            outcome.info.push(info);
        }
        Ok(outcome)
    }

    /// Runs one step of a job in its own transaction.
    fn run_step_transaction(&mut self, job: &Job, batch: &Batch, first_step: usize) -> Result<StepResult, Error> {
        let mode = Mode { first_step, ..self.mode() };
        let sink = self.sink(batch);
        let limits = job.limits.clone();
        let run = |writer: &mut Self| writer.run_in_savepoint(limits, batch, Isolation::Exclusive, mode, sink);
        let (outcome, end) = self.in_own_transaction(run)?;
        if let TransactionEnd::NotCommitted(error) = end {
            return Ok(failed(Failure::Sql(error)));
        }
        self.count(1, 1);
        Ok(single_step(outcome))
    }

    /// Runs a job in a savepoint of the open transaction. At `leave_group_at` the job is interrupted, so that it does
    /// not delay the other members of its group; `None` if no other job waits.
    fn run_member(&mut self, job: &Job, isolation: Isolation, leave_group_at: Option<Instant>) -> MemberResult {
        if let Some(reason) = job.limits.exceeded_in_queue() {
            return MemberResult::GivenUp(stop_error(reason));
        }
        let _stamped = Stamped::new(job.stamp, self.shared.config.options.zone());
        self.session.begin_batch();
        let mode = Mode { grouped: isolation == Isolation::Grouped, ..self.mode() };
        let sink = self.sink(&job.batch);
        let limits = Limits { leave_group_at, ..job.limits.clone() };
        self.run_in_savepoint(limits, &job.batch, isolation, mode, sink)
    }

    pub(super) fn begin_error(&mut self, error: SqlError) -> Error {
        self.abandon_transaction();
        self.is_fatal(&error);
        engine_error("begin transaction", error)
    }

    /// Rolls back the open transaction. If the rollback fails, the database is poisoned: it rejects all further writes.
    pub(super) fn abandon_transaction(&mut self) {
        if let Err(error) = self.session.rollback() {
            self.shared.poison(&format!("cannot roll back: {error}"));
        }
    }

    /// Returns whether this is an I/O error, and poisons the database if so: the database then rejects all further
    /// writes. After an I/O error it is unknown what the disk contains; SQLite recovers when the database is opened
    /// again. A damaged page is not fatal, because only the statements that read it fail.
    pub(super) fn is_fatal(&self, error: &SqlError) -> bool {
        let fatal = error.primary_code() == rusqlite::ffi::SQLITE_IOERR;
        if fatal {
            self.shared.poison(&format!("{} ({})", error.message, error.code));
        }
        fatal
    }
}
