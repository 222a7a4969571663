//! The invariants of a cluster: properties of its nodes at every moment, and of all responses to its clients.
//!
//! Section numbers are those of the Raft dissertation.

use std::collections::BTreeMap;

use openraft::async_runtime::WatchReceiver as _;
use sqlhttp_core::ReadLevel;

use super::clients::Content;
use super::history::{Ended, Operation, Request};
use super::trace::Fingerprint;
use crate::node::Node;
use crate::types::{Vote, index_of};

/// A violation of an invariant.
pub(super) type Violation = String;

/// The observations of all nodes so far.
#[derive(Default)]
pub(super) struct Invariants {
    /// The leader of each term.
    leaders: BTreeMap<u64, usize>,
    /// The terms of the committed entries, by their indexes, from 1.
    committed: BTreeMap<u64, u64>,
    /// The contents of the databases, by the index of the last applied entry.
    digests: BTreeMap<u64, (u64, usize)>,
    machines: Vec<Observed>,
}

/// The observations of one machine.
#[derive(Default, Clone)]
struct Observed {
    vote: Option<Vote>,
    /// The index up to which the committed entries of the running process have been compared.
    compared: u64,
    /// The last applied index whose content has been compared.
    digested: u64,
    role: (u64, bool),
    /// The number of snapshots that the running process has installed.
    installed: u64,
}

/// A change of a node that the trace records.
pub(super) struct RoleChange {
    pub(super) term: u64,
    pub(super) leads: bool,
}

impl Invariants {
    pub(super) fn new(machines: usize) -> Invariants {
        Invariants { machines: vec![Observed::default(); machines], ..Invariants::default() }
    }

    /// Forgets what belongs to the process of a machine, because it has ended.
    pub(super) fn process_ended(&mut self, machine: usize) {
        let Observed { vote, .. } = self.machines[machine];
        self.machines[machine] = Observed { vote, ..Observed::default() };
    }

    /// Returns whether the node has installed a snapshot since the last call.
    pub(super) fn notice_installed(&mut self, machine: usize, installed: u64) -> bool {
        std::mem::replace(&mut self.machines[machine].installed, installed) < installed
    }

    /// Checks the node of a machine. Returns its new role if that has changed.
    pub(super) fn check(&mut self, machine: usize, node: &Node) -> Result<Option<RoleChange>, Violation> {
        if let Some(why) = node.stopped() {
            return Err(format!("the node has stopped: {why}"));
        }
        self.check_vote(machine, node)?;
        self.check_order(node)?;
        self.check_committed(machine, node)?;
        self.check_ready(node)?;
        self.check_leader(machine, node)
    }

    /// A vote is never lost: it grows, also over a restart (section 3.8).
    fn check_vote(&mut self, machine: usize, node: &Node) -> Result<(), Violation> {
        let (before, now) = (self.machines[machine].vote, node.inner.log.vote());
        if before == now {
            return Ok(());
        }
        if let (Some(before), Some(now)) = (before, now)
            && now.partial_cmp(&before).is_some_and(std::cmp::Ordering::is_ge)
        {
            self.machines[machine].vote = Some(now);
            return Ok(());
        }
        if before.is_none() {
            self.machines[machine].vote = now;
            return Ok(());
        }
        Err(format!("the vote was {before:?}, and is now {now:?}"))
    }

    /// Purged ≤ snapshot ≤ applied ≤ last; applied ≤ durable, except for an installed snapshot.
    fn check_order(&self, node: &Node) -> Result<(), Violation> {
        let (log, applied) = (node.inner.log.status(), node.inner.database.progress().index);
        let snapshot = node.inner.machine.last_snapshot().map(|taken| taken.index);
        let durable = node.inner.log.durable_index().get();
        let installed = if node.inner.machine.installed() > 0 { snapshot.unwrap_or(0) } else { 0 };
        let is_ordered = log.purged_index <= snapshot.unwrap_or(u64::MAX)
            && snapshot.is_none_or(|snapshot| snapshot <= applied)
            && log.purged_index <= applied
            && applied <= log.last_index.max(installed)
            && applied <= durable.max(installed);
        let last = log.last_index;
        let (purged, installed) = (log.purged_index, node.inner.machine.installed());
        if is_ordered {
            return Ok(());
        }
        Err(format!(
            "purged {purged}, snapshot {snapshot:?}, applied {applied}, durable {durable}, last {last}, {installed} installed"
        ))
    }

    /// Committed entries never change, and are the same in all logs (log matching, section 3.5).
    fn check_committed(&mut self, machine: usize, node: &Node) -> Result<(), Violation> {
        let metrics = node.inner.raft.data_metrics();
        let committed = metrics.borrow_watched().local_committed.map_or(0, |id| index_of(&id));
        let compared = self.machines[machine].compared;
        for index in compared + 1..=committed {
            let Some(id) = node.inner.log.id_at(index) else { continue };
            let term = id.leader_id.term;
            let known = *self.committed.entry(index).or_insert(term);
            if known != term {
                return Err(format!("the committed entry {index} is of term {known}, here of term {term}"));
            }
        }
        self.machines[machine].compared = compared.max(committed);
        Ok(())
    }

    /// A leader that serves weak reads is the newest leader that has committed an entry: a later one could have
    /// acknowledged a write (section 6.4.1).
    fn check_ready(&self, node: &Node) -> Result<(), Violation> {
        let term = *node.inner.leadership.ready_term().borrow();
        let newest = self.committed.last_key_value().map_or(0, |(_, term)| *term);
        if newest > term && node.is_ready_leader() {
            return Err(format!(
                "it serves weak reads as the leader of term {term}, but an entry of term {newest} is committed"
            ));
        }
        Ok(())
    }

    /// A term has at most one leader (election safety), whose log contains all committed entries (leader completeness,
    /// section 3.6).
    fn check_leader(&mut self, machine: usize, node: &Node) -> Result<Option<RoleChange>, Violation> {
        let metrics = node.inner.raft.server_metrics();
        let (term, leads) = {
            let metrics = metrics.borrow_watched();
            (metrics.vote.leader_id.term, metrics.state.is_leader())
        };
        if self.machines[machine].role == (term, leads) {
            return Ok(None);
        }
        self.machines[machine].role = (term, leads);
        if leads {
            let leader = *self.leaders.entry(term).or_insert(machine);
            if leader != machine {
                return Err(format!("n{} and n{} lead in term {term}", leader + 1, machine + 1));
            }
            let purged = node.inner.log.status().purged_index;
            let all = self.committed.range(purged + 1..).filter(|(_, committed)| **committed < term);
            for (index, committed) in all {
                let found = node.inner.log.id_at(*index).map(|id| id.leader_id.term);
                if found != Some(*committed) {
                    return Err(format!(
                        "the leader of term {term} lacks the committed entry {index} of term {committed}: {found:?}"
                    ));
                }
            }
        }
        Ok(Some(RoleChange { term, leads }))
    }

    /// Returns whether the content of a node must be compared, because the node has applied entries since the last
    /// comparison.
    pub(super) fn wants_content(&self, machine: usize, node: &Node) -> bool {
        let progress = node.inner.database.progress();
        progress.operations == 0 && progress.steps == 0 && progress.index > self.machines[machine].digested
    }

    /// Databases with the same applied index have the same content.
    pub(super) fn check_content(&mut self, machine: usize, node: &Node, content: &Content) -> Result<(), Violation> {
        let index = node.inner.database.progress().index;
        self.machines[machine].digested = index;
        let mut digest = Fingerprint::default();
        let numbers = content.ops.as_flattened().iter().chain(content.kv.as_flattened());
        numbers.for_each(|number| digest.add(&[*number as u64]));
        let (known, other) = *self.digests.entry(index).or_insert((digest.value(), machine));
        if known != digest.value() {
            return Err(format!("at index {index}, the content differs from that of n{}", other + 1));
        }
        Ok(())
    }
}

/// Checks what the clients have seen against the final content.
pub(super) fn check_history(history: &[Operation], content: &Content) -> Result<(), Violation> {
    let mut order = BTreeMap::new();
    for [ord, serial, _, applied] in &content.ops {
        if *applied != 1 {
            return Err(format!("write {serial} was applied {applied} times"));
        }
        order.insert(*serial, *ord);
    }
    let mut last = BTreeMap::new();
    content.ops.iter().for_each(|[_, serial, key, _]| {
        last.insert(*key, *serial);
    });
    if content.kv.iter().map(|[key, serial]| (*key, *serial)).ne(last) {
        return Err("a key does not contain its last write".to_owned());
    }
    history.iter().try_for_each(|operation| check_operation(operation, &order))?;
    let mut by_key: BTreeMap<i64, Vec<Placed>> = BTreeMap::new();
    for operation in history {
        if let Some(placed) = Placed::of(operation, &order) {
            by_key.entry(operation.key).or_default().push(placed);
        }
    }
    by_key.values().try_for_each(|operations| check_linearizable(operations))
}

/// An acknowledged write is present; a refused one is not; a read returns only writes that are present.
fn check_operation(operation: &Operation, order: &BTreeMap<i64, i64>) -> Result<(), Violation> {
    let Operation { serial, request, ended, .. } = operation;
    let is_present = order.contains_key(serial);
    match ended.as_ref().map(|(_, ended)| ended) {
        Some(Ended::Written) if !is_present => Err(format!("the acknowledged write {serial} is lost")),
        Some(Ended::Refused(why)) if is_present => Err(format!("write {serial} took effect, but its error was: {why}")),
        Some(Ended::Read(read)) if *read != 0 && !order.contains_key(read) => {
            Err(format!("operation {serial} has read write {read}, which has been discarded"))
        }
        _ if *request == Request::FailingWrite && is_present => Err(format!("the failed write {serial} took effect")),
        _ => Ok(()),
    }
}

/// How an operation relates to others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    /// A read that is ordered after everything that ended before it.
    Linearizable,
    /// A read that is ordered only after acknowledged writes. A leader with a slow disk may not have applied an entry
    /// yet that a linearizable read on another node has seen, and that no client has an acknowledgement for.
    Weak,
}

/// An operation of one key with its place in the order of the writes.
struct Placed {
    serial: i64,
    kind: Kind,
    /// The place of the write, or of the write that was read.
    place: i64,
    begun: u64,
    ended: u64,
}

impl Placed {
    /// Returns `None` for operations without a place: writes that did not take effect, failed reads, and reads that
    /// may be out of date.
    fn of(operation: &Operation, order: &BTreeMap<i64, i64>) -> Option<Placed> {
        let Operation { serial, request, begun, ended, .. } = operation;
        let (kind, place, ended) = match (request, ended) {
            (Request::Write, ended) => {
                let known = ended.as_ref().filter(|(_, how)| *how == Ended::Written);
                (Kind::Write, *order.get(serial)?, known.map_or(u64::MAX, |(at, _)| *at))
            }
            (Request::Read(level), Some((at, Ended::Read(read)))) if *level != ReadLevel::None => {
                let kind = if *level == ReadLevel::Weak { Kind::Weak } else { Kind::Linearizable };
                (kind, if *read == 0 { 0 } else { *order.get(read)? }, *at)
            }
            _ => return None,
        };
        Some(Placed { serial: *serial, kind, place, begun: *begun, ended })
    }
}

/// The operations of a key are linearizable: there is an order that a register without replicas could have, in which an
/// operation that ended before another one began comes before it. The order of the writes is known.
fn check_linearizable(operations: &[Placed]) -> Result<(), Violation> {
    for first in operations {
        for second in operations.iter().filter(|second| first.ended < second.begun) {
            let is_ordered = match (first.kind, second.kind) {
                (_, Kind::Write) => first.place < second.place,
                (Kind::Weak | Kind::Linearizable, Kind::Weak) => true,
                _ => first.place <= second.place,
            };
            if !is_ordered {
                return Err(format!(
                    "operation {} saw or wrote version {}, and operation {}, which began later, version {}",
                    first.serial, first.place, second.serial, second.place
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(serial: i64, request: Request, times: (u64, u64), ended: Ended) -> Operation {
        let ended = Some((times.1, ended));
        Operation { serial, client: 0, machine: 0, key: 1, request, begun: times.0, ended }
    }

    /// Write 1 and then write 2 were applied.
    fn two_writes() -> Content {
        Content { ops: vec![[1, 1, 1, 1], [2, 2, 1, 1]], kv: vec![[1, 2]] }
    }

    fn violation(history: &[Operation], content: &Content) -> String {
        check_history(history, content).err().unwrap_or_default()
    }

    #[test]
    fn lost_repeated_and_refused_writes_are_found() {
        let written = operation(3, Request::Write, (1, 2), Ended::Written);
        assert!(violation(&[written], &two_writes()).contains("is lost"));
        let refused = operation(2, Request::Write, (1, 2), Ended::Refused("no leader".to_owned()));
        assert!(violation(&[refused], &two_writes()).contains("took effect"));
        let failing = operation(2, Request::FailingWrite, (1, 2), Ended::Unknown(String::new()));
        assert!(violation(&[failing], &two_writes()).contains("took effect"));
        let twice = Content { ops: vec![[1, 1, 1, 2]], kv: vec![[1, 1]] };
        assert!(violation(&[], &twice).contains("2 times"));
    }

    #[test]
    fn a_read_that_is_out_of_date_is_found() {
        let written = operation(2, Request::Write, (1, 5), Ended::Written);
        for level in [ReadLevel::Weak, ReadLevel::Linearizable, ReadLevel::Strong] {
            let late = operation(9, Request::Read(level), (6, 7), Ended::Read(1));
            assert!(violation(&[written.clone(), late], &two_writes()).contains("began later"), "{level:?}");
            let overlapping = operation(9, Request::Read(level), (5, 7), Ended::Read(1));
            assert_eq!(violation(&[written.clone(), overlapping], &two_writes()), "", "{level:?}");
        }
        let local = operation(9, Request::Read(ReadLevel::None), (6, 7), Ended::Read(1));
        assert_eq!(violation(&[written, local], &two_writes()), "");
    }

    #[test]
    fn reads_that_go_back_and_reads_of_discarded_writes_are_found() {
        let read = |times, value| operation(9, Request::Read(ReadLevel::Linearizable), times, Ended::Read(value));
        assert!(violation(&[read((1, 2), 2), read((3, 4), 1)], &two_writes()).contains("began later"));
        assert_eq!(violation(&[read((1, 2), 1), read((3, 4), 2)], &two_writes()), "");
        assert!(violation(&[read((1, 2), 7)], &two_writes()).contains("discarded"));
    }
}
