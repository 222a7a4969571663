//! How far a database is in the log that it applies. It stands in a table of the database itself, so that it is written
//! in the same transaction as the data, and a crash can never separate the two.
//!
//! The table's name begins with `sqlite_`, as those of SQLite's own tables do: listings and dumps leave such tables
//! out, SQLite refuses to drop or alter them, and the policy refuses clients everything else (`facts`).

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

/// The table's name.
pub(crate) const TABLE: &str = "sqlite_sqlhttp";

/// The text that makes the table. SQLite keeps it word for word, which tells our table from somebody else's.
const CREATE: &str = "CREATE TABLE sqlite_sqlhttp(id INTEGER PRIMARY KEY, term INTEGER, position INTEGER, \
                      batches INTEGER, steps INTEGER, command_position INTEGER, write_position INTEGER, membership BLOB)";

const READ: &str = "SELECT term, position, batches, steps, command_position, write_position, membership \
                    FROM main.sqlite_sqlhttp WHERE id = 1";

const WRITE: &str = "INSERT OR REPLACE INTO main.sqlite_sqlhttp(id, term, position, batches, steps, command_position, \
                     write_position, membership) VALUES (1, ?, ?, ?, ?, ?, ?, ?)";

/// How far a database is in the log that it applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The term of the last entry that has been applied whole; 0 if none has.
    pub term: u64,
    /// The index of that entry.
    pub index: u64,
    /// How many pieces of work of the entry after it have been applied already. Almost always 0: an entry is split
    /// only where something in it cannot share a transaction.
    pub works: u32,
    /// How many steps of the batch after those have been applied already.
    pub steps: u32,
    /// The index of the last entry that carried commands.
    pub command_index: u64,
    /// The index of the last entry that could change the database.
    pub write_index: u64,
    /// The membership, as the log's owner has put it.
    pub membership: Vec<u8>,
}

impl Progress {
    /// Where the log stands after an entry has been applied whole.
    pub(crate) fn passed(&mut self, term: u64, index: u64) {
        (self.term, self.index, self.works, self.steps) = (term, index, 0, 0);
    }
}

/// Makes the table if the database is empty, and reads it. `None` if there is content but no table: none of it came out of
/// a log.
pub(crate) fn open(connection: &Connection) -> rusqlite::Result<Option<Progress>> {
    let objects = "SELECT count(*) FROM main.sqlite_schema";
    if !exists(connection)? && connection.query_row(objects, [], |row| row.get::<_, i64>(0))? > 0 {
        return Ok(None);
    }
    create(connection)?;
    Ok(Some(read(connection)?.unwrap_or_default()))
}

fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    let tables = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
    connection.query_row(tables, [TABLE], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

/// Makes the table if there is none.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    if exists(connection)? {
        return Ok(());
    }
    // Only then does SQLite let anybody make a table of such a name.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    let created = connection.execute_batch(CREATE);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    created
}

/// Takes the table out of a copy of the database that leaves the cluster. (`connection` must be the only one, and must be
/// closed afterwards.)
pub(crate) fn remove(connection: &Connection) -> rusqlite::Result<()> {
    // SQLite refuses to drop a table of such a name, so it gets another one first.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    let renamed = connection.execute(
        "UPDATE main.sqlite_schema SET name = 'sqlhttp_removed', tbl_name = 'sqlhttp_removed', \
         sql = replace(sql, ?1, 'sqlhttp_removed') WHERE type = 'table' AND name = ?1",
        [TABLE],
    );
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
    if renamed? == 0 {
        return Ok(());
    }
    // Makes SQLite read the schema anew.
    let version: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    connection.pragma_update(None, "schema_version", version.wrapping_add(1) & 0x7fff_ffff)?;
    connection.execute_batch("DROP TABLE sqlhttp_removed")
}

/// What the table says; `None` if nothing has been written to it yet.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<Progress>> {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or_default();
    let count = |value: i64| u32::try_from(value).unwrap_or_default();
    let row = connection.query_row(READ, [], |row| {
        Ok(Progress {
            term: unsigned(row.get(0)?),
            index: unsigned(row.get(1)?),
            works: count(row.get(2)?),
            steps: count(row.get(3)?),
            command_index: unsigned(row.get(4)?),
            write_index: unsigned(row.get(5)?),
            membership: row.get(6)?,
        })
    });
    row.optional()
}

/// Writes it, as part of the transaction that is open.
pub(crate) fn write(connection: &Connection, progress: &Progress) -> rusqlite::Result<()> {
    // SQLite's integers are signed; no log gets that long.
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(WRITE)?;
    let Progress { term, index, works, steps, command_index, write_index, membership } = progress;
    statement.execute(params![
        signed(*term),
        signed(*index),
        works,
        steps,
        signed(*command_index),
        signed(*write_index),
        membership
    ])?;
    Ok(())
}
