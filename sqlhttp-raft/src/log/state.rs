//! The state of the log apart from its entries. Each segment begins with this state, so that older segments can be
//! removed.

use super::frame::{read_log_id, read_u64, read_vote, write_log_id, write_vote};
use crate::types::{LogId, Vote};

/// The state of the log apart from its entries. Indexes are counted from 0, as in openraft.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LogState {
    pub(super) vote: Option<Vote>,
    /// The last entry that is known to be committed. It may be older than the last entry that is actually committed:
    /// the commit index need not be persistent (section 3.8 of the Raft dissertation).
    pub(super) committed: Option<LogId>,
    /// The last entry that has been purged; `None` if none has.
    pub(super) purged: Option<LogId>,
    /// The last entry of the log, even if it has been purged; `None` if there is no such entry.
    pub(super) last: Option<LogId>,
    /// A random number that identifies this log; `None` if the log was written in version 1 of the format.
    pub(super) identity: Option<u128>,
}

impl LogState {
    /// The index of the next entry to append, counted from 0.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// Updates the state for the removal of the entries after `last`; of all entries, if `last` is `None`.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let index = |id: Option<LogId>| id.map(|id| id.index);
        // If there is no entry after `last`, nothing changes.
        if index(last) < index(self.last) {
            self.last = last.max(self.purged);
        }
    }

    /// Updates the state for the purge of the entries up to and including `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let present = [
            self.vote.is_some(),
            self.committed.is_some(),
            self.purged.is_some(),
            self.last.is_some(),
            self.identity.is_some(),
        ];
        out.push(present.iter().rev().fold(0, |bits, present| bits << 1 | u8::from(*present)));
        write_vote(out, &self.vote.unwrap_or_else(|| Vote::new(0, 0)));
        for id in [self.committed, self.purged, self.last] {
            write_log_id(out, &id.unwrap_or_else(|| crate::types::log_id(0, 0)));
        }
        out.extend_from_slice(&self.identity.unwrap_or_default().to_le_bytes());
    }

    /// Decodes a state, or returns `None` if the bytes are too short. In version 1 of the format, the identity is zero
    /// and the bit that marks it as present is not set.
    pub(super) fn read(rest: &mut &[u8]) -> Option<LogState> {
        let (bits, after) = rest.split_first()?;
        *rest = after;
        let (vote, committed, purged, last) =
            (read_vote(rest)?, read_log_id(rest)?, read_log_id(rest)?, read_log_id(rest)?);
        let (identity, after) = rest.split_first_chunk::<16>()?;
        *rest = after;
        Some(LogState {
            vote: (bits & 1 != 0).then_some(vote),
            committed: (bits & 2 != 0).then_some(committed),
            purged: (bits & 4 != 0).then_some(purged),
            last: (bits & 8 != 0).then_some(last),
            identity: (bits & 16 != 0).then_some(u128::from_le_bytes(*identity)),
        })
    }
}

/// Encodes the header of segment `number`, which begins with `state`.
pub(super) fn encode_header(number: u64, state: &LogState) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    state.write(&mut header);
    header.resize(HEADER_BYTES - 4, 0);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

pub(super) const HEADER_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"sqlhttpL";
pub(super) const VERSION: u32 = 2;
/// The oldest version of the format that can be read.
const VERSION_MIN: u32 = 1;

/// The decoded header of a segment.
pub(super) enum SegmentHeader {
    Valid {
        number: u64,
        state: LogState,
    },
    /// A program with an unknown version of the format has written the header. The value is that version.
    Newer(u32),
    Invalid,
}

pub(super) fn decode_header(bytes: &[u8]) -> SegmentHeader {
    let Some((header, crc)) = bytes.get(..HEADER_BYTES).and_then(|header| header.split_last_chunk::<4>()) else {
        return SegmentHeader::Invalid;
    };
    let Some(rest) = header.strip_prefix(MAGIC) else { return SegmentHeader::Invalid };
    if crc32fast::hash(header) != u32::from_le_bytes(*crc) {
        return SegmentHeader::Invalid;
    }
    let Some((version, mut rest)) = rest.split_first_chunk::<4>() else { return SegmentHeader::Invalid };
    let version = u32::from_le_bytes(*version);
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return SegmentHeader::Newer(version);
    }
    match (read_u64(&mut rest), LogState::read(&mut rest)) {
        (Some(number), Some(state)) => SegmentHeader::Valid { number, state },
        _ => SegmentHeader::Invalid,
    }
}
