//! The queue of the log: operations that wait to be written, and the reports of their results.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::durable::DurableIndex;
use super::memory::InMemoryLog;
use super::options::{LogOptions, SOLE_CACHE_DIVISOR};
use super::retry::DiskRetry;
use crate::types::{Entry, LogId, TypeConfig, Vote, index_of};
use crate::waiters::reply;

/// An operation that changes the log, and the receiver of its result.
pub(super) enum LogOp {
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    /// Removes the entries after this one; all entries, if the value is `None`.
    Truncate(Option<LogId>, oneshot::Sender<io::Result<()>>),
    Purge(LogId, oneshot::Sender<io::Result<()>>),
}

/// Where the result of an operation is reported, once the operation is durable or has failed.
pub(super) enum Completion {
    Flushed(IOFlushed<TypeConfig>),
    Done(oneshot::Sender<io::Result<()>>),
}

impl Completion {
    fn complete(self, result: io::Result<()>) {
        match self {
            Completion::Flushed(flushed) => flushed.io_completed(result),
            Completion::Done(done) => reply(done, result),
        }
    }
}

/// The next task of the log thread.
pub(super) enum Turn {
    Write(Dequeued),
    /// Nothing is queued, so a purged segment is removed.
    RemoveSegment,
}

/// The operations that were taken from the queue to be written next.
pub(super) struct Dequeued {
    pub(super) ops: VecDeque<LogOp>,
    pub(super) committed: Option<LogId>,
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<LogOp>,
    /// The last committed entry, which is written together with the next operations. It is not worth a sync of its own.
    committed: Option<LogId>,
    /// `true` while the log thread or the caller of an inline write is writing.
    busy: bool,
    /// Whether the log thread waits for a chance to remove a purged segment.
    removal_due: bool,
    closed: bool,
}

/// The state that the log thread shares with the threads that submit operations.
pub(super) struct LogShared {
    pub(super) options: LogOptions,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// Wakes the task that writes in a simulation.
    #[cfg(feature = "sim")]
    pub(super) arrived_in_simulation: tokio::sync::Notify,
    pub(super) memory: Mutex<InMemoryLog>,
    pub(super) durable: Arc<DurableIndex>,
    /// The index of the last entry whose purge is durable on this node's disk, counted from 1; 0 if there is none.
    pub(super) durably_purged: AtomicU64,
    /// Whether `append` writes and syncs on the calling thread instead of the log thread. True only while the cluster
    /// has one node.
    pub(super) inline_append: AtomicBool,
    pub(super) counters: LogCounters,
    pub(super) retry: DiskRetry,
    /// The lock on the log's directory, which is held while the log is open.
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
pub(super) struct LogCounters {
    pub(super) syncs: AtomicU64,
    pub(super) sync_nanos: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl LogShared {
    /// `memory` is the recovered log, all of which has been synced.
    pub(super) fn new(options: LogOptions, mut memory: InMemoryLog, lock: Box<dyn Send + Sync>) -> Self {
        let retry = DiskRetry::new(options.observer.clone());
        let durable = Arc::<DurableIndex>::default();
        memory.all_durable();
        durable.set(memory.durable());
        let durably_purged = AtomicU64::new(memory.state.purged.map_or(0, |id| index_of(&id)));
        LogShared {
            options,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            #[cfg(feature = "sim")]
            arrived_in_simulation: Default::default(),
            memory: Mutex::new(memory),
            durable,
            durably_purged,
            inline_append: AtomicBool::default(),
            counters: LogCounters::default(),
            retry,
            _lock: lock,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, InMemoryLog> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log in memory, and publishes the index of the last durable entry if that changes.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut InMemoryLog) -> T) -> T {
        let mut memory = self.memory();
        let before = memory.durable();
        let result = change(&mut memory);
        // Published under the lock, so that concurrent changes are published in order.
        if memory.durable() != before {
            self.durable.set(memory.durable());
        }
        result
    }

    /// The maximum total size of the cached entries at the moment, in bytes.
    pub(super) fn cache_bytes(&self) -> usize {
        let sole = self.inline_append.load(Ordering::Relaxed);
        self.options.cache_bytes / if sole { SOLE_CACHE_DIVISOR } else { 1 }
    }

    /// Queues an operation for the log thread. If the log thread has ended, the operation fails at once.
    pub(super) fn submit(&self, op: LogOp) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return completion_of(op).complete(Err(closed()));
        }
        queue.ops.push_back(op);
        drop(queue);
        self.wake_writer();
    }

    pub(super) fn note_committed(&self, id: LogId) {
        self.queue().committed = Some(id);
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.wake_writer();
    }

    fn wake_writer(&self) {
        self.arrived.notify_one();
        #[cfg(feature = "sim")]
        self.arrived_in_simulation.notify_one();
    }

    /// Like [`LogShared::next_turn`], but returns `None` instead of waiting.
    #[cfg(feature = "sim")]
    pub(super) fn next_turn_now(&self, removal_due: bool) -> Option<Turn> {
        let is_due = {
            let queue = self.queue();
            !queue.busy && (!queue.ops.is_empty() || queue.closed || removal_due)
        };
        if is_due { self.next_turn(removal_due) } else { None }
    }

    /// Waits until operations are queued, and takes them. If nothing is queued and `removal_due` is set, returns
    /// [`Turn::RemoveSegment`] instead of waiting. Returns `None` if the log is closed and nothing is queued. The
    /// caller must hold a [`FinishOnDrop`] during its turn.
    pub(super) fn next_turn(&self, removal_due: bool) -> Option<Turn> {
        let mut queue = self.queue();
        queue.removal_due = removal_due;
        while queue.busy || (queue.ops.is_empty() && !queue.closed && !removal_due) {
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.ops.is_empty() && !queue.closed {
            queue.busy = true;
            return Some(Turn::RemoveSegment);
        }
        // When the log is closed, a frame with the last committed entry is written even if no operation is queued. The
        // frame records that all frames before it were durable, so that damage to them cannot be mistaken for a torn
        // tail.
        if queue.ops.is_empty() && queue.committed.is_none() {
            return None;
        }
        queue.busy = true;
        Some(Turn::Write(Dequeued { ops: std::mem::take(&mut queue.ops), committed: queue.committed.take() }))
    }

    /// Lets the calling thread write an operation itself. Returns the operation as an error if another one is queued or
    /// being written, or if the log is closed. After `Ok`, the caller must hold a [`FinishOnDrop`] while it writes.
    pub(super) fn try_begin_inline(&self, op: LogOp) -> Result<Dequeued, LogOp> {
        let mut queue = self.queue();
        if queue.busy || queue.closed || !queue.ops.is_empty() {
            return Err(op);
        }
        queue.busy = true;
        Ok(Dequeued { ops: VecDeque::from([op]), committed: queue.committed.take() })
    }

    fn finish(&self) {
        let mut queue = self.queue();
        queue.busy = false;
        let more = !queue.ops.is_empty() || queue.closed || queue.removal_due;
        drop(queue);
        if more {
            self.wake_writer();
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

pub(super) fn completion_of(op: LogOp) -> Completion {
    match op {
        LogOp::Append(_, flushed) => Completion::Flushed(flushed),
        LogOp::Vote(_, done) | LogOp::Truncate(_, done) | LogOp::Purge(_, done) => Completion::Done(done),
    }
}

pub(super) fn complete_all(completions: Vec<Completion>, result: &Result<(), String>) {
    for one in completions {
        one.complete(result.clone().map_err(io::Error::other));
    }
}

/// Drop guard of the log thread. When the thread ends, even by a panic, it closes the queue and fails the queued
/// operations, so that no caller waits without end.
pub(super) struct CloseOnDrop(pub(super) Arc<LogShared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        let left = std::mem::take(&mut queue.ops);
        drop(queue);
        self.0.durable.end("the log is closed");
        left.into_iter().for_each(|op| completion_of(op).complete(Err(closed())));
    }
}

/// Drop guard of the thread that writes operations. When it is dropped, even by a panic, another thread may write.
pub(super) struct FinishOnDrop<'a>(pub(super) &'a LogShared);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
