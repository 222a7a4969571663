//! Checks that a statement of a log entry has the same effect on every node of a cluster.

use super::connection::Session;
use super::prepared::Prepared;
use crate::engine::statement_info::{Author, StatementInfo};
use crate::model::{Bindings, Failure};

impl Session {
    /// Prepares [`Session::check_rowids`]. Must be called before a statement runs.
    pub(crate) fn begin_rowids(&self, info: &StatementInfo) -> Result<(), Failure> {
        let Some(rowids) = self.rowids.as_ref().filter(|rowids| !info.readonly && rowids.has_tables()) else {
            return Ok(());
        };
        self.recorder.begin(Author::Owner);
        let begun = rowids.begin_statement(&self.connection);
        self.recorder.resume();
        begun.map_err(Failure::Sql)
    }

    /// Refuses a statement that has run if SQLite may have chosen one of its rowids at random.
    ///
    /// # Errors
    /// The caller must undo the effects of the statement.
    pub(crate) fn check_rowids(&self, prepared: &Prepared, bindings: &Bindings) -> Result<(), Failure> {
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
