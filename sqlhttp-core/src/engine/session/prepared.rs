//! A prepared statement and what is known of it.

use std::sync::Arc;

use crate::engine::dump::VirtualTable;
use crate::engine::sqlite::statement::Statement;
use crate::engine::statement_info::StatementInfo;
use crate::model::{Column, Columns};

/// A prepared statement and what is known of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) info: StatementInfo,
    /// The names of its parameters, with prefixes; `None` for `?`.
    pub(crate) parameters: Box<[Option<Box<str>>]>,
    pub(super) columns: Option<(i32, Arc<Columns>)>,
    /// How often SQLite had prepared it again when its weight was determined, and its weight.
    pub(super) weight: Option<(i32, u32)>,
    /// It inserts only literals of its own text, and the text is short.
    pub(super) inserts_literals: bool,
    /// Its text, if it is to be kept.
    pub(super) key: Option<Arc<str>>,
    /// It creates a virtual table whose shadow tables a dump creates and fills. It is not run.
    pub(crate) restored_table: Option<VirtualTable>,
}

impl Prepared {
    /// The statement stands for a row of a dump.
    pub(crate) fn for_dump(mut self: Box<Self>, table: VirtualTable) -> Box<Prepared> {
        self.restored_table = table.has_shadow_tables().then_some(table);
        self.key = None;
        self
    }

    /// A statement of which nothing else is known.
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
        }
    }

    /// The columns of its result. To be called after the first step, which may have prepared it again.
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
