//! The thread that writes the log. It takes whatever waits, writes it, syncs once, and tells everybody.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use openraft::entry::RaftEntry as _;
use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::frame::{self, Frame};
use super::memory::{Memory, Place};
use super::options::LogOptions;
use super::patience::Patience;
use super::recovery::{Older, new_identity};
use super::segment::{Segment, path_of};
use super::state::State;
use crate::observer::Event;
use crate::types::{Entry, LogId, TypeConfig, Vote};
use crate::waiters::reply;

/// What waits to be written.
pub(super) enum Op {
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    /// Entries after this one are no more.
    Truncate(Option<LogId>, oneshot::Sender<io::Result<()>>),
    Purge(LogId, oneshot::Sender<io::Result<()>>),
}

/// What is to be told when an operation is durable.
enum Waiting {
    Flushed(IOFlushed<TypeConfig>),
    Done(oneshot::Sender<io::Result<()>>),
}

impl Waiting {
    fn tell(self, result: io::Result<()>) {
        match self {
            Waiting::Flushed(flushed) => flushed.io_completed(result),
            Waiting::Done(done) => reply(done, result),
        }
    }
}

/// What is written next.
struct Taken {
    ops: VecDeque<Op>,
    committed: Option<LogId>,
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    /// Written with whatever comes next; not worth a sync of its own.
    committed: Option<LogId>,
    /// Somebody writes: the thread, or whoever would have woken it.
    busy: bool,
    closed: bool,
}

/// What the thread and its callers share.
pub(super) struct Shared {
    pub(super) options: LogOptions,
    queue: Mutex<Queue>,
    arrived: Condvar,
    pub(super) memory: Mutex<Memory>,
    pub(super) figures: Figures,
    pub(super) patience: Patience,
    /// Held as long as the log is open.
    _lock: Box<dyn Send + Sync>,
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) syncs: AtomicU64,
    pub(super) sync_nanos: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(options: LogOptions, memory: Memory, lock: Box<dyn Send + Sync>) -> Self {
        let patience = Patience::new(options.observer.clone());
        Shared {
            options,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            memory: Mutex::new(memory),
            figures: Figures::default(),
            patience,
            _lock: lock,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread do something. If it has ended, whoever waits is told.
    pub(super) fn submit(&self, op: Op) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return waiting(op).tell(Err(closed()));
        }
        queue.ops.push_back(op);
        drop(queue);
        self.arrived.notify_one();
    }

    pub(super) fn note_committed(&self, id: LogId) {
        self.queue().committed = Some(id);
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.arrived.notify_one();
    }

    /// What waits; `None` when nothing does and nothing will come. [`Shared::done`] must follow.
    fn next(&self) -> Option<Taken> {
        let mut queue = self.queue();
        while queue.busy || (queue.ops.is_empty() && !queue.closed) {
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        // What is noted at the end proves that everything before it is durable.
        if queue.ops.is_empty() && queue.committed.is_none() {
            return None;
        }
        queue.busy = true;
        Some(Taken { ops: std::mem::take(&mut queue.ops), committed: queue.committed.take() })
    }

    /// Takes one operation at once, if nothing waits and nobody writes; otherwise it comes back. [`Shared::done`] must
    /// follow.
    fn next_at_once(&self, op: Op) -> Result<Taken, Op> {
        let mut queue = self.queue();
        if queue.busy || queue.closed || !queue.ops.is_empty() {
            return Err(op);
        }
        queue.busy = true;
        Ok(Taken { ops: VecDeque::from([op]), committed: queue.committed.take() })
    }

    /// What was taken has been written.
    fn done(&self) {
        let mut queue = self.queue();
        queue.busy = false;
        let more = !queue.ops.is_empty() || queue.closed;
        drop(queue);
        if more {
            self.arrived.notify_one();
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

fn waiting(op: Op) -> Waiting {
    match op {
        Op::Append(_, flushed) => Waiting::Flushed(flushed),
        Op::Vote(_, done) | Op::Truncate(_, done) | Op::Purge(_, done) => Waiting::Done(done),
    }
}

fn tell(waiting: Vec<Waiting>, result: &Result<(), String>) {
    for one in waiting {
        one.tell(result.clone().map_err(io::Error::other));
    }
}

/// Nobody may wait for a thread that has ended, not even if it has panicked.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        let left = std::mem::take(&mut queue.ops);
        drop(queue);
        left.into_iter().for_each(|op| waiting(op).tell(Err(closed())));
    }
}

/// Where the log is written: by its thread, or by who appends, if that is quicker.
pub(super) struct Desk {
    shared: Arc<Shared>,
    /// Only who has taken operations locks it, so nobody ever waits here.
    writer: Mutex<Writer>,
}

impl Desk {
    pub(super) fn new(writer: Writer) -> Desk {
        Desk { shared: writer.shared.clone(), writer: Mutex::new(writer) }
    }

    /// The life of the thread: runs until the log is closed and nothing waits.
    pub(super) fn run(&self) {
        let _closes = CloseOnDrop(self.shared.clone());
        while let Some(taken) = self.shared.next() {
            self.carry_out(taken);
        }
    }

    /// Carries out an operation on the caller's thread, unless others wait or are being carried out: then it waits with
    /// them. Waking the thread, and being woken by it, takes nearly as long as a sync.
    pub(super) fn submit_at_once(&self, op: Op) {
        match self.shared.next_at_once(op) {
            Ok(taken) => self.carry_out(taken),
            Err(op) => self.shared.submit(op),
        }
    }

    fn carry_out(&self, taken: Taken) {
        let _done = DoneOnDrop(&self.shared);
        let mut writer = self.writer.lock().unwrap_or_else(|poisoned| {
            let mut writer = poisoned.into_inner();
            writer.failed.get_or_insert_with(|| "the log's writer panicked".to_owned());
            writer
        });
        writer.carry_out(taken);
    }
}

/// Others may write again, even if this has panicked.
struct DoneOnDrop<'a>(&'a Shared);

impl Drop for DoneOnDrop<'_> {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// What only who writes touches.
pub(super) struct Writer {
    shared: Arc<Shared>,
    segment: Segment,
    older: VecDeque<Older>,
    /// What the frames say, written or about to be.
    state: State,
    /// What will be written at the segment's end.
    buffer: Vec<u8>,
    /// The entries in it, and where they will stand.
    entries: Vec<(LogId, Place)>,
    /// After an error nobody knows what the disk holds: nothing is written any more.
    failed: Option<String>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, segment: Segment, older: Vec<Older>) -> Self {
        let mut state = shared.memory().state.clone();
        // A log of version 1 gets its identity with its next segment.
        state.identity.get_or_insert_with(new_identity);
        let writer = Writer {
            state,
            shared,
            segment,
            older: older.into(),
            buffer: Vec::new(),
            entries: Vec::new(),
            failed: None,
        };
        writer.count_bytes();
        writer
    }

    /// Writes what was taken, syncs, and tells everybody.
    fn carry_out(&mut self, taken: Taken) {
        let Taken { ops, committed } = taken;
        let mut told = Vec::with_capacity(ops.len());
        let result = self.write_all(&ops, committed).map_err(|error| self.latch(&error));
        let mut purges = Vec::new();
        let mut purged = None;
        for op in ops {
            if let Op::Purge(id, _) = &op {
                purged = purged.max(Some(*id));
                purges.push(waiting(op));
            } else {
                told.push(waiting(op));
            }
        }
        tell(told, &result);
        // Removing files takes its time, for which nobody else waits.
        let dropped = match (result, purged) {
            (Ok(()), Some(purged)) => self.drop_segments(purged).map_err(|error| self.latch(&error)),
            (result, _) => result,
        };
        tell(purges, &dropped);
    }

    /// From now on everything fails.
    fn latch(&mut self, error: &io::Error) -> String {
        let why = format!("the log cannot be written: {error}");
        if self.failed.is_none() {
            self.shared.options.observer.event(&Event::LogFailed { error });
            self.failed = Some(why.clone());
        }
        why
    }

    fn write_all(&mut self, ops: &VecDeque<Op>, committed: Option<LogId>) -> io::Result<()> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        for op in ops {
            self.add_op(op)?;
        }
        // Behind the entries, which it may be about.
        if let Some(committed) = committed {
            self.add(&Frame::Committed(committed))?;
        }
        self.flush()
    }

    fn add_op(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Append(entries, _) => {
                for entry in entries {
                    self.add(&Frame::Entry(entry.clone()))?;
                }
                self.shared.figures.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Op::Vote(vote, _) => self.add(&Frame::Vote(*vote)),
            Op::Truncate(last, _) => self.add(&Frame::Truncate(*last)),
            Op::Purge(id, _) => self.add(&Frame::Purge(*id)),
        }
    }

    /// Adds a frame to what will be written; begins a new segment first if it does not fit.
    fn add(&mut self, frame: &Frame) -> io::Result<()> {
        let full = u64::from(self.shared.options.segment_bytes);
        if self.segment.end + self.buffer.len() as u64 >= full {
            self.begin_segment()?;
        }
        let at = self.buffer.len();
        let durable = u32::try_from(self.segment.durable).unwrap_or(u32::MAX);
        frame::write(&mut self.buffer, frame, self.segment.number, self.segment.end, durable)?;
        if let Frame::Entry(entry) = frame {
            let place = Place {
                number: self.segment.number,
                file: self.segment.file.clone(),
                offset: self.segment.end + at as u64,
                len: u32::try_from(self.buffer.len() - at).unwrap_or(u32::MAX),
            };
            self.entries.push((entry.log_id(), place));
        }
        self.note(frame);
        Ok(())
    }

    /// Writes and syncs what has been added.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (segment, buffer) = (&mut self.segment, &self.buffer);
        self.shared.patience.repeat(|| segment.append(buffer))?;
        let started = Instant::now();
        self.segment.sync()?;
        let took = started.elapsed();
        let figures = &self.shared.figures;
        figures.syncs.fetch_add(1, Ordering::Relaxed);
        figures.sync_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.shared.options.observer.log_synced(took);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        let mut memory = self.shared.memory();
        self.entries.drain(..).for_each(|(id, place)| memory.written(id, place));
        memory.forget(self.shared.options.cache_bytes);
        drop(memory);
        self.count_bytes();
        Ok(())
    }

    /// Ends the segment, which is durable then, and begins the next.
    fn begin_segment(&mut self) -> io::Result<()> {
        let durable = u32::try_from(self.segment.durable).unwrap_or(u32::MAX);
        frame::write(&mut self.buffer, &Frame::End, self.segment.number, self.segment.end, durable)?;
        self.flush()?;
        let last_index = self.state.last.map_or(0, |id| id.index);
        self.older.push_back(Older { number: self.segment.number, bytes: self.segment.filled, last_index });
        let Shared { options, patience, .. } = &*self.shared;
        let number = self.segment.number + 1;
        self.segment = patience.repeat(|| Segment::create(options, number, &self.state))?;
        Ok(())
    }

    /// Keeps in mind what the frames say. (What is in memory is ahead of that.)
    fn note(&mut self, frame: &Frame) {
        match frame {
            Frame::Entry(entry) => self.state.last = Some(entry.log_id()),
            Frame::Truncate(last) => self.state.truncate_after(*last),
            Frame::Purge(id) => self.state.purge(*id),
            Frame::Vote(vote) => self.state.vote = Some(*vote),
            Frame::Committed(id) => self.state.committed = Some(*id),
            Frame::End => {}
        }
    }

    /// Removes the segments in which every entry is purged.
    fn drop_segments(&mut self, purged: LogId) -> io::Result<()> {
        while self.older.front().is_some_and(|older| older.last_index <= purged.index) {
            if let Some(older) = self.older.pop_front() {
                let Shared { options, patience, .. } = &*self.shared;
                options.disk.remove(&path_of(&options.directory, older.number))?;
                // Each by itself: after a crash none may be there again when one behind it is not.
                patience.repeat(|| options.disk.sync_directory(&options.directory))?;
            }
        }
        self.count_bytes();
        Ok(())
    }

    fn count_bytes(&self) {
        let older: u64 = self.older.iter().map(|older| older.bytes).sum();
        self.shared.figures.bytes.store(older + self.segment.filled, Ordering::Relaxed);
    }
}

/// A buffer that grew beyond this for a large entry is given back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;
