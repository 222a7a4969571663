//! `store.raft`: the log, and who votes.

use std::time::Duration;

use serde_json::{Value, json};
use sqlhttp_raft::{Member, NodeStatus, Role};

use super::zeros;
use crate::api::rqlite::status::friendly;
use crate::cluster::config::ClusterConfig;

/// What the original's log store, bbolt, tells of its transactions and pages.
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
const BOLT: [&str; 6] = ["FreeAlloc", "FreePageN", "FreelistInuse", "OpenTxN", "PendingPageN", "TxN"];

/// Raft as this node sees it.
pub(crate) fn raft(config: &ClusterConfig, status: &NodeStatus) -> Value {
    let log = &status.log;
    let voter = |member: &&Member| member.voter;
    let others = |member: &&Member| member.name != config.node_id;
    json!({
        "applied_index": status.applied_index,
        "bolt": bolt(),
        "commit_index": status.commit_index,
        "config": settings(config),
        "fsm_pending": status.commit_index.saturating_sub(status.applied_index),
        "last_contact": last_contact(status.role),
        "last_log_index": log.last_index,
        "last_log_term": log.last_term,
        "last_snapshot_index": status.snapshot_index,
        "last_snapshot_term": status.snapshot_term,
        "latest_configuration": configuration(&status.members),
        "latest_configuration_index": 0,
        "log_size": log.bytes,
        "log_size_friendly": friendly(log.bytes),
        "num_peers": status.members.iter().filter(voter).filter(others).count(),
        "protocol_version": 3,
        "protocol_version_max": 3,
        "protocol_version_min": 0,
        "snapshot_version_max": 1,
        "snapshot_version_min": 0,
        "state": status.role.name(),
        "term": status.term,
        "transport": {
            "command_commit_index": 0,
            "compress_snap": false,
            "leader_commit_index": 0,
        },
        "voter": status.members.iter().any(|member| member.name == config.node_id && member.voter),
    })
}

fn bolt() -> Value {
    let mut bolt = zeros(&BOLT);
    bolt["TxStats"] = zeros(&BOLT_TRANSACTIONS);
    bolt
}

/// Durations in nanoseconds.
fn settings(config: &ClusterConfig) -> Value {
    let raft = &config.raft;
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "CommitTimeout": nanoseconds(raft.commit_timeout),
        "ElectionTimeout": nanoseconds(raft.election_timeout),
        "HeartbeatTimeout": nanoseconds(raft.heartbeat_timeout),
        "LeaderLeaseTimeout": nanoseconds(raft.leader_lease_timeout),
        "LocalID": config.node_id,
        "LogLevel": raft.log_level.as_str(),
        "MaxAppendEntries": 64,
        "NoSnapshotRestoreOnStart": true,
        "ShutdownOnRemove": raft.shutdown_on_remove,
        "SnapshotInterval": nanoseconds(raft.snapshot_interval),
        "SnapshotThreshold": raft.snapshot_entries,
    })
}

/// How long ago the leader was heard of: a number for the leader itself, a text for others.
fn last_contact(role: Role) -> Value {
    match role {
        Role::Leader => json!(0),
        Role::Follower | Role::Candidate | Role::Shutdown => json!("never"),
    }
}

/// `[{Suffrage:Voter ID:1 Address:127.0.0.1:4002} …]`.
fn configuration(members: &[Member]) -> String {
    let describe = |member: &Member| {
        let suffrage = if member.voter { "Voter" } else { "Nonvoter" };
        format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.name, member.raft_address)
    };
    format!("[{}]", members.iter().map(describe).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{config, status};
    use super::*;

    #[test]
    fn of_one_node() {
        let raft = raft(&config(&[]), &status());
        assert_eq!(raft["latest_configuration"], "[{Suffrage:Voter ID:n1 Address:127.0.0.1:4002}]");
        assert_eq!((&raft["state"], &raft["voter"], &raft["num_peers"]), (&json!("Leader"), &json!(true), &json!(0)));
        assert_eq!((&raft["commit_index"], &raft["applied_index"]), (&json!(9), &json!(8)));
        assert_eq!((&raft["fsm_pending"], &raft["last_contact"]), (&json!(1), &json!(0)));
        assert_eq!((&raft["log_size"], &raft["log_size_friendly"]), (&json!(32768), &json!("33 kB")));
        assert_eq!(raft["config"]["HeartbeatTimeout"], 1_000_000_000);
        assert_eq!(raft["config"]["LogLevel"], "WARN");
        assert_eq!(raft["bolt"]["TxStats"]["Write"], 0);
    }

    #[test]
    fn of_a_node_that_only_reads() {
        let mut status = status();
        status.role = Role::Follower;
        status.members = ["n0", "n1"]
            .map(|name| Member {
                name: name.to_owned(),
                raft_address: format!("{name}:4002"),
                voter: name == "n0",
                leader: name == "n0",
            })
            .to_vec();
        let raft = raft(&config(&[]), &status);
        assert_eq!((&raft["voter"], &raft["num_peers"]), (&json!(false), &json!(1)));
        assert_eq!((&raft["state"], &raft["last_contact"]), (&json!("Follower"), &json!("never")));
        let expected = "[{Suffrage:Voter ID:n0 Address:n0:4002} {Suffrage:Nonvoter ID:n1 Address:n1:4002}]";
        assert_eq!(raft["latest_configuration"], expected);
    }
}
