//! Applies log entries on the writer thread ([`crate::Writes::Log`]).
//!
//! Many entries share one transaction, which also records the position in the log ([`Progress`]). So the data and the
//! recorded position never differ.
//!
//! Every node must compute the same results, in every replay. So deadlines and dropped futures interrupt nothing here,
//! and every limit comes from the entry. A failure that depends on this node alone (its disk, its memory) is not a
//! result. If it may be temporary, the writer rolls back, waits and retries ([`super::node_failure`]); otherwise the
//! database takes no more writes.
//!
//! A statement that ends the whole transaction (OR ROLLBACK, RAISE(ROLLBACK)) would do so in a group as well. Its
//! failure is recorded, and the group runs again with that statement replaced by the failure: the other statements have
//! the same effects as in separate transactions, and all still commit together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::entry::{Conditions, LogEntry, LogWork, OnApplied};
use super::node_failure::{ApplyError, Attempts, FailedStep};
use super::progress::Progress;
use super::work_item::{Results, WorkItem};
use super::{replace, sync};
use crate::engine::classify::runs_outside_transaction;
use crate::engine::options::Writes;
use crate::engine::run::{Mode, RunError};
use crate::engine::script::Script;
use crate::engine::sinks::BufferedSink;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::statement_info::Author;
use crate::engine::watch::{Limits, LogLimits};
use crate::engine::writer::driver::{Isolation, MemberResult, StepResult, one_step, single_step};
use crate::engine::writer::queue::LogTask;
use crate::engine::writer::thread::Writer;
use crate::model::{Atomicity, Batch, Block, Ending, Error, Failure, Outcome, SqlError, Stamp, StepOutcome};

/// How long a transaction may last while more work is queued.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// The largest result of a batch, in bytes of rows. A constant, because it must be the same on every node.
const HELD_BYTES_MAX: u64 = 64 << 20;
/// SQLite's own limit, which was in force for entries of the older format.
const VALUE_BYTES_MAX_OF_OLD_ENTRIES: u64 = 1_000_000_000;
/// A statement and the statements that virtual tables run for it may take this many times the steps that the entry
/// allows.
const ALL_STEPS_FACTOR: u64 = 10;
/// The shortest time limit of a write on a node without other voters.
const TIME_MIN: Duration = Duration::from_secs(1);
/// Only a caller's `db_timeout` leads to a time limit below this.
const SHORT_TIMEOUT: Duration = Duration::from_secs(600);
/// The factor by which a statement that works on whole tables may take longer.
const TABLE_WORK_TIME_FACTOR: u32 = 10;
/// The number of steps for which a write gets one millisecond more.
const SLOW_STEPS_PER_MILLISECOND: u64 = 20_000;
/// The size of a block of rows, in bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// The bytes of rows in the results of one transaction after which it is committed, so that the results can be sent.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// The result of a work item.
enum Applied {
    /// Its outcome, if this kind of item has one.
    Done(Option<Outcome>),
    /// The transaction is lost. It must run again with the failures that are now known.
    Retry,
}

impl Writer<'_> {
    /// Applies the entries of a task and replies.
    pub(in crate::engine) fn run_log(&mut self, task: LogTask) {
        let result = self.apply(&task.entries, task.on_applied);
        // The receiver may have been dropped. The entries are applied in any case.
        let _ = task.reply.send(result);
    }

    /// Applies entries until all are applied, or a failure ends the writer.
    fn apply(&mut self, entries: &[LogEntry], on_applied: Vec<Option<OnApplied>>) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut results = Results { outcomes: vec![Vec::new(); entries.len()], on_applied };
        if let Some(gap) = self.gap(entries) {
            return Err(self.give_up(&gap));
        }
        let mut items = self.items(entries);
        let mut attempts = Attempts::default();
        while let Some(first) = items.front() {
            if let Some(why) = self.shared.poisoned() {
                return Err(Error::Poisoned(why));
            }
            let index = first.index;
            let left = items.len();
            let applied = self.renew_session().map_err(ApplyError::during("open connection"));
            match applied.and_then(|()| self.apply_some(&mut items, &mut results)) {
                Ok(()) if items.len() < left => attempts = Attempts::default(),
                Ok(()) => {}
                Err(failure) => self.handle_failure(&mut attempts, failure, index, &mut items)?,
            }
        }
        self.shared.set_waits_for(None);
        self.try_renew_session();
        Ok(results.outcomes)
    }

    /// Applies items from the front, in one transaction if possible, and removes them.
    fn apply_some(&mut self, items: &mut VecDeque<WorkItem<'_>>, results: &mut Results) -> Result<(), ApplyError> {
        let Some(first) = items.front_mut() else { return Ok(()) };
        match first.work {
            Some(LogWork::Replace(file)) => {
                let outcome = self.apply_replacement(first, file)?;
                results.add(first, Some(outcome));
                items.pop_front();
                Ok(())
            }
            Some(LogWork::Batch { batch, .. }) if first.exclusive => {
                // The result of ANALYZE must not depend on what this connection has done before. And statements that
                // were prepared with the old schema take a few steps more.
                self.session.forget_statements();
                self.session.forget_schema().map_err(ApplyError::during("forget schema"))?;
                if !self.must_be_split(batch) {
                    return self.apply_group(items, results);
                }
                let outcome = self.apply_in_steps(first, batch)?;
                results.add(first, Some(outcome));
                items.pop_front();
                Ok(())
            }
            _ => self.apply_group(items, results),
        }
    }

    /// Replaces all content. If that is known to fail, only records the position in the log.
    fn apply_replacement(&mut self, item: &WorkItem<'_>, file: &std::path::Path) -> Result<Outcome, ApplyError> {
        let mut next = self.shared.progress();
        item.advance(&mut next);
        let Some((_, failure)) = item.known_failures.first() else {
            full::forget();
            self.replace_content(file, &next).map_err(ApplyError::during("replace content"))?;
            return Ok(Outcome::default());
        };
        self.begin_for_log()?;
        self.commit_for_log(next, 1)?;
        self.sync_decision()?;
        Ok(Outcome { ending: Ending::NotCommitted(failure.clone()), ..Outcome::default() })
    }

    /// Applies items from the front in one transaction, and removes them.
    fn apply_group(&mut self, items: &mut VecDeque<WorkItem<'_>>, results: &mut Results) -> Result<(), ApplyError> {
        self.begin_for_log()?;
        let started = Instant::now();
        let mut next = self.shared.progress();
        let mut done = Vec::with_capacity(items.len());
        let mut held_bytes = 0;
        let mut decided_locally = false;
        for (position, item) in items.iter_mut().enumerate() {
            if item.exclusive && !done.is_empty() {
                break;
            }
            match self.apply_item(item).map_err(|failure| failure.with_item(position))? {
                Applied::Done(outcome) => {
                    held_bytes += outcome.as_ref().map_or(0, bytes_of);
                    done.push(outcome);
                }
                Applied::Retry => return self.roll_back(),
            }
            item.advance(&mut next);
            decided_locally |= item.decided_locally;
            if item.exclusive || started.elapsed() >= GROUP_TIME_MAX || held_bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        self.commit_for_log(next, done.len())?;
        if decided_locally {
            self.sync_decision()?;
        }
        for (item, outcome) in items.drain(..done.len()).zip(done) {
            results.add(&item, outcome);
        }
        Ok(())
    }

    /// Makes durable that a step has failed on this node only, before its caller receives the failure: in a replay
    /// after a power cut the step could succeed.
    fn sync_decision(&mut self) -> Result<(), ApplyError> {
        let synced = sync::run(self.shared).map_err(ApplyError::Final)?;
        self.shared.note_decision(synced.index);
        Ok(())
    }

    /// Applies an item in the open transaction.
    fn apply_item(&mut self, item: &mut WorkItem<'_>) -> Result<Applied, ApplyError> {
        let (batch, steps_max) = match item.work {
            Some(LogWork::Batch { batch, steps_max, .. }) => (batch, *steps_max),
            Some(LogWork::Barrier) => return Ok(Applied::Done(Some(Outcome::default()))),
            Some(LogWork::Membership(_) | LogWork::Replace(_)) | None => return Ok(Applied::Done(None)),
        };
        let _stamped = self.begin_item(item, batch)?;
        let isolation = if item.exclusive { Isolation::Exclusive } else { Isolation::Grouped };
        match self.run_for_log(batch, isolation, steps_max, &item.known_failures, 0)? {
            MemberResult::Outcome(outcome) => Ok(Applied::Done(Some(outcome))),
            MemberResult::Lost { failed: Some(failed), .. } => {
                item.known_failures.push(failed);
                item.exclusive = true;
                Ok(Applied::Retry)
            }
            MemberResult::Lost { error: None, failed: None } => {
                // It changes the state of the connection, which classification has not detected.
                item.exclusive = true;
                Ok(Applied::Retry)
            }
            MemberResult::GivenUp(error) | MemberResult::Lost { error: Some(error), .. } => {
                Err(ApplyError::from_error(error))
            }
        }
    }

    /// Prepares the session for the batch of an item: conditions, timestamp, seed.
    fn begin_item(&mut self, item: &WorkItem<'_>, batch: &Batch) -> Result<Stamped, ApplyError> {
        let Some(stamp) = batch.stamp else {
            return Err(ApplyError::Final(Error::Poisoned("an entry of the log has no stamp".into())));
        };
        let options = &self.shared.config.options;
        let (foreign_keys, value_bytes_max, stamp) = match item.conditions {
            Some(Conditions { unix_ms, foreign_keys, value_bytes_max }) => {
                (foreign_keys, value_bytes_max, Stamp { unix_ms, ..stamp })
            }
            // No limit was in force when the entry was written.
            None => (options.foreign_keys, VALUE_BYTES_MAX_OF_OLD_ENTRIES, stamp),
        };
        self.session.set_conditions(foreign_keys, value_bytes_max).map_err(ApplyError::during("set limits"))?;
        full::forget();
        self.session.begin_batch();
        Ok(Stamped::new(stamp))
    }

    /// Returns the limits of a run. Only the end of the process interrupts it; the item is then applied from its
    /// beginning when the database is opened again.
    fn limits_for_log(&self, steps_max: u64) -> Limits {
        let steps = (steps_max > 0).then_some(steps_max);
        let all_steps = steps.map(|steps| steps.saturating_mul(ALL_STEPS_FACTOR));
        // Where other nodes vote, the clock of this node must not affect results.
        let time = steps.filter(|_| self.shared.is_sole()).map(time_limit);
        let after = |time: Option<Duration>| time.and_then(|time| Instant::now().checked_add(time));
        let (end_at, end_table_work_at) = (after(time), after(time.map(time_limit_of_table_work)));
        let log = LogLimits { steps, all_steps, end_at, end_table_work_at };
        Limits { cancel: Some(self.shared.interrupted.clone()), log, ..Limits::default() }
    }

    /// Runs a batch, or a part of one, in a savepoint.
    ///
    /// # Errors
    /// A failure that only this node has.
    fn run_for_log(
        &mut self,
        batch: &Batch,
        isolation: Isolation,
        steps_max: u64,
        known_failures: &[(usize, Failure)],
        first_step: usize,
    ) -> Result<MemberResult, ApplyError> {
        let mode = Mode {
            savepoints: true,
            grouped: true,
            block_bytes: BLOCK_BYTES,
            rows_max: None,
            known_failures,
            first_step,
            settings_take_effect: false,
        };
        let sink =
            BufferedSink::new(batch.steps.len(), HELD_BYTES_MAX, RunError::TooManyBytes { limit: HELD_BYTES_MAX });
        let member = self.run_in_savepoint(self.limits_for_log(steps_max), batch, isolation, mode, sink);
        let unknown = |step: &usize| known_failures.iter().all(|(known, _)| known != step);
        match &member {
            MemberResult::Outcome(outcome) => {
                let failures = outcome.steps.iter().enumerate();
                let failures = failures.filter_map(|(step, outcome)| Some((step, failure_of(outcome)?)));
                self.reject_node_failures(failures.filter(|(step, _)| unknown(step)))?;
            }
            MemberResult::Lost { failed: Some((step, failure)), .. } => {
                self.reject_node_failures(std::iter::once((*step, failure)).filter(|(step, _)| unknown(step)))?;
            }
            _ => {}
        }
        Ok(member)
    }

    /// Returns whether a batch needs more than one transaction, because one of its statements can only run outside a
    /// transaction.
    fn must_be_split(&mut self, batch: &Batch) -> bool {
        batch.atomicity == Atomicity::Each
            && (0..batch.steps.len()).any(|step| runs_outside_transaction(&mut self.session, &one_step(batch, step)))
    }

    /// Applies a batch step by step, each in a transaction of its own or in none.
    fn apply_in_steps(&mut self, item: &mut WorkItem<'_>, batch: &Batch) -> Result<Outcome, ApplyError> {
        let _stamped = self.begin_item(item, batch)?;
        self.restore_settings(batch, item.first_step);
        for step in item.first_step..batch.steps.len() {
            let mut next = self.shared.progress();
            if step + 1 == batch.steps.len() {
                item.advance(&mut next);
            } else {
                (next.operations, next.steps) = (item.number, u32::try_from(step + 1).unwrap_or(u32::MAX));
            }
            let (result, info) = self.apply_step(item, &one_step(batch, step), step, next)?;
            item.partial.steps.push(result);
            item.partial.info.push(info);
            item.first_step = step + 1;
        }
        Ok(std::mem::take(&mut item.partial))
    }

    /// Enforces foreign keys as the steps before this one have set them. Needed if another process applied those steps.
    fn restore_settings(&mut self, batch: &Batch, first_step: usize) {
        for step in 0..first_step {
            let Some(sql) = batch.steps.get(step).and_then(|step| step.sql()) else { continue };
            let Ok(mut script) = Script::new(&mut self.session, sql, Author::Client) else { continue };
            while let Ok(Some(prepared)) = script.next(&mut self.session) {
                let set = prepared.info.foreign_keys;
                self.session.put_back(prepared);
                if let Some(on) = set
                    && let Err(error) = self.session.enforce_foreign_keys(on)
                {
                    tracing::error!(%error, "the setting of foreign keys cannot be restored");
                }
            }
        }
    }

    /// Applies one step of a batch. `next` is the position after it.
    fn apply_step(
        &mut self,
        item: &WorkItem<'_>,
        step: &Batch,
        number: usize,
        next: Progress,
    ) -> Result<StepResult, ApplyError> {
        let steps_max = if let Some(LogWork::Batch { steps_max, .. }) = item.work { *steps_max } else { 0 };
        // After a crash the previous step may have been applied by another connection.
        self.session.forget_statements();
        self.session.forget_schema().map_err(ApplyError::during("forget schema"))?;
        // The step is the only one of its batch here.
        let mut known: Vec<_> = item.known_failures.iter().filter(|(step, _)| *step == number).cloned().collect();
        known.iter_mut().for_each(|(step, _)| *step = 0);
        let whole = |failure: ApplyError| failure.with_step(number);
        if known.is_empty() && runs_outside_transaction(&mut self.session, step) {
            let result = self.run_outside_transaction(&self.limits_for_log(steps_max), step);
            self.reject_node_failures(failure_of(&result.0).map(|failure| (0, failure)).into_iter()).map_err(whole)?;
            self.begin_for_log()?;
            self.commit_for_log(next, 1)?;
            return Ok(result);
        }
        loop {
            self.begin_for_log()?;
            match self.run_for_log(step, Isolation::Exclusive, steps_max, &known, number).map_err(whole)? {
                MemberResult::Outcome(outcome) => {
                    self.commit_for_log(next, 1)?;
                    if item.decided_locally {
                        self.sync_decision()?;
                    }
                    return Ok(single_step(outcome));
                }
                MemberResult::Lost { failed: Some(failed), .. } => {
                    known.push(failed);
                    self.roll_back()?;
                }
                MemberResult::GivenUp(error) | MemberResult::Lost { error: Some(error), .. } => {
                    return Err(ApplyError::from_error(error));
                }
                MemberResult::Lost { error: None, failed: None } => {
                    return Err(ApplyError::Final(Error::Poisoned("the transaction was lost".into())));
                }
            }
        }
    }

    /// Replaces the content of the database by that of a checked file.
    pub(in crate::engine) fn replace_content(
        &mut self,
        file: &std::path::Path,
        progress: &Progress,
    ) -> Result<(), SqlError> {
        self.session.forget_statements();
        let noted = (self.shared.config.options.writes == Writes::Log).then_some(progress);
        self.session.as_owner_sql(|connection| replace::replace(connection, file, noted))?;
        self.shared.set_progress(progress.clone());
        // The text encoding may have changed, which an open connection cannot follow.
        self.shared.config.retire_sessions();
        Ok(())
    }

    /// Begins a write transaction.
    fn begin_for_log(&mut self) -> Result<(), ApplyError> {
        self.session.begin_immediate().map_err(ApplyError::during("begin transaction"))
    }

    /// Commits, together with the record of progress.
    fn commit_for_log(&mut self, next: Progress, operations: usize) -> Result<(), ApplyError> {
        self.session.write_progress(&next).map_err(ApplyError::during("write progress"))?;
        self.session.commit().map_err(ApplyError::during("commit"))?;
        self.shared.set_progress(next);
        self.count(1, operations);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), ApplyError> {
        self.session.rollback().map_err(ApplyError::during("roll back"))
    }

    /// Returns an error for the first failure that other nodes would not have. It must not become a result.
    fn reject_node_failures<'f>(&self, failures: impl Iterator<Item = (usize, &'f Failure)>) -> Result<(), ApplyError> {
        for (step, failure) in failures {
            if let Failure::Sql(error) = failure
                && self.is_node_failure(error)
            {
                let failed_step = Some(FailedStep { item: 0, step });
                return Err(ApplyError::Local { action: "apply", error: error.clone(), failed_step });
            }
        }
        Ok(())
    }

    /// Returns whether an error comes from this node's disk or memory, not from the data.
    fn is_node_failure(&self, error: &SqlError) -> bool {
        use rusqlite::ffi;
        match error.primary_code() {
            // AUTOINCREMENT reports the same error when it has no number left, which depends on the data.
            ffi::SQLITE_FULL => full::was_met(),
            ffi::SQLITE_CORRUPT => {
                // Clients can cause these by writes to shadow tables and to `sqlite_sequence`.
                ![ffi::SQLITE_CORRUPT_VTAB, ffi::SQLITE_CORRUPT_SEQUENCE].contains(&error.code)
            }
            ffi::SQLITE_IOERR
            | ffi::SQLITE_NOMEM
            | ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_NOTADB
            | ffi::SQLITE_BUSY
            | ffi::SQLITE_PROTOCOL
            | ffi::SQLITE_READONLY
            | ffi::SQLITE_INTERRUPT
            | ffi::SQLITE_INTERNAL => true,
            _ => false,
        }
    }

    /// Stops taking writes. Rolls back the open transaction, of which no caller has received a result.
    pub(in crate::engine) fn give_up(&mut self, why: &str) -> Error {
        self.shared.poison(why);
        let _ = self.session.rollback();
        Error::Poisoned(why.into())
    }
}

/// The time limit of a write on a node without other voters: [`TIME_MIN`] and one millisecond for each
/// [`SLOW_STEPS_PER_MILLISECOND`] steps. A step may take a tenth of a second if its values are large, so a limit of
/// steps alone would not end such a write in time.
fn time_limit(steps: u64) -> Duration {
    TIME_MIN + Duration::from_millis(steps / SLOW_STEPS_PER_MILLISECOND)
}

/// The time limit of a statement that works on whole tables (CREATE INDEX, ALTER TABLE): longer, unless its caller has
/// set a short timeout.
fn time_limit_of_table_work(time: Duration) -> Duration {
    if time < SHORT_TIMEOUT { time } else { time * TABLE_WORK_TIME_FACTOR }
}

/// The bytes of rows in an outcome.
fn bytes_of(outcome: &Outcome) -> usize {
    let rows =
        outcome.steps.iter().filter_map(|step| if let StepOutcome::Rows(rows) = step { Some(rows) } else { None });
    rows.flat_map(|rows| &rows.blocks).map(Block::byte_len).sum()
}

fn failure_of(step: &StepOutcome) -> Option<&Failure> {
    match step {
        StepOutcome::Failed(failure) => Some(failure),
        _ => None,
    }
}
