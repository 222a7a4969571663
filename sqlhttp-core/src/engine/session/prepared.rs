//! A prepared statement and its properties.

use std::sync::Arc;

use super::changes::ChangedTables;
use crate::engine::dump::VirtualTable;
use crate::engine::sqlite::statement::Statement;
use crate::engine::statement_info::StatementInfo;
use crate::model::{Column, Columns};

/// A prepared statement and its properties.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) info: StatementInfo,
    /// The names of the statement's parameters, with their prefixes (`:`, `@`, `$`, `?`); `None` for a plain `?`.
    pub(crate) parameters: Box<[Option<Box<str>>]>,
    pub(super) columns: Option<(i32, Arc<Columns>)>,
    /// The statement's weight, and the value of SQLite's reprepare counter when the weight was determined; `None` if it
    /// has not been determined.
    pub(super) weight: Option<(i32, u32)>,
    /// Whether the statement is a short INSERT of literals.
    pub(super) inserts_literals: bool,
    /// The statement's SQL text if the statement is to be cached; otherwise `None`.
    pub(super) key: Option<Arc<str>>,
    /// The virtual table to restore, if the statement is the `CREATE VIRTUAL TABLE` of a dump; `None` for all other
    /// statements. Instead of running the statement, the engine writes the table's row to `sqlite_schema`, because
    /// other statements of the dump create and fill the shadow tables.
    pub(crate) restored_table: Option<VirtualTable>,
    /// The tables that the statement changes, if changes are collected; otherwise `None`.
    pub(super) changed_tables: Option<Box<ChangedTables>>,
}

impl Prepared {
    /// Marks the statement as made from a row of a dump. It is not cached. If the virtual table has shadow tables, it
    /// is not run either.
    pub(crate) fn for_dump(mut self: Box<Self>, table: VirtualTable) -> Box<Prepared> {
        self.restored_table = table.has_shadow_tables().then_some(table);
        self.key = None;
        self
    }

    /// Makes a value with these properties and no others.
    #[cfg(test)]
    pub(crate) fn bare(statement: Statement, info: StatementInfo) -> Prepared {
        Prepared {
            statement,
            info,
            parameters: Box::default(),
            columns: None,
            weight: None,
            inserts_literals: false,
            key: None,
            restored_table: None,
            changed_tables: None,
        }
    }

    /// Returns the columns of the statement's result. Must be called after the first step, in which SQLite may have
    /// prepared the statement again.
    pub(crate) fn columns(&mut self) -> Arc<Columns> {
        let version = self.statement.reprepare_count();
        match &self.columns {
            Some((known, columns)) if *known == version => columns.clone(),
            _ => {
                let columns: Arc<Columns> = (0..self.statement.column_count()).map(|i| self.column(i)).collect();
                self.columns = Some((version, columns.clone()));
                columns
            }
        }
    }

    fn column(&self, index: usize) -> Column {
        Column {
            name: self.statement.column_name(index).map(String::from).unwrap_or_default(),
            decl_type: self.statement.column_decl_type(index).map(String::from),
            table: self.statement.column_table(index).map(String::from),
        }
    }
}
