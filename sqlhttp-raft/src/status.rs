//! The status of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::errors::Fatal;
use openraft::{RaftMetrics, ServerState};

use crate::members::MembershipCounters;
use crate::node::{Counters, Node};
use crate::raft::why_stopped;
use crate::types::{TypeConfig, index_of};
use openraft::async_runtime::WatchReceiver as _;

/// The role of a node in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// The node is the leader of the current term.
    Leader,
    /// The node follows a leader, or waits for a leader to be elected.
    #[default]
    Follower,
    /// The node is a candidate in an election.
    Candidate,
    /// The node has stopped. It no longer takes part in Raft.
    Shutdown,
}

impl Role {
    /// Returns the capitalized name of the role, as monitoring tools expect it.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Member {
    /// The name that the operator has given to this member.
    pub name: String,
    /// The address at which other nodes connect to this member, as `host:port`.
    pub raft_address: String,
    /// Whether the member votes in elections and counts for majorities.
    pub voter: bool,
    /// Whether this member is the leader, according to the node that reports the status.
    pub leader: bool,
}

/// The status of a node at the time when [`Node::status`] was called.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The role of the node in Raft.
    pub role: Role,
    /// The current Raft term.
    pub term: u64,
    /// Whether the node is leader, and has applied every entry that was acknowledged before.
    pub ready: bool,
    /// All members of the cluster, sorted by name.
    pub members: Vec<Member>,
    /// Whether this node is a member of a cluster.
    pub is_member: bool,
    /// Whether this node votes.
    pub voter: bool,
    /// Whether this node was removed from its cluster, as far as it knows ([`Node::watch_for_removal`]).
    pub removed: bool,
    /// The time since the last message of the leader; zero on the leader; `None` if there was none since the start.
    pub last_contact: Option<Duration>,
    /// The index of the last Raft log entry that is known to be committed.
    pub commit_index: u64,
    /// The index of the last Raft log entry that the database has applied.
    pub applied_index: u64,
    /// The index of the last applied Raft log entry that contained a command (not a membership or a blank entry). All
    /// nodes that have applied the same entries have the same value.
    pub command_index: u64,
    /// The index of the last applied Raft log entry that could change the database. All nodes that have applied the
    /// same entries have the same value.
    pub write_index: u64,
    /// The index of the last entry that the last snapshot includes; 0 if no snapshot has been taken since the start.
    pub snapshot_index: u64,
    /// The term of the last entry that the last snapshot includes; 0 if no snapshot has been taken since the start.
    pub snapshot_term: u64,
    /// The name of the last snapshot, made of its term, its index and its time in milliseconds since 1970; empty if no
    /// snapshot has been taken since the start.
    pub snapshot_name: String,
    /// The number of operations that are queued to be proposed to the Raft log.
    pub proposals_waiting: u64,
    /// Statistics of the Raft log.
    pub log: LogStats,
    /// Counts of this node's operations since it was started.
    pub totals: Totals,
    /// Why this node serves no reads: a verification has found that its content differs from that of the majority.
    /// `None` if its content is not known to differ.
    pub differs: Option<String>,
    /// Why the node has stopped; `None` if it is running.
    pub stopped: Option<String>,
}

/// Statistics of the Raft log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// The index of the first entry that the Raft log contains; 0 if it contains no entry.
    pub first_index: u64,
    /// The index of the last entry of the Raft log, even if that entry has been purged; 0 if no entry was ever written.
    pub last_index: u64,
    /// The term of the last entry of the Raft log; 0 if no entry was ever written.
    pub last_term: u64,
    /// The size of the Raft log on disk, in bytes.
    pub bytes: u64,
    /// The number of times that the Raft log has been synced since the node was started.
    pub syncs: u64,
    /// The total duration of the syncs of the Raft log since the node was started.
    pub sync_time: Duration,
    /// The number of entries appended to the Raft log since the node was started.
    pub entries: u64,
}

/// Counts of this node's operations since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of periodic and requested snapshots that were taken.
    pub snapshots: u64,
    /// Whether the database had applied entries before the node was started.
    pub started_on_existing: bool,
    /// The number of snapshots that operators requested and that were taken.
    pub snapshots_by_request: u64,
    /// The number of periodic and requested snapshots that failed.
    pub snapshots_failed: u64,
    /// The number of database files loaded through the Raft log ([`Node::load`]).
    pub loads: u64,
    /// The number of database files loaded without the Raft log ([`Node::boot`]).
    pub boots: u64,
    /// The number of periodic VACUUMs that succeeded.
    pub vacuums: u64,
    /// The number of periodic VACUUMs that failed.
    pub vacuums_failed: u64,
    /// The number of periodic executions of `PRAGMA optimize` that succeeded.
    pub optimizes: u64,
    /// The number of periodic executions of `PRAGMA optimize` that failed.
    pub optimizes_failed: u64,
    /// The number of requests that this node has forwarded to the leader.
    pub forwarded: u64,
    /// The number of times that a connection for forwarded requests was opened because the one before had broken.
    pub reconnects: u64,
    /// The number of snapshots of other nodes that this node has installed.
    pub snapshots_installed: u64,
    /// The number of transfers of a snapshot to this node that continued after an interruption.
    pub snapshot_resumes: u64,
    /// The number of bytes of snapshots that this node has received.
    pub snapshot_bytes_received: u64,
    /// The number of requests to join the cluster that this node has received.
    pub joins_requested: u64,
    /// The number of nodes that this node has added to the cluster, or whose address it has updated.
    pub joins: u64,
    /// The number of requests of nodes to join that were members already.
    pub joins_unchanged: u64,
    /// The number of members that this node has replaced because a node with the same name or address joined.
    pub removed_before_joins: u64,
    /// The number of members that this node has removed.
    pub removals: u64,
    /// The number of voters that this node has removed because they did not respond.
    pub reaped_voters: u64,
    /// The number of other members that this node has removed because they did not respond.
    pub reaped_non_voters: u64,
}

impl NodeStatus {
    /// The leader; `None` if the node that reports the status knows of no leader.
    pub fn leader(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.leader)
    }
}

/// The interval at which [`Node::failure`] checks whether the node has stopped.
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
        let running = stopped.is_none() && metrics.running_state.is_ok();
        let removed = inner.leadership.is_removed();
        let mut members = members(&metrics, inner.leadership.leader().filter(|_| running));
        if removed {
            // The membership that this node knows is that before its removal.
            members.retain(|member| member.name != inner.options.name);
        }
        NodeStatus {
            role: if running { role(metrics.state) } else { Role::Shutdown },
            term: metrics.current_term,
            ready: running && inner.leadership.is_ready(),
            members,
            is_member: self.is_member() && !removed,
            voter: metrics.membership_config.voter_ids().any(|id| id == metrics.id) && !removed,
            removed,
            last_contact: if metrics.state.is_leader() {
                Some(Duration::ZERO)
            } else {
                inner.leadership.contact.elapsed()
            },
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
            totals: Totals {
                reconnects: inner.peers.reconnects(),
                snapshots_installed: inner.machine.installed(),
                snapshot_resumes: inner.receiver.resumed.load(Ordering::Relaxed),
                snapshot_bytes_received: inner.receiver.bytes.load(Ordering::Relaxed),
                ..totals(&inner.counters, &inner.members.counters)
            },
            differs: inner.difference.reason().map(|reason| reason.to_string()),
            stopped,
        }
    }

    /// Why this node serves no reads ([`NodeStatus::differs`]).
    pub fn differs(&self) -> Option<Arc<str>> {
        self.inner.difference.reason()
    }

    fn stopped_because(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<String> {
        let poisoned = self.inner.database.status().poisoned;
        match &metrics.running_state {
            Ok(()) => poisoned,
            // Raft was shut down on purpose.
            Err(Fatal::Stopped) if self.inner.leadership.is_marked_removed() => poisoned,
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

    /// The time at which the last snapshot was taken; `None` if no snapshot has been taken since the start.
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

/// Returns the members of the cluster according to this node. `leader` is the Raft id of the leader, if there is one.
fn members(metrics: &RaftMetrics<TypeConfig>, leader: Option<u64>) -> Vec<Member> {
    let membership = &metrics.membership_config;
    let voters: Vec<u64> = membership.voter_ids().collect();
    let mut members: Vec<Member> = membership
        .nodes()
        .map(|(id, peer)| Member {
            name: peer.name.clone(),
            raft_address: peer.raft_address.clone(),
            voter: voters.contains(id),
            leader: leader == Some(*id),
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// Returns a time in milliseconds since 1970-01-01 00:00 UTC.
fn unix_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

fn totals(counters: &Counters, members: &MembershipCounters) -> Totals {
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
        forwarded: of(&counters.forwarded),
        joins_requested: of(&members.joins_requested),
        joins: of(&members.joins),
        joins_unchanged: of(&members.joins_unchanged),
        removed_before_joins: of(&members.removed_before_joins),
        removals: of(&members.removals),
        reaped_voters: of(&members.reaped_voters),
        reaped_non_voters: of(&members.reaped_non_voters),
        ..Totals::default()
    }
}
