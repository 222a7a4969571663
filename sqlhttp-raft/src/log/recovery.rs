//! Reading the whole log at the start: what is there, and whether it is sound.

use std::path::Path;
use std::sync::Arc;

use super::disk::DiskFile;
use super::frame::{self, Found, Frame};
use super::memory::{Memory, Place};
use super::options::{LogError, LogOptions};
use super::segment::{Segment, number_of, path_of, step};
use super::state::{HEAD_BYTES, Head, State, VERSION, read_head};
use crate::observer::Event;
use crate::types::{LogId, index_of};

/// A log that was found sound.
pub(super) struct Recovered {
    pub(super) memory: Memory,
    /// The segment that is written to.
    pub(super) segment: Segment,
    /// The segments before it, and the last index when each ended.
    pub(super) older: Vec<Older>,
}

/// A segment that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Older {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// The last index when it ended; no entry in it has a higher one.
    pub(super) last_index: u64,
}

/// Reads the log and checks all of it. Nothing is written yet.
pub(super) fn scan(options: &LogOptions) -> Result<Scan, LogError> {
    let mut numbers: Vec<u64> = options
        .disk
        .list(&options.directory)
        .map_err(LogError::io("list", &options.directory))?
        .iter()
        .filter_map(|name| number_of(name))
        .collect();
    numbers.sort_unstable();
    check_gaps(options, &numbers)?;
    let mut reader = Reader { options: options.clone(), memory: None, older: Vec::new(), before: None };
    let Some((last, before)) = numbers.split_last() else { return Ok(Scan { reader, end: End::Nothing }) };
    for number in before {
        reader.complete_segment(*number)?;
    }
    reader.last_segment(*last)
}

/// A log that has been read and found sound, except that its tail may be torn.
pub(super) struct Scan {
    reader: Reader,
    end: End,
}

/// How a log ends.
enum End {
    /// There is no segment.
    Nothing,
    /// With a segment whose head was never durable.
    Unborn(Content),
    /// With a segment that is sound up to an offset, and has its end frame there or not.
    Sound { content: Content, at: usize, ended: bool },
}

impl Scan {
    /// Makes the log ready to be written to; an empty directory becomes an empty log. A torn tail is cut off, but not if the
    /// database has `applied` (so many entries) what stood there: then it was durable, and is damaged.
    pub(super) fn finish(mut self, applied: u64) -> Result<Recovered, LogError> {
        self.check_applied(applied)?;
        let Scan { reader, end } = self;
        match end {
            End::Nothing => reader.begin(1),
            End::Unborn(content) => {
                reader.options.observer.event(&Event::EmptySegment { file: &content.path });
                reader.begin(content.number)
            }
            End::Sound { content, at, ended } => reader.go_on(content, at, ended),
        }
    }

    /// The last index that has been purged; 0 if none has.
    #[cfg(test)]
    pub(super) fn purged(&mut self) -> u64 {
        self.reader.memory().state.purged.map_or(0, |id| index_of(&id))
    }

    fn check_applied(&mut self, applied: u64) -> Result<(), LogError> {
        let state = &self.reader.memory().state;
        let last = state.last.map_or(0, |id| index_of(&id));
        let purged = state.purged.map_or(0, |id| index_of(&id));
        if applied < purged {
            return Err(LogError::Behind { applied, purged });
        }
        if applied <= last {
            return Ok(());
        }
        let what =
            format!("the log ends at index {last}, but the database has applied index {applied}: entries are missing");
        Err(match &self.end {
            End::Nothing => corrupt(&path_of(&self.reader.options.directory, 1), 0, what),
            End::Unborn(content) => content.corrupt(0, what),
            End::Sound { content, at, .. } => content.corrupt(*at, what),
        })
    }
}

fn check_gaps(options: &LogOptions, numbers: &[u64]) -> Result<(), LogError> {
    match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        None => Ok(()),
        Some(pair) => Err(corrupt(&path_of(&options.directory, pair[0] + 1), 0, "the file is missing")),
    }
}

fn corrupt(file: &Path, offset: usize, what: impl Into<String>) -> LogError {
    LogError::Corrupt { file: file.to_owned(), offset: offset as u64, what: what.into() }
}

struct Reader {
    options: LogOptions,
    memory: Option<Memory>,
    older: Vec<Older>,
    /// The last entry before the first segment that is there.
    before: Option<LogId>,
}

/// A segment's file and its bytes.
struct Content {
    number: u64,
    path: std::path::PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

impl Content {
    fn find(&self, at: usize) -> Option<Found<'_>> {
        frame::find(&self.bytes, self.number, 0, at)
    }

    fn corrupt(&self, at: usize, what: impl Into<String>) -> LogError {
        corrupt(&self.path, at, what)
    }

    /// The first valid frame behind `at` that was written when the place `at` was durable already.
    fn proof_of_damage(&self, at: usize) -> Option<usize> {
        let behind = at + 1..self.bytes.len().saturating_sub(frame::HEAD_BYTES - 1);
        behind.into_iter().find(|offset| self.find(*offset).is_some_and(|found| found.durable as usize > at))
    }
}

impl Reader {
    /// A segment that others follow: every byte of it counts.
    fn complete_segment(&mut self, number: u64) -> Result<(), LogError> {
        let content = self.read(number)?;
        self.head(&content)?;
        let mut at = HEAD_BYTES;
        loop {
            let Some(found) = content.find(at) else {
                return Err(content.corrupt(at, "a frame is not what was written"));
            };
            let len = found.len();
            if self.take(&content, at, &found)? {
                break;
            }
            at += len;
        }
        let last_index = self.memory().state.last.map_or(0, |id| id.index);
        self.older.push(Older { number, bytes: content.bytes.len() as u64, last_index });
        Ok(())
    }

    /// The segment that was written to last. Its tail may be torn.
    fn last_segment(mut self, number: u64) -> Result<Scan, LogError> {
        let content = self.read(number)?;
        if matches!(read_head(&content.bytes), Head::Invalid) {
            self.check_unborn(&content)?;
            return Ok(Scan { reader: self, end: End::Unborn(content) });
        }
        self.head(&content)?;
        let mut at = HEAD_BYTES;
        let mut ended = false;
        while let Some(found) = content.find(at) {
            let len = found.len();
            ended = self.take(&content, at, &found)?;
            at += len;
            if ended {
                break;
            }
        }
        if let Some(proof) = content.proof_of_damage(at) {
            let what =
                format!("a frame is not what was written; it was durable when the one at offset {proof} was written");
            return Err(content.corrupt(at, what));
        }
        self.check_beginning(number)?;
        self.check_whole(&content)?;
        Ok(Scan { reader: self, end: End::Sound { content, at, ended } })
    }

    /// A segment whose head was never durable: nothing was ever written behind it, or its head is damaged.
    fn check_unborn(&self, content: &Content) -> Result<(), LogError> {
        let frames = HEAD_BYTES..content.bytes.len().saturating_sub(frame::HEAD_BYTES - 1);
        if frames.into_iter().any(|at| content.find(at).is_some()) {
            return Err(content.corrupt(0, "its head is not what was written"));
        }
        self.check_beginning(content.number)
    }

    /// Goes on behind what is sound.
    fn go_on(self, content: Content, at: usize, ended: bool) -> Result<Recovered, LogError> {
        let torn = content.bytes[at.min(content.bytes.len())..].iter().any(|byte| *byte != 0);
        let filled = if torn { at } else { content.bytes.len().max(at) };
        if torn {
            self.cut(&content, at)?;
        }
        self.settle(&content, at)?;
        if ended {
            return self.begin(content.number + 1);
        }
        let (number, step) = (content.number, step(&self.options));
        let segment =
            Segment { number, file: content.file, end: at as u64, durable: at as u64, filled: filled as u64, step };
        let Reader { memory, older, .. } = self;
        Ok(Recovered { memory: memory.unwrap_or_default(), segment, older })
    }

    /// Begins a new segment.
    fn begin(self, number: u64) -> Result<Recovered, LogError> {
        let mut memory = self.memory.unwrap_or_default();
        memory.state.identity.get_or_insert_with(new_identity);
        let path = path_of(&self.options.directory, number);
        let segment = Segment::create(&self.options, number, &memory.state).map_err(LogError::io("create", &path))?;
        Ok(Recovered { memory, segment, older: self.older })
    }

    fn read(&self, number: u64) -> Result<Content, LogError> {
        let path = path_of(&self.options.directory, number);
        let file = self.options.disk.open(&path).map_err(LogError::io("open", &path))?;
        let len = file.len().map_err(LogError::io("measure", &path))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(LogError::io("read", &path))?;
        Ok(Content { number, path, file, bytes })
    }

    fn head(&mut self, content: &Content) -> Result<(), LogError> {
        let state = match read_head(&content.bytes) {
            Head::Valid { number, state } if number == content.number => state,
            Head::Newer(found) => {
                return Err(LogError::Version { file: content.path.clone(), found, known: VERSION });
            }
            Head::Valid { .. } => return Err(content.corrupt(0, "its number is that of another segment")),
            Head::Invalid => return Err(content.corrupt(0, "its head is not what was written")),
        };
        match &mut self.memory {
            None => {
                self.before = state.last;
                self.memory = Some(Memory::new(state));
            }
            Some(memory) if agrees(&memory.state, &state) => memory.state.identity = state.identity,
            Some(_) => return Err(content.corrupt(0, "its head does not go on where the segment before it ends")),
        }
        Ok(())
    }

    fn memory(&mut self) -> &mut Memory {
        self.memory.get_or_insert_default()
    }

    /// Takes a valid frame. Returns whether it is the last of its segment.
    fn take(&mut self, content: &Content, at: usize, found: &Found<'_>) -> Result<bool, LogError> {
        let nonsense = |error: std::io::Error| content.corrupt(at, error.to_string());
        let memory = self.memory();
        if let Some(id) = found.entry_id() {
            let len = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let place = Place { number: content.number, file: content.file.clone(), offset: at as u64, len };
            memory.found(id, place).map_err(nonsense)?;
            return Ok(false);
        }
        match frame::read(found).map_err(nonsense)? {
            Frame::Truncate(last) => memory.truncate_after(last),
            Frame::Purge(id) => memory.purge(id),
            Frame::Vote(vote) => memory.state.vote = Some(vote),
            Frame::Committed(id) => memory.state.committed = Some(id),
            Frame::End => return Ok(true),
            Frame::Entry(_) => {}
        }
        Ok(false)
    }

    /// Cuts off a torn tail, so that no part of it can ever be read as a frame. The file becomes shorter, because on a full
    /// disk there may be no space for zeros in the tail's place.
    fn cut(&self, content: &Content, at: usize) -> Result<(), LogError> {
        self.options.observer.event(&Event::TornTail { file: &content.path, offset: at as u64 });
        let cut = content.file.truncate(at as u64);
        cut.map_err(LogError::io("cut", &content.path))
    }

    /// Makes durable what was found: if only the process had ended, some of it may never have been synced, and from now on
    /// it is relied on.
    fn settle(&self, content: &Content, at: usize) -> Result<(), LogError> {
        // Written again, because after a sync that failed the system may take for written what is not on the disk.
        let sound = content.bytes.get(..at).unwrap_or(&content.bytes);
        let synced = content.file.write_all_at(sound, 0).and_then(|()| content.file.sync());
        synced.map_err(LogError::io("sync", &content.path))?;
        let directory = &self.options.directory;
        self.options.disk.sync_directory(directory).map_err(LogError::io("sync", directory))
    }

    /// A segment goes only when all entries in it are purged, so no other is missing before the first.
    fn check_beginning(&self, last: u64) -> Result<(), LogError> {
        let first = self.older.first().map_or(last, |older| older.number);
        let purged = self.memory.as_ref().and_then(|memory| memory.state.purged);
        let unread = self.memory.is_none() && first > 1;
        if unread || self.before.map(|id| id.index) > purged.map(|id| id.index) {
            return Err(corrupt(&path_of(&self.options.directory, first.saturating_sub(1)), 0, "the file is missing"));
        }
        Ok(())
    }

    /// Entries follow the purged ones without a gap.
    fn check_whole(&mut self, content: &Content) -> Result<(), LogError> {
        let memory = self.memory();
        let wanted = memory.state.purged.map_or(0, |id| id.index + 1);
        if memory.is_empty() || memory.first_index() <= wanted || memory.state.purged.is_none() {
            return Ok(());
        }
        let what = format!("entries from {wanted} to {} are missing", memory.first_index() - 1);
        Err(content.corrupt(0, what))
    }
}

/// Whether a segment begins in the state in which the one before it ended. (The committed entry may lag, and a log of
/// version 1 gets its identity with a new segment.)
fn agrees(before: &State, after: &State) -> bool {
    let same_log = before.identity.is_none() || before.identity == after.identity;
    same_log && before.vote == after.vote && before.purged == after.purged && before.last == after.last
}

/// A random number that tells a log from all others.
pub(super) fn new_identity() -> u128 {
    let random = || u128::from(sqlhttp_core::new_stamp().seed);
    random() << 64 | random()
}
