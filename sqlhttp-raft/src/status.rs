//! What a node tells of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::{RaftMetrics, ServerState};

use crate::node::{Counters, Node};
use crate::raft::why_stopped;
use crate::types::{TypeConfig, index_of};
use openraft::async_runtime::WatchReceiver as _;

/// A node's part in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It stands for election.
    Candidate,
    /// It has stopped.
    Shutdown,
}

impl Role {
    /// The role's name, as tools expect it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "Leader",
            Role::Follower => "Follower",
            Role::Candidate => "Candidate",
            Role::Shutdown => "Shutdown",
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What its operator calls it.
    pub name: String,
    /// Where other nodes reach it.
    pub raft_address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads, as far as is known here.
    pub leader: bool,
}

/// What a node tells of itself, at one moment.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its part in the cluster.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// Whether it leads, and has applied everything that was acknowledged before it did.
    pub ready: bool,
    /// All nodes, by name.
    pub members: Vec<Member>,
    /// The last index that is known to be committed.
    pub commit_index: u64,
    /// The last index that has been applied.
    pub applied_index: u64,
    /// The last entry applied that carried a command: the same on every node that is as far.
    pub command_index: u64,
    /// The last entry applied that could change the database: the same on every node that is as far.
    pub write_index: u64,
    /// The index of the last snapshot; 0 if there is none.
    pub snapshot_index: u64,
    /// Its term.
    pub snapshot_term: u64,
    /// The snapshot's name; empty if there is none.
    pub snapshot_name: String,
    /// Pieces of work that wait for their place in the log.
    pub proposals_waiting: u64,
    /// The log.
    pub log: LogStats,
    /// What has happened since the start.
    pub totals: Totals,
    /// Why this node has stopped, if it has.
    pub stopped: Option<String>,
}

/// The log in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The first index that is still there.
    pub first_index: u64,
    /// The last index.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
    /// What it takes on disk, bytes.
    pub bytes: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// How long they took together.
    pub sync_time: Duration,
    /// Entries appended since the start.
    pub entries: u64,
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Snapshots taken.
    pub snapshots: u64,
    /// Whether the node was started on data that was there already, and so had nothing to restore.
    pub started_on_existing: bool,
    /// Of the snapshots, those that somebody asked for.
    pub snapshots_by_request: u64,
    /// Snapshots that failed.
    pub snapshots_failed: u64,
    /// Database files loaded through the log.
    pub loads: u64,
    /// Database files loaded beside the log.
    pub boots: u64,
    /// VACUUMs by the clock.
    pub vacuums: u64,
    /// Those that failed.
    pub vacuums_failed: u64,
    /// `PRAGMA optimize` by the clock.
    pub optimizes: u64,
    /// Those that failed.
    pub optimizes_failed: u64,
}

impl NodeStatus {
    /// The leader, if one is known.
    pub fn leader(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.leader)
    }
}

/// How often [`Node::failure`] looks.
const FAILURE_POLL: Duration = Duration::from_millis(250);

impl Node {
    /// What the node tells of itself, now.
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

    /// Waits until the node has stopped by itself, and returns why.
    pub async fn failure(&self) -> String {
        loop {
            if let Some(why) = self.stopped_because(&self.inner.raft.metrics().borrow_watched().clone()) {
                return why;
            }
            tokio::time::sleep(FAILURE_POLL).await;
        }
    }

    /// When the last snapshot was taken.
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

/// The members as this node knows them. One that has stopped hears of no leader, and is none.
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

/// Milliseconds since 1970-01-01 00:00 UTC.
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
