//! Reads and checks the whole log when the node is started.

use std::path::Path;
use std::sync::Arc;

use super::disk::DiskFile;
use super::frame::{self, Frame, FrameRef};
use super::memory::{EntryLocation, InMemoryLog};
use super::options::{LogError, LogOptions};
use super::segment::{Segment, fill_step, segment_number, segment_path};
use super::state::{HEADER_BYTES, LogState, SegmentHeader, VERSION, decode_header};
use super::votes::{self, VoteFile, VoteSlots};
use crate::observer::Event;
use crate::types::{LogId, Vote, index_of};

/// A log that has been checked and made ready for writing.
pub(super) struct Recovered {
    pub(super) memory: InMemoryLog,
    /// The segment to which the next frames are written.
    pub(super) segment: Segment,
    /// The complete segments before `segment`, oldest first.
    pub(super) closed_segments: Vec<ClosedSegment>,
}

/// A segment that is complete: it ends with an end frame, and nothing more is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// The index, counted from 0, of the log's last entry when the segment was completed. No entry in the segment has a
    /// higher index.
    pub(super) last_index: u64,
}

/// Reads and checks the whole log. Writes nothing.
pub(super) fn scan(options: &LogOptions) -> Result<Scan, LogError> {
    let votes = votes::read(options)?;
    let (mut reader, end) = read_segments(options)?;
    if end.is_empty_log() && votes.is_used() {
        let what = "a vote was saved in the file 'vote', but this segment has no head";
        return Err(corrupt(&segment_path(&options.directory, 1), 0, what));
    }
    let vote = votes.last_vote(reader.memory().state.vote)?;
    Ok(Scan { reader, end, votes, vote })
}

/// Reads and checks all segments of the log.
fn read_segments(options: &LogOptions) -> Result<(Reader, LogEnd), LogError> {
    let mut numbers: Vec<u64> = options
        .disk
        .list(&options.directory)
        .map_err(LogError::io("list", &options.directory))?
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    check_gaps(options, &numbers)?;
    let mut reader = Reader { options: options.clone(), memory: None, closed_segments: Vec::new(), last_before: None };
    let Some((last, before)) = numbers.split_last() else { return Ok((reader, LogEnd::NoSegment)) };
    for number in before {
        reader.read_closed_segment(*number)?;
    }
    reader.read_last_segment(*last)
}

/// The result of reading a log: all of it is valid, except that its tail may be torn.
pub(super) struct Scan {
    reader: Reader,
    end: LogEnd,
    votes: VoteSlots,
    /// The last vote of this node.
    vote: Option<Vote>,
}

/// The condition of the end of a log.
enum LogEnd {
    /// The directory contains no segment.
    NoSegment,
    /// The header of the last segment was never durable, so the segment contains nothing.
    EmptySegment(SegmentFile),
    /// The last segment is valid up to the offset `at`. `ended` is `true` if its end frame is before that offset.
    Readable { segment: SegmentFile, at: usize, ended: bool },
}

impl LogEnd {
    /// Returns whether no segment has ever been durable.
    fn is_empty_log(&self) -> bool {
        match self {
            LogEnd::NoSegment => true,
            LogEnd::EmptySegment(segment) => segment.number == 1,
            LogEnd::Readable { .. } => false,
        }
    }
}

impl Scan {
    /// Makes the log ready for writing. In an empty directory, creates an empty log. Removes a torn tail. `applied` is
    /// the last entry that the database has applied, and `installed` is the marker of an installed snapshot (see
    /// [`super::CheckedLog::open`]).
    pub(super) fn finish(
        mut self,
        applied: Option<LogId>,
        installed: Option<LogId>,
    ) -> Result<(Recovered, VoteFile), LogError> {
        let reset = match self.check_applied(applied)? {
            Ok(()) => None,
            Err(_) if installed == applied && self.precedes(installed) => installed,
            Err(what) => return Err(self.corrupt_end(what)),
        };
        let Scan { reader, end, votes, vote } = self;
        let options = reader.options.clone();
        let mut recovered = match end {
            LogEnd::NoSegment => reader.create_segment(1),
            LogEnd::EmptySegment(segment) => {
                reader.options.observer.event(&Event::EmptySegment { file: &segment.path });
                reader.create_segment(segment.number)
            }
            LogEnd::Readable { segment, at, ended } => reader.resume(segment, at, ended),
        }?;
        if let Some(installed) = reset {
            recovered.reset_to(installed).map_err(LogError::io("reset", &options.directory))?;
        }
        recovered.restore_vote(vote).map_err(LogError::io("write", &options.directory))?;
        Ok((recovered, votes.open(&options, vote)?))
    }

    /// The last entry that has been purged; `None` if none has.
    #[cfg(test)]
    pub(super) fn purged(&mut self) -> Option<LogId> {
        self.reader.memory().state.purged
    }

    /// Checks whether the log contains the last entry that the database has applied, or has purged exactly up to it.
    /// Returns what is wrong as the inner error.
    ///
    /// # Errors
    /// [`LogError::Behind`]: entries after `applied` have been purged.
    fn check_applied(&mut self, applied: Option<LogId>) -> Result<Result<(), String>, LogError> {
        let index = |id: Option<LogId>| id.map_or(0, |id| index_of(&id));
        let memory = self.reader.memory();
        let (purged, last) = (index(memory.state.purged), index(memory.state.last));
        if index(applied) < purged {
            return Err(LogError::Behind { applied: index(applied), purged });
        }
        let Some(applied) = applied else { return Ok(Ok(())) };
        let (index, term) = (index_of(&applied), applied.leader_id.term);
        Ok(match memory.id_at(applied.index) {
            Some(id) if id == applied => Ok(()),
            Some(id) => Err(format!(
                "the log has an entry of term {} at index {index}, but the database has applied one of term {term}",
                id.leader_id.term
            )),
            None => Err(format!(
                "the log ends at index {last}, but the database has applied index {index}: entries are missing"
            )),
        })
    }

    /// Returns whether the entries that this node knows to be committed are before `installed`. Returns `false` for a log
    /// without a segment, because it has lost its vote, too.
    fn precedes(&mut self, installed: Option<LogId>) -> bool {
        let is_before = |id: &LogId| installed.is_some_and(|installed| id.index < installed.index && *id < installed);
        let state = &self.reader.memory().state;
        let committed = [state.purged, state.committed];
        !self.end.is_empty_log() && committed.iter().flatten().all(is_before)
    }

    /// Returns the error that durable data at the end of the log is missing or damaged.
    fn corrupt_end(&self, what: String) -> LogError {
        match &self.end {
            LogEnd::NoSegment => corrupt(&segment_path(&self.reader.options.directory, 1), 0, what),
            LogEnd::EmptySegment(segment) => segment.corrupt(0, what),
            LogEnd::Readable { segment, at, .. } => segment.corrupt(*at, what),
        }
    }
}

impl Recovered {
    /// Writes the last vote of this node to the log if the log has lost it. Durable on return.
    fn restore_vote(&mut self, vote: Option<Vote>) -> std::io::Result<()> {
        match vote {
            Some(vote) if self.memory.state.vote != Some(vote) => {
                self.memory.state.vote = Some(vote);
                self.segment.append_synced(&[Frame::Vote(vote)])
            }
            _ => Ok(()),
        }
    }

    /// Removes all entries, and makes `installed` the last purged entry. Durable on return. The vote and the identity of
    /// the log remain.
    ///
    /// openraft does not start if the log ends with an entry of another term at the index of the last applied entry, and
    /// cannot remove entries that contradict a snapshot. Such entries are not committed: the entry of the snapshot is
    /// committed at their index, or before it.
    fn reset_to(&mut self, installed: LogId) -> std::io::Result<()> {
        let purged = self.memory.state.purged;
        self.memory.truncate_after(purged);
        self.memory.purge(installed);
        // A torn write can leave the truncate frame alone. The log is then reset again at the next start.
        self.segment.append_synced(&[Frame::Truncate(purged), Frame::Purge(installed)])
    }
}

fn check_gaps(options: &LogOptions, numbers: &[u64]) -> Result<(), LogError> {
    match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        None => Ok(()),
        Some(pair) => Err(corrupt(&segment_path(&options.directory, pair[0] + 1), 0, "the file is missing")),
    }
}

fn corrupt(file: &Path, offset: usize, what: impl Into<String>) -> LogError {
    LogError::Corrupt { file: file.to_owned(), offset: offset as u64, what: what.into() }
}

struct Reader {
    options: LogOptions,
    memory: Option<InMemoryLog>,
    closed_segments: Vec<ClosedSegment>,
    /// The last entry that was appended before the first existing segment was created.
    last_before: Option<LogId>,
}

/// The file of a segment, and all its bytes.
struct SegmentFile {
    number: u64,
    path: std::path::PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

impl SegmentFile {
    fn decode_at(&self, at: usize) -> Option<FrameRef<'_>> {
        frame::decode_at(&self.bytes, self.number, 0, at)
    }

    fn corrupt(&self, at: usize, what: impl Into<String>) -> LogError {
        corrupt(&self.path, at, what)
    }

    /// Returns the offset of the first valid frame after `at` that was written when the bytes at `at` were already
    /// durable. Such a frame proves that an invalid frame at `at` is damage. Returns `None` if there is no such frame.
    fn proof_of_damage(&self, at: usize) -> Option<usize> {
        let behind = at + 1..self.bytes.len().saturating_sub(frame::HEADER_BYTES - 1);
        behind.into_iter().find(|offset| self.decode_at(*offset).is_some_and(|found| found.durable as usize > at))
    }
}

impl Reader {
    /// Reads a segment that other segments follow. All its frames must be valid, up to its end frame.
    fn read_closed_segment(&mut self, number: u64) -> Result<(), LogError> {
        let segment = self.read(number)?;
        self.check_header(&segment)?;
        let mut at = HEADER_BYTES;
        loop {
            let Some(found) = segment.decode_at(at) else {
                return Err(segment.corrupt(at, "a frame is not what was written"));
            };
            let len = found.len();
            if self.replay(&segment, at, &found)? {
                break;
            }
            at += len;
        }
        let last_index = self.memory().state.last.map_or(0, |id| id.index);
        self.closed_segments.push(ClosedSegment { number, bytes: segment.bytes.len() as u64, last_index });
        Ok(())
    }

    /// Reads the last segment of the log, whose tail may be torn.
    fn read_last_segment(mut self, number: u64) -> Result<(Reader, LogEnd), LogError> {
        let segment = self.read(number)?;
        if matches!(decode_header(&segment.bytes), SegmentHeader::Invalid) {
            self.check_empty_segment(&segment)?;
            return Ok((self, LogEnd::EmptySegment(segment)));
        }
        self.check_header(&segment)?;
        let mut at = HEADER_BYTES;
        let mut ended = false;
        while let Some(found) = segment.decode_at(at) {
            let len = found.len();
            ended = self.replay(&segment, at, &found)?;
            at += len;
            if ended {
                break;
            }
        }
        if let Some(proof) = segment.proof_of_damage(at) {
            let what =
                format!("a frame is not what was written; it was durable when the one at offset {proof} was written");
            return Err(segment.corrupt(at, what));
        }
        self.check_first_segment(number)?;
        self.check_no_gap(&segment)?;
        Ok((self, LogEnd::Readable { segment, at, ended }))
    }

    /// Checks that a segment without a valid header contains no valid frame. If it contains none, the header was never
    /// durable. If it contains one, the header is damaged, and an error is returned.
    fn check_empty_segment(&self, segment: &SegmentFile) -> Result<(), LogError> {
        let frames = HEADER_BYTES..segment.bytes.len().saturating_sub(frame::HEADER_BYTES - 1);
        if frames.into_iter().any(|at| segment.decode_at(at).is_some()) {
            return Err(segment.corrupt(0, "its head is not what was written"));
        }
        self.check_first_segment(segment.number)
    }

    /// Makes the last segment ready for further frames after its valid ones: removes a torn tail, and syncs the rest.
    /// If the segment has an end frame, creates the next segment.
    fn resume(self, segment: SegmentFile, at: usize, ended: bool) -> Result<Recovered, LogError> {
        let torn = segment.bytes[at.min(segment.bytes.len())..].iter().any(|byte| *byte != 0);
        let filled = if torn { at } else { segment.bytes.len().max(at) };
        if torn {
            self.cut_tail(&segment, at)?;
        }
        self.sync_recovered(&segment, at)?;
        if ended {
            return self.create_segment(segment.number + 1);
        }
        let (number, fill_step) = (segment.number, fill_step(&self.options));
        let segment = Segment {
            number,
            file: segment.file,
            end: at as u64,
            durable: at as u64,
            filled: filled as u64,
            fill_step,
        };
        let Reader { memory, closed_segments, .. } = self;
        Ok(Recovered { memory: memory.unwrap_or_default(), segment, closed_segments })
    }

    /// Creates the segment `number`, to which the next frames are written.
    fn create_segment(self, number: u64) -> Result<Recovered, LogError> {
        let mut memory = self.memory.unwrap_or_default();
        memory.state.identity.get_or_insert_with(new_identity);
        let path = segment_path(&self.options.directory, number);
        let segment = Segment::create(&self.options, number, &memory.state).map_err(LogError::io("create", &path))?;
        Ok(Recovered { memory, segment, closed_segments: self.closed_segments })
    }

    fn read(&self, number: u64) -> Result<SegmentFile, LogError> {
        let path = segment_path(&self.options.directory, number);
        let file = self.options.disk.open(&path).map_err(LogError::io("open", &path))?;
        let len = file.len().map_err(LogError::io("measure", &path))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(LogError::io("read", &path))?;
        Ok(SegmentFile { number, path, file, bytes })
    }

    fn check_header(&mut self, segment: &SegmentFile) -> Result<(), LogError> {
        let state = match decode_header(&segment.bytes) {
            SegmentHeader::Valid { number, state } if number == segment.number => state,
            SegmentHeader::Newer(found) => {
                return Err(LogError::Version { file: segment.path.clone(), found, known: VERSION });
            }
            SegmentHeader::Valid { .. } => return Err(segment.corrupt(0, "its number is that of another segment")),
            SegmentHeader::Invalid => return Err(segment.corrupt(0, "its head is not what was written")),
        };
        match &mut self.memory {
            None => {
                self.last_before = state.last;
                self.memory = Some(InMemoryLog::new(state));
            }
            Some(memory) if continues_from(&memory.state, &state) => memory.state.identity = state.identity,
            Some(_) => return Err(segment.corrupt(0, "its head does not go on where the segment before it ends")),
        }
        Ok(())
    }

    fn memory(&mut self) -> &mut InMemoryLog {
        self.memory.get_or_insert_default()
    }

    /// Applies a valid frame to the log in memory. Returns `true` if it is the end frame of its segment.
    fn replay(&mut self, segment: &SegmentFile, at: usize, found: &FrameRef<'_>) -> Result<bool, LogError> {
        let malformed = |error: std::io::Error| segment.corrupt(at, error.to_string());
        let memory = self.memory();
        if let Some(id) = found.entry_id() {
            let len = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let location = EntryLocation { number: segment.number, file: segment.file.clone(), offset: at as u64, len };
            memory.append_located(id, location).map_err(malformed)?;
            return Ok(false);
        }
        match frame::parse(found).map_err(malformed)? {
            Frame::Truncate(last) => memory.truncate_after(last),
            Frame::Purge(id) => memory.purge(id),
            Frame::Vote(vote) => memory.state.vote = Some(vote),
            Frame::Committed(id) => memory.state.committed = Some(id),
            Frame::SegmentEnd => return Ok(true),
            Frame::Entry(_) => {}
        }
        Ok(false)
    }

    /// Removes a torn tail, so that no part of it can ever be mistaken for a frame. The file is truncated instead of
    /// being filled with zeros, because a full disk may have no space for zeros.
    fn cut_tail(&self, segment: &SegmentFile, at: usize) -> Result<(), LogError> {
        self.options.observer.event(&Event::TornTail { file: &segment.path, offset: at as u64 });
        let cut = segment.file.truncate(at as u64);
        cut.map_err(LogError::io("cut", &segment.path))
    }

    /// Syncs the frames of the last segment that were read. If only the process was killed, they may be in the page
    /// cache only.
    fn sync_recovered(&self, segment: &SegmentFile, at: usize) -> Result<(), LogError> {
        // The frames are written again before the sync: after a failed sync, the operating system may have marked pages
        // as clean that are not on disk.
        let sound = segment.bytes.get(..at).unwrap_or(&segment.bytes);
        let synced = segment.file.write_all_at(sound, 0).and_then(|()| segment.file.sync());
        synced.map_err(LogError::io("sync", &segment.path))?;
        let directory = &self.options.directory;
        self.options.disk.sync_directory(directory).map_err(LogError::io("sync", directory))
    }

    /// Checks that no segment is missing before the first existing one. A segment is removed only when all its entries
    /// are purged, so every entry before the first segment must be purged.
    fn check_first_segment(&self, last: u64) -> Result<(), LogError> {
        let first = self.closed_segments.first().map_or(last, |closed| closed.number);
        let purged = self.memory.as_ref().and_then(|memory| memory.state.purged);
        let unread = self.memory.is_none() && first > 1;
        if unread || self.last_before.map(|id| id.index) > purged.map(|id| id.index) {
            return Err(corrupt(
                &segment_path(&self.options.directory, first.saturating_sub(1)),
                0,
                "the file is missing",
            ));
        }
        Ok(())
    }

    /// Checks that the first entry in the log directly follows the last purged entry.
    fn check_no_gap(&mut self, segment: &SegmentFile) -> Result<(), LogError> {
        let memory = self.memory();
        let wanted = memory.state.purged.map_or(0, |id| id.index + 1);
        if memory.is_empty() || memory.first_index() <= wanted || memory.state.purged.is_none() {
            return Ok(());
        }
        // openraft counts entries from 0; error messages count them from 1.
        let what = format!("entries from {} to {} are missing", wanted + 1, memory.first_index());
        Err(segment.corrupt(0, what))
    }
}

/// Returns whether a segment begins with the state in which the segment before it ended. The committed entry may
/// differ, because it may be recorded late. A log of version 1 has no identity, and gets one with a new segment.
fn continues_from(before: &LogState, after: &LogState) -> bool {
    let same_log = before.identity.is_none() || before.identity == after.identity;
    same_log && before.vote == after.vote && before.purged == after.purged && before.last == after.last
}

/// Returns a random number that identifies a new log.
pub(super) fn new_identity() -> u128 {
    let random = || u128::from(sqlhttp_core::new_stamp().seed);
    random() << 64 | random()
}
