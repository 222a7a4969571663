//! The position up to which a database has applied the Raft log. The position is stored in a table of the database
//! itself, so that it is committed in the same transaction as the data.
//!
//! The table's name begins with `sqlite_`, like the names of SQLite's own tables. So listings and dumps omit the table,
//! and SQLite refuses to drop or alter it. The engine's policy denies clients all other access to it
//! ([`crate::engine::statement_info`]).

use std::ffi::CStr;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};

use crate::engine::sqlite::probe;
use crate::engine::sqlite::statement::Statement;
use crate::model::{SqlError, Value};

/// The name of the table that stores the position.
pub(crate) const TABLE: &str = "sqlite_sqlhttp";

/// The statement that creates the table of the position. SQLite stores the statement verbatim in `sqlite_schema`, so
/// that the table can be told apart from one that a user created.
pub(crate) const CREATE: &str = "CREATE TABLE sqlite_sqlhttp(id INTEGER PRIMARY KEY, term INTEGER, position INTEGER, \
                      batches INTEGER, steps INTEGER, command_position INTEGER, write_position INTEGER, membership BLOB)";

const READ: &str = "SELECT term, position, batches, steps, command_position, write_position, membership \
                    FROM main.sqlite_sqlhttp WHERE id = 1";

/// Writes the only row of the table. An upsert is used, because REPLACE would delete the row first, which triggers
/// foreign-key actions.
const WRITE: &CStr = c"INSERT INTO main.sqlite_sqlhttp(id, term, position, batches, steps, command_position, \
                     write_position, membership) VALUES (1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET \
                     term = excluded.term, position = excluded.position, batches = excluded.batches, \
                     steps = excluded.steps, command_position = excluded.command_position, \
                     write_position = excluded.write_position, membership = excluded.membership";

/// The position up to which a database has applied the Raft log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The term of the last entry that has been applied completely; 0 if there is none.
    pub term: u64,
    /// The index of the last entry that has been applied completely; 0 if there is none.
    pub index: u64,
    /// The number of operations of the entry after `index` that have been applied. Almost always 0: the operations of
    /// an entry are committed separately only if one of them cannot share a transaction, or if a transaction gets too
    /// long.
    pub operations: u32,
    /// The number of steps that have been applied of the next batch, which is the operation after the first
    /// `operations` ones of that entry.
    pub steps: u32,
    /// The index of the last applied entry that contained an operation other than a membership.
    pub command_index: u64,
    /// The index of the last applied entry that contained a batch or a replacement of the content, and so could change
    /// the database.
    pub write_index: u64,
    /// The last recorded membership of the cluster. The bytes are encoded by the code that keeps the Raft log; the
    /// database does not interpret them.
    pub membership: Vec<u8>,
    /// The latest time in the conditions of any applied entry, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// The identity of the Raft log; 0 if the log has none.
    pub log: u128,
    /// The index of the last entry whose outcome contains a failure that only this node had (a full disk, a damaged
    /// page); 0 if there is none. No other node may apply that entry, because its outcome could differ.
    pub decision_index: u64,
    /// The index of the entry that began the load of a database file that is open at this position; 0 if none is. The
    /// content of the file is in the entries from that one on, so they must stay in the log until the load has ended.
    pub load_index: u64,
}

impl Progress {
    /// Sets the position to an entry that has been applied completely.
    pub(crate) fn advance_to(&mut self, term: u64, index: u64) {
        (self.term, self.index, self.operations, self.steps) = (term, index, 0, 0);
    }
}

/// Reads the position. If the database is empty, creates the table first. Returns `None` if the database has content
/// but no table of the position: its content did not come from a Raft log.
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

/// Creates the table of the position if it does not exist.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    if exists(connection)? {
        return Ok(());
    }
    // SQLite allows a table whose name begins with `sqlite_` only with these settings.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    let created = connection.execute_batch(CREATE);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    created
}

/// Removes the table of the position from a copy of the database that is used outside the cluster. `connection` must be
/// the only connection to the copy, and must be closed afterwards.
pub(crate) fn remove(connection: &Connection) -> rusqlite::Result<()> {
    // SQLite refuses to drop a table whose name begins with `sqlite_`, so the table is renamed first.
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
    // Incrementing the schema version makes SQLite read the schema again.
    let version: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    connection.pragma_update(None, "schema_version", version.wrapping_add(1) & 0x7fff_ffff)?;
    connection.execute_batch("DROP TABLE sqlhttp_removed")
}

/// Reads the position from its table; `None` if the table is empty.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<Progress>> {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or_default();
    let count = |value: i64| u32::try_from(value).unwrap_or_default();
    let row = connection.query_row(READ, [], |row| {
        let progress = Progress {
            term: unsigned(row.get(0)?),
            index: unsigned(row.get(1)?),
            operations: count(row.get(2)?),
            steps: count(row.get(3)?),
            command_index: unsigned(row.get(4)?),
            write_index: unsigned(row.get(5)?),
            ..Progress::default()
        };
        Ok((progress, row.get::<_, Vec<u8>>(6)?))
    });
    let Some((progress, record)) = row.optional()? else { return Ok(None) };
    let (record, loads) = match (record.strip_prefix(RECORD_MAGIC), record.strip_prefix(LOAD_RECORD_MAGIC)) {
        (Some(record), _) => (record, false),
        (None, Some(record)) => (record, true),
        // An older version wrote this column. It contains the membership alone.
        (None, None) => return Ok(Some(Progress { membership: record, ..progress })),
    };
    read_record(progress, record, loads).map(Some).ok_or_else(damaged)
}

/// The first bytes of the last column of the table. They mark the current format, which has a checksum.
const RECORD_MAGIC: &[u8] = b"sqlhttp\x02";
/// The first bytes of the last column of the table while a load is open. Otherwise the column has the other form, so
/// that an older version of the program can read it.
const LOAD_RECORD_MAGIC: &[u8] = b"sqlhttp\x03";

/// Encodes the last column of the table: [`RECORD_MAGIC`] or [`LOAD_RECORD_MAGIC`], CRC-32 of the other columns and of
/// the following bytes, time, identity of the Raft log, index of the last decision, index of the open load if there is
/// one, membership. Integers are little-endian.
fn record(progress: &Progress) -> Vec<u8> {
    let mut tail = Vec::with_capacity(RECORD_MAGIC.len() + 44 + progress.membership.len());
    tail.extend_from_slice(if progress.load_index == 0 { RECORD_MAGIC } else { LOAD_RECORD_MAGIC });
    tail.extend_from_slice(&[0; 4]);
    tail.extend_from_slice(&progress.unix_ms.to_le_bytes());
    tail.extend_from_slice(&progress.log.to_le_bytes());
    tail.extend_from_slice(&progress.decision_index.to_le_bytes());
    if progress.load_index != 0 {
        tail.extend_from_slice(&progress.load_index.to_le_bytes());
    }
    tail.extend_from_slice(&progress.membership);
    let (head, body) = tail.split_at_mut(RECORD_MAGIC.len() + 4);
    head[RECORD_MAGIC.len()..].copy_from_slice(&checksum(progress, body).to_le_bytes());
    tail
}

/// Decodes the bytes after [`RECORD_MAGIC`] or, if `loads` is set, after [`LOAD_RECORD_MAGIC`]. Returns `None` if they
/// are too short or the checksum is wrong.
fn read_record(progress: Progress, record: &[u8], loads: bool) -> Option<Progress> {
    let (crc, body) = record.split_first_chunk::<4>()?;
    if checksum(&progress, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (unix_ms, rest) = body.split_first_chunk::<8>()?;
    let (log, rest) = rest.split_first_chunk::<16>()?;
    let (decision_index, rest) = rest.split_first_chunk::<8>()?;
    let (load_index, membership) = if loads { rest.split_first_chunk::<8>()? } else { (&[0; 8], rest) };
    let load_index = u64::from_le_bytes(*load_index);
    let (unix_ms, log) = (i64::from_le_bytes(*unix_ms), u128::from_le_bytes(*log));
    let decision_index = u64::from_le_bytes(*decision_index);
    Some(Progress { unix_ms, log, decision_index, load_index, membership: membership.to_vec(), ..progress })
}

/// The CRC-32 of the other columns of the table and of `body`, the part of the last column after the checksum.
fn checksum(progress: &Progress, body: &[u8]) -> u32 {
    let Progress { term, index, operations, steps, command_index, write_index, .. } = progress;
    let numbers = [*term, *index, u64::from(*operations), u64::from(*steps), *command_index, *write_index];
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

/// Writes the position to its table, as part of the open transaction.
pub(crate) fn write(connection: &Connection, progress: &Progress) -> Result<(), SqlError> {
    write_with(&mut prepare_write(connection)?, connection, progress)
}

/// Prepares the statement for [`write_with`].
pub(crate) fn prepare_write(connection: &Connection) -> Result<Statement, SqlError> {
    let prepared = Statement::prepare(connection, WRITE, true)?;
    prepared.statement.ok_or_else(|| probe::error_of_code(rusqlite::ffi::SQLITE_INTERNAL, None))
}

/// Like [`write()`], with a prepared statement.
pub(crate) fn write_with(
    statement: &mut Statement,
    connection: &Connection,
    progress: &Progress,
) -> Result<(), SqlError> {
    // SQLite's integers are signed. No Raft log gets long enough for a larger index.
    let signed = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let Progress { term, index, operations, steps, command_index, write_index, .. } = progress;
    let values = [
        signed(*term),
        signed(*index),
        Value::Integer(i64::from(*operations)),
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
