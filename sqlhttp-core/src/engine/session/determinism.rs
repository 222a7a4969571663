//! Checks that a statement of a log entry has the same effect on every node of a cluster.

use rusqlite::Connection;

use super::connection::Session;
use super::prepared::Prepared;
use crate::engine::column_names;
use crate::engine::statement_info::{Author, StatementInfo};
use crate::model::{Bindings, Failure, SqlError};

impl Session {
    /// Refuses a statement that writes and lists the columns of tables while a view has random column names.
    pub(crate) fn check_listed_columns(&self, info: &StatementInfo) -> Result<(), Failure> {
        if !self.replicates() || info.readonly || !info.lists_columns {
            return Ok(());
        }
        let found = self.look(column_names::of_views)?;
        found.map_or(Ok(()), |view| {
            Err(Failure::NotAllowed(format!("a list of columns while the view {view} has random column names")))
        })
    }

    /// Applies the policy again to a statement that has run: what SQLite does not report before.
    ///
    /// # Errors
    /// The caller must undo the effects of the statement.
    pub(crate) fn check_effects(
        &self,
        prepared: &Prepared,
        bindings: &Bindings,
        is_reprepared: bool,
    ) -> Result<(), Failure> {
        if is_reprepared {
            self.recheck_policy(&prepared.info)?;
        }
        self.check_created_columns(&prepared.info)?;
        self.check_rowids(prepared, bindings)
    }

    /// Refuses a CREATE TABLE … AS SELECT that has run if SQLite has chosen a column name at random.
    fn check_created_columns(&self, info: &StatementInfo) -> Result<(), Failure> {
        if !self.replicates() || !info.creates_table_as || info.readonly {
            return Ok(());
        }
        let found = self.look(column_names::of_last_table)?;
        found.map_or(Ok(()), |table| {
            Err(Failure::NotAllowed(format!("{table} with more than five columns of the same name")))
        })
    }

    /// Returns whether a batch must not share its transaction with the next one: at COMMIT, FTS3 and FTS4 tables merge
    /// segments depending on how much the transaction has written.
    pub(crate) fn must_commit_each_batch(&self) -> bool {
        self.replicates() && self.merges_at_commit
    }

    /// Runs the engine's own queries before or after a client's statement.
    fn look<T>(&self, query: impl FnOnce(&Connection) -> Result<T, SqlError>) -> Result<T, Failure> {
        self.recorder.begin(Author::Owner);
        let found = query(&self.connection).map_err(Failure::Sql);
        self.recorder.resume();
        found
    }

    /// Prepares the check of the statement's rowids. Must be called before a statement runs.
    pub(crate) fn begin_rowids(&self, info: &StatementInfo) -> Result<(), Failure> {
        let Some(rowids) = self.rowids.as_ref().filter(|rowids| !info.readonly && rowids.has_tables()) else {
            return Ok(());
        };
        self.look(|connection| rowids.begin_statement(connection))
    }

    /// Returns whether SQLite may have chosen a rowid of the statement that has run at random.
    pub(crate) fn may_have_chosen_rowids(&self) -> bool {
        self.rowids.as_ref().is_some_and(|rowids| rowids.has_tables() && rowids.may_be_random())
    }

    /// Refuses a statement that has run if SQLite may have chosen one of its rowids at random.
    fn check_rowids(&self, prepared: &Prepared, bindings: &Bindings) -> Result<(), Failure> {
        let info = &prepared.info;
        let Some(rowids) = self.rowids.as_ref().filter(|rowids| !info.readonly && rowids.has_tables()) else {
            return Ok(());
        };
        self.recorder.begin(Author::Owner);
        let values = bindings.entries.iter().map(|binding| &binding.value);
        let checked = rowids.check_statement(&self.connection, prepared.statement.sql(), values, info.changes_schema);
        self.recorder.resume();
        checked
    }
}
