//! `store.raft`: the Raft log and the members of the cluster.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::size::friendly;

/// The statistics of bbolt, in which rqlite stores its log, about transactions. They are zero.
const BOLT_TRANSACTIONS: [&str; 12] = [
    "CursorCount",
    "NodeCount",
    "NodeDeref",
    "PageAlloc",
    "PageCount",
    "Rebalance",
    "RebalanceTime",
    "Spill",
    "SpillTime",
    "Split",
    "Write",
    "WriteTime",
];

/// The statistics of bbolt about pages. They are zero.
const BOLT: [&str; 6] = ["FreeAlloc", "FreePageN", "FreelistInuse", "OpenTxN", "PendingPageN", "TxN"];

/// Facts about Raft on this node.
#[derive(Debug, Clone, Default)]
pub struct Raft {
    /// The state as rqlite names it: `Leader`, `Follower`, `Candidate` or `Shutdown`.
    pub state: &'static str,
    /// Whether this node is the leader.
    pub leads: bool,
    /// The current term.
    pub term: u64,
    /// The index of the last entry that is known to be committed.
    pub commit_index: u64,
    /// The index of the last entry that was applied.
    pub applied_index: u64,
    /// The index of the last entry of the log.
    pub last_log_index: u64,
    /// The term of the last entry of the log.
    pub last_log_term: u64,
    /// The size of the log, in bytes.
    pub log_bytes: u64,
    /// The index of the last snapshot; 0 if there is none.
    pub snapshot_index: u64,
    /// The term of the last snapshot; 0 if there is none.
    pub snapshot_term: u64,
    /// The members of the cluster.
    pub members: Vec<Member>,
    /// The settings.
    pub settings: RaftSettings,
}

/// A member of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The name.
    pub id: String,
    /// The address for other nodes.
    pub addr: String,
    /// Whether the member votes.
    pub voter: bool,
    /// Whether the member is the leader.
    pub leader: bool,
}

/// The settings of Raft that `store.raft.config` contains.
#[derive(Debug, Clone, Default)]
pub struct RaftSettings {
    /// The name of this node.
    pub node_id: String,
    /// How long the leader waits for new entries before it sends followers the commit index without any.
    pub commit_timeout: Duration,
    /// How long a candidate waits for a leader before it starts another election.
    pub election_timeout: Duration,
    /// How long a follower waits for the leader before it starts an election.
    pub heartbeat_timeout: Duration,
    /// How long a leader without contact to a quorum stays leader.
    pub leader_lease_timeout: Duration,
    /// The level of the log messages.
    pub log_level: String,
    /// Whether a node that is removed from the cluster stops.
    pub shutdown_on_remove: bool,
    /// The time between two checks whether a snapshot is due.
    pub snapshot_interval: Duration,
    /// The number of entries after which a snapshot is due.
    pub snapshot_entries: u64,
}

impl Raft {
    pub(super) fn document(&self) -> Value {
        let node_id = &self.settings.node_id;
        let mut raft = self.constants();
        raft["applied_index"] = json!(self.applied_index);
        raft["commit_index"] = json!(self.commit_index);
        raft["config"] = self.settings.document();
        raft["fsm_pending"] = json!(self.commit_index.saturating_sub(self.applied_index));
        raft["last_contact"] = if self.leads { json!(0) } else { json!("never") };
        raft["last_log_index"] = json!(self.last_log_index);
        raft["last_log_term"] = json!(self.last_log_term);
        raft["last_snapshot_index"] = json!(self.snapshot_index);
        raft["last_snapshot_term"] = json!(self.snapshot_term);
        raft["latest_configuration"] = json!(configuration(&self.members));
        raft["log_size"] = json!(self.log_bytes);
        raft["log_size_friendly"] = json!(friendly(self.log_bytes));
        raft["num_peers"] = json!(self.voters().filter(|member| member.id != *node_id).count());
        raft["state"] = json!(self.state);
        raft["term"] = json!(self.term);
        raft["voter"] = json!(self.voters().any(|member| member.id == *node_id));
        raft
    }

    fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.voter)
    }

    /// The facts that are always the same.
    fn constants(&self) -> Value {
        let mut bolt = zeros(&BOLT);
        bolt["TxStats"] = zeros(&BOLT_TRANSACTIONS);
        json!({
            "bolt": bolt,
            "latest_configuration_index": 0,
            "protocol_version": 3,
            "protocol_version_max": 3,
            "protocol_version_min": 0,
            "snapshot_version_max": 1,
            "snapshot_version_min": 0,
            "transport": {
                "command_commit_index": 0,
                "compress_snap": false,
                "leader_commit_index": 0,
            },
        })
    }
}

impl RaftSettings {
    /// Describes the settings with the names of hashicorp/raft. Durations are numbers of nanoseconds.
    fn document(&self) -> Value {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "CommitTimeout": nanoseconds(self.commit_timeout),
            "ElectionTimeout": nanoseconds(self.election_timeout),
            "HeartbeatTimeout": nanoseconds(self.heartbeat_timeout),
            "LeaderLeaseTimeout": nanoseconds(self.leader_lease_timeout),
            "LocalID": self.node_id,
            "LogLevel": self.log_level,
            "MaxAppendEntries": 64,
            "NoSnapshotRestoreOnStart": true,
            "ShutdownOnRemove": self.shutdown_on_remove,
            "SnapshotInterval": nanoseconds(self.snapshot_interval),
            "SnapshotThreshold": self.snapshot_entries,
        })
    }
}

/// Formats members as Go prints them: `[{Suffrage:Voter ID:1 Address:127.0.0.1:4002} …]`.
fn configuration(members: &[Member]) -> String {
    let describe = |member: &Member| {
        let suffrage = if member.voter { "Voter" } else { "Nonvoter" };
        format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.id, member.addr)
    };
    format!("[{}]", members.iter().map(describe).collect::<Vec<_>>().join(" "))
}

/// Returns an object with these keys, whose values are all zero.
fn zeros(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<Map<_, _>>().into()
}
