//! A running hash of the outcomes of the applied log entries. Nodes that apply the same log compare it, so that they
//! notice at once, and at the very entry, when they no longer compute the same results.
//!
//! The chain covers the number of changed rows, the last rowids, the codes of errors and the rows that writes return.
//! It does not cover the values in the tables, which a [`crate::ContentDigest`] compares, nor the rows of statements
//! that only read, which may depend on the node (`PRAGMA page_count`).
//!
//! The chain is kept in memory. It begins again at each multiple of [`WINDOW`] entries, so that a node that was
//! restarted can soon be compared again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twox_hash::XxHash3_64;

use super::work_item::WorkItem;
use crate::model::{Block, Changed, Ending, Failure, Outcome, StepInfo, StepOutcome};

/// The number of entries after which the chain begins again.
const WINDOW: u64 = 1024;
/// The number of entries whose links are kept.
const LINKS_MAX: usize = 16 * WINDOW as usize;

/// The hash of the outcomes of the entries from the beginning of a window up to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeLink {
    /// The index of the entry in the log.
    pub index: u64,
    /// The hash.
    pub hash: u64,
}

/// The running hash of a database.
#[derive(Debug, Default)]
pub(crate) struct OutcomeChain(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The operation that must be added next: the index of its entry, and its number in the entry. `None` if the chain
    /// has a gap, so that it begins with the next window.
    next: Option<(u64, u32)>,
    hash: u64,
    links: VecDeque<OutcomeLink>,
    buffer: Vec<u8>,
}

impl OutcomeChain {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the outcome of a committed operation.
    pub(super) fn add(&self, item: &WorkItem<'_>, outcome: Option<&Outcome>) {
        let mut state = self.lock();
        let state = &mut *state;
        if (item.index - 1).is_multiple_of(WINDOW) && item.number == 0 {
            (state.next, state.hash) = (Some((item.index, 0)), 0);
        }
        // A batch whose first steps were applied by an earlier process has an incomplete outcome.
        let is_next = state.next == Some((item.index, item.number)) && !item.is_continued;
        if !is_next {
            state.next = None;
            return;
        }
        state.buffer.clear();
        state.buffer.extend_from_slice(&state.hash.to_le_bytes());
        if let Some(outcome) = outcome {
            encode(&mut state.buffer, outcome);
        }
        state.hash = XxHash3_64::oneshot(&state.buffer);
        if !item.last {
            state.next = Some((item.index, item.number + 1));
            return;
        }
        state.next = Some((item.index + 1, 0));
        if state.links.len() >= LINKS_MAX {
            state.links.pop_front();
        }
        state.links.push_back(OutcomeLink { index: item.index, hash: state.hash });
    }

    /// Forgets the chain, because the content of the database was replaced.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.next = None;
        state.links.clear();
    }

    /// The last link; `None` if the chain has a gap.
    pub(crate) fn last(&self) -> Option<OutcomeLink> {
        let state = self.lock();
        state.next.and_then(|_| state.links.back().copied())
    }

    /// The links of the window that contains the entry at `index`, up to this entry; empty if they are not kept.
    pub(crate) fn window_up_to(&self, index: u64) -> Vec<OutcomeLink> {
        let state = self.lock();
        let start = index.saturating_sub(1) / WINDOW * WINDOW + 1;
        let from = state.links.partition_point(|link| link.index < start);
        state.links.range(from..).take_while(|link| link.index <= index).copied().collect()
    }
}

fn encode(buffer: &mut Vec<u8>, outcome: &Outcome) {
    match &outcome.ending {
        Ending::Done => buffer.push(0),
        Ending::Aborted(step) => put(buffer, 1, *step as u64),
        Ending::NotCommitted(failure) => put(buffer, 2, code_of(failure)),
    }
    for (number, step) in outcome.steps.iter().enumerate() {
        encode_step(buffer, step, outcome.info.get(number));
    }
}

fn encode_step(buffer: &mut Vec<u8>, step: &StepOutcome, info: Option<&StepInfo>) {
    let changed = |buffer: &mut Vec<u8>, changed: &Changed| {
        put(buffer, 4, changed.rows);
        if let Some(rowid) = changed.last_insert_id {
            put(buffer, 7, rowid.cast_unsigned());
        }
    };
    match step {
        StepOutcome::Rows(_) if info.is_some_and(|info| info.reads) => buffer.push(3),
        StepOutcome::Rows(rows) => {
            let hash = |block: &Block| XxHash3_64::oneshot(block.encoded());
            rows.blocks.iter().for_each(|block| put(buffer, 5, hash(block)));
        }
        StepOutcome::Changed(one) => changed(buffer, one),
        StepOutcome::ChangedEach(runs) => runs.iter().for_each(|one| changed(buffer, one)),
        StepOutcome::Failed(failure) => put(buffer, 6, code_of(failure)),
    }
}

fn put(buffer: &mut Vec<u8>, kind: u8, number: u64) {
    buffer.push(kind);
    buffer.extend_from_slice(&number.to_le_bytes());
}

/// SQLite's code of a failure; a code of its own for all other failures.
fn code_of(failure: &Failure) -> u64 {
    match failure {
        Failure::Sql(error) => u64::from(error.code.cast_unsigned()),
        _ => u64::MAX,
    }
}
