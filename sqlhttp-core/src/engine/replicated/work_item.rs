//! The operations of log entries, each with its position in the Raft log.

use std::collections::VecDeque;

use super::chain::OutcomeChain;
use super::entry::{Conditions, LogEntry, LogWork, OnApplied};
use super::progress::Progress;
use crate::engine::writer::thread::Writer;
use crate::model::{Failure, Outcome};

/// An operation of a log entry, its position in the Raft log, and the state of its application.
pub(super) struct WorkItem<'e> {
    /// The index of the operation's entry in the list of entries that are being applied.
    pub(super) entry: usize,
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) conditions: Option<Conditions>,
    /// The number of the operation in its entry, counted from 0.
    pub(super) number: u32,
    /// Whether this is the last operation of its entry.
    pub(super) last: bool,
    /// The operation; `None` if the entry has no operations, so that only the position advances.
    pub(super) work: Option<&'e LogWork>,
    pub(super) exclusive: bool,
    /// The steps that are known to fail, with their failures, because an earlier attempt failed there. They are not run
    /// again.
    pub(super) known_failures: Vec<(usize, Failure)>,
    /// Whether a step fails only because this node lacks resources. Only a node without others may decide that
    /// ([`super::node_failure`]).
    pub(super) decided_locally: bool,
    /// The index of the first step of the batch that has not been applied.
    pub(super) first_step: usize,
    /// Whether an earlier process applied the first steps of the batch.
    pub(super) is_continued: bool,
    /// The outcome of the steps before `first_step`; empty if an earlier process applied them.
    pub(super) partial: Outcome,
}

impl WorkItem<'_> {
    /// The index of the last step of the batch; 0 for an operation without steps.
    pub(super) fn last_step(&self) -> usize {
        match self.work {
            Some(LogWork::Batch { batch, .. }) => batch.steps.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// Forgets the failures of steps that this node has decided alone, because another node has joined. Failures that
    /// every node has are forgotten as well; they are found again when the operation runs.
    pub(super) fn drop_decisions(&mut self) {
        if std::mem::take(&mut self.decided_locally) {
            self.known_failures.clear();
        }
    }

    /// Advances the position past this operation.
    pub(super) fn advance(&self, progress: &mut Progress) {
        match self.work {
            Some(LogWork::Batch { .. } | LogWork::Replace(_)) => {
                (progress.command_index, progress.write_index) = (self.index, self.index);
            }
            Some(LogWork::Barrier | LogWork::Load { .. }) => progress.command_index = self.index,
            Some(LogWork::Membership(membership)) => progress.membership.clone_from(membership),
            None => {}
        }
        match self.work {
            Some(LogWork::Load { load_index, .. }) => progress.load_index = *load_index,
            // The replacement is the end of a load.
            Some(LogWork::Replace(_)) => progress.load_index = 0,
            _ => {}
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

/// The outcomes of the entries that are being applied, and the callbacks that receive them.
pub(super) struct Results<'c> {
    pub(super) chain: &'c OutcomeChain,
    pub(super) outcomes: Vec<Vec<Outcome>>,
    pub(super) on_applied: Vec<Option<OnApplied>>,
}

impl Results<'_> {
    /// Adds the outcome of a committed operation to the chain, and passes it to the callback of its entry. If the entry
    /// has no callback, stores the outcome for the reply.
    pub(super) fn add(&mut self, item: &WorkItem<'_>, outcome: Option<Outcome>) {
        self.chain.add(item, outcome.as_ref());
        let Some(outcome) = outcome else { return };
        match self.on_applied.get_mut(item.entry) {
            Some(Some(on_applied)) => on_applied(outcome),
            _ => self.outcomes[item.entry].push(outcome),
        }
    }
}

impl Writer<'_> {
    /// Describes the first gap in the indexes of the new entries, including a gap after the last applied entry; `None`
    /// if there is no gap.
    pub(super) fn gap(&self, entries: &[LogEntry]) -> Option<String> {
        let (applied, ..) = self.shared.applied_position();
        let new = entries.iter().map(|entry| entry.index).filter(|index| *index > applied);
        let (index, wanted) = new.zip(applied + 1..).find(|(index, wanted)| index != wanted)?;
        Some(format!("entry {index} of the log came where {wanted} had to"))
    }

    /// Returns the operations of these entries that have not been applied yet, in order.
    pub(super) fn items<'e>(&self, entries: &'e [LogEntry]) -> VecDeque<WorkItem<'e>> {
        let (applied, operations, steps) = self.shared.applied_position();
        let mut items = VecDeque::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.index > applied) {
            let (operations, steps) = if entry.index == applied + 1 { (operations, steps) } else { (0, 0) };
            let count = entry.work.len().max(1);
            for number in operations as usize..count {
                let work = entry.work.get(number);
                let first_step = if number == operations as usize { steps as usize } else { 0 };
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
                    first_step,
                    is_continued: first_step > 0,
                });
            }
        }
        items
    }
}
