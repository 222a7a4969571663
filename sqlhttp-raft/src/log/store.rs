//! Implements openraft's log storage with the log on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_util::{Stream, TryStreamExt as _, stream};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::memory::EntrySource;
use super::options::{LogError, LogOptions, LogStatus};
use super::queue::{LogOp, LogShared};
use super::recovery::{Recovered, Scan, scan};
use super::writer::{LogHandle, LogWriter};
use crate::types::{Entry, LogId, TypeConfig, Vote, index_of};

/// The maximum total length, in bytes, of the entries that are read at a time to be sent to another node or passed to
/// the state machine. A single entry may be longer.
const READ_BYTES_MAX: usize = 8 << 20;

/// The open log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<LogShared>,
    handle: Arc<LogHandle>,
    inline_append: Arc<AtomicBool>,
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

    /// Opens the log for a database that has applied the entries up to the index `applied`, counted from 1. Blocks.
    ///
    /// # Errors
    /// * [`LogError::Corrupt`]: entries that the database has applied are missing.
    /// * [`LogError::Behind`]: entries after `applied` have been purged.
    /// * [`LogError::Io`]: a file operation failed.
    pub(crate) fn open(self, applied: u64) -> Result<LogStore, LogError> {
        let CheckedLog { options, scan, lock } = self;
        let recovered = scan.finish(applied)?;
        LogStore::start(options, recovered, lock)
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
        checked.open(applied)
    }

    fn start(options: LogOptions, recovered: Recovered, lock: Box<dyn Send + Sync>) -> Result<LogStore, LogError> {
        let directory = options.directory.clone();
        let Recovered { memory, segment, closed_segments } = recovered;
        let shared = Arc::new(LogShared::new(options, memory, lock));
        let handle = Arc::new(LogHandle::new(LogWriter::new(shared.clone(), segment, closed_segments)));
        let on_thread = handle.clone();
        let thread = std::thread::Builder::new().name("sqlhttp-log".into());
        let thread = thread.spawn(move || on_thread.run()).map_err(LogError::io("start the thread of", &directory))?;
        let inline_append = Arc::default();
        Ok(LogStore { shared, handle, inline_append, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Sets whether `append` may write and sync on the calling thread. Set only in a single-node cluster: otherwise the
    /// leader sends entries to its followers while its own disk is writing (section 10.2.1 of the Raft dissertation).
    pub(crate) fn set_inline_append(&self, inline: bool) {
        self.inline_append.store(inline, Ordering::Relaxed);
    }

    /// Writes the queued operations and closes the log. Operations that are submitted later fail. Blocks.
    pub(crate) fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If the log thread has panicked, all waiting callers have received an error.
            let _ = thread.join();
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

    /// Ends all retries of file operations, because the node is being closed.
    pub(crate) fn stop_retries(&self) {
        self.shared.retry.stop();
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

    async fn durable(&self, op: impl FnOnce(oneshot::Sender<io::Result<()>>) -> LogOp) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.shared.submit(op(done));
        answer.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log's thread has ended")))
    }

    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let sources = self.shared.memory().get(from, to, bytes_max);
        let all_cached = sources.iter().all(|source| matches!(source, EntrySource::Cached(_)));
        let resolve = |source: EntrySource| match source {
            EntrySource::Cached(entry) => Ok(entry),
            EntrySource::OnDisk(location) => location.read(),
        };
        if all_cached {
            return sources.into_iter().map(resolve).collect();
        }
        let reading = tokio::task::spawn_blocking(move || sources.into_iter().map(resolve).collect());
        reading.await.map_err(io::Error::other)?
    }
}

/// Returns the first index of a range, and the index after its last one.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX).await
    }

    /// Reads the entries of the range some megabytes at a time, so that the memory used does not depend on the number
    /// of entries to apply.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = bounds(&range);
        let steps = stream::try_unfold((self.clone(), from), move |(log, from)| async move {
            if from >= to {
                return Ok(None);
            }
            let entries = log.read(from, to, READ_BYTES_MAX).await?;
            let Some(last) = entries.last().map(|entry| entry.log_id().index) else { return Ok(None) };
            let entries = stream::iter(entries.into_iter().map(Ok::<Entry, io::Error>));
            Ok::<_, io::Error>(Some((entries, (log, last + 1))))
        });
        Box::pin(steps.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.memory().state.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<openraft::storage::LogState<TypeConfig>> {
        let memory = self.shared.memory();
        Ok(openraft::storage::LogState { last_purged_log_id: memory.state.purged, last_log_id: memory.state.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.durable(|done| LogOp::Vote(*vote, done)).await?;
        // The vote becomes visible only now that it is durable: a crash must not be able to undo a vote that others
        // have seen (section 3.8 of the Raft dissertation).
        self.shared.memory().state.vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.shared.note_committed(committed);
            self.shared.memory().state.committed = Some(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.memory().state.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut memory = self.shared.memory();
            for entry in &entries {
                memory.append(entry.clone())?;
            }
        }
        let op = LogOp::Append(entries, callback);
        if self.inline_append.load(Ordering::Relaxed) {
            self.handle.write_inline(op);
        } else {
            self.shared.submit(op);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.shared.memory().truncate_after(last);
        self.durable(|done| LogOp::Truncate(last, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.shared.memory().purge(upto);
        self.durable(|done| LogOp::Purge(upto, done)).await
    }
}
