//! Runs one statement until it is done, within its limits on memory, steps and the size of values.

use super::insert_probe::InsertProbe;
use super::sink::{RunError, Sink};
use super::step::{BindingCursor, Run, StatementResult, StepError};
use crate::engine::bind;
use crate::engine::connection_config::Role;
use crate::engine::session::Prepared;
use crate::engine::sqlite::probe;
use crate::engine::sqlite::statement::Statement;
use crate::engine::watch::StopReason;
use crate::engine::work_limits::{INLINE_WEIGHT_MAX, PATTERN_LIMITS, value_limit};
use crate::model::{Block, Changed, Expect, Failure, Rows, ValueRef};

/// SQLite's message for a pattern of LIKE or GLOB that exceeds `SQLITE_LIMIT_LIKE_PATTERN_LENGTH`.
const PATTERN_TOO_LONG: &str = "LIKE or GLOB pattern too complex";

impl<S: Sink> Run<'_, S> {
    /// Runs one statement until it is done. Its rows are kept only if `expect` says that rows are expected and the
    /// statement is the `last` one of its SQL text.
    pub(super) fn run_statement(
        &mut self,
        prepared: &mut Prepared,
        values: &mut BindingCursor<'_>,
        expect: Expect,
        last: bool,
    ) -> Result<StatementResult, StepError> {
        bind::bind(prepared, values.bindings, &mut values.used)?;
        let total_before = self.session.total_changes();
        self.session.check_listed_columns(&prepared.info)?;
        self.session.begin_rowids(&prepared.info)?;
        let rowid_before = self.session.last_insert_rowid();
        let inserted = InsertProbe::begin(self.session, prepared);
        if prepared.info.outside_transaction && self.session.role() == Role::Reader {
            // A reader refuses VACUUM, which would otherwise fail halfway with an unclear error.
            return Err(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_READONLY, None)).into());
        }
        let returning = !prepared.info.readonly && prepared.statement.column_count() > 0;
        let wants_rows = last
            && !prepared.info.alters_table
            && match expect {
                Expect::Rows | Expect::ExactRows(_) | Expect::Either => true,
                Expect::Returning => returning,
                Expect::Count | Expect::ExactCount(_) => false,
            };
        let prepared_before = prepared.statement.reprepare_count();
        let rows = self.rows_within_limits(prepared, wants_rows);
        let last_insert_id = inserted.end(self.session);
        if prepared.info.changes_schema || prepared.info.depends_on_load_order {
            self.session.note_schema_change();
        }
        let is_reprepared = prepared.statement.reprepare_count() != prepared_before;
        let checked = if may_have_effects(&rows) {
            self.session.check_effects(prepared, values.bindings, is_reprepared)
        } else {
            Ok(())
        };
        if checked.is_err() || rows.is_err() && self.session.may_have_chosen_rowids() {
            // The rowid may differ between nodes, and SQLite does not restore it when the statement is undone.
            self.session.set_last_insert_rowid(rowid_before);
        }
        checked?;
        let rows = rows?;
        let changed = self.changed(prepared, total_before, last_insert_id);
        self.summary.returning = last && returning;
        Ok(match (rows, expect) {
            (Some(rows), _)
                if last && matches!(expect, Expect::Rows | Expect::ExactRows(_)) || !rows.columns.is_empty() =>
            {
                StatementResult::Rows(Rows { changed, ..rows })
            }
            _ => StatementResult::Changed(changed),
        })
    }

    /// Like [`Run::rows`], with limits on values and patterns that keep work that SQLite cannot interrupt to some
    /// seconds. Such work is the instructions between two checks of the interrupt flag, and functions whose time grows
    /// with the product of the lengths of two arguments.
    fn rows_within_limits(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, StepError> {
        let weight = self.session.weight_of(prepared).map_err(|failure| self.not_prepared(failure))?;
        if self.session.is_inline() && weight > INLINE_WEIGHT_MAX {
            return Err(RunError::Interrupted(StopReason::Budget).into());
        }
        let limit = value_limit(&prepared.info, weight);
        let limited = limit.is_some();
        if limited {
            self.session.limit_values(limit);
        }
        let blocks_sent = self.blocks_sent;
        let mut rows = self.attempt(prepared, wanted);
        if is_too_long_a_pattern(&rows) && !self.session.is_inline() && self.blocks_sent == blocks_sent {
            rows = self.rows_with_long_patterns(prepared, wanted, limit, rows);
        }
        if limited {
            self.session.limit_values(None);
        }
        self.session.allow_triggers();
        rows
    }

    /// Runs a statement again after it has failed because a pattern of LIKE or GLOB was too long. The new attempts
    /// allow longer patterns but only smaller values ([`PATTERN_LIMITS`]). SQLite has undone the effects of the
    /// previous attempt.
    fn rows_with_long_patterns(
        &mut self,
        prepared: &mut Prepared,
        wanted: bool,
        own: Option<i32>,
        too_long: Result<Option<Rows>, StepError>,
    ) -> Result<Option<Rows>, StepError> {
        let blocks_sent = self.blocks_sent;
        let mut rows = too_long;
        for (pattern, value) in &PATTERN_LIMITS[1..] {
            if !is_too_long_a_pattern(&rows) || self.blocks_sent != blocks_sent {
                break;
            }
            prepared.statement.rewind();
            self.session.limit_patterns((*pattern, own.map_or(*value, |own| own.min(*value))));
            let attempt = self.attempt(prepared, wanted);
            let too_big = matches!(&attempt, Err(StepError::Failed(Failure::Sql(error)))
                if error.primary_code() == rusqlite::ffi::SQLITE_TOOBIG);
            if too_big {
                // The pattern is too long for a value of this size, so the error about the pattern is returned.
                break;
            }
            rows = attempt;
        }
        self.session.limit_patterns(PATTERN_LIMITS[0]);
        self.session.limit_values(own);
        rows
    }

    /// Like [`Run::rows_counting_steps`], and collects the changes of this attempt to run the statement. The changes of
    /// a failed attempt must not count as those of the next one.
    fn attempt(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, StepError> {
        let before = self.session.before_statement();
        let rows = self.rows_counting_steps(prepared, wanted);
        self.session.end_changes(prepared, rows.is_err(), before);
        rows
    }

    /// Like [`Run::rows`]. If the virtual-machine steps of the run are limited, they are counted, except those of
    /// statements that work on whole tables.
    fn rows_counting_steps(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, StepError> {
        if !self.session.watch.limits_steps() {
            return self.rows(prepared, wanted);
        }
        prepared.statement.forget_steps();
        if !prepared.info.works_on_whole_tables && !prepared.info.outside_transaction {
            return self.rows(prepared, wanted);
        }
        let left = self.session.watch.suspend_steps();
        let rows = self.rows(prepared, wanted);
        self.session.watch.resume_steps(left);
        rows
    }

    /// Steps the statement until it is done. If rows are `wanted`, returns those that have not been passed to the sink;
    /// otherwise returns `None`.
    fn rows(&mut self, prepared: &mut Prepared, wanted: bool) -> Result<Option<Rows>, StepError> {
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
            if prepared.info.lists_schema
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
            let mut row = CurrentRow { statement, left: row_bytes_max, is_too_long: false, lacks_memory: false };
            let values = (0..columns.len()).map(|column| row.value(column));
            if prepared.info.lists_databases {
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
                self.blocks_sent += 1;
                self.sink.rows(&columns, full)?;
            }
            more = self.advance(prepared)?;
        }
        self.summary.rows = count;
        let blocks = if block.is_empty() { Vec::new() } else { vec![block] };
        Ok(Some(Rows { columns, blocks, changed: Changed::default() }))
    }

    /// Steps the statement once. Returns whether it has produced a row.
    #[inline]
    fn advance(&self, prepared: &mut Prepared) -> Result<bool, StepError> {
        match prepared.statement.step() {
            Ok(more) => Ok(more),
            Err(code) => Err(self.step_error(self.session.true_code(code))),
        }
    }

    /// Returns the error for a row for which SQLite has no memory: an interrupt if the memory was refused to stop the
    /// run, otherwise a failure.
    fn no_memory(&self) -> StepError {
        match (self.session.no_memory_for_row(), self.session.watch.stopped()) {
            (Failure::Sql(error), Some(reason)) if error.code == rusqlite::ffi::SQLITE_INTERRUPT => {
                RunError::Interrupted(reason).into()
            }
            (failure, _) => failure.into(),
        }
    }

    /// Returns the error for a call of `sqlite3_step` that failed with `code`: the failure of the statement, or the
    /// reason why the run was stopped.
    #[cold]
    fn step_error(&self, code: i32) -> StepError {
        match self.session.watch.stopped() {
            Some(StopReason::Steps) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => Failure::Timeout.into(),
            // SQLite's own error. The writer never makes it the outcome of a log entry.
            Some(StopReason::NodeLimit) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => {
                self.session.failure(code).into()
            }
            Some(reason) if code & 0xff == rusqlite::ffi::SQLITE_INTERRUPT => RunError::Interrupted(reason).into(),
            _ => self.session.failure(code).into(),
        }
    }

    /// Returns the number of rows that the statement itself changed, and the rowid that it inserted. SQLite's counter
    /// of changed rows keeps the previous statement's value if this statement counts no rows (DDL, SELECT). So the
    /// counter is used only if the total number of changes has grown.
    fn changed(&self, prepared: &Prepared, total_before: u64, last_insert_id: Option<i64>) -> Changed {
        if !prepared.info.changes_rows || self.session.total_changes() == total_before {
            return Changed::default();
        }
        let rows = self.session.last_changes();
        Changed { rows, last_insert_id: last_insert_id.filter(|_| rows > 0) }
    }
}

/// The current row of a statement.
struct CurrentRow<'s> {
    statement: &'s Statement,
    /// The maximum number of bytes of the row's remaining values.
    left: usize,
    /// Whether the row's values exceed the maximum size of a row.
    is_too_long: bool,
    /// Whether SQLite had no memory for one of the row's values.
    lacks_memory: bool,
}

impl<'s> CurrentRow<'s> {
    /// Returns the value of a column; NULL if it does not fit into the maximum size of the row, or if SQLite has no
    /// memory for it.
    #[inline]
    fn value(&mut self, column: usize) -> ValueRef<'s> {
        match self.statement.value(column) {
            Some(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) if bytes.len() > self.left => {
                // No TEXT or BLOB value fits after this one.
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

/// Replaces the value of the third column of `PRAGMA database_list`, which contains the path of the file, with an empty
/// string. Clients must not see the path.
fn without_main_file((column, value): (usize, ValueRef<'_>)) -> ValueRef<'_> {
    if column == 2 { ValueRef::Text(b"") } else { value }
}

/// Returns whether a statement has succeeded, or has failed in a way in which it may keep the rows that it has changed
/// before the failure (OR FAIL, RAISE(FAIL)).
fn may_have_effects(rows: &Result<Option<Rows>, StepError>) -> bool {
    match rows {
        Ok(_) => true,
        Err(StepError::Failed(Failure::Sql(error))) => error.primary_code() == rusqlite::ffi::SQLITE_CONSTRAINT,
        Err(_) => false,
    }
}

fn is_too_long_a_pattern(rows: &Result<Option<Rows>, StepError>) -> bool {
    matches!(rows, Err(StepError::Failed(Failure::Sql(error))) if error.message == PATTERN_TOO_LONG)
}
