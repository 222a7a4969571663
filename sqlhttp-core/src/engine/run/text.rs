//! Runs the statements of an SQL text, one after the other.

use std::ffi::CStr;
use std::sync::Arc;

use super::mode::SettingsEffect;
use super::sink::{RunError, Sink};
use super::step::{BindingCursor, Run, StatementResult, StepError};
use crate::engine::bind::UsedValues;
use crate::engine::connection_config::Role;
use crate::engine::dump::VirtualTable;
use crate::engine::restore;
use crate::engine::script::Script;
use crate::engine::sqlite::probe;
use crate::engine::statement_info::Author;
use crate::engine::text::first_byte;
use crate::engine::watch::StopReason;
use crate::model::{Bindings, Changed, Expect, Failure, Rows, SqlError, TransactionKeyword};

impl<S: Sink> Run<'_, S> {
    /// Runs the statements of an SQL text, and then checks the virtual tables that the text has restored from a dump.
    pub(super) fn run_text(
        &mut self,
        sql: &str,
        bindings: &Bindings,
        expect: Expect,
    ) -> Result<StatementResult, StepError> {
        let result = self.run_statements(sql, bindings, expect);
        if self.restored_tables.is_empty() {
            return result;
        }
        let tables = std::mem::take(&mut self.restored_tables);
        let checked = result.and_then(|result| self.check_restored(&tables).map(|()| result));
        restore::end(self.session);
        checked
    }

    /// Runs the statements of an SQL text. Returns the result of the last one. Empty statements do not count, nor do a
    /// BEGIN and COMMIT around the whole text.
    fn run_statements(&mut self, sql: &str, bindings: &Bindings, expect: Expect) -> Result<StatementResult, StepError> {
        let mut script = match Script::new(self.session, sql, Author::Client) {
            Ok(script) => script,
            Err(failure) => return Err(self.not_prepared(failure)),
        };
        let mut in_block = false;
        let mut first = true;
        let mut values = BindingCursor { bindings, used: UsedValues::of(bindings) };
        let mut result = match expect {
            Expect::Rows | Expect::ExactRows(_) => StatementResult::Rows(no_rows()),
            Expect::Count | Expect::ExactCount(_) | Expect::Either | Expect::Returning => {
                StatementResult::Changed(Changed::default())
            }
        };
        loop {
            let next = script.next(self.session).map_err(|failure| self.not_prepared(failure))?;
            let Some(mut prepared) = next else { break };
            let rest = script.rest();
            self.summary.has_statements = true;
            self.summary.writes |= !prepared.info.readonly;
            if let Some(on) = prepared.info.foreign_keys {
                self.session.put_back(prepared);
                self.foreign_keys(on)?;
                // `first` is unchanged, because a BEGIN may follow this statement.
                continue;
            }
            if let Some(table) = prepared.restored_table.take() {
                drop(prepared);
                self.declare(table)?;
                first = false;
                continue;
            }
            match prepared.info.transaction {
                Some(TransactionKeyword::Begin) if first && !self.is_blank(rest) => in_block = true,
                Some(TransactionKeyword::Commit) if in_block && self.is_blank(rest) => {
                    values.used.check(bindings)?;
                    return Ok(result);
                }
                Some(keyword) => return Err(Failure::TransactionControl(keyword).into()),
                None => {
                    let last = self.is_last(rest, in_block);
                    let this = self.run_statement(&mut prepared, &mut values, expect, last);
                    self.session.put_back(prepared);
                    self.summary.only_one_failed = this.is_err() && first && last;
                    let this = this?;
                    if last || matches!(expect, Expect::Count | Expect::ExactCount(_)) {
                        result = this;
                    }
                }
            }
            first = false;
        }
        if in_block {
            // The SQL text contains a BEGIN without a COMMIT.
            return Err(Failure::TransactionControl(TransactionKeyword::Begin).into());
        }
        values.used.check(bindings)?;
        Ok(result)
    }

    /// Inserts a virtual table of a dump into the schema. The dump creates and fills its shadow tables.
    fn declare(&mut self, table: VirtualTable) -> Result<(), StepError> {
        if self.session.role() != Role::Writer {
            return Err(Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_READONLY, None)).into());
        }
        let first = self.restored_tables.is_empty();
        self.restored_tables.push(table);
        let begun = if first { restore::begin(self.session) } else { Ok(()) };
        let declared = match self.restored_tables.last() {
            Some(table) => begun.and_then(|()| restore::declare(self.session, table)),
            None => begun,
        };
        declared.map_err(|error| self.interruption_or(error))
    }

    /// Checks the virtual tables that a dump has restored. The virtual-machine steps of the check are not limited,
    /// because their number grows with the size of the tables.
    fn check_restored(&mut self, tables: &[VirtualTable]) -> Result<(), StepError> {
        let limited = self.session.watch.limits_steps();
        let left = limited.then(|| self.session.watch.suspend_steps());
        let checked = restore::check(self.session, tables);
        if let Some(left) = left {
            self.session.watch.resume_steps(left);
        }
        checked.map_err(|error| self.interruption_or(error))
    }

    /// Returns the error of an SQL text that cannot be prepared: SQLite's error, or the reason why the run was
    /// interrupted meanwhile.
    pub(super) fn not_prepared(&mut self, failure: Failure) -> StepError {
        match failure {
            Failure::Sql(error) => self.interruption_or(error),
            failure => {
                self.summary.failed = true;
                failure.into()
            }
        }
    }

    /// Returns the reason why the run was interrupted if that is the cause of `error`; otherwise the error itself.
    fn interruption_or(&mut self, error: SqlError) -> StepError {
        let interrupted = error.primary_code() == rusqlite::ffi::SQLITE_INTERRUPT;
        let failure = match self.session.watch.stopped().filter(|_| interrupted) {
            Some(StopReason::Steps) => Failure::Timeout,
            // SQLite's own error. The writer never makes it the outcome of a log entry.
            Some(StopReason::NodeLimit) | None => Failure::Sql(error),
            Some(reason) => return RunError::Interrupted(reason).into(),
        };
        self.summary.failed = true;
        failure.into()
    }

    /// Sets whether foreign keys are enforced for the following statements of the batch, as far as
    /// [`Mode::settings`](super::Mode::settings) says.
    fn foreign_keys(&mut self, on: bool) -> Result<(), StepError> {
        match self.mode.settings {
            SettingsEffect::Allowed => Ok(self.session.enforce_foreign_keys(on).map_err(Failure::Sql)?),
            SettingsEffect::None => Ok(()),
            SettingsEffect::Refused => {
                Err(Failure::NotAllowed("PRAGMA foreign_keys in a transaction".to_owned()).into())
            }
        }
    }

    /// Returns whether `rest` contains only white space, comments and semicolons. If it begins like one of these,
    /// SQLite prepares it to find out.
    fn is_blank(&mut self, mut rest: &CStr) -> bool {
        loop {
            match first_byte(rest) {
                None => return true,
                // 0xef may begin a byte order mark, which SQLite skips.
                Some(b'-' | b'/' | b';' | 0xef) => {}
                // The rest contains a statement, whatever it is. Preparing it would double the work for SQL texts with
                // many statements.
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

    /// Returns whether the statement before `rest` is the last one of the SQL text, apart from a COMMIT that ends the
    /// block. Its result is the result of the text.
    fn is_last(&mut self, rest: &CStr, in_block: bool) -> bool {
        let Some(first) = first_byte(rest) else { return true };
        if !in_block {
            return self.is_blank(rest);
        }
        if !b"-/;cCeE\xef".contains(&first) {
            // This byte cannot begin a COMMIT or END, nor a comment or semicolon before one.
            return false;
        }
        let Ok(next) = self.session.prepare(rest, Author::Client) else {
            return false;
        };
        let Some(prepared) = next.prepared else {
            return self.is_last(&rest[next.consumed..], in_block);
        };
        let commits = prepared.info.transaction == Some(TransactionKeyword::Commit);
        self.session.put_back(prepared);
        commits && self.is_blank(&rest[next.consumed..])
    }
}

fn no_rows() -> Rows {
    Rows { columns: Arc::from([]), blocks: Vec::new(), changed: Changed::default() }
}
