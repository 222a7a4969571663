//! Opens and closes the log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::durable::DurableIndex;
use super::options::{LogError, LogOptions, LogStatus};
use super::queue::LogShared;
use super::recovery::{Recovered, Scan, scan};
use super::votes::VoteFile;
use super::writer::{LogHandle, LogWriter};
use crate::types::{LogId, index_of};

/// The open log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(super) shared: Arc<LogShared>,
    pub(super) handle: Arc<LogHandle>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A log whose directory has been locked against other processes and whose contents have been checked. Nothing has been
/// written to it yet.
pub(crate) struct CheckedLog {
    options: LogOptions,
    scan: Scan,
    lock: Box<dyn Send + Sync>,
}

impl CheckedLog {
    /// Locks the directory of the log against other processes, and reads and checks the whole log. Blocks.
    ///
    /// # Errors
    /// See [`LogError`]. Damage is returned as an error, and never repaired.
    pub(crate) fn check(options: LogOptions) -> Result<CheckedLog, LogError> {
        let directory = &options.directory;
        let lock = options.disk.lock(directory).map_err(LogError::io("lock", directory))?;
        let lock = lock.ok_or(LogError::InUse)?;
        let scan = scan(&options)?;
        Ok(CheckedLog { options, scan, lock })
    }

    /// Opens the log for a database whose last applied entry is `applied`. Blocks.
    ///
    /// `installed` is a marker: the last entry of a snapshot of another node that this node has begun to install. A
    /// database with the content of a snapshot has applied entries that the log never contained, or of which it
    /// contains others. If the marker is the entry `applied`, and the log does not contain that entry, all entries of
    /// the log are removed and `installed` becomes the last purged entry. That is durable on return, and only then may
    /// the caller remove the marker. Without the marker, such a log is damaged.
    ///
    /// # Errors
    /// * [`LogError::Corrupt`]: the log does not contain the entry `applied`.
    /// * [`LogError::Behind`]: entries after `applied` have been purged.
    /// * [`LogError::Io`]: a file operation failed.
    pub(crate) fn open(self, applied: Option<LogId>, installed: Option<LogId>) -> Result<LogStore, LogError> {
        let CheckedLog { options, scan, lock } = self;
        let (recovered, votes) = scan.finish(applied, installed)?;
        LogStore::start(options, recovered, votes, lock)
    }
}

/// The space that must remain free on the disk after a large operation, in bytes. On a small disk, a sixteenth of the
/// disk, if that is less.
const RESERVE_BYTES_MAX: u64 = 8 << 20;

impl LogStore {
    /// Checks the log and opens it, for a database that has applied exactly the purged entries. Blocks.
    ///
    /// # Errors
    /// See [`LogError`].
    #[cfg(test)]
    pub(crate) fn open(options: LogOptions) -> Result<LogStore, LogError> {
        let mut checked = CheckedLog::check(options)?;
        let applied = checked.scan.purged();
        checked.open(applied, None)
    }

    fn start(
        options: LogOptions,
        recovered: Recovered,
        votes: VoteFile,
        lock: Box<dyn Send + Sync>,
    ) -> Result<LogStore, LogError> {
        let directory = options.directory.clone();
        let Recovered { memory, segment, closed_segments } = recovered;
        let shared = Arc::new(LogShared::new(options, memory, lock));
        let handle = Arc::new(LogHandle::new(LogWriter::new(shared.clone(), segment, closed_segments, votes)));
        #[cfg(feature = "sim")]
        if let Some(machine) = crate::sim::machine() {
            tokio::spawn(super::task::run(shared.clone(), handle.clone(), machine));
            return Ok(LogStore { shared, handle, thread: Arc::default() });
        }
        let on_thread = handle.clone();
        let thread = std::thread::Builder::new().name("sqlhttp-log".into());
        let thread = thread.spawn(move || on_thread.run()).map_err(LogError::io("start the thread of", &directory))?;
        Ok(LogStore { shared, handle, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Sets whether `append` may write and sync on the calling thread. Set only in a single-node cluster: otherwise the
    /// leader sends entries to its followers while its own disk is writing (section 10.2.1 of the Raft dissertation).
    pub(crate) fn set_inline_append(&self, inline: bool) {
        self.shared.inline_append.store(inline, Ordering::Relaxed);
    }

    /// Writes the queued operations and closes the log. Operations that are submitted later fail. Blocks.
    pub(crate) fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If the log thread has panicked, all waiting callers have received an error.
            let _ = thread.join();
        }
        #[cfg(feature = "sim")]
        if crate::sim::machine().is_some() {
            self.handle.run();
        }
    }

    /// Waits until the log thread has removed all purged segments, or the log has failed.
    #[cfg(test)]
    pub(crate) fn wait_until_purged_segments_are_removed(&self) {
        while self.handle.has_purged_segment() {
            std::thread::yield_now();
        }
    }

    /// The reason why the log cannot be written at the moment; `None` if it does not wait for its disk.
    pub(crate) fn waits_for(&self) -> Option<Arc<str>> {
        self.shared.retry.waits_for()
    }

    /// Returns `true` if the disk is known to have less free space than `bytes` plus a reserve.
    pub(crate) fn lacks_space_for(&self, bytes: u64) -> bool {
        let options = &self.shared.options;
        options.disk.space(&options.directory).is_some_and(|space| {
            let reserve = RESERVE_BYTES_MAX.min(space.total / 16);
            space.free < bytes.saturating_add(reserve)
        })
    }

    /// Returns whether the node is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.shared.retry.is_stopped()
    }

    /// Ends all retries of file operations, because the node is being closed.
    pub(crate) fn stop_retries(&self) {
        self.shared.retry.stop();
    }

    /// Returns the index of the last entry that is durable on this node's disk.
    pub(crate) fn durable_index(&self) -> Arc<DurableIndex> {
        self.shared.durable.clone()
    }

    /// Returns the index of the last entry, counted from 1, whose purge is durable on this node's disk; 0 if there is
    /// none. After a power cut, the log does not end before it.
    pub(crate) fn durably_purged_index(&self) -> u64 {
        self.shared.durably_purged.load(Ordering::Acquire)
    }

    /// Returns the index, counted from 1, up to which the log can be purged so that the newest entries remain, and
    /// their frames occupy at least `bytes` bytes. If the log contains less, returns the index of the last purged
    /// entry.
    ///
    /// A follower that was away needs the entries that it missed. A number of entries is a bad limit for that, because
    /// the length of an entry is between 34 bytes and many megabytes.
    pub(crate) fn index_keeping(&self, bytes: u64) -> u64 {
        self.shared.memory().index_keeping(bytes)
    }

    /// Returns the statistics of the log.
    pub(crate) fn status(&self) -> LogStatus {
        let memory = self.shared.memory();
        let counters = &self.shared.counters;
        LogStatus {
            first_index: if memory.is_empty() { 0 } else { memory.first_index() + 1 },
            last_index: memory.state.last.map_or(0, |id| index_of(&id)),
            last_term: memory.state.last.map_or(0, |id| id.leader_id.term),
            purged_index: memory.state.purged.map_or(0, |id| index_of(&id)),
            bytes_on_disk: counters.bytes.load(Ordering::Relaxed),
            fsyncs: counters.syncs.load(Ordering::Relaxed),
            fsync_nanos_total: counters.sync_nanos.load(Ordering::Relaxed),
            appended_entries: counters.entries.load(Ordering::Relaxed),
        }
    }

    /// The random number that identifies this log. `None` if the log was written in version 1 of the format and has no
    /// newer segment yet.
    pub(crate) fn identity(&self) -> Option<u128> {
        self.shared.memory().state.identity
    }

    /// Forgets which entries are committed. Otherwise openraft would apply all committed entries before it starts, and
    /// the node could serve no request until then. An elected leader commits and applies these entries anyway, together
    /// with the first entry of its own term (section 3.6.2 of the Raft dissertation).
    pub(crate) fn forget_committed(&self) {
        self.shared.memory().state.committed = None;
    }

    /// Returns the id of the entry at `index`, counted from 1, if the log contains that entry or it is the last purged
    /// one.
    #[cfg(feature = "sim")]
    pub(crate) fn id_at(&self, index: u64) -> Option<LogId> {
        index.checked_sub(1).and_then(|index| self.shared.memory().id_at(index))
    }

    /// Returns the last vote that is visible to others.
    pub(crate) fn vote(&self) -> Option<crate::types::Vote> {
        self.shared.memory().state.vote
    }

    /// Writes the queued operations now, on the calling thread.
    #[cfg(feature = "sim")]
    pub(crate) fn write_now(&self) {
        self.handle.run_now(&mut false);
    }
}
