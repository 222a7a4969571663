//! The settings of a connection, and the PRAGMAs that the engine runs.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection_config::{ConnectionConfig, Role};
use super::options::{JournalMode, Options, Writes};

/// The size to which the write-ahead log of a database file is truncated after a checkpoint, in bytes.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;
/// The size to which the write-ahead log of an in-memory database is truncated after a checkpoint, in bytes: about what
/// one checkpoint copies. Smaller than for files, because truncating costs nothing and memory is scarce.
const MEMORY_JOURNAL_SIZE_LIMIT: i64 = 4 << 20;
/// The sizes of the page caches of the writer and of each reader, in KiB. SQLite allocates cache pages only when they
/// are used.
const WRITER_CACHE_KIB: i64 = 16 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;
/// The number of pages in the write-ahead log at which a commit starts a checkpoint.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 1000;

/// Sets everything that the engine relies on, whatever the compile-time options of SQLite are.
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
        // The statement succeeded when the owner ran it, but a read-only connection may reject it.
        if let Err(error) = connection.execute_batch(&sql) {
            tracing::warn!(%error, ?role, "a setting of the owner cannot be applied to this connection");
        }
    }
    // Reads the schema, so that a file that is not a database is detected now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn configure_writer(connection: &Connection, config: &ConnectionConfig) -> rusqlite::Result<()> {
    let in_memory = config.file().is_none();
    let journal_size_limit = if in_memory { MEMORY_JOURNAL_SIZE_LIMIT } else { JOURNAL_SIZE_LIMIT };
    // Closing an in-memory database frees it, so the final checkpoint would be wasted.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, in_memory)?;
    let journal_mode = match (config.file(), config.options.journal_mode) {
        (None, _) | (Some(_), JournalMode::Wal) => Some("WAL"),
        (Some(_), JournalMode::Keep) => None,
        (Some(_), JournalMode::Delete) => Some("DELETE"),
        (Some(_), JournalMode::Truncate) => Some("TRUNCATE"),
        (Some(_), JournalMode::Persist) => Some("PERSIST"),
    };
    if let Some(mode) = journal_mode {
        // The result is ignored: it is the mode in force, which may differ from the requested one.
        connection.query_row(&format!("PRAGMA journal_mode={mode}"), [], |_| Ok(()))?;
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous={}; PRAGMA cache_size=-{WRITER_CACHE_KIB}; \
         PRAGMA wal_autocheckpoint={WAL_AUTOCHECKPOINT_PAGES}; PRAGMA journal_size_limit={journal_size_limit}",
        if in_memory { "OFF" } else { synchronous(&config.options) }
    ))
}

/// Returns the value of `PRAGMA synchronous` that makes a COMMIT durable. In the DELETE journal mode FULL is not
/// enough, because SQLite then does not sync the directory after it deletes the journal: after a power cut the journal
/// could reappear and undo the transaction (<https://sqlite.org/pragma.html#pragma_synchronous>).
fn synchronous(options: &Options) -> &'static str {
    match options.journal_mode {
        // The Raft log is durable, and its entries are applied again after a power cut. NORMAL keeps the database file
        // consistent.
        JournalMode::Wal if options.writes == Writes::Log => "NORMAL",
        JournalMode::Delete | JournalMode::Keep => "EXTRA",
        JournalMode::Wal | JournalMode::Truncate | JournalMode::Persist => "FULL",
    }
}

fn configure_reader(connection: &Connection) -> rusqlite::Result<()> {
    // `query_only`, because a read-only connection could still write temporary tables.
    connection.execute_batch(&format!("PRAGMA cache_size=-{READER_CACHE_KIB}; PRAGMA query_only=ON"))
}

/// Returns whether the database is in WAL mode.
pub(crate) fn is_wal(connection: &Connection) -> bool {
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0));
    mode.is_ok_and(|mode: String| mode == "wal")
}

/// Copies the write-ahead log into the database file and truncates the write-ahead log, as far as readers allow. Waits
/// for locks up to the connection's busy timeout.
pub(crate) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Makes SQLite read the schema again before this connection uses it next.
pub(crate) fn forget_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA writable_schema=RESET")
}
