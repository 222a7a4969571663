//! The log thread: takes all queued operations, writes them, syncs once, and reports their results.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use openraft::entry::RaftEntry as _;

use super::frame::{self, Frame};
use super::memory::EntryLocation;
use super::queue::{CloseOnDrop, Dequeued, FinishOnDrop, LogOp, LogShared, Turn, complete_all, completion_of};
use super::reader::ClosedSegment;
use super::recovery::new_identity;
use super::segment::{Segment, segment_path};
use super::state::LogState;
use super::votes::VoteFile;
use crate::observer::Event;
use crate::types::LogId;

/// The log writer and its queue. Usually the log thread writes. If the queue is idle, [`LogHandle::write_inline`]
/// writes on the calling thread instead.
pub(super) struct LogHandle {
    shared: Arc<LogShared>,
    /// Locked only by the thread that has set `busy` in the queue, so no thread ever waits for this lock.
    writer: Mutex<LogWriter>,
}

impl LogHandle {
    pub(super) fn new(writer: LogWriter) -> LogHandle {
        LogHandle { shared: writer.shared.clone(), writer: Mutex::new(writer) }
    }

    /// The main function of the log thread. It returns when the log is closed and the queue is empty.
    ///
    /// Purged segments are removed one at a time while nothing is queued, so that no operation waits until many are
    /// removed. Segments that have not been removed when the log is closed are removed after it is opened again.
    pub(super) fn run(&self) {
        let _closes = CloseOnDrop(self.shared.clone());
        // Segments may be left from before the log was closed.
        let mut removal_due = true;
        while let Some(turn) = self.shared.next_turn(removal_due) {
            removal_due = self.take_turn(turn);
        }
    }

    /// Does what the log thread would do without waiting for further operations.
    #[cfg(feature = "sim")]
    pub(super) fn run_now(&self, removal_due: &mut bool) {
        while let Some(turn) = self.shared.next_turn_now(*removal_due) {
            *removal_due = self.take_turn(turn);
        }
    }

    /// Carries out a turn. Returns whether a purged segment can be removed.
    fn take_turn(&self, turn: Turn) -> bool {
        let _done = FinishOnDrop(&self.shared);
        let mut writer = self.lock();
        match turn {
            Turn::Write(dequeued) => writer.execute(dequeued),
            Turn::RemoveSegment => writer.remove_purged_segment(),
        }
        writer.has_purged_segment()
    }

    /// Writes an operation on the calling thread. If other operations are queued or being written, queues the operation
    /// for the log thread instead. An inline write is faster, because waking the log thread and being woken by it takes
    /// nearly as long as a sync.
    pub(super) fn write_inline(&self, op: LogOp) {
        match self.shared.try_begin_inline(op) {
            Ok(dequeued) => {
                let _done = FinishOnDrop(&self.shared);
                self.lock().execute(dequeued);
            }
            Err(op) => self.shared.submit(op),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            let mut writer = poisoned.into_inner();
            writer.fail("the log's writer panicked".to_owned());
            writer
        })
    }

    /// Returns whether purged segments have not been removed yet. Waits for the thread that is writing.
    #[cfg(test)]
    pub(super) fn has_purged_segment(&self) -> bool {
        self.lock().has_purged_segment()
    }
}

/// The log writer. The thread that is writing, the log thread or the caller of an inline write, has exclusive access.
pub(super) struct LogWriter {
    shared: Arc<LogShared>,
    segment: Segment,
    closed_segments: VecDeque<ClosedSegment>,
    /// The number of segments that were begun during this turn.
    begun_segments: u32,
    votes: VoteFile,
    /// The state of the log after all frames that have been written or are in the buffer.
    state: LogState,
    /// The encoded frames that the next flush writes at the end of the segment.
    buffer: Vec<u8>,
    /// The entries in the buffer, and the locations on disk that they will have.
    entries: Vec<(LogId, EntryLocation)>,
    /// The first error of a write or a sync, or `None`. After an error the contents of the disk are unknown, so nothing
    /// is written any more, and all operations fail with this error.
    failed: Option<String>,
}

impl LogWriter {
    pub(super) fn new(
        shared: Arc<LogShared>,
        segment: Segment,
        closed_segments: Vec<ClosedSegment>,
        votes: VoteFile,
    ) -> Self {
        let mut state = shared.memory().state.clone();
        // A log of version 1 has no identity. It gets one, which is written with its next segment.
        state.identity.get_or_insert_with(new_identity);
        let writer = LogWriter {
            state,
            shared,
            segment,
            closed_segments: closed_segments.into(),
            begun_segments: 0,
            votes,
            buffer: Vec::new(),
            entries: Vec::new(),
            failed: None,
        };
        writer.count_bytes();
        writer
    }

    /// Writes the operations, syncs, and reports their results.
    fn execute(&mut self, dequeued: Dequeued) {
        let Dequeued { ops, committed } = dequeued;
        let mut completions = Vec::with_capacity(ops.len());
        let result = match &self.failed {
            Some(why) => Err(why.clone()),
            None => self.write_all(&ops, committed).map_err(|error| self.latch(&error)),
        };
        ops.into_iter().for_each(|op| completions.push(completion_of(op)));
        complete_all(completions, &result);
        // The log thread may never be idle. Then one purged segment is removed for each new one.
        for _ in 0..std::mem::take(&mut self.begun_segments) {
            self.remove_purged_segment();
        }
    }

    /// Records an error, after which all operations fail. Returns the error message of these operations.
    fn latch(&mut self, error: &io::Error) -> String {
        let why = format!("the log cannot be written: {error}");
        if self.failed.is_none() {
            self.shared.options.observer.event(&Event::LogFailed { error });
            self.fail(why.clone());
        }
        why
    }

    fn fail(&mut self, why: String) {
        self.shared.durable.end(&why);
        self.failed.get_or_insert(why);
    }

    fn write_all(&mut self, ops: &VecDeque<LogOp>, committed: Option<LogId>) -> io::Result<()> {
        for op in ops {
            self.push_op(op)?;
        }
        // The committed entry is written after the entries, because it may be one of them.
        if let Some(committed) = committed {
            self.push_frame(&Frame::Committed(committed))?;
        }
        self.flush()?;
        // The slot of a vote is written when its frame is durable. Votes only grow, so only the last one is written.
        match ops.iter().rev().find_map(|op| if let LogOp::Vote(vote, _) = op { Some(vote) } else { None }) {
            Some(vote) => {
                self.shared.retry.run(|| self.votes.write(vote))?;
                self.votes.sync()
            }
            None => Ok(()),
        }
    }

    fn push_op(&mut self, op: &LogOp) -> io::Result<()> {
        match op {
            LogOp::Append(entries, _) => {
                for entry in entries {
                    self.push_frame(&Frame::Entry(entry.clone()))?;
                }
                self.shared.counters.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            LogOp::Vote(vote, _) => self.push_frame(&Frame::Vote(*vote)),
            LogOp::Truncate(last, _) => self.push_frame(&Frame::Truncate(*last)),
            LogOp::Purge(id, _) => self.push_frame(&Frame::Purge(*id)),
        }
    }

    /// Encodes a frame into the buffer, for the current segment or, if that is full, a new one. The frame is durable
    /// after the next [`LogWriter::flush`].
    fn push_frame(&mut self, frame: &Frame) -> io::Result<()> {
        let full = u64::from(self.shared.options.segment_bytes);
        if self.segment.end + self.buffer.len() as u64 >= full {
            self.begin_segment()?;
        }
        let at = self.buffer.len();
        let durable = u32::try_from(self.segment.durable).unwrap_or(u32::MAX);
        frame::encode(&mut self.buffer, frame, self.segment.number, self.segment.end, durable)?;
        if let Frame::Entry(entry) = frame {
            let location = EntryLocation {
                number: self.segment.number,
                file: self.segment.file.clone(),
                offset: self.segment.end + at as u64,
                len: u32::try_from(self.buffer.len() - at).unwrap_or(u32::MAX),
            };
            self.entries.push((entry.log_id(), location));
        }
        self.track(frame);
        Ok(())
    }

    /// Writes the buffer to the current segment, and syncs the segment.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (segment, buffer) = (&mut self.segment, &self.buffer);
        self.shared.retry.run(|| segment.append(buffer))?;
        let started = Instant::now();
        if !mutated!(UnsyncedLog) {
            self.segment.sync()?;
        }
        let took = started.elapsed();
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.sync_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.shared.options.observer.log_synced(took);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        let (entries, purged, cache_bytes) = (&mut self.entries, self.state.purged, self.shared.cache_bytes());
        self.shared.update(|memory| {
            entries.drain(..).for_each(|(id, location)| memory.set_location(id, location));
            if let Some(purged) = purged {
                memory.purge_durable(purged);
            }
            memory.evict(cache_bytes);
        });
        self.count_bytes();
        Ok(())
    }

    /// Ends the current segment with an end frame, syncs it, and creates the next segment.
    fn begin_segment(&mut self) -> io::Result<()> {
        let durable = u32::try_from(self.segment.durable).unwrap_or(u32::MAX);
        frame::encode(&mut self.buffer, &Frame::SegmentEnd, self.segment.number, self.segment.end, durable)?;
        self.flush()?;
        let last_index = self.state.last.map_or(0, |id| id.index);
        self.closed_segments.push_back(ClosedSegment {
            number: self.segment.number,
            bytes: self.segment.filled,
            last_index,
        });
        let LogShared { options, retry, .. } = &*self.shared;
        let number = self.segment.number + 1;
        self.segment = retry.run(|| Segment::create(options, number, &self.state))?;
        self.begun_segments += 1;
        Ok(())
    }

    /// Updates `self.state` with a frame that was added to the buffer. (The state in `memory` may be ahead of
    /// `self.state`, because it also includes operations that are still queued.)
    fn track(&mut self, frame: &Frame) {
        match frame {
            Frame::Entry(entry) => self.state.last = Some(entry.log_id()),
            Frame::Truncate(last) => self.state.truncate_after(*last),
            Frame::Purge(id) => self.state.purge(*id),
            Frame::Vote(vote) => self.state.vote = Some(*vote),
            Frame::Committed(id) => self.state.committed = Some(*id),
            Frame::SegmentEnd => {}
        }
    }

    /// Returns whether the first segment can be removed, because every entry in it is durably purged.
    fn has_purged_segment(&self) -> bool {
        let purged = self.state.purged.map(|id| id.index);
        self.failed.is_none() && self.closed_segments.front().is_some_and(|closed| Some(closed.last_index) <= purged)
    }

    /// Removes the first segment if every entry in it is durably purged.
    fn remove_purged_segment(&mut self) {
        if !self.has_purged_segment() {
            return;
        }
        if let Some(closed) = self.closed_segments.pop_front() {
            let LogShared { options, retry, .. } = &*self.shared;
            let removed = options.disk.remove(&segment_path(&options.directory, closed.number));
            // The directory is synced after each removal: after a crash, a segment must not reappear if segments that
            // follow it are gone.
            let synced = removed.and_then(|()| retry.run(|| options.disk.sync_directory(&options.directory)));
            if let Err(error) = synced {
                self.latch(&error);
            }
        }
        self.count_bytes();
    }

    fn count_bytes(&self) {
        let closed: u64 = self.closed_segments.iter().map(|segment| segment.bytes).sum();
        self.shared.counters.bytes.store(closed + self.segment.filled, Ordering::Relaxed);
    }
}

/// The capacity, in bytes, to which the buffer is shrunk after it has grown beyond that for large entries.
const BUFFER_KEPT_BYTES: usize = 4 << 20;
