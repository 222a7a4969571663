//! Restores virtual tables from a dump of the `sqlite3` shell ([`super::dump`]).
//!
//! The procedure is that of the shell: the row is inserted into `sqlite_schema`, and the statements of the dump create
//! and fill the shadow tables, before or after that. (A dump of a vacuumed file lists the shadow tables first.) Until
//! the end of the SQL text, shadow tables are writable, except those of virtual tables that existed before. Each
//! restored virtual table is checked at the end, before the commit.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use super::dump::{VirtualTable, shadow_tables_of};
use super::error::sql_error;
use super::integrity::check as integrity;
use super::session::Session;
use super::sqlite::probe;
use crate::model::SqlError;

/// Allows clients to write to shadow tables, except those of existing virtual tables, until [`end`] is called.
pub(crate) fn begin(session: &mut Session) -> Result<(), SqlError> {
    let names = session.as_owner(|connection| {
        let mut tables =
            connection.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage = 0")?;
        tables.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    })?;
    session.protect(names.iter().flat_map(|name| shadow_tables_of(name)).collect());
    session.as_owner(|connection| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).map(drop))
}

/// Forbids clients to write to shadow tables again, after [`begin`] has allowed that. If this fails, the session is
/// replaced.
pub(crate) fn end(session: &mut Session) {
    session.protect(Vec::new());
    let ended = session.as_owner(|connection| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true));
    if let Err(error) = ended {
        // `mark_dirty` causes the session to be replaced before another batch uses it.
        tracing::error!(%error, "shadow tables are still writable; the connection will be replaced");
        session.mark_dirty();
    }
}

/// Inserts a virtual table into `sqlite_schema` without creating its shadow tables, because the dump creates them.
pub(crate) fn declare(session: &mut Session, table: &VirtualTable) -> Result<(), SqlError> {
    const INSERT: &str =
        "INSERT INTO main.sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES ('table', ?1, ?1, 0, ?2)";
    let rowid = session.last_insert_rowid();
    let declared = session.as_owner(|connection| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
        let inserted = connection.execute(INSERT, params![table.name, table.sql]);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
        inserted?;
        reload_schema(connection)
    });
    session.set_last_insert_rowid(rowid);
    declared
}

/// Checks restored virtual tables for damage, because clients' statements wrote their shadow tables.
///
/// # Errors
/// SQLITE_CORRUPT_VTAB if a table is damaged; another error if a table could not be checked.
pub(crate) fn check(session: &mut Session, tables: &[VirtualTable]) -> Result<(), SqlError> {
    session.as_owner_sql(|connection| {
        // An earlier statement may have caused a module to cache the content of its shadow tables.
        reload_schema(connection).map_err(sql_error)?;
        tables.iter().try_for_each(|table| check_one(connection, &table.name))
    })
}

fn check_one(connection: &Connection, name: &str) -> Result<(), SqlError> {
    // Makes SQLite connect the virtual table, and fails if that is impossible. The integrity check alone would not fail
    // then.
    connection.prepare(&format!("SELECT * FROM main.\"{}\"", name.replace('"', "\"\""))).map_err(sql_error)?;
    let mut damages = integrity::damages_of_virtual_table(connection, name)?;
    if let Some(object) = foreign_object(connection, name).map_err(sql_error)? {
        damages.push(format!("{object} does not belong to its shadow tables"));
    }
    if damages.is_empty() {
        return Ok(());
    }
    let message = format!("virtual table {name}: {}", damages.join("; "));
    Err(probe::error_of_code(rusqlite::ffi::SQLITE_CORRUPT_VTAB, Some(&message)))
}

/// Returns the name of a view that has the name of a shadow table, or of a trigger or an index on a shadow table.
/// SQLite refuses to create such an object if the virtual table exists already, so a sound database contains none.
fn foreign_object(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    const OBJECTS: &str = "SELECT name FROM main.sqlite_schema WHERE lower(tbl_name) = lower(?) \
                           AND (type IN ('trigger', 'view') OR type = 'index' AND sql IS NOT NULL)";
    let mut objects = connection.prepare(OBJECTS)?;
    for shadow in shadow_tables_of(name) {
        let mut rows = objects.query([shadow])?;
        if let Some(row) = rows.next()? {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
}

/// Makes this connection and all others read the schema again.
fn reload_schema(connection: &Connection) -> rusqlite::Result<()> {
    // At a savepoint virtual tables write their pending changes. The restored table finds them when it is connected
    // again.
    connection.execute_batch("SAVEPOINT sqlhttp_schema; RELEASE sqlhttp_schema; PRAGMA writable_schema=RESET")?;
    // This must be the last change: after a rollback SQLite compares this version to detect that its loaded schema is
    // out of date.
    let version: i64 = connection.query_row("PRAGMA main.schema_version", [], |row| row.get(0))?;
    connection.pragma_update(Some("main"), "schema_version", version.wrapping_add(1) & 0x7fff_ffff)
}
