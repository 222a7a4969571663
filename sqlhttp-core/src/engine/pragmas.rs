//! The settings of a connection, and the PRAGMAs that the engine itself runs.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection_config::{ConnectionConfig, Role};
use super::options::{JournalMode, Options, Writes};

/// The write-ahead log is cut back to this after a checkpoint, bytes.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;
/// The same in memory, where cutting costs nothing and room is dear: about what one checkpoint moves.
const MEMORY_JOURNAL_SIZE_LIMIT: i64 = 4 << 20;
/// Page cache of the writer and of each reader, KiB. It grows only as far as it is used.
const WRITER_CACHE_KIB: i64 = 16 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;
/// The write-ahead log is checkpointed when it has this many pages.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 1000;

/// Sets everything the engine relies on, whatever SQLite was compiled with.
pub(crate) fn configure(connection: &Connection, config: &ConnectionConfig, role: Role) -> rusqlite::Result<()> {
    let options = &config.options;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, options.foreign_keys)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, true)?;
    match role {
        Role::Writer => configure_writer(connection, config)?,
        Role::Reader => configure_reader(connection)?,
        Role::Copier => {}
    }
    for sql in config.setup() {
        // It succeeded when the owner ran it; a connection that only reads may refuse some.
        if let Err(error) = connection.execute_batch(&sql) {
            tracing::warn!(%error, ?role, "a setting does not hold on this connection");
        }
    }
    // Reads the schema, so that a file that is no database is noticed now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn configure_writer(connection: &Connection, config: &ConnectionConfig) -> rusqlite::Result<()> {
    let in_memory = config.file().is_none();
    let journal_size_limit = if in_memory { MEMORY_JOURNAL_SIZE_LIMIT } else { JOURNAL_SIZE_LIMIT };
    // What is in memory is freed then, so nobody needs the log moved.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, in_memory)?;
    let journal_mode = match (config.file(), config.options.journal_mode) {
        (None, _) | (Some(_), JournalMode::Wal) => Some("WAL"),
        (Some(_), JournalMode::Keep) => None,
        (Some(_), JournalMode::Delete) => Some("DELETE"),
        (Some(_), JournalMode::Truncate) => Some("TRUNCATE"),
        (Some(_), JournalMode::Persist) => Some("PERSIST"),
    };
    if let Some(mode) = journal_mode {
        // The answer is the mode that is in force, which may be another one.
        connection.query_row(&format!("PRAGMA journal_mode={mode}"), [], |_| Ok(()))?;
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous={}; PRAGMA cache_size=-{WRITER_CACHE_KIB}; \
         PRAGMA wal_autocheckpoint={WAL_AUTOCHECKPOINT_PAGES}; PRAGMA journal_size_limit={journal_size_limit}",
        if in_memory { "OFF" } else { synchronous(&config.options) }
    ))
}

/// What makes a COMMIT durable. Where it deletes the rollback journal, FULL does not sync the directory, and after a
/// power cut the journal would be there again and undo the transaction (<https://sqlite.org/pragma.html#pragma_synchronous>).
fn synchronous(options: &Options) -> &'static str {
    match options.journal_mode {
        // The log is durable and supplies what a power cut takes; the file stays consistent.
        JournalMode::Wal if options.writes == Writes::Log => "NORMAL",
        JournalMode::Delete | JournalMode::Keep => "EXTRA",
        JournalMode::Wal | JournalMode::Truncate | JournalMode::Persist => "FULL",
    }
}

fn configure_reader(connection: &Connection) -> rusqlite::Result<()> {
    // A connection that is opened for reading could still write temporary tables.
    connection.execute_batch(&format!("PRAGMA cache_size=-{READER_CACHE_KIB}; PRAGMA query_only=ON"))
}

/// Whether the database has a write-ahead log.
pub(crate) fn is_wal(connection: &Connection) -> bool {
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0));
    mode.is_ok_and(|mode: String| mode == "wal")
}

/// Moves the write-ahead log into the database and empties it, as far as readers allow. Waits for locks as long as the
/// connection's busy timeout says.
pub(crate) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Reads the schema anew before it is needed next.
pub(crate) fn forget_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA writable_schema=RESET")
}
