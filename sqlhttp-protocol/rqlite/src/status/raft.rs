//! The section `store.raft` of `/status`: the Raft log and the cluster members.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sqlhttp_text::duration;

use super::size::friendly;

/// The keys of bbolt's statistics about transactions. rqlite stores its Raft log in bbolt; this server does not, so the
/// values are zero.
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

/// The keys of bbolt's statistics about pages. The values are zero, because this server does not use bbolt.
const BOLT: [&str; 6] = ["FreeAlloc", "FreePageN", "FreelistInuse", "OpenTxN", "PendingPageN", "TxN"];

/// The facts about Raft on this node that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Raft {
    /// The Raft state of this node under its name in rqlite: `Leader`, `Follower`, `Candidate` or `Shutdown`.
    pub state: &'static str,
    /// Whether this node is the leader.
    pub leads: bool,
    /// The time since this node has last received a message from the leader. `None` if it has not received any.
    pub last_contact: Option<Duration>,
    /// The current Raft term.
    pub term: u64,
    /// The index of the last Raft log entry that is known to be committed.
    pub commit_index: u64,
    /// The index of the last Raft log entry that was applied.
    pub applied_index: u64,
    /// The index of the last entry of the Raft log.
    pub last_log_index: u64,
    /// The term of the last entry of the Raft log.
    pub last_log_term: u64,
    /// The size of the Raft log, in bytes.
    pub log_bytes: u64,
    /// The index of the last Raft log entry that the last snapshot includes; 0 if there is no snapshot.
    pub snapshot_index: u64,
    /// The term of the last Raft log entry that the last snapshot includes; 0 if there is no snapshot.
    pub snapshot_term: u64,
    /// The members of the cluster.
    pub members: Vec<RaftMember>,
    /// Whether this node was removed from its cluster.
    pub removed: bool,
    /// Why this node serves no reads: its content differs from that of the majority. `None` if it is not known to
    /// differ.
    pub differs: Option<String>,
    /// The Raft settings of this node.
    pub settings: RaftSettings,
}

/// A member of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaftMember {
    /// The name of the member.
    pub id: String,
    /// The address to which the other nodes connect.
    pub addr: String,
    /// Whether the member has a vote.
    pub voter: bool,
    /// Whether the member is the leader of the cluster.
    pub leader: bool,
}

/// The Raft settings that `/status` reports in `store.raft.config`.
#[derive(Debug, Clone, Default)]
pub struct RaftSettings {
    /// The name of this node.
    pub node_id: String,
    /// How long the leader waits for new entries before it sends the commit index to the followers without any entries.
    pub commit_timeout: Duration,
    /// How long a candidate waits for a leader to be elected before it starts another election.
    pub election_timeout: Duration,
    /// How long a follower waits for a message of the leader before it starts an election.
    pub heartbeat_timeout: Duration,
    /// How long a leader without contact with a quorum remains the leader.
    pub leader_lease_timeout: Duration,
    /// The log level for Raft messages.
    pub log_level: String,
    /// Whether a node stops when it is removed from the cluster.
    pub shutdown_on_remove: bool,
    /// The interval at which the node checks whether a snapshot is due.
    pub snapshot_interval: Duration,
    /// The number of Raft log entries after which a snapshot is due.
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
        raft["last_contact"] = match self.last_contact {
            _ if self.leads => json!(0),
            Some(time) => json!(duration::format(time)),
            None => json!("never"),
        };
        raft["last_log_index"] = json!(self.last_log_index);
        raft["last_log_term"] = json!(self.last_log_term);
        raft["last_snapshot_index"] = json!(self.snapshot_index);
        raft["last_snapshot_term"] = json!(self.snapshot_term);
        raft["latest_configuration"] = json!(configuration(&self.members));
        raft["log_size"] = json!(self.log_bytes);
        raft["log_size_friendly"] = json!(friendly(self.log_bytes));
        let is_voter = self.voters().any(|member| member.id == *node_id);
        // A node that does not vote reports no peers.
        raft["num_peers"] = json!(if is_voter { self.voters().count().saturating_sub(1) } else { 0 });
        raft["state"] = json!(self.state);
        raft["term"] = json!(self.term);
        raft["voter"] = json!(is_voter);
        if self.removed {
            raft["removed"] = json!(true);
        }
        if let Some(why) = &self.differs {
            raft["differs"] = json!(why);
        }
        raft
    }

    fn voters(&self) -> impl Iterator<Item = &RaftMember> {
        self.members.iter().filter(|member| member.voter)
    }

    /// The members of `store.raft` whose values never change.
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
    /// Describes the settings under their names in hashicorp/raft. Durations are numbers of nanoseconds.
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

/// Formats the cluster members as Go prints them: `[{Suffrage:Voter ID:1 Address:127.0.0.1:4002} …]`.
fn configuration(members: &[RaftMember]) -> String {
    let describe = |member: &RaftMember| {
        let suffrage = if member.voter { "Voter" } else { "Nonvoter" };
        format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.id, member.addr)
    };
    format!("[{}]", members.iter().map(describe).collect::<Vec<_>>().join(" "))
}

/// Returns a JSON object with these keys, in which each value is zero.
fn zeros(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<Map<_, _>>().into()
}
