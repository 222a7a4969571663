//! What is sources of the log without reading it: where each entry stands, the recent entries themselves, and the state.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use openraft::entry::{EntryPayload, RaftEntry as _};

use super::disk::DiskFile;
use super::frame::{self, Frame};
use super::state::LogState;
use crate::types::{Entry, LogId};

/// What an entry takes in memory besides its command, about, bytes.
const ENTRY_BYTES: usize = 128;

/// Where a frame stands.
#[derive(Clone)]
pub(super) struct EntryLocation {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl EntryLocation {
    /// Reads the entry that stands here.
    ///
    /// # Errors
    /// The disk's, or there is no valid entry (any more).
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

/// An entry: where it stands once it is written, and itself as long as it is kept.
struct Slot {
    id: LogId,
    location: Option<EntryLocation>,
    entry: Option<Entry>,
}

/// An entry as a reader finds it.
pub(super) enum EntrySource {
    Cached(Entry),
    OnDisk(EntryLocation),
}

/// What is sources of the log.
#[derive(Default)]
pub(super) struct InMemoryLog {
    pub(super) state: LogState,
    /// From the first entry that is there to the last, without gaps.
    slots: VecDeque<Slot>,
    cached_bytes: usize,
    /// Slots before this one keep no entry.
    cached_from: usize,
}

impl InMemoryLog {
    pub(super) fn new(state: LogState) -> Self {
        InMemoryLog { state, ..InMemoryLog::default() }
    }

    /// The index of the first entry that is there, or of the one that comes next.
    pub(super) fn first_index(&self) -> u64 {
        self.slots.front().map_or(self.state.next_index(), |slot| slot.id.index)
    }

    /// Whether there is any entry.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds an entry behind the last.
    ///
    /// # Errors
    /// Its index is not the next.
    pub(super) fn append(&mut self, entry: Entry) -> io::Result<()> {
        let id = entry.log_id();
        self.check_next(id)?;
        self.cached_bytes += memory_bytes(&entry);
        self.slots.push_back(Slot { id, location: None, entry: Some(entry) });
        self.state.last = Some(id);
        Ok(())
    }

    /// Adds an entry that stands in a segment already.
    ///
    /// # Errors
    /// Its index is not the next.
    pub(super) fn append_located(&mut self, id: LogId, location: EntryLocation) -> io::Result<()> {
        self.check_next(id)?;
        self.slots.push_back(Slot { id, location: Some(location), entry: None });
        self.cached_from = self.slots.len();
        self.state.last = Some(id);
        Ok(())
    }

    fn check_next(&self, id: LogId) -> io::Result<()> {
        let next = self.state.next_index();
        // A log whose beginning was never here begins anywhere.
        if id.index == next || self.state.last.is_none() {
            return Ok(());
        }
        let why = format!("entry {} stands where {next} should", id.index);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Entries after this one are no more; all, if there is none.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let stays = |slot: &Slot| last.is_some_and(|last| slot.id.index <= last.index);
        while self.slots.back().is_some_and(|slot| !stays(slot)) {
            if let Some(entry) = self.slots.pop_back().and_then(|slot| slot.entry) {
                self.cached_bytes -= memory_bytes(&entry);
            }
        }
        self.cached_from = self.cached_from.min(self.slots.len());
        self.state.truncate_after(last);
    }

    /// Entries up to this one are no more.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            if let Some(entry) = self.slots.pop_front().and_then(|slot| slot.entry) {
                self.cached_bytes -= memory_bytes(&entry);
            }
            self.cached_from = self.cached_from.saturating_sub(1);
        }
        self.state.purge(upto);
    }

    /// An entry is written. It may have been truncated meanwhile.
    pub(super) fn set_location(&mut self, id: LogId, location: EntryLocation) {
        if let Some(slot) = self.slot_mut(id.index).filter(|slot| slot.id == id) {
            slot.location = Some(location);
        }
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let first = self.slots.front()?.id.index;
        self.slots.get_mut(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// Lets go of the oldest entries that can be read again, until no more than these bytes are kept.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        while self.cached_bytes > bytes_max {
            let Some(slot) = self.slots.get_mut(self.cached_from).filter(|slot| slot.location.is_some()) else {
                return;
            };
            self.cached_bytes -= slot.entry.take().map_or(0, |entry| memory_bytes(&entry));
            self.cached_from += 1;
        }
    }

    /// The entries of these indexes, as far as they are there and together take no more than about these bytes; at least
    /// one.
    pub(super) fn get(&self, from: u64, to: u64, bytes_max: usize) -> Vec<EntrySource> {
        let Some(first) = self.slots.front().map(|slot| slot.id.index) else { return Vec::new() };
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut sources = Vec::new();
        for slot in self.slots.iter().skip(skip).take_while(|slot| slot.id.index < to) {
            let (one, len) = match (&slot.entry, &slot.location) {
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
