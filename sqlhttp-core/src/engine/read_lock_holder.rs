//! Keeps a read transaction open while no write runs, so that short reads need no system calls to lock the database.
//!
//! In WAL mode every read acquires a shared lock on a read mark and releases it
//! (<https://sqlite.org/walformat.html#wal_locks>). SQLite counts the holders within a process and makes a system call
//! only for the first and the last of them. Without this module each read would thus make two system calls, under a
//! mutex that all readers need. While the pinned reader of this module holds the read mark, other readers are never the
//! first or the last.
//!
//! The pinned reader must not block checkpoints. So the writer of this process makes it release the lock before it does
//! anything ([`ReadLockHolder::release_for_writer`]). For other processes that write the same file, the lock is
//! released at least every [`RELEASE_EVERY`]; once another process has written, it stays released for
//! [`PAUSE_AFTER_FOREIGN_WRITE`].

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::background::spawn;
use super::connection_config::{ConnectionConfig, Role};
use super::error::sql_error;
use super::options::Writes;
use super::session::Session;
use super::sqlite::probe;
use super::sqlite::statement::Statement;
use crate::model::SqlError;

/// How long the read lock may be held if other processes may write the database.
const RELEASE_EVERY: Duration = Duration::from_millis(500);
/// How long the read lock stays released after a periodic release, so that another process can make a checkpoint.
const PAUSE_AFTER_RELEASE: Duration = Duration::from_millis(50);
/// How long the read lock stays released after another process has written.
const PAUSE_AFTER_FOREIGN_WRITE: Duration = Duration::from_secs(10);

/// The query of the pinned reader. It reads the first page of the schema and returns at least one row, whatever the
/// schema contains. The read transaction stays open until all rows have been read or the statement is reset.
const PINNING_QUERY: &CStr = c"SELECT 1 FROM sqlite_schema UNION ALL SELECT 1";

/// Holds SQLite's read lock on a database between writes.
pub(crate) struct ReadLockHolder {
    config: Arc<ConnectionConfig>,
    /// Whether holding the lock saves system calls. `true` if the database is a file in WAL mode on the default VFS
    /// that is not opened read-only.
    enabled: bool,
    /// Whether the writer is working or has ended. The lock is not acquired then.
    writer_active: AtomicBool,
    held: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pinned: Option<PinnedReader>,
    not_before: Option<Instant>,
    /// Whether this lock is registered for the next periodic release.
    release_scheduled: bool,
}

/// The connection that holds the read mark, with the statement that keeps its read transaction open. The statement must
/// be the first field, because it must be finalized before its connection closes.
struct PinnedReader {
    statement: Statement,
    session: Session,
    /// The result of `PRAGMA data_version` when the lock was acquired. It changes when another connection writes.
    version: i64,
}

impl ReadLockHolder {
    pub(crate) fn new(config: Arc<ConnectionConfig>) -> Arc<ReadLockHolder> {
        let options = &config.options;
        // Disabled for read-only databases: their file may have another journal mode than the options say.
        let enabled = config.file().is_some() && config.snapshots() && options.vfs.is_none() && !options.read_only;
        let (writer_active, held) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(ReadLockHolder { config, enabled, writer_active, held, state: Mutex::default() })
    }

    /// Acquires the read lock, unless it is held, disabled, or being acquired by another thread. Called after each read
    /// on a caller's thread.
    pub(crate) fn acquire(self: &Arc<Self>) {
        if !self.enabled || self.held.load(Ordering::Relaxed) || self.writer_active.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut state) = self.state.try_lock() else { return };
        // The writer sets `writer_active` before it locks the state.
        if self.writer_active.load(Ordering::SeqCst) || state.not_before.is_some_and(|moment| Instant::now() < moment) {
            return;
        }
        if self.begin_read(&mut state).is_err() {
            // Reads work without this lock, and report the error themselves.
            state.pinned = None;
            state.not_before = Some(Instant::now() + PAUSE_AFTER_FOREIGN_WRITE);
            return;
        }
        self.held.store(true, Ordering::Relaxed);
        let others_may_write = self.config.options.writes == Writes::Direct;
        if others_may_write && !std::mem::replace(&mut state.release_scheduled, true) {
            drop(state);
            release_later(self);
        }
    }

    fn begin_read(&self, state: &mut State) -> Result<(), SqlError> {
        state.pinned.take_if(|pinned| pinned.session.is_stale(&self.config));
        let pinned = match &mut state.pinned {
            Some(pinned) => pinned,
            empty => empty.insert(PinnedReader::open(&self.config)?),
        };
        pinned.begin()
    }

    /// Releases the read lock, and prevents that it is acquired before [`ReadLockHolder::writer_done`] is called. The
    /// writer calls this before it does anything.
    pub(crate) fn release_for_writer(&self) {
        self.writer_active.store(true, Ordering::SeqCst);
        if self.enabled {
            self.release();
        }
    }

    /// Allows the read lock to be acquired again.
    pub(crate) fn writer_done(&self) {
        self.writer_active.store(false, Ordering::SeqCst);
    }

    /// Releases the read lock for good, and closes the connection that held it.
    pub(crate) fn close(&self) {
        self.release_for_writer();
        self.lock().pinned = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let mut state = self.lock();
        if self.held.swap(false, Ordering::Relaxed)
            && let Some(pinned) = &mut state.pinned
        {
            pinned.statement.reset();
        }
    }

    /// Releases the read lock periodically, for other processes. If another process has written while the lock was
    /// held, the lock stays released for [`PAUSE_AFTER_FOREIGN_WRITE`]. (The writer of this process cannot have written
    /// meanwhile.)
    fn release_for_others(&self) {
        let mut state = self.lock();
        state.release_scheduled = false;
        state.not_before = Some(Instant::now() + PAUSE_AFTER_RELEASE);
        if !self.held.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(pinned) = &mut state.pinned else { return };
        pinned.statement.reset();
        if pinned.read_version().is_ok_and(|version| version != pinned.version) {
            state.not_before = Some(Instant::now() + PAUSE_AFTER_FOREIGN_WRITE);
        }
    }
}

impl PinnedReader {
    fn open(config: &ConnectionConfig) -> Result<PinnedReader, SqlError> {
        let session = Session::open(config, Role::Reader)?;
        let prepared = Statement::prepare(session.connection(), PINNING_QUERY, true)?;
        let statement = prepared.statement.ok_or_else(|| probe::error_of_code(rusqlite::ffi::SQLITE_INTERNAL, None))?;
        Ok(PinnedReader { statement, session, version: 0 })
    }

    /// Begins a read transaction, which holds the read lock until the statement is reset.
    fn begin(&mut self) -> Result<(), SqlError> {
        let begun = self.statement.step().map_err(|code| self.session.error(code));
        let version = begun.and_then(|_| self.read_version());
        match version {
            Ok(version) => self.version = version,
            Err(_) => self.statement.reset(),
        }
        version.map(drop)
    }

    fn read_version(&self) -> Result<i64, SqlError> {
        let statement = self.session.connection().prepare_cached("PRAGMA data_version");
        statement.and_then(|mut statement| statement.query_row([], |row| row.get(0))).map_err(sql_error)
    }
}

/// The read locks of all databases in this process that must be released periodically.
static RELEASER: Mutex<Releaser> = Mutex::new(Releaser { running: false, holders: Vec::new() });

struct Releaser {
    /// Whether the thread that releases the locks is running.
    running: bool,
    holders: Vec<Weak<ReadLockHolder>>,
}

/// Registers a read lock for the next periodic release, and starts the thread that releases the locks unless it is
/// running.
fn release_later(holder: &Arc<ReadLockHolder>) {
    let mut releaser = RELEASER.lock().unwrap_or_else(PoisonError::into_inner);
    if !releaser.running && spawn("sqlhttp-locks", release_periodically).is_err() {
        drop(releaser);
        // Without the thread nothing would release the lock in time, so it is released now.
        return holder.release_for_others();
    }
    releaser.running = true;
    releaser.holders.push(Arc::downgrade(holder));
}

/// Releases all registered read locks every [`RELEASE_EVERY`]. Ends when no lock has been registered since the last
/// release.
fn release_periodically() {
    loop {
        std::thread::sleep(RELEASE_EVERY);
        let mut releaser = RELEASER.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = std::mem::take(&mut releaser.holders);
        if holders.is_empty() {
            releaser.running = false;
            return;
        }
        drop(releaser);
        holders.iter().filter_map(Weak::upgrade).for_each(|read_lock_holder| read_lock_holder.release_for_others());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rusqlite::Connection;

    use super::*;
    use crate::engine::{Database, Options};
    use crate::model::{Batch, Step, StepOutcome, ValueRef};

    fn open(directory: &tempfile::TempDir, options: Options) -> Database {
        Database::open(directory.path().join("db"), options).unwrap()
    }

    fn run(database: &Database, sql: &str) -> StepOutcome {
        database.blocking().run(Batch::one(Step::query(sql, ()))).unwrap().steps.remove(0)
    }

    fn is_held(database: &Database) -> bool {
        database.read_lock_holder().held.load(Ordering::Relaxed)
    }

    /// Checkpoints the database. Returns whether the write-ahead log was copied completely.
    fn checkpoint(other: &Connection) -> bool {
        let mut busy = true;
        while busy {
            // Busy only until another thread has released the lock: SQLite's busy handler does not apply here.
            busy = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        }
        std::fs::metadata(other.path().unwrap().to_owned() + "-wal").unwrap().len() == 0
    }

    #[test]
    fn a_read_acquires_it_and_a_write_releases_it() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory, Options { writes: Writes::Log, ..Options::default() });
        assert!(!is_held(&database));
        run(&database, "SELECT 1");
        assert!(is_held(&database), "no write is running");
        database.read_lock_holder().release_for_writer();
        assert!(!is_held(&database));
        run(&database, "SELECT 1");
        assert!(!is_held(&database), "the writer is active");
        database.read_lock_holder().writer_done();
        run(&database, "SELECT 1");
        assert!(is_held(&database));
    }

    #[test]
    fn reads_see_every_write_and_the_write_ahead_log_does_not_grow() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory, Options::default());
        run(&database, "CREATE TABLE t(a)");
        for n in 1..=300_i64 {
            // About 33 pages each: some thousand in all.
            run(&database, "INSERT INTO t VALUES (zeroblob(131072))");
            let count = run(&database, "SELECT count(*) FROM t");
            let StepOutcome::Rows(rows) = count else { unreachable!("{count:?}") };
            let values: Vec<_> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(values, [Some(ValueRef::Integer(n))]);
            run(&database, "UPDATE t SET a = 1 WHERE a != 1");
        }
        let wal = database.status().wal_bytes;
        assert!(wal < 12 << 20, "{wal} bytes");
    }

    #[test]
    fn other_processes_write_and_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory, Options::default());
        run(&database, "CREATE TABLE t(a)");
        run(&database, "SELECT 1");
        let other = Connection::open(directory.path().join("db")).unwrap();
        // The write is detected if the lock was held while it was made. The releasing thread, which all tests share,
        // may have run just before.
        while !pauses_for_others(&database) {
            run(&database, "SELECT 1");
            other.execute("INSERT INTO t VALUES (1)", []).unwrap();
            assert!(checkpoint(&other));
        }
        run(&database, "SELECT 1");
        assert!(!is_held(&database));
    }

    /// Returns whether the lock stays released because another process has written.
    fn pauses_for_others(database: &Database) -> bool {
        let not_before = database.read_lock_holder().lock().not_before;
        not_before.is_some_and(|moment| moment > Instant::now() + PAUSE_AFTER_RELEASE)
    }

    #[test]
    fn closing_leaves_only_the_database_file() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory, Options::default());
        run(&database, "CREATE TABLE t(a)");
        run(&database, "SELECT 1");
        drop(database);
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["db"]);
    }
}
