//! The state that the threads of one database share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use super::connection_config::{ConnectionConfig, Role};
use super::content::pinned::Pins;
use super::content::requests::PinRequests;
use super::error::{engine_error, sql_error};
use super::file_watch::{FileWatch, wal_of};
use super::integrity::report::Checks;
use super::options::{JournalMode, Writes};
use super::read_lock_holder::ReadLockHolder;
use super::replicated::chain::OutcomeChain;
use super::replicated::progress::Progress;
use super::session::Session;
use super::transaction::TransactionJob;
use super::watch::Cancel;
use super::writer::queue::{Job, Queue, Task};
use crate::model::Error;

/// The state that the writer, the readers and the background threads of one database share.
pub(crate) struct SharedState {
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    /// Why the database rejects writes; `None` while it accepts them.
    poison: Mutex<Option<Arc<str>>>,
    /// For databases with a rollback journal: the writer holds this lock exclusively while it writes, and readers hold
    /// it shared while they read. If they relied on SQLite's own locks, they would have to poll.
    pub(crate) rollback_lock: RwLock<()>,
    /// Holds SQLite's read lock between writes, which saves short reads two system calls.
    pub(crate) read_lock_holder: Arc<ReadLockHolder>,
    /// Set when the process ends. Interrupts the log entry that is being applied.
    pub(crate) interrupted: Cancel,
    /// The position of the database in the Raft log (or another log) that it applies.
    progress: Mutex<Progress>,
    /// The index of the last log entry that the writer has begun to apply.
    applying: AtomicU64,
    /// Why the writer waits before it retries a log entry (a full disk, a lock of another process); `None` while it
    /// does not wait.
    waits_for: Mutex<Option<Arc<str>>>,
    /// Whether this node is the only node of its cluster. Then no other node has to compute the same results. A
    /// statement that fails for a reason that only this node has (a full disk, a damaged page) may then have this
    /// failure as its result: see [`super::replicated::node_failure`].
    sole: Mutex<bool>,
    /// The running hash of the outcomes of log entries.
    pub(crate) chain: OutcomeChain,
    /// The contents that are kept open for reading.
    pub(crate) pins: Pins,
    /// The requests for the content directly after an entry of the log.
    pub(crate) pin_requests: PinRequests,
    /// The last report of an integrity check, and whether a check is running.
    pub(crate) checks: Checks,
    /// The identities of the database's files when it was opened.
    pub(crate) files: FileWatch,
}

/// Counters since the database was opened.
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
            applying: AtomicU64::default(),
            waits_for: Mutex::default(),
            sole: Mutex::default(),
            chain: OutcomeChain::default(),
            pins: Pins::default(),
            pin_requests: PinRequests::default(),
            checks: Checks::default(),
            files: FileWatch::default(),
        }
    }

    /// Returns the index of the last log entry that the writer has begun to apply.
    pub(crate) fn applying_index(&self) -> u64 {
        self.applying.load(Ordering::Relaxed)
    }

    pub(crate) fn set_applying_index(&self, index: u64) {
        self.applying.store(index, Ordering::Relaxed);
    }

    /// Returns why the writer waits before it retries a log entry; `None` while it does not wait.
    pub(crate) fn waits_for(&self) -> Option<Arc<str>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_waits_for(&self, why: Option<Arc<str>>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Returns whether this node is the only node of its cluster.
    pub(crate) fn is_sole(&self) -> bool {
        *self.lock_sole()
    }

    pub(crate) fn set_sole(&self, sole: bool) {
        *self.lock_sole() = sole;
    }

    /// Returns whether this node is the only node of its cluster. The answer does not change while the guard exists.
    pub(crate) fn lock_sole(&self) -> MutexGuard<'_, bool> {
        self.sole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position of the database in the log that it applies, as of the last commit on the database.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the index of the last log entry that has been applied completely, the number of operations of the next
    /// entry that have been applied, and the number of steps that have been applied of the operation after those.
    pub(crate) fn applied_position(&self) -> (u64, u32, u32) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (progress.index, progress.operations, progress.steps)
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Records the identities of the database's files, which must be open. Does nothing for read-only databases, and
    /// for databases on another VFS, whose files are not in the file system.
    pub(crate) fn watch_files(&self) {
        let options = &self.config.options;
        let Some(file) = self.config.file().filter(|_| options.vfs.is_none() && !options.read_only) else { return };
        // In WAL mode the file of the write-ahead log exists while a connection is open.
        let wal = (options.journal_mode == JournalMode::Wal).then(|| wal_of(file));
        self.files.remember(std::iter::once(file.clone()).chain(wal));
    }

    /// Returns why the database rejects writes; `None` while it accepts them.
    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the page size of the database, in bytes.
    pub(crate) fn page_size(&self) -> Result<u32, Error> {
        let failed = |error| engine_error("read page size", error);
        let session = Session::open(&self.config, Role::Reader).map_err(failed)?;
        let size = session.connection().query_row("PRAGMA page_size", [], |row| row.get(0));
        size.map_err(|error| failed(sql_error(error)))
    }

    /// Makes the database reject all writes from now on, with the reason `why`. The callers of queued writes receive
    /// [`Error::Poisoned`].
    pub(crate) fn poison(&self, why: &str) {
        tracing::error!(why, "the database takes no more writes");
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| Arc::from(why));
        self.queue.abandon();
    }

    /// Queues a batch for the writer. The batch's caller receives an error if the write queue is full, if the database
    /// rejects writes, or if it is written through a log only.
    pub(crate) fn submit(&self, job: Box<Job>) {
        self.submit_task(Task::Batch(job));
    }

    /// Queues the transaction of a closure for the writer: see [`SharedState::submit`].
    pub(crate) fn submit_transaction(&self, job: TransactionJob) {
        self.submit_task(Task::Transaction(Box::new(job)));
    }

    fn submit_task(&self, task: Task) {
        if self.config.options.writes == Writes::Log {
            return task.fail(Error::Unsupported("this database is written through its log only".into()));
        }
        if let Some(why) = self.poisoned() {
            return task.fail(Error::Poisoned(why));
        }
        if let Err(refused) = self.queue.push(task) {
            let (error, task) = *refused;
            task.fail(error);
        }
    }

    /// Returns the error for a caller whose reply channel was closed without a reply.
    pub(crate) fn closed_error(&self) -> Error {
        self.poisoned().map_or(Error::Closed, Error::Poisoned)
    }

    /// If the database has a rollback journal, waits until no read runs, and prevents new ones while the guard exists.
    /// `None` for other databases.
    pub(crate) fn lock_exclusive(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let needed = !self.config.snapshots();
        needed.then(|| self.rollback_lock.write().unwrap_or_else(PoisonError::into_inner))
    }
}
