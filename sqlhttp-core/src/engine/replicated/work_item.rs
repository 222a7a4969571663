//! The operations of log entries, each with its position in the log.

use std::collections::VecDeque;

use super::entry::{Conditions, LogEntry, LogWork, OnApplied};
use super::progress::Progress;
use crate::engine::writer::thread::Writer;
use crate::model::{Failure, Outcome};

/// An operation of an entry and its position in the log.
pub(super) struct WorkItem<'e> {
    /// The index of its entry in the list that is being applied.
    pub(super) entry: usize,
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) conditions: Option<Conditions>,
    /// Its number in the entry.
    pub(super) number: u32,
    /// It is the last operation of its entry.
    pub(super) last: bool,
    /// `None` for an entry without operations.
    pub(super) work: Option<&'e LogWork>,
    pub(super) exclusive: bool,
    /// The steps that are known to fail, because they ended the transaction or the attempt.
    pub(super) known_failures: Vec<(usize, Failure)>,
    /// One of its steps fails on this node only, which has no other voters beside it ([`super::node_failure`]).
    pub(super) decided_locally: bool,
    /// The first step that has not been applied.
    pub(super) first_step: usize,
    /// The outcome of the steps before `first_step`, if this process applied them.
    pub(super) partial: Outcome,
}

impl WorkItem<'_> {
    /// The number of its last step.
    pub(super) fn last_step(&self) -> usize {
        match self.work {
            Some(LogWork::Batch { batch, .. }) => batch.steps.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// Advances the position past this item.
    pub(super) fn advance(&self, progress: &mut Progress) {
        match self.work {
            Some(LogWork::Batch { .. } | LogWork::Replace(_)) => {
                (progress.command_index, progress.write_index) = (self.index, self.index);
            }
            Some(LogWork::Barrier) => progress.command_index = self.index,
            Some(LogWork::Membership(membership)) => progress.membership.clone_from(membership),
            None => {}
        }
        if let Some(conditions) = &self.conditions {
            progress.unix_ms = progress.unix_ms.max(conditions.unix_ms);
        }
        if self.last {
            progress.advance_to(self.term, self.index);
        } else {
            (progress.operations, progress.steps) = (self.number + 1, 0);
        }
    }
}

/// The outcomes of the entries, and the callbacks that receive them.
pub(super) struct Results {
    pub(super) outcomes: Vec<Vec<Outcome>>,
    pub(super) on_applied: Vec<Option<OnApplied>>,
}

impl Results {
    /// Records the outcome of an item that has been committed.
    pub(super) fn add(&mut self, item: &WorkItem<'_>, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        match self.on_applied.get_mut(item.entry) {
            Some(Some(on_applied)) => on_applied(outcome),
            _ => self.outcomes[item.entry].push(outcome),
        }
    }
}

impl Writer<'_> {
    /// Describes a gap between the last applied entry and the first new one, or between the new ones.
    pub(super) fn gap(&self, entries: &[LogEntry]) -> Option<String> {
        let (applied, ..) = self.shared.applied_position();
        let new = entries.iter().map(|entry| entry.index).filter(|index| *index > applied);
        let (index, wanted) = new.zip(applied + 1..).find(|(index, wanted)| index != wanted)?;
        Some(format!("entry {index} of the log came where {wanted} had to"))
    }

    /// The operations of these entries that have not been applied.
    pub(super) fn items<'e>(&self, entries: &'e [LogEntry]) -> VecDeque<WorkItem<'e>> {
        let (applied, operations, steps) = self.shared.applied_position();
        let mut items = VecDeque::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.index > applied) {
            let (operations, steps) = if entry.index == applied + 1 { (operations, steps) } else { (0, 0) };
            let count = entry.work.len().max(1);
            for number in operations as usize..count {
                let work = entry.work.get(number);
                items.push_back(WorkItem {
                    entry: position,
                    term: entry.term,
                    index: entry.index,
                    conditions: entry.conditions,
                    number: u32::try_from(number).unwrap_or(u32::MAX),
                    last: number + 1 == count,
                    work,
                    exclusive: matches!(work, Some(LogWork::Batch { exclusive: true, .. } | LogWork::Replace(_))),
                    known_failures: Vec::new(),
                    decided_locally: false,
                    partial: Outcome::default(),
                    first_step: if number == operations as usize { steps as usize } else { 0 },
                });
            }
        }
        items
    }
}
