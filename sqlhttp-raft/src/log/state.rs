//! What a log says besides its entries. Each segment begins with it, so that those before can be dropped whole.

use super::frame::{read_log_id, read_u64, read_vote, write_log_id, write_vote};
use crate::types::{LogId, Vote};

/// What a log says besides its entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) vote: Option<Vote>,
    /// The last entry that is known to be committed; it may lag.
    pub(super) committed: Option<LogId>,
    /// The last entry that is no more.
    pub(super) purged: Option<LogId>,
    /// The last entry that was appended.
    pub(super) last: Option<LogId>,
    /// A random number that tells this log from all others; `None` in a log of version 1.
    pub(super) identity: Option<u128>,
}

impl State {
    /// The index that the next entry has.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// Entries after this one are no more.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let index = |id: Option<LogId>| id.map(|id| id.index);
        // There may be nothing after it.
        if index(last) < index(self.last) {
            self.last = last.max(self.purged);
        }
    }

    /// Entries up to this one are no more.
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

    /// Reads a state. In version 1 zeros follow where the identity is now, and its bit is not set.
    pub(super) fn read(rest: &mut &[u8]) -> Option<State> {
        let (bits, after) = rest.split_first()?;
        *rest = after;
        let (vote, committed, purged, last) =
            (read_vote(rest)?, read_log_id(rest)?, read_log_id(rest)?, read_log_id(rest)?);
        let (identity, after) = rest.split_first_chunk::<16>()?;
        *rest = after;
        Some(State {
            vote: (bits & 1 != 0).then_some(vote),
            committed: (bits & 2 != 0).then_some(committed),
            purged: (bits & 4 != 0).then_some(purged),
            last: (bits & 8 != 0).then_some(last),
            identity: (bits & 16 != 0).then_some(u128::from_le_bytes(*identity)),
        })
    }
}

/// The head of a segment as it is written.
pub(super) fn write_head(number: u64, state: &State) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&number.to_le_bytes());
    state.write(&mut head);
    head.resize(HEAD_BYTES - 4, 0);
    let crc = crc32fast::hash(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head
}

pub(super) const HEAD_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"sqlhttpL";
pub(super) const VERSION: u32 = 2;
/// The oldest version that is read.
const VERSION_MIN: u32 = 1;

/// What a segment's head says, or why it says nothing.
pub(super) enum Head {
    Valid {
        number: u64,
        state: State,
    },
    /// A newer program has written it.
    Newer(u32),
    Invalid,
}

pub(super) fn read_head(bytes: &[u8]) -> Head {
    let Some((head, crc)) = bytes.get(..HEAD_BYTES).and_then(|head| head.split_last_chunk::<4>()) else {
        return Head::Invalid;
    };
    let Some(rest) = head.strip_prefix(MAGIC) else { return Head::Invalid };
    if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
        return Head::Invalid;
    }
    let Some((version, mut rest)) = rest.split_first_chunk::<4>() else { return Head::Invalid };
    let version = u32::from_le_bytes(*version);
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Head::Newer(version);
    }
    match (read_u64(&mut rest), State::read(&mut rest)) {
        (Some(number), Some(state)) => Head::Valid { number, state },
        _ => Head::Invalid,
    }
}
