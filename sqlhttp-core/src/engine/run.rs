//! Runs a batch on a session. The writer, the readers and (under replication) the state machine share this code.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bind;
use super::blueprint::Role;
use super::dump::VirtualTable;
use super::facts::{Author, Facts};
use super::restore;
use super::script::{Script, first_byte};
use super::session::{Level, PATTERN_LIMITS, Prepared, Session};
use super::sqlite::statement::Statement;
use super::sqlite::{clock, probe, program};
use super::watch::StopReason;
use crate::model::{
    Action, Atomicity, Batch, Bindings, Block, Changed, Columns, Ending, Expect, Failure, OnError, Rows, SqlError,
    Step, StepFacts, StepOutcome, TransactionKeyword, ValueRef,
};

/// Where results go.
pub(crate) trait Sink {
    /// Takes rows of the current step before the step has ended.
    fn rows(&mut self, columns: &Arc<Columns>, block: Block) -> Result<(), Stop>;
    /// Takes a step's outcome; its last rows are in it.
    fn step(&mut self, outcome: StepOutcome, facts: StepFacts) -> Result<(), Stop>;
}

/// Why a batch was given up without an outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stop {
    /// It was interrupted.
    Interrupted(StopReason),
    /// A statement ended the transaction in which this batch and others run.
    TransactionLost,
    /// The other side is gone, or too slow.
    Sink,
    /// The rows take more bytes than may be held.
    TooManyBytes {
        /// The limit, in bytes.
        limit: u64,
    },
}

/// How a batch runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'k> {
    /// Steps that may fail alone get a savepoint. Not needed where nothing can be written.
    pub(crate) savepoints: bool,
    /// Whether other batches share the transaction, so that losing it is not this batch's own affair.
    pub(crate) shared: bool,
    /// How many bytes of rows make a block.
    pub(crate) block_bytes: usize,
    /// How many rows a result may have.
    pub(crate) rows_max: Option<u64>,
    /// Steps that are known to fail and to take the whole transaction with them, so that they are not run again.
    pub(crate) known: &'k [(usize, Failure)],
    /// The number of the first step in the batch that this one is a part of.
    pub(crate) first_step: usize,
    /// A `PRAGMA foreign_keys` takes effect for the statements after it.
    pub(crate) settings_hold: bool,
}

/// Why a step did not succeed.
enum Trouble {
    Failed(Failure),
    Stopped(Stop),
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TooManyBytes { limit } => Trouble::Failed(Failure::TooManyBytes { limit }),
            stop => Trouble::Stopped(stop),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

/// Runs the steps of a batch in order. The caller has called [`Session::begin_batch`], has opened the transaction, and
/// ends it as the result says.
pub(crate) fn run_batch(
    session: &mut Session,
    batch: &Batch,
    mode: Mode<'_>,
    sink: &mut impl Sink,
) -> Result<Ending, Stop> {
    // A transaction of several steps keeps the setting it began with. Nothing to enforce where nothing can be written.
    let settings_hold = mode.savepoints && (batch.atomicity == Atomicity::Each || batch.steps.len() == 1);
    let mode = Mode { settings_hold, ..mode };
    for (index, step) in batch.steps.iter().enumerate() {
        let out_of_steps = match session.watch.stopped() {
            Some(StopReason::Steps | StopReason::Fuse) => true,
            Some(reason) => return Err(Stop::Interrupted(reason)),
            None => false,
        };
        clock::begin_step(mode.first_step + index);
        let guard = match (batch.atomicity, step.on_error) {
            (Atomicity::Each, _) => Guard::Transaction,
            (Atomicity::All, OnError::Continue) => Guard::Savepoint,
            (Atomicity::All, OnError::Abort) => Guard::None,
        };
        let known = mode.known.iter().find(|(known, _)| *known == index);
        let (result, facts) = match known {
            Some((_, failure)) => {
                if *failure == Failure::Timeout {
                    // The steps that it used up are not there for those after it.
                    session.watch.exhaust_steps();
                }
                (Err(failure.clone()), StepFacts::default())
            }
            None if out_of_steps => (Err(Failure::Timeout), StepFacts::default()),
            None => run_step(session, step, guard, mode, batch.timed, sink)?,
        };
        let failure = match result {
            Ok(outcome) => {
                sink.step(outcome, facts)?;
                continue;
            }
            Err(failure) => failure,
        };
        let lost = mode.savepoints && session.is_autocommit();
        sink.step(StepOutcome::Failed(failure), facts)?;
        if lost && mode.shared {
            return Err(Stop::TransactionLost);
        }
        let takes_all = lost || known.is_some() && batch.atomicity == Atomicity::All;
        if takes_all || guard == Guard::None {
            return Ok(Ending::Aborted(index));
        }
    }
    Ok(Ending::Done)
}

/// What a failing step leaves of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Nothing: it takes the batch with it.
    None,
    /// Everything; what is deferred to COMMIT is the batch's affair.
    Savepoint,
    /// Everything; the step is a transaction of its own, so nothing may stay deferred when it ends.
    Transaction,
}

/// Runs one step; if it is guarded, a failure leaves nothing of it.
fn run_step(
    session: &mut Session,
    step: &Step,
    guard: Guard,
    mode: Mode<'_>,
    timed: bool,
    sink: &mut impl Sink,
) -> Result<(Result<StepOutcome, Failure>, StepFacts), Stop> {
    let guarded = mode.savepoints && guard != Guard::None;
    if guarded && let Err(error) = session.savepoint(Level::Step) {
        return Ok((Err(Failure::Sql(error)), StepFacts::default()));
    }
    let started = timed.then(Instant::now);
    let changes_before = session.total_changes();
    let mut run = Run { session, mode, sink, seen: Seen::default(), flushed: 0, dumped: Vec::new() };
    let result = run.step(step);
    let facts = run.seen.facts(started.map_or(Duration::ZERO, |started| started.elapsed()));
    let single = run.seen.only_one_failed && matches!(step.action, Action::Run { .. });
    let mut result = match result {
        Ok(outcome) => Ok(outcome),
        Err(Trouble::Failed(failure)) => Err(failure),
        Err(Trouble::Stopped(stop)) => return Err(stop),
    };
    if guarded && guard == Guard::Transaction && result.is_ok() {
        result = session.open_constraint().map_or(result, Err);
    }
    // If the failure has ended the whole transaction there is no savepoint any more; the caller sees that.
    if guarded && !session.is_autocommit() {
        // A statement that fails with OR FAIL or RAISE(FAIL) keeps the rows it has changed, and only then are they counted
        // (<https://sqlite.org/lang_conflict.html>).
        let violates =
            matches!(&result, Err(Failure::Sql(error)) if error.primary_code() == rusqlite::ffi::SQLITE_CONSTRAINT);
        let keeps = violates && single && session.total_changes() > changes_before;
        let keeps = keeps && session.open_constraint().is_none();
        let ended = if result.is_ok() || keeps { session.release(Level::Step) } else { session.undo(Level::Step) };
        if let Err(error) = ended {
            return Ok((Err(Failure::Sql(error)), facts));
        }
    }
    Ok((result, facts))
}

struct Run<'s, S: Sink> {
    session: &'s mut Session,
    mode: Mode<'s>,
    sink: &'s mut S,
    seen: Seen,
    /// How many blocks of rows the sink has taken.
    flushed: u64,
    /// Virtual tables of a dump, whose shadow tables the text writes.
    dumped: Vec<VirtualTable>,
}

/// Statements with more work between two looks at the interrupt flag do not run on a caller's own thread: some milliseconds.
const INLINE_WEIGHT_MAX: u32 = 64 * program::PASS;
/// Up to this weight the values of a statement may have any length that the database allows: about three seconds for 64 MiB.
pub(crate) const FREE_WEIGHT: u32 = 32 * program::PASS;
/// The values of heavier statements together have so many bytes at most.
const FREE_VALUE_BYTES: u64 = 64 << 20;
/// However heavy a statement is, its values may have so many bytes.
const VALUE_BYTES_MIN: u64 = 1 << 10;
/// SQLite's message for a pattern of LIKE or GLOB that is longer than `SQLITE_LIMIT_LIKE_PATTERN_LENGTH`.
const PATTERN_TOO_LONG: &str = "LIKE or GLOB pattern too complex";

/// What is known of the statements of a step so far.
#[derive(Default)]
struct Seen {
    any: bool,
    /// The only statement of the text has failed while it ran.
    only_one_failed: bool,
    failed: bool,
    writes: bool,
    returning: bool,
}

impl Seen {
    fn facts(&self, elapsed: Duration) -> StepFacts {
        StepFacts { reads: self.any && !self.failed && !self.writes, returning: self.returning, elapsed }
    }
}

/// The values for the statements of one text.
struct Values<'b> {
    bindings: &'b Bindings,
    /// How many of them have been taken.
    used: usize,
}

/// What the statements of one text gave.
enum Given {
    Rows(Rows),
    Changed(Changed),
}

impl<S: Sink> Run<'_, S> {
    fn step(&mut self, step: &Step) -> Result<StepOutcome, Trouble> {
        match &step.action {
            Action::Fail(failure) => Err(failure.clone().into()),
            Action::Run { sql, bindings } => Ok(match self.text(sql, bindings, step.expect)? {
                Given::Rows(rows) => StepOutcome::Rows(rows),
                Given::Changed(changed) => StepOutcome::Changed(changed),
            }),
            Action::RunEach { sql, bindings } => Ok(StepOutcome::ChangedEach(self.each(sql, bindings)?)),
        }
    }

    fn each(&mut self, sql: &str, sets: &[Result<Bindings, Failure>]) -> Result<Vec<Changed>, Trouble> {
        let mut all = Vec::with_capacity(sets.len());
        for set in sets {
            let bindings = set.as_ref().map_err(Failure::clone)?;
            if let Given::Changed(changed) = self.text(sql, bindings, Expect::Count)? {
                all.push(changed);
            }
        }
        Ok(all)
    }

    /// Runs all statements of a text, and checks the virtual tables that it restores.
    fn text(&mut self, sql: &str, bindings: &Bindings, expect: Expect) -> Result<Given, Trouble> {
        let given = self.statements(sql, bindings, expect);
        if self.dumped.is_empty() {
            return given;
        }
        let tables = std::mem::take(&mut self.dumped);
        let checked = given.and_then(|given| self.check_dumped(&tables).map(|()| given));
        restore::end(self.session);
        checked
    }

    /// Runs all statements of a text. What it gives is what the last one gives, not counting empty ones and a BEGIN and
    /// COMMIT around the whole.
    fn statements(&mut self, sql: &str, bindings: &Bindings, expect: Expect) -> Result<Given, Trouble> {
        let mut script = match Script::new(self.session, sql, Author::Client) {
            Ok(script) => script,
            Err(failure) => return Err(self.not_prepared(failure)),
        };
        let mut bracket = false;
        let mut first = true;
        let mut values = Values { bindings, used: 0 };
        let mut given = match expect {
            Expect::Rows => Given::Rows(no_rows()),
            Expect::Count | Expect::Either | Expect::Returning => Given::Changed(Changed::default()),
        };
        loop {
            let next = script.next(self.session).map_err(|failure| self.not_prepared(failure))?;
            let Some(mut prepared) = next else { break };
            let rest = script.rest();
            self.seen.any = true;
            self.seen.writes |= !prepared.facts.readonly;
            if let Some(on) = prepared.facts.foreign_keys {
                self.session.put_back(prepared);
                self.foreign_keys(on)?;
                // It may stand before a BEGIN.
                continue;
            }
            if let Some(table) = prepared.dumped.take() {
                drop(prepared);
                self.declare(table)?;
                first = false;
                continue;
            }
            match prepared.facts.transaction {
                Some(TransactionKeyword::Begin) if first && !self.is_blank(rest) => bracket = true,
                Some(TransactionKeyword::Commit) if bracket && self.is_blank(rest) => return Ok(given),
                Some(keyword) => return Err(Failure::TransactionControl(keyword).into()),
                None => {
                    let last = self.is_last(rest, bracket);
                    let result = self.statement(&mut prepared, &mut values, expect, last);
                    self.session.put_back(prepared);
                    self.seen.only_one_failed = result.is_err() && first && last;
                    let new = result?;
                    if last || matches!(expect, Expect::Count) {
                        given = new;
                    }
                }
            }
            first = false;
        }
        if bracket {
            // A BEGIN without its COMMIT.
            return Err(Failure::TransactionControl(TransactionKeyword::Begin).into());
        }
        Ok(given)
    }

    /// Declares a virtual table of a dump.
    fn declare(&mut self, table: VirtualTable) -> Result<(), Trouble> {
        if self.session.role() != Role::Writer {
            return Err(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_READONLY, None)).into());
        }
        let first = self.dumped.is_empty();
        self.dumped.push(table);
        let begun = if first { restore::begin(self.session) } else { Ok(()) };
        let declared = match self.dumped.last() {
            Some(table) => begun.and_then(|()| restore::declare(self.session, table)),
            None => begun,
        };
        declared.map_err(|error| self.not_restored(error))
    }

    /// Checks the virtual tables of a dump. The steps that this takes are not limited: they grow with the tables.
    fn check_dumped(&mut self, tables: &[VirtualTable]) -> Result<(), Trouble> {
        let limited = self.session.watch.counts_steps();
        let left = limited.then(|| self.session.watch.suspend_steps());
        let checked = restore::check(self.session, tables);
        if let Some(left) = left {
            self.session.watch.resume_steps(left);
        }
        checked.map_err(|error| self.not_restored(error))
    }

    /// Why a virtual table cannot be restored: SQLite's error, or the run was interrupted.
    fn not_restored(&mut self, error: SqlError) -> Trouble {
        self.seen.failed = true;
        match self.session.watch.stopped() {
            Some(reason)
                if error.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT
                    && !matches!(reason, StopReason::Steps | StopReason::Fuse) =>
            {
                Stop::Interrupted(reason).into()
            }
            Some(StopReason::Steps) if error.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT => {
                Failure::Timeout.into()
            }
            _ => Failure::Sql(error).into(),
        }
    }

    /// Enforces foreign keys for the statements that follow, or does not.
    fn foreign_keys(&mut self, on: bool) -> Result<(), Trouble> {
        if self.mode.settings_hold {
            self.session.enforce_foreign_keys(on).map_err(Failure::Sql)?;
        }
        Ok(())
    }

    /// Why a text cannot be run: SQLite refuses it, or the run was interrupted while SQLite prepared it.
    fn not_prepared(&mut self, failure: Failure) -> Trouble {
        if let (Some(reason), Failure::Sql(error)) = (self.session.watch.stopped(), &failure)
            && error.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT
        {
            return Trouble::Stopped(Stop::Interrupted(reason));
        }
        self.seen.failed = true;
        Trouble::Failed(failure)
    }

    /// Whether only white space, comments and semicolons are left. SQLite is asked, by preparing what is left.
    fn is_blank(&mut self, mut rest: &CStr) -> bool {
        loop {
            match first_byte(rest) {
                None => return true,
                // 0xef may begin a byte order mark, which SQLite passes over.
                Some(b'-' | b'/' | b';' | 0xef) => {}
                // It need not be asked twice for each of many statements.
                Some(_) => return false,
            }
            match self.session.prepare(rest, Author::Client) {
                Ok(next) if next.prepared.is_none() && next.consumed > 0 => rest = &rest[next.consumed..],
                Ok(next) => {
                    next.prepared.into_iter().for_each(|prepared| self.session.put_back(prepared));
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    /// Whether the statement before `rest` is the one whose result counts.
    fn is_last(&mut self, rest: &CStr, bracket: bool) -> bool {
        let Some(first) = first_byte(rest) else { return true };
        if !bracket {
            return self.is_blank(rest);
        }
        if !b"-/;cCeE\xef".contains(&first) {
            // No COMMIT, no END, nor what may stand before one.
            return false;
        }
        let Ok(next) = self.session.prepare(rest, Author::Client) else {
            return false;
        };
        let Some(prepared) = next.prepared else {
            return self.is_last(&rest[next.consumed..], bracket);
        };
        let commits = prepared.facts.transaction == Some(TransactionKeyword::Commit);
        self.session.put_back(prepared);
        commits && self.is_blank(&rest[next.consumed..])
    }

    /// Runs one statement to its end. Rows are kept only if it is the `last` and they are wanted.
    fn statement(
        &mut self,
        prepared: &mut Prepared,
        values: &mut Values<'_>,
        expect: Expect,
        last: bool,
    ) -> Result<Given, Trouble> {
        bind::bind(prepared, values.bindings, &mut values.used)?;
        let total_before = self.session.total_changes();
        let inserted = InsertProbe::begin(self.session, prepared);
        if prepared.facts.outside_transaction && self.session.role() == Role::Reader {
            // On a reader it would fail somewhere on its way, with an error that tells nobody anything.
            return Err(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_READONLY, None)).into());
        }
        let returning = !prepared.facts.readonly && prepared.statement.column_count() > 0;
        let wants_rows = last
            && !prepared.facts.alters
            && match expect {
                Expect::Rows | Expect::Either => true,
                Expect::Returning => returning,
                Expect::Count => false,
            };
        let prepared_before = prepared.statement.reprepare_count();
        let rows = self.rows_within_limits(prepared, wants_rows);
        let last_insert_id = inserted.end(self.session);
        if prepared.facts.changes_schema || prepared.facts.visits_tables {
            self.session.note_schema_change();
        }
        let rows = rows?;
        if prepared.statement.reprepare_count() != prepared_before {
            self.session.check_again(&prepared.facts)?;
        }
        let changed = self.changed(prepared, total_before, last_insert_id);
        self.seen.returning = last && returning;
        Ok(match (rows, expect) {
            (Some(rows), _) if last && expect == Expect::Rows || !rows.columns.is_empty() => {
                Given::Rows(Rows { changed, ..rows })
            }
            _ => Given::Changed(changed),
        })
    }

    /// Like [`Run::rows`], under limits that keep what SQLite cannot interrupt to some seconds: the instructions between two
    /// looks at its flag, and functions whose time grows with the product of two lengths.
    fn rows_within_limits(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, Trouble> {
        let weight = self.session.weight_of(prepared).map_err(|failure| self.not_prepared(failure))?;
        if self.session.is_inline() && weight > INLINE_WEIGHT_MAX {
            return Err(Stop::Interrupted(StopReason::Budget).into());
        }
        let limit = value_limit(&prepared.facts, weight);
        let limited = limit.is_some();
        if limited {
            self.session.limit_values(limit);
        }
        let flushed = self.flushed;
        let mut rows = self.rows_counting_steps(prepared, wanted);
        if is_too_long_a_pattern(&rows) && !self.session.is_inline() && self.flushed == flushed {
            rows = self.rows_with_long_patterns(prepared, wanted, limit, rows);
        }
        if limited {
            self.session.limit_values(None);
        }
        self.session.allow_triggers();
        rows
    }

    /// Runs a statement again whose pattern is too long for values of any length, with longer patterns and shorter values.
    /// SQLite has undone the effects of the attempt before.
    fn rows_with_long_patterns(
        &mut self,
        prepared: &mut Prepared,
        wanted: bool,
        own: Option<i32>,
        too_long: Result<Option<Rows>, Trouble>,
    ) -> Result<Option<Rows>, Trouble> {
        let flushed = self.flushed;
        let mut rows = too_long;
        for (pattern, value) in &PATTERN_LIMITS[1..] {
            if !is_too_long_a_pattern(&rows) || self.flushed != flushed {
                break;
            }
            prepared.statement.rewind();
            self.session.limit_patterns((*pattern, own.map_or(*value, |own| own.min(*value))));
            let attempt = self.rows_counting_steps(prepared, wanted);
            let too_big = matches!(&attempt, Err(Trouble::Failed(Failure::Sql(error)))
                if error.primary_code() == rusqlite::ffi::SQLITE_TOOBIG);
            if too_big {
                // The pattern is too long for this value.
                break;
            }
            rows = attempt;
        }
        self.session.limit_patterns(PATTERN_LIMITS[0]);
        self.session.limit_values(own);
        rows
    }

    /// Like [`Run::rows`]. Takes the steps off those that the run has left, if they are limited.
    fn rows_counting_steps(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, Trouble> {
        if !self.session.watch.counts_steps() {
            return self.rows(prepared, wanted);
        }
        prepared.statement.forget_steps();
        if !prepared.facts.works_on_whole_tables && !prepared.facts.outside_transaction {
            return self.rows(prepared, wanted);
        }
        let left = self.session.watch.suspend_steps();
        let rows = self.rows(prepared, wanted);
        self.session.watch.resume_steps(left);
        rows
    }

    /// Steps to the end. Returns the rows that the sink has not taken yet, if they are wanted.
    fn rows(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, Trouble> {
        let mut more = self.advance(prepared)?;
        if !wanted {
            while more {
                more = self.advance(prepared)?;
            }
            return Ok(None);
        }
        let columns = prepared.columns();
        let mut block = Block::new(columns.len());
        let mut count = 0;
        let row_bytes_max = self.session.row_bytes_max();
        while more {
            let statement = &prepared.statement;
            if prepared.facts.lists_schema
                && self.session.is_hidden((0..columns.len()).filter_map(|i| statement.value(i)))
            {
                more = self.advance(prepared)?;
                continue;
            }
            count += 1;
            if let Some(limit) = self.mode.rows_max
                && count > limit
            {
                return Err(Failure::TooManyRows { limit }.into());
            }
            let mut row = Row { statement, left: row_bytes_max, is_too_long: false, lacks_memory: false };
            let values = (0..columns.len()).map(|column| row.value(column));
            if prepared.facts.lists_databases {
                block.push_row(values.enumerate().map(without_main_file));
            } else {
                block.push_row(values);
            }
            if row.is_too_long || row.lacks_memory {
                let failure = if row.lacks_memory { self.no_memory() } else { self.session.row_too_long().into() };
                return Err(failure);
            }
            if block.byte_len() >= self.mode.block_bytes {
                let full = std::mem::replace(&mut block, Block::new(columns.len()));
                self.flushed += 1;
                self.sink.rows(&columns, full)?;
            }
            more = self.advance(prepared)?;
        }
        let blocks = if block.is_empty() { Vec::new() } else { vec![block] };
        Ok(Some(Rows { columns, blocks, changed: Changed::default() }))
    }

    #[inline]
    fn advance(&self, prepared: &mut Prepared) -> Result<bool, Trouble> {
        match prepared.statement.step() {
            Ok(more) => Ok(more),
            Err(code) => Err(self.trouble(self.session.true_code(code))),
        }
    }

    /// The trouble of a row that SQLite has no memory for.
    fn no_memory(&self) -> Trouble {
        match (self.session.no_memory_for_row(), self.session.watch.stopped()) {
            (Failure::Sql(error), Some(reason)) if error.code == rusqlite::ffi::SQLITE_INTERRUPT => {
                Stop::Interrupted(reason).into()
            }
            (failure, _) => failure.into(),
        }
    }

    #[cold]
    fn trouble(&self, code: i32) -> Trouble {
        match self.session.watch.stopped() {
            Some(StopReason::Steps) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => Failure::Timeout.into(),
            // SQLite's own error, which is never a result of an entry.
            Some(StopReason::Fuse) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => {
                self.session.failure(code).into()
            }
            Some(reason) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => Stop::Interrupted(reason).into(),
            _ => self.session.failure(code).into(),
        }
    }

    /// What the statement itself changed. SQLite's own counter keeps the previous statement's count when this one
    /// counts nothing (DDL, SELECT), so it is believed only if anything was counted at all.
    fn changed(&self, prepared: &Prepared, total_before: u64, last_insert_id: Option<i64>) -> Changed {
        if !prepared.facts.changes_rows || self.session.total_changes() == total_before {
            return Changed::default();
        }
        let rows = self.session.last_changes();
        Changed { rows, last_insert_id: last_insert_id.filter(|_| rows > 0) }
    }
}

/// The current row of a statement.
struct Row<'s> {
    statement: &'s Statement,
    /// How many bytes its other values may have.
    left: usize,
    /// Its values have more bytes than they may have.
    is_too_long: bool,
    /// SQLite had no memory for a value of it.
    lacks_memory: bool,
}

impl<'s> Row<'s> {
    /// The value of a column, or NULL if it cannot be had, or makes the row too long.
    #[inline]
    fn value(&mut self, column: usize) -> ValueRef<'s> {
        match self.statement.value(column) {
            Some(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) if bytes.len() > self.left => {
                // Nor is there room for another one.
                (self.left, self.is_too_long) = (0, true);
                ValueRef::Null
            }
            Some(ValueRef::Text(bytes)) => {
                self.left -= bytes.len();
                ValueRef::Text(bytes)
            }
            Some(ValueRef::Blob(bytes)) => {
                self.left -= bytes.len();
                ValueRef::Blob(bytes)
            }
            Some(value) => value,
            None => {
                self.lacks_memory = true;
                ValueRef::Null
            }
        }
    }
}

/// Finds out whether a statement inserts a row that has a rowid. An upsert that updates, and an insert into a view or a
/// table WITHOUT ROWID, leave `last_insert_rowid()` as it was; so it is set to a value that no insert gives, unless the
/// statement itself wants to know it.
enum InsertProbe {
    /// It inserts nothing.
    None,
    /// The value before, in whose stead [`NO_ROWID`] stands now.
    Replaced(i64),
    /// The statement asks for the value, so it must stay.
    Kept,
}

/// A rowid that SQLite chooses last of all.
const NO_ROWID: i64 = i64::MIN;

impl InsertProbe {
    fn begin(session: &Session, prepared: &Prepared) -> Self {
        if !prepared.facts.inserts {
            return InsertProbe::None;
        }
        if prepared.facts.asks_last_insert_rowid {
            return InsertProbe::Kept;
        }
        let before = session.last_insert_rowid();
        session.set_last_insert_rowid(NO_ROWID);
        InsertProbe::Replaced(before)
    }

    fn end(self, session: &Session) -> Option<i64> {
        let now = session.last_insert_rowid();
        match self {
            InsertProbe::None => None,
            InsertProbe::Kept => Some(now),
            InsertProbe::Replaced(before) if now == NO_ROWID => {
                session.set_last_insert_rowid(before);
                None
            }
            InsertProbe::Replaced(_) => Some(now),
        }
    }
}

/// A value of `PRAGMA database_list`, whose third column is the path of the file. The path is not the client's business.
fn without_main_file((column, value): (usize, ValueRef<'_>)) -> ValueRef<'_> {
    if column == 2 { ValueRef::Text(b"") } else { value }
}

fn is_too_long_a_pattern(rows: &Result<Option<Rows>, Trouble>) -> bool {
    matches!(rows, Err(Trouble::Failed(Failure::Sql(error))) if error.message == PATTERN_TOO_LONG)
}

/// The longest values of a statement, bytes, if it needs a limit of its own. SQLite can be interrupted only between two
/// iterations of a loop; so the more a statement does in one, the shorter its values may be.
fn value_limit(facts: &Facts, weight: u32) -> Option<i32> {
    let by_weight = (weight > FREE_WEIGHT).then(|| {
        let bytes = FREE_VALUE_BYTES * u64::from(FREE_WEIGHT) / u64::from(weight);
        i32::try_from(bytes.max(VALUE_BYTES_MIN)).unwrap_or(i32::MAX)
    });
    match (facts.value_bytes_max, by_weight) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn no_rows() -> Rows {
    Rows { columns: Arc::from([]), blocks: Vec::new(), changed: Changed::default() }
}
