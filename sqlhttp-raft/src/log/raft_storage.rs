//! Implements openraft's log storage with the log on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::Ordering;

use futures_util::{Stream, TryStreamExt as _, stream};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::memory::EntrySource;
use super::queue::LogOp;
use super::store::LogStore;
use crate::runtime::blocking;
use crate::types::{Entry, LogId, TypeConfig, Vote, index_of};

/// The maximum total length, in bytes, of the entries that are read at a time to be sent to another node or passed to
/// the state machine. A single entry may be longer.
const READ_BYTES_MAX: usize = 8 << 20;

impl LogStore {
    async fn durable(&self, op: impl FnOnce(oneshot::Sender<io::Result<()>>) -> LogOp) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.shared.submit(op(done));
        answer.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log's thread has ended")))
    }

    /// Reads entries that are about to be applied, from index `from` to the one before `to`: about
    /// [`READ_BYTES_MAX`] bytes, but at least one entry.
    ///
    /// # Errors
    /// The entry at `from` has been purged. openraft never asks for one: it purges only entries that have been applied.
    /// Without the error, openraft would count the missing entries as applied.
    async fn read_to_apply(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let sources = {
            let memory = self.shared.memory();
            if from < memory.first_index() {
                // openraft counts entries from 0; error messages count them from 1.
                let why = format!("entry {} is to be applied, but the log begins later", from + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            memory.get(from, to, READ_BYTES_MAX)
        };
        read_sources(sources).await
    }
}

async fn read_sources(sources: Vec<EntrySource>) -> io::Result<Vec<Entry>> {
    let all_cached = sources.iter().all(|source| matches!(source, EntrySource::Cached(_)));
    let resolve = |source: EntrySource| match source {
        EntrySource::Cached(entry) => Ok(entry),
        EntrySource::OnDisk(location) => location.read(),
    };
    if all_cached {
        return sources.into_iter().map(resolve).collect();
    }
    let reading = blocking(move || sources.into_iter().map(resolve).collect());
    reading.await.map_err(io::Error::other)?
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
        // The contract of this function allows a range that begins with purged entries.
        let sources = {
            let memory = self.shared.memory();
            memory.get(from.max(memory.first_index()), to, usize::MAX)
        };
        read_sources(sources).await
    }

    /// Reads the entries of the range some megabytes at a time, so that the memory used does not depend on the number
    /// of entries to apply. Returns an error if the range begins with purged entries.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = bounds(&range);
        let steps = stream::try_unfold((self.clone(), from), move |(log, from)| async move {
            if from >= to {
                return Ok(None);
            }
            let entries = log.read_to_apply(from, to).await?;
            let Some(last) = entries.last().map(|entry| entry.log_id().index) else { return Ok(None) };
            let entries = stream::iter(entries.into_iter().map(Ok::<Entry, io::Error>));
            Ok::<_, io::Error>(Some((entries, (log, last + 1))))
        });
        Box::pin(steps.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.memory().state.vote)
    }

    /// Returns entries to send to a follower. If the entry at `start` has been purged, returns none, and openraft sends
    /// a heartbeat.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let sources = self.shared.memory().get(start, end, READ_BYTES_MAX);
        read_sources(sources).await
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
        if mutated!(UnsyncedVote) {
            self.shared.submit(LogOp::Vote(*vote, oneshot::channel().0));
        } else {
            self.durable(|done| LogOp::Vote(*vote, done)).await?;
        }
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
        if self.shared.inline_append.load(Ordering::Relaxed) {
            self.handle.write_inline(op);
        } else {
            self.shared.submit(op);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.shared.update(|memory| memory.truncate_after(last));
        self.durable(|done| LogOp::Truncate(last, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.shared.memory().purge(upto);
        self.durable(|done| LogOp::Purge(upto, done)).await?;
        self.shared.durably_purged.fetch_max(index_of(&upto), Ordering::Release);
        Ok(())
    }
}
