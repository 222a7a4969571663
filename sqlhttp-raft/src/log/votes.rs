//! The file `vote`, which contains the last vote of this node apart from the segments.
//!
//! A lost vote could make this node vote twice in a term, so that the cluster has two leaders in that term. In a
//! segment, damage to the last frame can look like a torn write. Therefore each vote is also written to this file,
//! alternately to one of two slots. The frame of a vote is durable before its slot is written.

use std::cmp::Ordering;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::DiskFile;
use super::frame::{read_u64, read_vote, write_vote};
use super::options::{LogError, LogOptions};
use crate::types::Vote;

/// The distance between the beginnings of the slots, in bytes. A disk may write up to this number of bytes as a whole,
/// so that a power cut during the write of one slot can damage everything within this distance.
const SLOT_STEP: usize = 4096;
/// The length of an encoded slot, in bytes.
const SLOT_BYTES: usize = 64;
const FILE_BYTES: usize = 2 * SLOT_STEP;
const MAGIC: &[u8; 8] = b"sqlhttpV";
const VERSION: u32 = 1;

/// The decoded contents of a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot {
    /// The slot contains zeros, because it has not been written yet.
    Empty,
    /// `sequence` counts the votes that were written to the file, from 1.
    Valid { sequence: u64, vote: Vote },
    /// The slot is torn or damaged.
    Invalid,
    /// A program with an unknown version of the format has written the slot. The value is that version.
    Newer(u32),
}

/// The slots of the file, as they were when the log was opened.
pub(super) struct VoteSlots {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    pub(super) slots: [Slot; 2],
}

/// Returns the path of the file.
pub(super) fn vote_path(directory: &Path) -> PathBuf {
    directory.join("vote")
}

/// Reads the file. Writes nothing. If the file does not exist, because an older program has created the directory, both
/// slots are empty.
pub(super) fn read(options: &LogOptions) -> Result<VoteSlots, LogError> {
    let path = vote_path(&options.directory);
    let file = match options.disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(VoteSlots { path, file: None, slots: [Slot::Empty; 2] });
        }
        Err(error) => return Err(LogError::io("open", &path)(error)),
    };
    let len = file.len().map_err(LogError::io("measure", &path))?;
    let mut bytes = [0; FILE_BYTES];
    let len = usize::try_from(len).unwrap_or(FILE_BYTES).min(FILE_BYTES);
    file.read_exact_at(&mut bytes[..len], 0).map_err(LogError::io("read", &path))?;
    let slots = [0, 1].map(|number| decode(&bytes[number * SLOT_STEP..][..SLOT_BYTES], number));
    match slots.iter().find_map(|slot| if let Slot::Newer(version) = slot { Some(*version) } else { None }) {
        Some(found) => Err(LogError::Version { file: path, found, known: VERSION }),
        None => Ok(VoteSlots { path, file: Some(file), slots }),
    }
}

fn decode(bytes: &[u8], number: usize) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    decode_written(bytes, number).unwrap_or(Slot::Invalid)
}

fn decode_written(bytes: &[u8], number: usize) -> Option<Slot> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let rest = body.strip_prefix(MAGIC)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, mut rest) = rest.split_first_chunk::<4>()?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Some(Slot::Newer(version));
    }
    let (sequence, vote) = (read_u64(&mut rest)?, read_vote(&mut rest)?);
    (slot_of(sequence) == number).then_some(Slot::Valid { sequence, vote })
}

fn encode(sequence: u64, vote: &Vote) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    write_vote(&mut bytes, vote);
    bytes.resize(SLOT_BYTES - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Returns the number of the slot to which the vote with this sequence number is written.
fn slot_of(sequence: u64) -> usize {
    usize::from(sequence % 2 == 1)
}

impl VoteSlots {
    /// The sequence number and the vote of the slot that was written last; `None` if no slot is valid.
    fn newest(&self) -> Option<(u64, Vote)> {
        let valid = self.slots.iter().filter_map(|slot| match slot {
            Slot::Valid { sequence, vote } => Some((*sequence, *vote)),
            _ => None,
        });
        valid.max_by_key(|(sequence, _)| *sequence)
    }

    /// The numbers of the slots that have been written and are not valid.
    fn invalid(&self) -> Vec<usize> {
        let newest = self.newest().map_or(0, |(sequence, _)| sequence);
        // The second vote is written to the second slot. From then on, no slot is empty.
        let is_invalid = |number: &usize| match self.slots[*number] {
            Slot::Empty => newest > 1,
            Slot::Valid { .. } => false,
            Slot::Invalid | Slot::Newer(_) => true,
        };
        (0..2).filter(is_invalid).collect()
    }

    /// Returns the last vote of this node, given the last vote in the segments. Votes only grow, in the order that
    /// openraft defines.
    ///
    /// After a power cut, the slot that was being written may be invalid. The frame of its vote was durable before, so
    /// the invalid slot is ignored if the segments contain a vote that is not older than the other slot.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]: the last vote may be lost, because both slots are invalid, or one slot is invalid and the
    /// segments contain no vote as new as that of the other slot; or the votes contradict each other.
    pub(super) fn last_vote(&self, in_segments: Option<Vote>) -> Result<Option<Vote>, LogError> {
        let invalid = self.invalid();
        let Some((_, saved)) = self.newest() else {
            return match invalid[..] {
                [] => Ok(in_segments),
                [_] if in_segments.is_some() => Ok(in_segments),
                [first, ..] => Err(self.corrupt(first, "the vote is not what was written")),
            };
        };
        let order = in_segments.map_or(Some(Ordering::Less), |vote| vote.partial_cmp(&saved));
        match (order, &invalid[..]) {
            (Some(Ordering::Greater | Ordering::Equal), _) => Ok(in_segments),
            (Some(Ordering::Less), []) => Ok(Some(saved)),
            (Some(Ordering::Less), [first, ..]) => Err(self.corrupt(*first, "the vote is not what was written")),
            (None, _) => {
                let other = in_segments.map_or(0, |vote| vote.leader_id.voted_for);
                let (term, node) = (saved.leader_id.term, saved.leader_id.voted_for);
                let what = format!("it has a vote for node {node} in term {term}, the log has one for node {other}");
                Err(self.corrupt(0, what))
            }
        }
    }

    /// Returns whether a vote has been written to the file.
    pub(super) fn is_used(&self) -> bool {
        self.slots != [Slot::Empty; 2]
    }

    fn corrupt(&self, slot: usize, what: impl Into<String>) -> LogError {
        LogError::Corrupt { file: self.path.clone(), offset: (slot * SLOT_STEP) as u64, what: what.into() }
    }

    /// Makes the file ready for writing, creates it if it does not exist, and writes `vote`. Durable on return.
    pub(super) fn open(self, options: &LogOptions, vote: Option<Vote>) -> Result<VoteFile, LogError> {
        let path = self.path.clone();
        let sequence = self.newest().map_or(0, |(sequence, _)| sequence);
        let opened = self.prepare(options).and_then(|file| {
            let mut votes = VoteFile { file, sequence };
            // The slot that was read may be in the page cache only, if only the process was killed. The vote is
            // written to the other slot.
            vote.map_or(Ok(()), |vote| votes.write(&vote).and_then(|()| votes.sync()))?;
            Ok(votes)
        });
        opened.map_err(LogError::io("write", &path))
    }

    /// Returns the file, with its full length.
    fn prepare(self, options: &LogOptions) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.file.map_or_else(|| options.disk.create(&self.path), Ok)?;
        let len = file.len()?;
        if let Some(missing) = (FILE_BYTES as u64).checked_sub(len).filter(|missing| *missing > 0) {
            file.write_all_at(&vec![0; usize::try_from(missing).unwrap_or(0)], len)?;
            file.sync()?;
            options.disk.sync_directory(&options.directory)?;
        }
        Ok(file)
    }
}

/// The open file.
pub(super) struct VoteFile {
    file: Arc<dyn DiskFile>,
    /// The sequence number of the last vote.
    sequence: u64,
}

impl VoteFile {
    /// Writes a vote to the older slot. It is durable once [`VoteFile::sync`] has returned. Can be repeated before
    /// that.
    pub(super) fn write(&self, vote: &Vote) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.write_all_at(&encode(sequence, vote), (slot_of(sequence) * SLOT_STEP) as u64)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.sequence += 1;
        Ok(())
    }
}
