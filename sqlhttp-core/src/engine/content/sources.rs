//! The tables whose rows a digest covers, and the statements that read them.

use rusqlite::Connection;

use crate::engine::replicated::progress;

/// The name of the table that stands for the settings that the database file stores.
const SETTINGS: &str = "sqlite_settings";
/// The maximum number of columns of a result (<https://sqlite.org/limits.html#max_column>).
const COLUMNS_MAX: usize = 2000;

/// The columns of a result that identify a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyColumns {
    /// The first column is the rowid.
    Rowid,
    /// The columns with these numbers are the primary key.
    Primary(Vec<usize>),
}

/// A table and the statement that reads all of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) select: String,
    pub(super) key: KeyColumns,
}

/// Returns the tables of the database, in the order of their names. A virtual table is represented by its shadow
/// tables.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Source>> {
    let mut sources = vec![settings(), schema()];
    let tables = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') \
                  AND name NOT IN ('sqlite_schema', ?)";
    let mut statement = connection.prepare(tables)?;
    let tables = statement.query_map([progress::TABLE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for table in tables.collect::<rusqlite::Result<Vec<(String, bool)>>>()? {
        sources.push(source(connection, table.0, table.1)?);
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

/// Returns the table with this name; `None` if there is none.
pub(super) fn named(connection: &Connection, name: &str) -> rusqlite::Result<Option<Source>> {
    Ok(all(connection)?.into_iter().find(|source| source.name == name))
}

fn settings() -> Source {
    let select = "SELECT 'encoding', encoding FROM pragma_encoding UNION ALL \
                  SELECT 'user_version', user_version FROM pragma_user_version UNION ALL \
                  SELECT 'application_id', application_id FROM pragma_application_id";
    Source { name: SETTINGS.to_owned(), select: select.to_owned(), key: KeyColumns::Primary(vec![0]) }
}

fn schema() -> Source {
    let select = format!(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema NOT INDEXED WHERE name <> '{}'",
        progress::TABLE
    );
    Source { name: "sqlite_schema".to_owned(), select, key: KeyColumns::Primary(vec![0, 1]) }
}

/// A column of a table, as `PRAGMA table_xinfo` reports it.
struct Column {
    name: String,
    /// The number of the column in the primary key, counted from 1; 0 if it is not part of it.
    primary: u32,
    /// 2 for a virtual generated column.
    hidden: i64,
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut statement = connection.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?, 'main')")?;
    let columns = statement
        .query_map([table], |row| Ok(Column { name: row.get(0)?, primary: row.get(1)?, hidden: row.get(2)? }))?;
    columns.collect()
}

/// Returns the statement that reads a table. The rows are read from the table itself: a covering index could contain
/// other rows if it is damaged. A virtual generated column is not read, because it is not stored.
fn source(connection: &Connection, name: String, without_rowid: bool) -> rusqlite::Result<Source> {
    let mut columns = columns(connection, &name)?;
    // A virtual generated column with such a name hides the rowid, too.
    let rowid = rowid_name(&columns).filter(|_| !without_rowid && columns.len() < COLUMNS_MAX);
    columns.retain(|column| column.hidden != 2);
    let key = if rowid.is_some() { KeyColumns::Rowid } else { KeyColumns::Primary(primary_key(&columns)) };
    let selected: Vec<String> =
        rowid.map(str::to_owned).into_iter().chain(columns.iter().map(|column| quote(&column.name))).collect();
    let select = format!("SELECT {} FROM main.{} NOT INDEXED", selected.join(", "), quote(&name));
    Ok(Source { name, select, key })
}

/// Returns a name of the rowid that is not the name of a column.
fn rowid_name(columns: &[Column]) -> Option<&'static str> {
    let is_column = |name: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !is_column(name))
}

/// Returns the numbers of the columns of the primary key, in its order. Without a primary key, all columns are the key.
fn primary_key(columns: &[Column]) -> Vec<usize> {
    let mut key: Vec<(u32, usize)> =
        columns.iter().enumerate().filter(|(_, column)| column.primary > 0).map(|(n, c)| (c.primary, n)).collect();
    key.sort_unstable();
    if key.is_empty() {
        return (0..columns.len()).collect();
    }
    key.into_iter().map(|(_, number)| number).collect()
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
