//! Opens the connections of a database.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rusqlite::{Connection, OpenFlags};

use super::changes::listeners::Listeners;
use super::connection_gate::{ConnectionGate, OpenConnection};
use super::error::sql_error;
use super::options::{JournalMode, Location, Options};
use super::rowids::Rowids;
use super::sqlite::clock;
use super::sqlite::local_time;
use super::sqlite::memory::{self, MemoryDatabase};
use super::sqlite::probe;
use super::time_zone::TimeZone;
use super::watch::WatchedConnection;
use crate::model::SqlError;

/// The location and options of a database, and the state that all its sessions share.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    storage: Storage,
    pub(crate) options: Options,
    /// SQL statements of the owner that configure a connection. Every session runs them when it is opened.
    setup: Mutex<Vec<String>>,
    /// Incremented when `setup` grows and when all sessions are to be replaced. Each session stores the value from when
    /// it was opened; a session with an older value is replaced before its next use.
    generation: AtomicU64,
    /// Incremented when the session of the writer alone is to be replaced.
    writer_generation: AtomicU64,
    /// The watched connections of all open sessions, with their uses. The supervisor interrupts their runs.
    watched: Mutex<Vec<(Weak<WatchedConnection>, Role)>>,
    gate: Arc<ConnectionGate>,
    /// The tables with the largest rowid, if the database applies a log.
    pub(crate) rowids: Rowids,
    /// The receivers of committed changes.
    pub(crate) listeners: Arc<Listeners>,
}

/// Where the database is stored.
#[derive(Debug)]
enum Storage {
    File(PathBuf),
    Memory(MemoryDatabase),
}

/// The use of a session, which is a configured connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The writer's session, which reads and writes.
    Writer,
    /// A session that runs the reads of clients. It is read-only.
    Reader,
    /// A read-only session that copies the whole database. SQLite treats a backup as a write, so `query_only` is off.
    Copier,
}

impl ConnectionConfig {
    pub(crate) fn new(location: Location, options: Options) -> Self {
        let storage = match location {
            Location::File(path) => Storage::File(path),
            Location::Memory => Storage::Memory(MemoryDatabase::new()),
        };
        ConnectionConfig {
            storage,
            options,
            setup: Mutex::default(),
            generation: AtomicU64::new(0),
            writer_generation: AtomicU64::new(0),
            watched: Mutex::default(),
            gate: Arc::default(),
            rowids: Rowids::default(),
            listeners: Arc::default(),
        }
    }

    /// The path of the database file; `None` for an in-memory database.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match &self.storage {
            Storage::File(path) => Some(path),
            Storage::Memory(_) => None,
        }
    }

    /// The database's name in the in-memory VFS; `None` for a file.
    #[cfg(test)]
    pub(crate) fn memory_name(&self) -> Option<&str> {
        match &self.storage {
            Storage::File(_) => None,
            Storage::Memory(database) => Some(database.name()),
        }
    }

    /// Returns whether readers have snapshots, so that they and the writer never wait for each other. `false` with a
    /// rollback journal.
    pub(crate) fn snapshots(&self) -> bool {
        self.file().is_none() || self.options.journal_mode == JournalMode::Wal
    }

    /// Adds an SQL statement that every session has to run. Sessions that are open now are replaced before their next
    /// use.
    pub(crate) fn add_setup(&self, sql: &str) {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).push(sql.to_owned());
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the SQL statements that every session has to run.
    pub(crate) fn setup(&self) -> Vec<String> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Causes the session of the writer to be replaced before its next use.
    pub(crate) fn retire_writer(&self) {
        self.writer_generation.fetch_add(1, Ordering::Release);
    }

    /// Causes every session to be replaced before its next use.
    pub(crate) fn retire_sessions(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Interrupts every run (the execution of a batch on a connection) that has exceeded its limits. Returns whether a
    /// session has been used since the last call.
    pub(crate) fn supervise(&self) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut active = false;
        watched.retain(|(watched_connection, _)| {
            let Some(watched_connection) = watched_connection.upgrade() else { return false };
            active |= watched_connection.supervise();
            true
        });
        active
    }

    pub(crate) fn add_watched(&self, watched_connection: &Arc<WatchedConnection>, role: Role) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::downgrade(watched_connection), role));
    }

    /// Interrupts the work of all connections but the writer's, because the database file is to be replaced. A run that
    /// is interrupted ends with [`StopReason::FileReplaced`](super::watch::StopReason::FileReplaced).
    pub(crate) fn evict(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let others = watched.iter().filter(|(_, role)| *role != Role::Writer);
        others.filter_map(|(watched_connection, _)| watched_connection.upgrade()).for_each(|one| one.evict());
    }

    /// The gate that every connection passes when it is opened.
    pub(crate) fn gate(&self) -> &Arc<ConnectionGate> {
        &self.gate
    }

    /// Returns the generation of the sessions with this use.
    pub(crate) fn generation(&self, role: Role) -> u64 {
        let writer = if role == Role::Writer { self.writer_generation.load(Ordering::Acquire) } else { 0 };
        self.generation.load(Ordering::Acquire).wrapping_add(writer)
    }

    /// Opens an SQLite connection. Reader and copier connections are read-only. The first result must be dropped after
    /// the connection.
    ///
    /// # Errors
    /// SQLITE_BUSY while the database file is being replaced, unless the connection is the writer's.
    pub(crate) fn connect(&self, role: Role) -> Result<(OpenConnection, Connection), SqlError> {
        let open = self.gate.enter(role)?;
        self.connect_unregistered(role).map(|connection| (open, connection))
    }

    fn connect_unregistered(&self, role: Role) -> Result<Connection, SqlError> {
        if self.options.zone() != TimeZone::Process && !local_time::install() {
            let message = "this build of SQLite cannot use another time zone than that of the process";
            return Err(probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(message)));
        }
        let (vfs, base) = match &self.storage {
            Storage::File(_) => (clock::vfs_name(self.options.vfs.as_deref()), self.options.vfs.as_deref()),
            Storage::Memory(_) => (memory::vfs_name(), None),
        };
        let Some(vfs) = vfs else {
            let message = format!("no such vfs: {}", base.unwrap_or("default"));
            return Err(probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&message)));
        };
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        flags |= match (&self.storage, role) {
            (_, Role::Reader | Role::Copier) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            (Storage::File(_), Role::Writer) if !self.options.create => OpenFlags::SQLITE_OPEN_READ_WRITE,
            _ => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        let opened = match &self.storage {
            Storage::File(path) => Connection::open_with_flags_and_vfs(path, flags, vfs),
            Storage::Memory(database) => Connection::open_with_flags_and_vfs(database.name(), flags, vfs),
        };
        // rusqlite adds the path to some messages. The caller of `Database::open` has the path already, so it is
        // omitted.
        opened.map_err(|error| match sql_error(error) {
            SqlError { code, .. } if code & 0xff == rusqlite::ffi::SQLITE_CANTOPEN => {
                probe::error_of_code(rusqlite::ffi::SQLITE_CANTOPEN, None)
            }
            other => other,
        })
    }
}
