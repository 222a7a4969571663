//! Refuses rowids that SQLite chooses at random, because they would differ between the nodes of a cluster.
//!
//! SQLite gives a new row the rowid after the largest one. If the largest possible rowid is used, SQLite chooses a free
//! rowid with its own random number generator (<https://sqlite.org/autoinc.html>), which the whole process shares.
//! SQLite does not report whether it has chosen a rowid. Therefore a rowid that a statement inserts while the table
//! contains the largest one must be a number in the statement's SQL text or in its bound values. A random rowid is such
//! a number with a probability below 2⁻⁴⁰. Any other rowid makes the statement fail.

mod numbers;
mod table;

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use self::numbers::numbers_of;
use self::table::Table;
use super::sqlite::row_hook::{RowOperation, WrittenRow};
use crate::model::{Failure, SqlError, Value};

/// The largest rowid.
const LARGEST: i64 = i64::MAX;

/// The tables of a database that contain the largest rowid, or have contained it since the database was opened. The
/// writer's sessions, each of which replaces the one before it, share this value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rowids {
    /// Whether there is any such table. If there is none, no lock is taken.
    any: Arc<AtomicBool>,
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Whether the tables have been searched since the database was opened or its content was replaced.
    are_known: bool,
    list: Vec<Table>,
}

impl Rowids {
    /// Returns whether a table contains the largest rowid, or has contained it. If not, no other method need be called.
    pub(crate) fn has_tables(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Searches the tables that contain the largest rowid, unless they are known.
    pub(crate) fn search(&self, connection: &Connection) -> Result<(), SqlError> {
        if self.lock().are_known {
            return Ok(());
        }
        self.add_found(connection)?;
        self.lock().are_known = true;
        Ok(())
    }

    /// Forgets all tables, because the content of the database has been replaced.
    pub(crate) fn forget(&self) {
        *self.lock() = Tables::default();
        self.any.store(false, Ordering::Relaxed);
    }

    /// Prepares the check of a statement. Must be called before the statement runs.
    pub(crate) fn begin_statement(&self, connection: &Connection) -> Result<(), SqlError> {
        self.lock().list.iter_mut().try_for_each(|table| table.begin_statement(connection))
    }

    /// Checks the rowids that a statement has written. Must be called after the statement has run.
    ///
    /// # Errors
    /// SQLite may have chosen one of the rowids at random, or may do so later without a check. The caller must undo the
    /// statement.
    pub(crate) fn check_statement<'v>(
        &self,
        connection: &Connection,
        sql: &CStr,
        values: impl Iterator<Item = &'v Value>,
        changes_schema: bool,
    ) -> Result<(), Failure> {
        if changes_schema {
            // A table may have a new name.
            self.add_found(connection).map_err(Failure::Sql)?;
        }
        let tables = self.lock();
        let mut numbers = None;
        let mut values = Some(values);
        let mut is_given = |rowid: i64| {
            let numbers = numbers.get_or_insert_with(|| numbers_of(sql, values.take().into_iter().flatten()));
            numbers.binary_search(&rowid).is_ok()
        };
        tables.list.iter().try_for_each(|table| table.check_statement(connection, &mut is_given))
    }

    /// Returns whether the running statement has inserted rowids that SQLite may have chosen at random.
    pub(crate) fn may_be_random(&self) -> bool {
        self.lock().list.iter().any(Table::has_inserted)
    }

    /// Adds the tables that contain the largest rowid. The tables that are known stay, in case the change of the schema
    /// is undone.
    fn add_found(&self, connection: &Connection) -> Result<(), SqlError> {
        let found = table::with_largest(connection)?;
        let mut tables = self.lock();
        for table in found {
            if !tables.list.iter().any(|known| known.is_same(&table)) {
                tables.list.push(table);
            }
        }
        self.any.store(!tables.list.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// Notes a row that a statement has written.
    pub(crate) fn note(&self, row: &WrittenRow<'_>) {
        if row.operation == RowOperation::Delete {
            return;
        }
        if row.rowid != LARGEST && !self.has_tables() {
            return;
        }
        let mut tables = self.lock();
        let known = tables.list.iter_mut().find(|table| table.is(row.database, row.table));
        match known {
            Some(table) => table.note(row),
            None if row.rowid == LARGEST => {
                tables.list.push(Table::of(row));
                self.any.store(true, Ordering::Relaxed);
            }
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the tables of a file may be loaded: SQLite's own tables must not contain the largest rowid, nor must
/// tables whose rowids no SQL can name, because inserts into them cannot be checked.
///
/// # Errors
/// A table contains it (`SQLITE_CONSTRAINT`), or cannot be read.
pub(crate) fn check_file(connection: &Connection) -> Result<(), SqlError> {
    table::check_all(connection)
}
