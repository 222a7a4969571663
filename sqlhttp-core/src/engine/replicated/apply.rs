//! Applies entries of the Raft log on the writer thread ([`crate::Writes::Log`]).
//!
//! Many entries share one transaction, which also records the position in the Raft log ([`Progress`]). So the data
//! always matches the recorded position.
//!
//! Every node must compute the same results, in every replay. So the application of an entry is not interrupted by
//! deadlines or by dropped futures, and every limit comes from the entry. (A node without others is an exception:
//! it adds a time limit.) A failure that depends on this node alone (its disk, its memory) is not a result. If such a
//! failure may be temporary, the writer rolls back, waits and retries ([`super::node_failure`]); otherwise the database
//! rejects all further writes.
//!
//! A group is the operations that share one transaction. A statement that ends its whole transaction (OR ROLLBACK,
//! RAISE(ROLLBACK)) would also undo the other operations of the group. So the failure of that statement is recorded,
//! and the group runs again: the statement does not run, and its recorded failure is its result. The other statements
//! have the same effects as in separate transactions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::entry::{Conditions, LogEntry, LogWork, OnApplied};
use super::node_failure::{ApplyError, Attempts, FailedStep};
use super::progress::Progress;
use super::work_item::{Results, WorkItem};
use super::{replace, sync};
use crate::engine::changes::Change;
use crate::engine::classify::runs_outside_transaction;
use crate::engine::options::Writes;
use crate::engine::run::{Mode, RunError, SettingsEffect};
use crate::engine::script::Script;
use crate::engine::sinks::BufferedSink;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::full;
use crate::engine::statement_info::Author;
use crate::engine::time_zone::TimeZone;
use crate::engine::watch::{Limits, LogLimits};
use crate::engine::writer::driver::{Isolation, MemberResult, StepResult, one_step, single_step};
use crate::engine::writer::queue::LogTask;
use crate::engine::writer::thread::Writer;
use crate::model::{Atomicity, Batch, Block, Ending, Error, Failure, Outcome, SqlError, Stamp, StepOutcome};

/// The time after which a transaction is committed, although more entries are ready to be applied.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// The maximum size of the rows in the result of a replicated batch, in bytes. It is a constant, because it must be the
/// same on every node.
const HELD_BYTES_MAX: u64 = 64 << 20;
/// The maximum size of a value, in bytes, for entries of the older format, which do not contain this limit. It is
/// SQLite's default limit, which was in force when they were written.
const VALUE_BYTES_MAX_OF_OLD_ENTRIES: u64 = 1_000_000_000;
/// The factor by which the limit of virtual-machine steps in an entry is multiplied for a statement together with the
/// statements that virtual tables run for it.
const ALL_STEPS_FACTOR: u64 = 10;
/// The minimum time limit of a write on a node without others.
const TIME_MIN: Duration = Duration::from_secs(1);
/// A time limit below this is a short one: it comes from the `db_timeout` of a caller, or from a limit of steps below
/// the default.
const SHORT_TIMEOUT: Duration = Duration::from_secs(150);
/// The factor by which the time limit is longer for a statement that works on whole tables.
const TABLE_WORK_TIME_FACTOR: u32 = 60;
/// The time limit of a write grows by one millisecond for each such number of virtual-machine steps that the write may
/// take.
const SLOW_STEPS_PER_MILLISECOND: u64 = 20_000;
/// The size of a block of result rows, in bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// The size of the results of one transaction, in bytes of rows, after which the transaction is committed, so that the
/// results can be sent.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Returns whether a group that began at `started` must end, because of the time.
fn is_group_over(started: Instant) -> bool {
    #[cfg(feature = "fault-injection")]
    return crate::engine::simulation::is_group_over(started, GROUP_TIME_MAX);
    #[cfg(not(feature = "fault-injection"))]
    return started.elapsed() >= GROUP_TIME_MAX;
}

/// The result of an attempt to apply one operation of a log entry (a work item).
enum Applied {
    /// The operation was applied. Contains its outcome; `None` if this kind of operation has no outcome.
    Done(Option<Outcome>),
    /// The transaction is lost. Its operations must run again; steps that are now known to fail are not run.
    Retry,
}

impl Writer<'_> {
    /// Applies the entries of a task, and sends the outcomes as the reply.
    pub(in crate::engine) fn run_log(&mut self, task: LogTask) {
        let result = self.apply(&task.entries, task.on_applied);
        // The receiver may have been dropped. The entries are applied in any case.
        let _ = task.reply.send(result);
    }

    /// Applies all entries and returns their outcomes. After a failure that cannot be retried, the database is poisoned
    /// and an error is returned.
    fn apply(&mut self, entries: &[LogEntry], on_applied: Vec<Option<OnApplied>>) -> Result<Vec<Vec<Outcome>>, Error> {
        let chain = &self.shared.chain;
        let mut results = Results { chain, outcomes: vec![Vec::new(); entries.len()], on_applied };
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
            if !self.shared.is_sole() {
                items.iter_mut().for_each(WorkItem::drop_decisions);
            }
            let applied = self.renew_session().map_err(ApplyError::during("open connection"));
            match applied.and_then(|()| self.apply_some(&mut items, &mut results)) {
                Ok(()) if items.len() < left => {
                    attempts = Attempts::default();
                    self.answer_pin_requests();
                }
                Ok(()) => {}
                Err(failure) => self.handle_failure(&mut attempts, failure, index, &mut items)?,
            }
        }
        self.shared.set_waits_for(None);
        self.try_renew_session();
        Ok(results.outcomes)
    }

    /// Answers the requests for the content after the last applied entry.
    fn answer_pin_requests(&self) {
        let (applied, operations, steps) = self.shared.applied_position();
        if applied >= self.shared.pin_requests.next_index() && (operations, steps) == (0, 0) {
            self.shared.pin_requests.answer(applied, true);
        }
    }

    /// Applies one or more operations from the front of `items`, in one transaction if possible, and removes them from
    /// `items`.
    fn apply_some(&mut self, items: &mut VecDeque<WorkItem<'_>>, results: &mut Results<'_>) -> Result<(), ApplyError> {
        let Some(first) = items.front_mut() else { return Ok(()) };
        match first.work {
            Some(LogWork::Replace(file)) => {
                let outcome = self.apply_replacement(first, file)?;
                results.add(first, Some(outcome));
                items.pop_front();
                Ok(())
            }
            Some(LogWork::Batch { batch, .. }) if first.exclusive => {
                let must_be_split = self.must_be_split(batch);
                // Many PRAGMAs act while they are prepared, so they have changed the connection already.
                self.renew_session().map_err(ApplyError::during("open connection"))?;
                // The result of ANALYZE must not depend on what this connection has done before. And statements that
                // were prepared with the old schema take a few more virtual-machine steps.
                self.session.forget_statements();
                self.session.forget_schema().map_err(ApplyError::during("forget schema"))?;
                if !must_be_split {
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

    /// Replaces all content of the database with that of a file. If an earlier attempt has shown that this fails, the
    /// content stays, and only the position in the Raft log is recorded.
    fn apply_replacement(&mut self, item: &WorkItem<'_>, file: &std::path::Path) -> Result<Outcome, ApplyError> {
        self.shared.set_applying_index(item.index);
        let mut next = self.shared.progress();
        item.advance(&mut next);
        let Some((_, failure)) = item.known_failures.first() else {
            full::forget();
            self.replace_content(file, &next).map_err(ApplyError::during("replace content"))?;
            return Ok(Outcome::default());
        };
        self.begin_for_log()?;
        self.commit_item(next, item)?;
        Ok(Outcome { ending: Ending::NotCommitted(failure.clone()), ..Outcome::default() })
    }

    /// Applies operations from the front of `items` in one transaction, and removes them from `items` after COMMIT.
    fn apply_group(&mut self, items: &mut VecDeque<WorkItem<'_>>, results: &mut Results<'_>) -> Result<(), ApplyError> {
        self.begin_for_log()?;
        let started = Instant::now();
        let mut next = self.shared.progress();
        let mut done = Vec::with_capacity(items.len());
        let mut held_bytes = 0;
        for (position, item) in items.iter_mut().enumerate() {
            if item.exclusive && !done.is_empty() {
                break;
            }
            self.shared.set_applying_index(item.index);
            match self.apply_item(item).map_err(|failure| failure.with_item(position))? {
                Applied::Done(outcome) => {
                    held_bytes += outcome.as_ref().map_or(0, bytes_of);
                    done.push(outcome);
                }
                Applied::Retry => return self.roll_back(),
            }
            item.advance(&mut next);
            let ends = item.exclusive || self.session.must_commit_each_batch();
            let ends = ends || next.index == self.shared.pin_requests.next_index();
            if ends || is_group_over(started) || held_bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        match items.front() {
            // Such an operation is exclusive.
            Some(item) if item.decided_locally => self.commit_item(next, item)?,
            _ => self.commit_for_log(next, done.len())?,
        }
        for (item, outcome) in items.drain(..done.len()).zip(done) {
            results.add(&item, outcome);
        }
        Ok(())
    }

    /// Commits a transaction that contains one operation, or one step of it.
    ///
    /// If this node has decided alone that a step fails, the transaction is also synced before the caller receives the
    /// failure: without the sync, the step could succeed in a replay after a power cut. From the check that there is no
    /// other node until then, [`Database::set_sole`](crate::Database::set_sole) waits.
    ///
    /// # Errors
    /// [`ApplyError::NotSole`] if another node has joined since the decision.
    fn commit_item(&mut self, next: Progress, item: &WorkItem<'_>) -> Result<(), ApplyError> {
        if !item.decided_locally {
            return self.commit_for_log(next, 1);
        }
        let shared = self.shared;
        let sole = shared.lock_sole();
        if !*sole {
            return Err(ApplyError::NotSole);
        }
        self.commit_for_log(Progress { decision_index: item.index, ..next }, 1)?;
        sync::run(shared).map(drop).map_err(ApplyError::Final)
    }

    /// Applies an operation in the open transaction.
    fn apply_item(&mut self, item: &mut WorkItem<'_>) -> Result<Applied, ApplyError> {
        let (batch, steps_max) = match item.work {
            Some(LogWork::Batch { batch, steps_max, .. }) => (batch, *steps_max),
            Some(LogWork::Barrier) => return Ok(Applied::Done(Some(Outcome::default()))),
            Some(LogWork::Load { refusal, .. }) => {
                let ending = refusal.clone().map_or(Ending::Done, |why| Ending::NotCommitted(Failure::Sql(why)));
                return Ok(Applied::Done(Some(Outcome { ending, ..Outcome::default() })));
            }
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
                // The batch changes the state of the connection, and classification has not detected that.
                item.exclusive = true;
                Ok(Applied::Retry)
            }
            MemberResult::GivenUp(error) | MemberResult::Lost { error: Some(error), .. } => {
                Err(ApplyError::from_error(error))
            }
        }
    }

    /// Prepares the session for a batch of a log entry: sets the conditions of the entry, and the timestamp and the
    /// random seed of the batch.
    fn begin_item(&mut self, item: &WorkItem<'_>, batch: &Batch) -> Result<Stamped, ApplyError> {
        let Some(stamp) = batch.stamp else {
            return Err(ApplyError::Final(Error::Poisoned("an entry of the log has no stamp".into())));
        };
        self.reset_session(item)?;
        let unix_ms = item.conditions.map_or(stamp.unix_ms, |conditions| conditions.unix_ms);
        let zone = item.conditions.and_then(|conditions| conditions.time_zone);
        Ok(Stamped::new(Stamp { unix_ms, ..stamp }, zone.map_or(TimeZone::Utc, TimeZone::Named)))
    }

    /// Gives the session the state that a batch of a log entry begins with, under the conditions of the entry.
    fn reset_session(&mut self, item: &WorkItem<'_>) -> Result<(), ApplyError> {
        let (foreign_keys, value_bytes_max) = match item.conditions {
            Some(Conditions { foreign_keys, value_bytes_max, .. }) => (foreign_keys, value_bytes_max),
            // The entry has the older format, which does not contain conditions.
            None => (self.shared.config.options.foreign_keys, VALUE_BYTES_MAX_OF_OLD_ENTRIES),
        };
        self.session.set_conditions(foreign_keys, value_bytes_max).map_err(ApplyError::during("set limits"))?;
        full::forget();
        self.session.begin_batch();
        Ok(())
    }

    /// Returns the limits for running a batch of a log entry: virtual-machine steps and, on a node without others, time
    /// and the steps of virtual tables. Besides these limits, only the end of the process interrupts the batch. The
    /// batch is then applied from its beginning when the database is opened again.
    fn limits_for_log(&self, steps_max: u64) -> Limits {
        let steps = (steps_max > 0).then_some(steps_max);
        // If there are other nodes, the clock of this node and the caches of its virtual tables must not affect
        // results.
        let own = steps.filter(|_| self.shared.is_sole());
        let all_steps = own.map(|steps| steps.saturating_mul(ALL_STEPS_FACTOR));
        let ends = own.map(time_limit).map(|time| {
            let now = Instant::now();
            (now.checked_add(time), now.checked_add(time_limit_of_table_work(time)))
        });
        let (end_at, end_table_work_at) = ends.unwrap_or_default();
        let log = LogLimits { steps, all_steps, end_at, end_table_work_at };
        Limits { cancel: Some(self.shared.interrupted.clone()), log, ..Limits::default() }
    }

    /// Runs a batch of a log entry, or one step of such a batch, in a savepoint.
    ///
    /// # Errors
    /// Returns an error for a failure that depends on this node alone.
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
            settings: SettingsEffect::Allowed,
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

    /// Applies a batch step by step. Each step has a transaction of its own, or runs outside a transaction if it
    /// requires that.
    fn apply_in_steps(&mut self, item: &mut WorkItem<'_>, batch: &Batch) -> Result<Outcome, ApplyError> {
        self.shared.set_applying_index(item.index);
        let _stamped = self.begin_item(item, batch)?;
        self.restore_settings(batch, item.first_step);
        for step in item.first_step..batch.steps.len() {
            self.renew_session_for_step(item)?;
            let mut next = self.shared.progress();
            if step + 1 == batch.steps.len() {
                item.advance(&mut next);
            } else {
                (next.operations, next.steps) = (item.number, u32::try_from(step + 1).unwrap_or(u32::MAX));
            }
            let (result, info) = self.apply_step(item, batch, step, next)?;
            item.partial.steps.push(result);
            item.partial.info.push(info);
            item.first_step = step + 1;
        }
        Ok(std::mem::take(&mut item.partial))
    }

    /// Gives the next step of a batch the state of a new connection: no temporary tables, no settings, nothing that
    /// `changes()` or `last_insert_rowid()` could report. If the process ends between two steps, the next step runs on
    /// a new connection. Only the setting of foreign keys stays ([`Writer::restore_settings`]).
    fn renew_session_for_step(&mut self, item: &WorkItem<'_>) -> Result<(), ApplyError> {
        let foreign_keys = self.session.enforces_foreign_keys();
        self.renew_session().map_err(ApplyError::during("open connection"))?;
        self.reset_session(item)?;
        self.session.enforce_foreign_keys(foreign_keys).map_err(ApplyError::during("set foreign keys"))
    }

    /// Applies the settings of the steps before `first_step` to this connection, which did not apply those steps. Most
    /// PRAGMAs act when they are prepared.
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

    /// Applies one step of a batch. `next` is the position in the Raft log after the step.
    fn apply_step(
        &mut self,
        item: &WorkItem<'_>,
        batch: &Batch,
        number: usize,
        next: Progress,
    ) -> Result<StepResult, ApplyError> {
        let step = &one_step(batch, number);
        let steps_max = if let Some(LogWork::Batch { steps_max, .. }) = item.work { *steps_max } else { 0 };
        // The previous step may have been applied by another connection.
        self.session.forget_statements();
        self.session.forget_schema().map_err(ApplyError::during("forget schema"))?;
        // `step` is a batch that contains only this step, so its index in that batch is 0.
        let mut known: Vec<_> = item.known_failures.iter().filter(|(step, _)| *step == number).cloned().collect();
        known.iter_mut().for_each(|(step, _)| *step = 0);
        let whole = |failure: ApplyError| failure.with_step(number);
        if known.is_empty() && runs_outside_transaction(&mut self.session, step) {
            // VACUUM applies `PRAGMA auto_vacuum`.
            self.restore_settings(batch, number);
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
                    self.commit_item(next, item)?;
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

    /// Replaces the content of the database with that of a file that [`replace::check`] has checked. If the database
    /// applies a Raft log, `progress` is recorded as its position.
    pub(in crate::engine) fn replace_content(
        &mut self,
        file: &std::path::Path,
        progress: &Progress,
    ) -> Result<(), SqlError> {
        self.session.forget_statements();
        let noted = (self.shared.config.options.writes == Writes::Log).then_some(progress);
        let options = &self.shared.config.options;
        self.session.as_owner_sql(|connection| replace::replace(connection, file, options, noted))?;
        self.shared.config.listeners.publish(&[Change::Everything]);
        self.shared.set_progress(progress.clone());
        self.shared.config.rowids.forget();
        // The text encoding may have changed, and an open connection cannot adapt to that.
        self.shared.config.retire_sessions();
        Ok(())
    }

    /// Begins a write transaction. An error counts as a failure of this node alone.
    fn begin_for_log(&mut self) -> Result<(), ApplyError> {
        self.session.begin_immediate().map_err(ApplyError::during("begin transaction"))
    }

    /// Records the position `next` in the open transaction, and commits.
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

    /// Returns an error for the first failure that depends on this node alone. Such a failure must not become the
    /// result of a step, because other nodes would compute another result.
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
            // SQLite reports the same error when an AUTOINCREMENT table has no unused rowid, which depends on the data.
            ffi::SQLITE_FULL => full::was_met(),
            ffi::SQLITE_CORRUPT => {
                // Clients can cause these two errors by writing to shadow tables or to `sqlite_sequence`.
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

    /// Poisons the database, so that it rejects all further writes, and returns the error for callers. Rolls back the
    /// open transaction; no caller has received a result of it.
    pub(in crate::engine) fn give_up(&mut self, why: &str) -> Error {
        self.shared.poison(why);
        let _ = self.session.rollback();
        Error::Poisoned(why.into())
    }
}

/// The time limit of a write on a node without others: [`TIME_MIN`] plus one millisecond for each
/// [`SLOW_STEPS_PER_MILLISECOND`] virtual-machine steps that the write may take. A step may take a tenth of a second if
/// its values are large, so a limit of steps alone would not end such a write in time.
fn time_limit(steps: u64) -> Duration {
    TIME_MIN + Duration::from_millis(steps / SLOW_STEPS_PER_MILLISECOND)
}

/// The time limit of a statement that works on whole tables (CREATE INDEX, ALTER TABLE): `time` multiplied by
/// [`TABLE_WORK_TIME_FACTOR`], or `time` itself if the caller has set a short timeout.
fn time_limit_of_table_work(time: Duration) -> Duration {
    if time < SHORT_TIMEOUT { time } else { time * TABLE_WORK_TIME_FACTOR }
}

/// The size of the result rows of an outcome, in bytes.
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
