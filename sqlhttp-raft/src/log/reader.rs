//! Reads and checks the segments of the log. Writes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::DiskFile;
use super::frame::{self, Frame, FrameRef};
use super::memory::{EntryLocation, InMemoryLog};
use super::options::{LogError, LogOptions};
use super::segment::{segment_number, segment_path};
use super::state::{HEADER_BYTES, LogState, SegmentHeader, VERSION, decode_header};
use crate::types::LogId;

/// The length of the smallest unit that a disk writes, in bytes.
const SECTOR_BYTES: usize = 512;

/// A segment that is complete: it ends with an end frame, and nothing more is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// The index, counted from 0, of the log's last entry when the segment was completed. No entry in the segment has a
    /// higher index.
    pub(super) last_index: u64,
}

/// Reads and checks all segments of the log.
pub(super) fn read_segments(options: &LogOptions) -> Result<(Reader, LogEnd), LogError> {
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

/// The condition of the end of a log.
pub(super) enum LogEnd {
    /// The directory contains no segment.
    NoSegment,
    /// The header of the last segment was never durable, so the segment contains nothing.
    EmptySegment(SegmentFile),
    /// The last segment is valid up to the offset `at`. `ended` is `true` if its end frame is before that offset.
    Readable { segment: SegmentFile, at: usize, ended: bool },
}

impl LogEnd {
    /// Returns whether no segment has ever been durable.
    pub(super) fn is_empty_log(&self) -> bool {
        match self {
            LogEnd::NoSegment => true,
            LogEnd::EmptySegment(segment) => segment.number == 1,
            LogEnd::Readable { .. } => false,
        }
    }
}

fn check_gaps(options: &LogOptions, numbers: &[u64]) -> Result<(), LogError> {
    match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        None => Ok(()),
        Some(pair) => Err(corrupt(&segment_path(&options.directory, pair[0] + 1), 0, "the file is missing")),
    }
}

pub(super) fn corrupt(file: &Path, offset: usize, what: impl Into<String>) -> LogError {
    LogError::Corrupt { file: file.to_owned(), offset: offset as u64, what: what.into() }
}

pub(super) struct Reader {
    pub(super) options: LogOptions,
    pub(super) memory: Option<InMemoryLog>,
    pub(super) closed_segments: Vec<ClosedSegment>,
    /// The last entry that was appended before the first existing segment was created.
    last_before: Option<LogId>,
}

/// The file of a segment, and all its bytes.
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: Vec<u8>,
}

impl SegmentFile {
    fn decode_at(&self, at: usize) -> Option<FrameRef<'_>> {
        frame::decode_at(&self.bytes, self.number, 0, at)
    }

    pub(super) fn corrupt(&self, at: usize, what: impl Into<String>) -> LogError {
        corrupt(&self.path, at, what)
    }

    /// Returns whether the invalid frame at `at` can be a torn write: the power failed while it was being written, and
    /// some of its sectors were not written.
    ///
    /// A disk writes a sector of 512 bytes completely or not at all, and before a frame is written, there are zeros or
    /// the end of the file in its place. Therefore a part of a torn frame that is in one sector is either correct or
    /// consists of zeros, and there is at least one part of zeros. If the header is torn, one of its parts consists of
    /// zeros. A frame that lies in one sector cannot be torn: either it is correct, or there is no frame. etcd applies
    /// the same rule (`isTornEntry` in `server/storage/wal/decoder.go`).
    ///
    /// If only the process is killed, the page cache keeps every complete write. It keeps whole pages of a write that
    /// was interrupted, so the same rule applies.
    ///
    /// The rule assumes that a part of a file that was not written never shows old contents of the disk. ext4 with
    /// `data=writeback` can show them. A damaged frame that contains a part of zeros is mistaken for a torn one.
    fn can_be_torn(&self, at: usize) -> bool {
        let end = frame::end_at(&self.bytes, self.number, at);
        let Some(mut rest) = self.bytes.get(at..end) else { return true };
        let mut in_sector = SECTOR_BYTES - at % SECTOR_BYTES;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(in_sector.min(rest.len()));
            if part.iter().all(|byte| *byte == 0) {
                return true;
            }
            (rest, in_sector) = (after, SECTOR_BYTES);
        }
        false
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
        if !segment.can_be_torn(at) {
            return Err(segment.corrupt(at, "a frame is not what was written, and no sector of it is missing"));
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

    pub(super) fn memory(&mut self) -> &mut InMemoryLog {
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
