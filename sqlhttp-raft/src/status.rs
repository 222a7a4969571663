//! The status of a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::{RaftMetrics, ServerState};

use crate::node::{Counters, Node};
use crate::raft::why_stopped;
use crate::types::{TypeConfig, index_of};
use openraft::async_runtime::WatchReceiver as _;

/// The role of a node in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The node is leader.
    Leader,
    /// The node follows a leader, or waits for one.
    Follower,
    /// The node is a candidate in an election.
    Candidate,
    /// The node has stopped.
    Shutdown,
}

impl Role {
    /// The capitalised name of the role, as monitoring tools expect it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "Leader",
            Role::Follower => "Follower",
            Role::Candidate => "Candidate",
            Role::Shutdown => "Shutdown",
        }
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name that the operator has given to the node.
    pub name: String,
    /// The address at which other nodes reach the node.
    pub raft_address: String,
    /// Whether the node is a voter.
    pub voter: bool,
    /// Whether the node is leader, as far as the node that reports this knows.
    pub leader: bool,
}

/// The status of a node at one moment.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// The role of the node.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// Whether the node is leader, and has applied every entry that was acknowledged before.
    pub ready: bool,
    /// All members, sorted by name.
    pub members: Vec<Member>,
    /// The last index that is known to be committed.
    pub commit_index: u64,
    /// The last index that has been applied.
    pub applied_index: u64,
    /// The index of the last applied entry that contained a command. Nodes that have applied the same entries agree on
    /// it.
    pub command_index: u64,
    /// The index of the last applied entry that could change the database. Nodes that have applied the same entries
    /// agree on it.
    pub write_index: u64,
    /// The index of the last snapshot; 0 if there is none.
    pub snapshot_index: u64,
    /// The term of the last snapshot; 0 if there is none.
    pub snapshot_term: u64,
    /// The name of the last snapshot, from its term, its index and its time; empty if there is none.
    pub snapshot_name: String,
    /// The number of operations that are queued for the log.
    pub proposals_waiting: u64,
    /// Statistics of the log.
    pub log: LogStats,
    /// Counts since the start.
    pub totals: Totals,
    /// Why the node has stopped, if it has.
    pub stopped: Option<String>,
}

/// Statistics of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The first index that the log contains; 0 if it contains no entry.
    pub first_index: u64,
    /// The last index; 0 if there never was an entry.
    pub last_index: u64,
    /// The term of the last entry.
    pub last_term: u64,
    /// The size of the log on disk, in bytes.
    pub bytes: u64,
    /// The number of syncs since the start.
    pub syncs: u64,
    /// The total time of these syncs.
    pub sync_time: Duration,
    /// The number of entries appended since the start.
    pub entries: u64,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Periodic and requested snapshots.
    pub snapshots: u64,
    /// Whether the database had applied entries before the start.
    pub started_on_existing: bool,
    /// Requested snapshots.
    pub snapshots_by_request: u64,
    /// Periodic and requested snapshots that failed.
    pub snapshots_failed: u64,
    /// Database files loaded through the log ([`Node::load`]).
    pub loads: u64,
    /// Database files loaded without the log ([`Node::boot`]).
    pub boots: u64,
    /// Periodic VACUUMs.
    pub vacuums: u64,
    /// Periodic VACUUMs that failed.
    pub vacuums_failed: u64,
    /// Periodic runs of `PRAGMA optimize`.
    pub optimizes: u64,
    /// Periodic runs of `PRAGMA optimize` that failed.
    pub optimizes_failed: u64,
}

impl NodeStatus {
    /// The leader, if it is known.
    pub fn leader(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.leader)
    }
}

/// The interval at which [`Node::failure`] checks the node.
const FAILURE_POLL: Duration = Duration::from_millis(250);

impl Node {
    /// Returns the current status of the node.
    pub fn status(&self) -> NodeStatus {
        let inner = &self.inner;
        let metrics = inner.raft.metrics().borrow_watched().clone();
        let progress = inner.database.progress();
        let taken = inner.machine.last_snapshot();
        let log = inner.log.status();
        let stopped = self.stopped_because(&metrics);
        let running = stopped.is_none();
        NodeStatus {
            role: if running { role(metrics.state) } else { Role::Shutdown },
            term: metrics.current_term,
            ready: running && *inner.ready_term.borrow() != 0,
            members: members(&metrics, running),
            commit_index: metrics.local_committed.map_or(0, |id| index_of(&id)).max(progress.index),
            applied_index: progress.index,
            command_index: progress.command_index,
            write_index: progress.write_index,
            snapshot_index: taken.map_or(0, |taken| taken.index),
            snapshot_term: taken.map_or(0, |taken| taken.term),
            snapshot_name: taken
                .map_or(String::new(), |taken| format!("{}-{}-{}", taken.term, taken.index, unix_ms(taken.at))),
            proposals_waiting: inner.proposer.queued(),
            log: LogStats {
                first_index: log.first_index,
                last_index: log.last_index,
                last_term: log.last_term,
                bytes: log.bytes_on_disk,
                syncs: log.fsyncs,
                sync_time: Duration::from_nanos(log.fsync_nanos_total),
                entries: log.appended_entries,
            },
            totals: totals(&inner.counters),
            stopped,
        }
    }

    fn stopped_because(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<String> {
        let poisoned = self.inner.database.status().poisoned;
        match &metrics.running_state {
            Ok(()) => poisoned,
            Err(fatal) => Some(why_stopped(poisoned, fatal)),
        }
    }

    /// Waits until the node has stopped because of an error, and returns the reason.
    pub async fn failure(&self) -> String {
        loop {
            if let Some(why) = self.stopped_because(&self.inner.raft.metrics().borrow_watched().clone()) {
                return why;
            }
            tokio::time::sleep(FAILURE_POLL).await;
        }
    }

    /// The time of the last snapshot.
    pub fn last_snapshot_at(&self) -> Option<SystemTime> {
        self.inner.machine.last_snapshot().map(|taken| taken.at)
    }
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Shutdown => Role::Shutdown,
        ServerState::Learner | ServerState::Follower => Role::Follower,
    }
}

/// Returns the members as this node knows them. A node that has stopped receives no news of a leader, so it reports
/// none.
fn members(metrics: &RaftMetrics<TypeConfig>, running: bool) -> Vec<Member> {
    let membership = &metrics.membership_config;
    let voters: Vec<u64> = membership.voter_ids().collect();
    let mut members: Vec<Member> = membership
        .nodes()
        .map(|(id, peer)| Member {
            name: peer.name.clone(),
            raft_address: peer.raft_address.clone(),
            voter: voters.contains(id),
            leader: running && metrics.current_leader == Some(*id),
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// Returns a time in milliseconds since 1970-01-01 00:00 UTC.
fn unix_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

fn totals(counters: &Counters) -> Totals {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Totals {
        snapshots: of(&counters.snapshots),
        started_on_existing: counters.started_on_existing,
        snapshots_by_request: of(&counters.snapshots_by_request),
        snapshots_failed: of(&counters.snapshots_failed),
        loads: of(&counters.loads),
        boots: of(&counters.boots),
        vacuums: of(&counters.vacuums),
        vacuums_failed: of(&counters.vacuums_failed),
        optimizes: of(&counters.optimizes),
        optimizes_failed: of(&counters.optimizes_failed),
    }
}
