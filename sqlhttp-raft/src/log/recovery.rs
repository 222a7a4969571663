//! Recovers the log when the node is started.

use super::frame::Frame;
use super::memory::InMemoryLog;
use super::options::{LogError, LogOptions};
use super::reader::{ClosedSegment, LogEnd, Reader, SegmentFile, corrupt, read_segments};
use super::segment::{Segment, fill_step, segment_path};
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

/// The result of reading a log: all of it is valid, except that its tail may be torn.
pub(super) struct Scan {
    reader: Reader,
    end: LogEnd,
    votes: VoteSlots,
    /// The last vote of this node.
    vote: Option<Vote>,
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
        let reset = match self.contradiction(applied)? {
            None => None,
            Some(_) if installed == applied && self.precedes(installed) => installed,
            Some(what) => return Err(self.corrupt_end(what)),
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

    /// Returns a description of the contradiction if the log neither contains the last entry that the database has
    /// applied, nor has been purged exactly up to it.
    ///
    /// # Errors
    /// [`LogError::Behind`]: entries after `applied` have been purged.
    fn contradiction(&mut self, applied: Option<LogId>) -> Result<Option<String>, LogError> {
        let index = |id: Option<LogId>| id.map_or(0, |id| index_of(&id));
        let memory = self.reader.memory();
        let (purged, last) = (index(memory.state.purged), index(memory.state.last));
        if index(applied) < purged {
            return Err(LogError::Behind { applied: index(applied), purged });
        }
        let Some(applied) = applied else { return Ok(None) };
        let (index, term) = (index_of(&applied), applied.leader_id.term);
        Ok(match memory.id_at(applied.index) {
            Some(id) if id == applied => None,
            Some(id) => Some(format!(
                "the log has an entry of term {} at index {index}, but the database has applied one of term {term}",
                id.leader_id.term
            )),
            None => Some(format!(
                "the log ends at index {last}, but the database has applied index {index}: entries are missing"
            )),
        })
    }

    /// Returns whether the entries that this node knows to be committed are before `installed`. Returns `false` for a
    /// log without a segment, because it has lost its vote, too.
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

    /// Removes all entries, and makes `installed` the last purged entry. Durable on return. The vote and the identity
    /// of the log remain.
    ///
    /// openraft does not start if the log ends with an entry of another term at the index of the last applied entry,
    /// and cannot remove entries that contradict a snapshot. Such entries are not committed: the entry of the snapshot
    /// is committed at their index, or before it.
    fn reset_to(&mut self, installed: LogId) -> std::io::Result<()> {
        let purged = self.memory.state.purged;
        self.memory.truncate_after(purged);
        self.memory.purge(installed);
        // A torn write can leave the truncate frame alone. The log is then reset again at the next start.
        self.segment.append_synced(&[Frame::Truncate(purged), Frame::Purge(installed)])
    }
}

impl Reader {
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
}

/// Returns a random number that identifies a new log.
pub(super) fn new_identity() -> u128 {
    let random = || u128::from(crate::clock::new_stamp().seed);
    random() << 64 | random()
}
