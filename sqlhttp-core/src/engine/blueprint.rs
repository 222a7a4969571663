//! How the connections of a database are opened and configured.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::session::sql_error;
use super::sqlite::clock;
use super::sqlite::memory::{self, MemoryDatabase};
use super::sqlite::probe;
use super::watch::Slot;
use super::{JournalMode, Location, Options, Writes};
use crate::model::SqlError;

/// The write-ahead log is cut back to this after a checkpoint, bytes.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;
/// The same in memory, where cutting costs nothing and room is dear: about what one checkpoint moves.
const MEMORY_JOURNAL_SIZE_LIMIT: i64 = 4 << 20;
/// Page cache of the writer and of each reader, KiB. It grows only as far as it is used.
const WRITER_CACHE_KIB: i64 = 16 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;
/// The write-ahead log is checkpointed when it has this many pages.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 1000;

/// What all sessions of a database share.
#[derive(Debug)]
pub(crate) struct Blueprint {
    place: Place,
    pub(crate) options: Options,
    /// Statements of the owner that configure a connection; every session runs them when it is opened.
    setup: Mutex<Vec<String>>,
    /// Grows when `setup` does, so that older sessions can be told.
    generation: AtomicU64,
    /// The watches of all sessions that are open, for the supervisor.
    slots: Mutex<Vec<Weak<Slot>>>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory(MemoryDatabase),
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Writer,
    /// Whatever clients read.
    Reader,
    /// Copies of the whole database, which SQLite takes for writes.
    Copier,
}

impl Blueprint {
    pub(crate) fn new(location: Location, options: Options) -> Self {
        let place = match location {
            Location::File(path) => Place::File(path),
            Location::Memory => Place::Memory(MemoryDatabase::new()),
        };
        Blueprint { place, options, setup: Mutex::default(), generation: AtomicU64::new(0), slots: Mutex::default() }
    }

    /// The path of the database file, unless it is in memory.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Memory(_) => None,
        }
    }

    /// The name under which the in-memory VFS knows the database.
    #[cfg(test)]
    pub(crate) fn memory_name(&self) -> Option<&str> {
        match &self.place {
            Place::File(_) => None,
            Place::Memory(database) => Some(database.name()),
        }
    }

    /// Whether readers never wait for the writer. With a rollback journal they do.
    pub(crate) fn snapshots(&self) -> bool {
        self.file().is_none() || self.options.journal_mode == JournalMode::Wal
    }

    /// Adds a statement that every session has to run.
    pub(crate) fn add_setup(&self, sql: &str) {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).push(sql.to_owned());
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// From now on every session in use is replaced by a fresh one.
    pub(crate) fn retire_sessions(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Interrupts every run whose limits are exceeded. Returns whether a session has been used since the last call.
    pub(crate) fn supervise(&self) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut active = false;
        slots.retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            active |= slot.supervise();
            true
        });
        active
    }

    pub(crate) fn add_slot(&self, slot: &Arc<Slot>) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(slot));
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn connect(&self, role: Role) -> Result<Connection, SqlError> {
        let (vfs, base) = match &self.place {
            Place::File(_) => (clock::vfs_name(self.options.vfs.as_deref()), self.options.vfs.as_deref()),
            Place::Memory(_) => (memory::vfs_name(), None),
        };
        let Some(vfs) = vfs else {
            let message = format!("no such vfs: {}", base.unwrap_or("default"));
            return Err(probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&message)));
        };
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        flags |= match (&self.place, role) {
            (_, Role::Reader | Role::Copier) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            (Place::File(_), Role::Writer) if !self.options.create => OpenFlags::SQLITE_OPEN_READ_WRITE,
            _ => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        let opened = match &self.place {
            Place::File(path) => Connection::open_with_flags_and_vfs(path, flags, vfs),
            Place::Memory(database) => Connection::open_with_flags_and_vfs(database.name(), flags, vfs),
        };
        // rusqlite adds the path to some messages; the caller knows the path.
        opened.map_err(|error| match sql_error(error) {
            SqlError { code, .. } if code & 0xff == rusqlite::ffi::SQLITE_CANTOPEN => {
                probe::error_of_code(rusqlite::ffi::SQLITE_CANTOPEN, None)
            }
            other => other,
        })
    }
}

/// Sets everything the engine relies on, whatever SQLite was compiled with.
pub(crate) fn configure(connection: &Connection, blueprint: &Blueprint, role: Role) -> rusqlite::Result<()> {
    let options = &blueprint.options;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, options.foreign_keys)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, true)?;
    match role {
        Role::Writer => configure_writer(connection, blueprint)?,
        Role::Reader => configure_reader(connection)?,
        Role::Copier => {}
    }
    for sql in blueprint.setup.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // It succeeded when the owner ran it; a connection that only reads may refuse some.
        if let Err(error) = connection.execute_batch(sql) {
            tracing::warn!(%error, ?role, "a setting does not hold on this connection");
        }
    }
    // Reads the schema, so that a file that is no database is noticed now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn configure_writer(connection: &Connection, blueprint: &Blueprint) -> rusqlite::Result<()> {
    let in_memory = blueprint.file().is_none();
    let journal_size_limit = if in_memory { MEMORY_JOURNAL_SIZE_LIMIT } else { JOURNAL_SIZE_LIMIT };
    // What is in memory is freed then, so nobody needs the log moved.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, in_memory)?;
    let journal_mode = match (blueprint.file(), blueprint.options.journal_mode) {
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
        if in_memory { "OFF" } else { synchronous(&blueprint.options) }
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
