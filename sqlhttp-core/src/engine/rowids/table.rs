//! A table that may contain the largest rowid.

use std::ffi::{CStr, CString};

use rusqlite::{Connection, ffi};

use super::LARGEST;
use crate::engine::error::sql_error;
use crate::engine::sqlite::probe;
use crate::engine::sqlite::row_hook::{RowOperation, WrittenRow};
use crate::model::{Failure, SqlError};

/// The range of the rowids that SQLite chooses at random (`OP_NewRowid` in SQLite's `vdbe.c`).
const RANDOM: std::ops::RangeInclusive<i64> = 1..=1 << 62;
/// The maximum number of rowids of one statement that are checked. A statement that inserts more rows into a table with
/// the largest rowid fails.
const ROWIDS_MAX: usize = 1 << 20;
/// The names by which SQL can refer to the rowid, unless columns have them
/// (<https://sqlite.org/lang_createtable.html#rowid>).
const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A table that may contain the largest rowid, and the rowids that the running statement has written to it.
#[derive(Debug)]
pub(super) struct Table {
    database: CString,
    name: CString,
    /// Whether the table contains the largest rowid, or contained it when the running statement began.
    is_full: bool,
    /// Whether the running statement has written the largest rowid.
    gets_largest: bool,
    /// The rowids that the running statement has inserted while the table was full, and that SQLite may have chosen.
    inserted: Vec<i64>,
}

impl Table {
    fn new(database: &CStr, name: &CStr) -> Table {
        let (database, name) = (database.to_owned(), name.to_owned());
        Table { database, name, is_full: false, gets_largest: false, inserted: Vec::new() }
    }

    /// Makes the table of a row with the largest rowid.
    pub(super) fn of(row: &WrittenRow<'_>) -> Table {
        let mut table = Table::new(row.database, row.table);
        table.note(row);
        table
    }

    pub(super) fn is(&self, database: &CStr, name: &CStr) -> bool {
        *self.name == *name && *self.database == *database
    }

    pub(super) fn is_same(&self, other: &Table) -> bool {
        self.is(&other.database, &other.name)
    }

    /// Records a row that the running statement has written.
    pub(super) fn note(&mut self, row: &WrittenRow<'_>) {
        if row.rowid == LARGEST {
            (self.is_full, self.gets_largest) = (true, true);
        } else if self.is_full
            && row.operation == RowOperation::Insert
            && RANDOM.contains(&row.rowid)
            && self.inserted.len() < ROWIDS_MAX
        {
            self.inserted.push(row.rowid);
        }
    }

    /// Whether the running statement has inserted rowids that SQLite may have chosen.
    pub(super) fn has_inserted(&self) -> bool {
        !self.inserted.is_empty()
    }

    pub(super) fn begin_statement(&mut self, connection: &Connection) -> Result<(), SqlError> {
        self.gets_largest = false;
        self.inserted.clear();
        self.is_full = match rowid_name(connection, &self.database, &self.name)? {
            Some(rowid) => contains_largest(connection, &self.database, &self.name, rowid)?,
            // `check_statement` refuses such a table when it gets the largest rowid.
            None => false,
        };
        Ok(())
    }

    /// Checks the rows that the running statement has written. `is_given` returns whether the statement contains a
    /// number.
    pub(super) fn check_statement(
        &self,
        connection: &Connection,
        is_given: &mut impl FnMut(i64) -> bool,
    ) -> Result<(), Failure> {
        if self.gets_largest {
            let rowid = rowid_name(connection, &self.database, &self.name).map_err(Failure::Sql)?;
            self.why_unchecked(rowid).map_or(Ok(()), |why| Err(Failure::NotAllowed(why)))?;
        }
        if self.inserted.len() < ROWIDS_MAX && self.inserted.iter().all(|rowid| is_given(*rowid)) {
            return Ok(());
        }
        // A full AUTOINCREMENT table gets no new rowids (<https://sqlite.org/autoinc.html>).
        if probe::is_autoincrement(connection, &self.database, &self.name) {
            return Ok(());
        }
        let name = self.name.to_string_lossy();
        Err(Failure::NotAllowed(format!(
            "a new row of {name} without a given rowid, while the largest rowid ({LARGEST}) is used,"
        )))
    }

    /// Returns why inserts into the table could not be checked if it contained the largest rowid; `None` if they can.
    fn why_unchecked(&self, rowid: Option<&str>) -> Option<String> {
        let name = self.name.to_string_lossy();
        let is_own = name.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_"));
        match rowid {
            None => Some(format!("the rowid {LARGEST} in {name}, whose columns have all names of the rowid,")),
            // SQLite does not report the rows that it writes to its own tables.
            Some(_) if is_own => Some(format!("the rowid {LARGEST} in {name}")),
            Some(_) => None,
        }
    }
}

/// Returns all tables that contain the largest rowid, except those whose rowids no SQL can name.
pub(super) fn with_largest(connection: &Connection) -> Result<Vec<Table>, SqlError> {
    let mut found = Vec::new();
    for database in [c"main", c"temp"] {
        for name in names(connection, database)? {
            let Some(rowid) = rowid_name(connection, database, &name)? else { continue };
            if contains_largest(connection, database, &name, rowid)? {
                found.push(Table::new(database, &name));
            }
        }
    }
    Ok(found)
}

/// See [`super::check_file`].
pub(super) fn check_all(connection: &Connection) -> Result<(), SqlError> {
    for name in names(connection, c"main")? {
        let table = Table::new(c"main", &name);
        let rowid = rowid_name(connection, c"main", &name)?;
        let Some(why) = table.why_unchecked(rowid) else { continue };
        let contains = match rowid {
            Some(rowid) => contains_largest(connection, c"main", &name, rowid),
            // A column has this name too.
            None => probe::has_row(connection, &name, c"rowid", LARGEST),
        };
        if contains? {
            return Err(probe::error_of_code(ffi::SQLITE_CONSTRAINT, Some(&format!("{why} cannot be loaded"))));
        }
    }
    Ok(())
}

/// The names of the tables of a database that SQLite stores.
fn names(connection: &Connection, database: &CStr) -> Result<Vec<CString>, SqlError> {
    let database = database.to_string_lossy();
    let sql = format!("SELECT name FROM {database}.sqlite_schema WHERE type = 'table' AND rootpage > 0");
    let list = |mut tables: rusqlite::Statement<'_>| {
        let names = tables.query_map([], |row| Ok(row.get_ref(0)?.as_bytes().map(CString::new)))?;
        names.collect::<rusqlite::Result<Vec<_>>>()
    };
    // A name contains no NUL.
    Ok(connection.prepare(&sql).and_then(list).map_err(sql_error)?.into_iter().flatten().flatten().collect())
}

/// Returns a name by which SQL can refer to the rowid of a table; `None` if columns have all of the possible names.
fn rowid_name(connection: &Connection, database: &CStr, table: &CStr) -> Result<Option<&'static str>, SqlError> {
    let names = (table.to_string_lossy(), database.to_string_lossy());
    let list = |mut columns: rusqlite::CachedStatement<'_>| {
        columns.query_map(names, |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    };
    let columns = connection.prepare_cached("SELECT lower(name) FROM pragma_table_xinfo(?1, ?2)").and_then(list);
    let columns = columns.map_err(sql_error)?;
    Ok(ROWID_NAMES.into_iter().find(|name| !columns.iter().any(|column| column == name)))
}

/// Returns whether a table contains the largest rowid. `false` if the table does not exist, has no rowids, or is
/// damaged where the largest rowid would be: an insert without a given rowid reads the same pages, and fails.
fn contains_largest(connection: &Connection, database: &CStr, table: &CStr, rowid: &str) -> Result<bool, SqlError> {
    let (database, table) = (database.to_string_lossy(), table.to_string_lossy().replace('"', "\"\""));
    let sql = format!("SELECT 1 FROM {database}.\"{table}\" WHERE {rowid} = {LARGEST}");
    let found = connection.prepare_cached(&sql).and_then(|mut rows| rows.exists([])).map_err(sql_error);
    match found {
        Err(error) if error.code == ffi::SQLITE_ERROR || error.primary_code() == ffi::SQLITE_CORRUPT => Ok(false),
        found => found,
    }
}
