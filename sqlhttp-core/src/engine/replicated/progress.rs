//! How far a database is in the log that it applies. It stands in a table of the database itself, so that it is written
//! in the same transaction as the data, and a crash can never separate the two.
//!
//! The table's name begins with `sqlite_`, as those of SQLite's own tables do: listings and dumps leave such tables
//! out, SQLite refuses to drop or alter them, and the policy refuses clients everything else (`facts`).

use std::ffi::CStr;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};

use crate::engine::sqlite::probe;
use crate::engine::sqlite::statement::Statement;
use crate::model::{SqlError, Value};

/// The table's name.
pub(crate) const TABLE: &str = "sqlite_sqlhttp";

/// The text that makes the table. SQLite keeps it word for word, which tells our table from somebody else's.
pub(crate) const CREATE: &str = "CREATE TABLE sqlite_sqlhttp(id INTEGER PRIMARY KEY, term INTEGER, position INTEGER, \
                      batches INTEGER, steps INTEGER, command_position INTEGER, write_position INTEGER, membership BLOB)";

const READ: &str = "SELECT term, position, batches, steps, command_position, write_position, membership \
                    FROM main.sqlite_sqlhttp WHERE id = 1";

/// An upsert, because REPLACE deletes the row first, and that runs the actions of foreign keys.
const WRITE: &CStr = c"INSERT INTO main.sqlite_sqlhttp(id, term, position, batches, steps, command_position, \
                     write_position, membership) VALUES (1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET \
                     term = excluded.term, position = excluded.position, batches = excluded.batches, \
                     steps = excluded.steps, command_position = excluded.command_position, \
                     write_position = excluded.write_position, membership = excluded.membership";

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
    /// The time of the last entry that had one, milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// The identity of the log; 0 if it has none.
    pub log: u128,
}

impl Progress {
    /// Where the log stands after an entry has been applied whole.
    pub(crate) fn advance_to(&mut self, term: u64, index: u64) {
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
        let progress = Progress {
            term: unsigned(row.get(0)?),
            index: unsigned(row.get(1)?),
            works: count(row.get(2)?),
            steps: count(row.get(3)?),
            command_index: unsigned(row.get(4)?),
            write_index: unsigned(row.get(5)?),
            ..Progress::default()
        };
        Ok((progress, row.get::<_, Vec<u8>>(6)?))
    });
    let Some((progress, record)) = row.optional()? else { return Ok(None) };
    match record.strip_prefix(RECORD_MAGIC) {
        // Of an older version: the membership alone.
        None => Ok(Some(Progress { membership: record, ..progress })),
        Some(record) => read_record(progress, record).map(Some).ok_or_else(damaged),
    }
}

/// The beginning of the last column since the record has a checksum.
const RECORD_MAGIC: &[u8] = b"sqlhttp\x02";

/// The last column: magic, CRC-32 of the other columns and of what follows, time, log, 8 bytes in reserve, membership.
/// Integers are little-endian.
fn record(progress: &Progress) -> Vec<u8> {
    let mut tail = Vec::with_capacity(RECORD_MAGIC.len() + 36 + progress.membership.len());
    tail.extend_from_slice(RECORD_MAGIC);
    tail.extend_from_slice(&[0; 4]);
    tail.extend_from_slice(&progress.unix_ms.to_le_bytes());
    tail.extend_from_slice(&progress.log.to_le_bytes());
    tail.extend_from_slice(&[0; 8]);
    tail.extend_from_slice(&progress.membership);
    let (head, body) = tail.split_at_mut(RECORD_MAGIC.len() + 4);
    head[RECORD_MAGIC.len()..].copy_from_slice(&checksum(progress, body).to_le_bytes());
    tail
}

/// Reads what follows the magic. `None` if the checksum is wrong.
fn read_record(progress: Progress, record: &[u8]) -> Option<Progress> {
    let (crc, body) = record.split_first_chunk::<4>()?;
    if checksum(&progress, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (unix_ms, rest) = body.split_first_chunk::<8>()?;
    let (log, rest) = rest.split_first_chunk::<16>()?;
    let (_, membership) = rest.split_first_chunk::<8>()?;
    let (unix_ms, log) = (i64::from_le_bytes(*unix_ms), u128::from_le_bytes(*log));
    Some(Progress { unix_ms, log, membership: membership.to_vec(), ..progress })
}

fn checksum(progress: &Progress, body: &[u8]) -> u32 {
    let Progress { term, index, works, steps, command_index, write_index, .. } = progress;
    let numbers = [*term, *index, u64::from(*works), u64::from(*steps), *command_index, *write_index];
    let mut head = [0; 6 * size_of::<u64>()];
    for (place, number) in head.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(body);
    hasher.finalize()
}

fn damaged() -> rusqlite::Error {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let why = "the record of how far the database is in its log is damaged. Restore this node from a backup";
    rusqlite::Error::SqliteFailure(error, Some(why.to_owned()))
}

/// Writes it, as part of the transaction that is open.
pub(crate) fn write(connection: &Connection, progress: &Progress) -> Result<(), SqlError> {
    write_with(&mut prepare_write(connection)?, connection, progress)
}

/// The statement for [`write_with`].
pub(crate) fn prepare_write(connection: &Connection) -> Result<Statement, SqlError> {
    let prepared = Statement::prepare(connection, WRITE, true)?;
    prepared.statement.ok_or_else(|| probe::error_of_code(rusqlite::ffi::SQLITE_INTERNAL, None))
}

/// The same as [`write()`] with a statement that is kept.
pub(crate) fn write_with(
    statement: &mut Statement,
    connection: &Connection,
    progress: &Progress,
) -> Result<(), SqlError> {
    // SQLite's integers are signed; no log gets that long.
    let signed = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let Progress { term, index, works, steps, command_index, write_index, .. } = progress;
    let values = [
        signed(*term),
        signed(*index),
        Value::Integer(i64::from(*works)),
        Value::Integer(i64::from(*steps)),
        signed(*command_index),
        signed(*write_index),
        Value::Blob(record(progress)),
    ];
    let bound = (1..).zip(&values).try_for_each(|(parameter, value)| statement.bind(parameter, value));
    let written = bound.and_then(|()| statement.step());
    let written = written.map(drop).map_err(|code| probe::last_error(connection, code));
    statement.reset();
    written
}
