//! What the writer shares with the rest of the database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use super::connection_config::{ConnectionConfig, Role};
use super::error::{engine_error, sql_error};
use super::file_watch::{FileWatch, wal_of};
use super::integrity::report::Checks;
use super::options::{JournalMode, Writes};
use super::read_lock_holder::ReadLockHolder;
use super::replicated::progress::Progress;
use super::session::Session;
use super::watch::Cancel;
use super::writer::queue::{Job, Queue, Task};
use crate::model::Error;

/// What the writer shares with the rest of the database.
pub(crate) struct SharedState {
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    /// Why no more writes are taken.
    poison: Mutex<Option<Arc<str>>>,
    /// Held by the writer while it writes and by readers while they read, where SQLite's own locks would make them
    /// poll for each other: with a rollback journal.
    pub(crate) rollback_lock: RwLock<()>,
    /// Spares short reads the system calls for their lock.
    pub(crate) read_lock_holder: Arc<ReadLockHolder>,
    /// Set when what runs for the log has to end, because the process does.
    pub(crate) interrupted: Cancel,
    /// How far the database is in the log that it applies.
    progress: Mutex<Progress>,
    /// Why the writer does not go on for the moment, if so.
    waits_for: Mutex<Option<Arc<str>>>,
    /// No other node has to come to the same results: see [`super::replicated::local`].
    sole: AtomicBool,
    /// The index of the last entry in which a failure of this node alone became a result; 0 if none did.
    decision: AtomicU64,
    /// Integrity checks.
    pub(crate) checks: Checks,
    /// The database's files as they were when it was opened.
    pub(crate) files: FileWatch,
}

/// What has been done since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches_written: AtomicU64,
    pub(crate) groups_committed: AtomicU64,
    pub(crate) batches_read: AtomicU64,
}

impl SharedState {
    pub(crate) fn new(config: Arc<ConnectionConfig>) -> Self {
        let queue = Queue::new(config.options.write_queue_len_max);
        let read_lock_holder = ReadLockHolder::new(config.clone());
        SharedState {
            config,
            queue,
            read_lock_holder,
            counters: Counters::default(),
            poison: Mutex::default(),
            rollback_lock: RwLock::default(),
            interrupted: Cancel::default(),
            progress: Mutex::default(),
            waits_for: Mutex::default(),
            sole: AtomicBool::new(false),
            decision: AtomicU64::new(0),
            checks: Checks::default(),
            files: FileWatch::default(),
        }
    }

    /// Why the writer does not go on for the moment, if so.
    pub(crate) fn waits_for(&self) -> Option<Arc<str>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_waits_for(&self, why: Option<Arc<str>>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Whether this node may decide alone.
    pub(crate) fn is_sole(&self) -> bool {
        self.sole.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sole(&self, sole: bool) {
        self.sole.store(sole, Ordering::Relaxed);
    }

    /// The index of the last entry in which a failure of this node alone became a result; 0 if none did.
    pub(crate) fn decision_index(&self) -> u64 {
        self.decision.load(Ordering::Relaxed)
    }

    pub(crate) fn note_decision(&self, index: u64) {
        self.decision.fetch_max(index, Ordering::Relaxed);
    }

    /// How far the database is in the log that it applies, as of the last commit.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last entry that has been applied whole, and how many pieces of work and steps of the entry after it have been.
    pub(crate) fn applied_position(&self) -> (u64, u32, u32) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (progress.index, progress.works, progress.steps)
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Remembers the files of the database, which is open by now. Files of another VFS are not the file system's.
    pub(crate) fn watch_files(&self) {
        let options = &self.config.options;
        let Some(file) = self.config.file().filter(|_| options.vfs.is_none() && !options.read_only) else { return };
        // In WAL mode the log stays as long as a connection is open.
        let wal = (options.journal_mode == JournalMode::Wal).then(|| wal_of(file));
        self.files.remember(std::iter::once(file.clone()).chain(wal));
    }

    /// Why no more writes are taken, if so.
    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The size of the database's pages, in bytes.
    pub(crate) fn page_size(&self) -> Result<u32, Error> {
        let failed = |error| engine_error("read page size", error);
        let session = Session::open(&self.config, Role::Reader).map_err(failed)?;
        let size = session.connection().query_row("PRAGMA page_size", [], |row| row.get(0));
        size.map_err(|error| failed(sql_error(error)))
    }

    /// Takes no more writes from now on. Those that wait are told.
    pub(crate) fn poison(&self, why: &str) {
        tracing::error!(why, "the database takes no more writes");
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| Arc::from(why));
        self.queue.abandon();
    }

    /// Hands a batch to the writer. Its caller is told if there is no room.
    pub(crate) fn submit(&self, job: Box<Job>) {
        if self.config.options.writes == Writes::Log {
            return job.answer(Err(Error::Unsupported("this database is written through its log only".into())));
        }
        if let Some(why) = self.poisoned() {
            return job.answer(Err(Error::Poisoned(why)));
        }
        if let Err((error, Task::Batch(job))) = self.queue.push(Task::Batch(job)) {
            job.answer(Err(error));
        }
    }

    /// What to tell somebody whose reply will never come.
    pub(crate) fn closed_error(&self) -> Error {
        self.poisoned().map_or(Error::Closed, Error::Poisoned)
    }

    pub(crate) fn lock_exclusive(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let needed = !self.config.snapshots();
        needed.then(|| self.rollback_lock.write().unwrap_or_else(PoisonError::into_inner))
    }
}
