//! The part of the log that is held in memory: the state of the log, the location of every entry, and the most recent
//! entries.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use openraft::entry::{EntryPayload, RaftEntry as _};

use super::disk::DiskFile;
use super::frame::{self, Frame};
use super::state::LogState;
use crate::types::{Entry, LogId, index_of};

/// The approximate size in memory of an entry without its command, in bytes.
const ENTRY_BYTES: usize = 128;

/// The location of an entry's frame on disk.
#[derive(Clone)]
pub(super) struct EntryLocation {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl EntryLocation {
    /// Reads the entry from the disk.
    ///
    /// # Errors
    /// The disk failed, or there is no valid entry at this location, for example because the file was damaged.
    pub(super) fn read(&self) -> io::Result<Entry> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        let found = frame::decode_at(&bytes, self.number, self.offset, 0);
        match found.map(|found| frame::parse(&found)).transpose()? {
            Some(Frame::Entry(entry)) => Ok(entry),
            _ => {
                let why = format!("segment {} of the log is damaged at offset {}", self.number, self.offset);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }
}

/// An entry of the log.
struct Slot {
    id: LogId,
    /// The total length of the frames of all entries before this one, in bytes. Counted since the log was opened, so
    /// only the difference between two slots has a meaning.
    frames_before: u64,
    /// `None` until the entry has been written.
    location: Option<EntryLocation>,
}

/// Where a reader obtains an entry: from the cache, or from a location on disk.
pub(super) enum EntrySource {
    Cached(Entry),
    OnDisk(EntryLocation),
}

/// The part of the log that is held in memory.
#[derive(Default)]
pub(super) struct InMemoryLog {
    pub(super) state: LogState,
    /// The slots of all entries that have not been purged, in order and without gaps.
    slots: VecDeque<Slot>,
    /// The most recent entries: those of the last slots.
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    /// The total length of the frames up to the last entry, in bytes. Counted like [`Slot::frames_before`].
    frames: u64,
    /// The index, counted from 1, of the last entry that is durable. All entries before it are durable, too.
    durable: u64,
}

impl InMemoryLog {
    pub(super) fn new(state: LogState) -> Self {
        InMemoryLog { state, ..InMemoryLog::default() }
    }

    /// The index of the first entry, counted from 0; if the log contains no entry, the index that the next entry will
    /// have.
    pub(super) fn first_index(&self) -> u64 {
        self.slots.front().map_or(self.state.next_index(), |slot| slot.id.index)
    }

    /// Returns the id of the entry at `index`, counted from 0, if the log contains that entry or it is the last purged
    /// one.
    pub(super) fn id_at(&self, index: u64) -> Option<LogId> {
        let number = index.checked_sub(self.first_index()).and_then(|number| usize::try_from(number).ok());
        let slot = number.and_then(|number| self.slots.get(number));
        slot.map(|slot| slot.id).or(self.state.purged.filter(|purged| purged.index == index))
    }

    /// The index, counted from 1, of the last entry that is durable; 0 if none is.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Records that the log has been synced after recovery: all its entries are durable.
    pub(super) fn all_durable(&mut self) {
        self.durable = self.state.next_index();
    }

    /// Records that the purge of the entries up to and including `upto` is durable. The log may never have contained
    /// these entries.
    pub(super) fn purge_durable(&mut self, upto: LogId) {
        self.durable = self.durable.max(index_of(&upto));
    }

    /// Returns `true` if the log contains no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Appends an entry that has not been written yet.
    ///
    /// # Errors
    /// The index of the entry does not follow that of the last entry.
    pub(super) fn append(&mut self, entry: Entry) -> io::Result<()> {
        self.push(entry.log_id(), None, frame::entry_len(&entry))?;
        self.cached_bytes += memory_bytes(&entry);
        self.cached.push_back(entry);
        Ok(())
    }

    /// Appends an entry that is on disk and is not cached. No cached entry may precede it.
    ///
    /// # Errors
    /// The index of the entry does not follow that of the last entry.
    pub(super) fn append_located(&mut self, id: LogId, location: EntryLocation) -> io::Result<()> {
        let len = u64::from(location.len);
        self.push(id, Some(location), len)
    }

    fn push(&mut self, id: LogId, location: Option<EntryLocation>, frame_len: u64) -> io::Result<()> {
        self.check_next(id)?;
        self.slots.push_back(Slot { id, frames_before: self.frames, location });
        self.frames += frame_len;
        self.state.last = Some(id);
        Ok(())
    }

    fn check_next(&self, id: LogId) -> io::Result<()> {
        let next = self.state.next_index();
        // If the log contains no entry and nothing has been purged, any index is allowed.
        if id.index == next || self.state.last.is_none() {
            return Ok(());
        }
        // openraft counts entries from 0; error messages count them from 1.
        let why = format!("entry {} is in the place of entry {}", id.index + 1, next + 1);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Removes the entries after `last`; all entries, if `last` is `None`.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let stays = |slot: &Slot| last.is_some_and(|last| slot.id.index <= last.index);
        while let Some(slot) = self.slots.back().filter(|slot| !stays(slot)) {
            self.frames = slot.frames_before;
            self.slots.pop_back();
            self.cached_bytes -= self.cached.pop_back().map_or(0, |entry| memory_bytes(&entry));
        }
        self.state.truncate_after(last);
        self.durable = self.durable.min(self.state.next_index());
    }

    /// Removes the entries up to and including `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            if self.cached_from() == 0 {
                self.drop_oldest_cached();
            }
            self.slots.pop_front();
        }
        self.state.purge(upto);
    }

    /// Sets the location of an entry that has been written and synced, unless the entry has been truncated in the
    /// meantime.
    pub(super) fn set_location(&mut self, id: LogId, location: EntryLocation) {
        if let Some(slot) = self.slot_mut(id.index).filter(|slot| slot.id == id) {
            slot.location = Some(location);
            self.durable = index_of(&id);
        }
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let first = self.slots.front()?.id.index;
        self.slots.get_mut(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// The index in `slots` of the first slot whose entry is cached.
    fn cached_from(&self) -> usize {
        self.slots.len().saturating_sub(self.cached.len())
    }

    fn drop_oldest_cached(&mut self) {
        self.cached_bytes -= self.cached.pop_front().map_or(0, |entry| memory_bytes(&entry));
    }

    /// Removes entries that have been written from the cache, oldest first, until the cached entries occupy at most
    /// `bytes_max` bytes.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        let is_written = |slot: &Slot| slot.location.is_some();
        while self.cached_bytes > bytes_max && self.slots.get(self.cached_from()).is_some_and(is_written) {
            self.drop_oldest_cached();
        }
    }

    /// Returns the index, counted from 1, of the last entry that can be purged if the frames of the entries after it
    /// must occupy at least `bytes` bytes. If all entries together are shorter, returns the index before the first one.
    pub(super) fn index_keeping(&self, bytes: u64) -> u64 {
        if bytes == 0 {
            return self.state.next_index();
        }
        let begins_early_enough = |slot: &Slot| self.frames - slot.frames_before >= bytes;
        let count = self.slots.partition_point(begins_early_enough);
        // An index counted from 0 is the index of the entry before it, counted from 1.
        self.slots.get(count.saturating_sub(1)).map_or(self.first_index(), |first_kept| first_kept.id.index)
    }

    /// Returns the entries of the log from index `from` to the one before `to`, both counted from 0. Stops after about
    /// `bytes_max` bytes, but returns at least one entry. Returns no entry if the log does not contain the one at
    /// `from`: entries that begin later than the caller expects would leave a gap in a follower's log.
    pub(super) fn get(&self, from: u64, to: u64, bytes_max: usize) -> Vec<EntrySource> {
        let Some(skip) = from.checked_sub(self.first_index()) else { return Vec::new() };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut sources = Vec::new();
        for (number, slot) in self.slots.iter().enumerate().skip(skip).take_while(|(_, slot)| slot.id.index < to) {
            let cached = number.checked_sub(self.cached_from()).and_then(|number| self.cached.get(number));
            let (one, len) = match (cached, &slot.location) {
                (Some(entry), _) => (EntrySource::Cached(entry.clone()), memory_bytes(entry)),
                (None, Some(location)) => (EntrySource::OnDisk(location.clone()), location.len as usize),
                (None, None) => break,
            };
            bytes += len;
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push(one);
        }
        sources
    }
}

fn memory_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            EntryPayload::Normal(command) => command.bytes_in_memory(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}
