//! The settings and the status of a node, for tests.

use sqlhttp_raft::{LogStats, Member, NodeStatus, Role, Totals};

use crate::cluster::config::{ClusterConfig, parse};

/// Returns the settings of the node `n1`, from a command line that also contains `flags`.
pub(crate) fn config(flags: &[&str]) -> ClusterConfig {
    let own = ["-node-id", "n1", "-raft-addr", "127.0.0.1:4002"];
    let arguments: Vec<_> = own.iter().chain(flags).chain(&["/data"]).map(Into::into).collect();
    parse(&arguments).unwrap()
}

/// Returns the status of the leader of a one-node cluster, which has not yet applied the last committed entry.
pub(crate) fn status() -> NodeStatus {
    NodeStatus {
        role: Role::Leader,
        term: 2,
        ready: true,
        members: vec![Member {
            name: "n1".to_owned(),
            raft_address: "127.0.0.1:4002".to_owned(),
            voter: true,
            leader: true,
        }],
        is_member: true,
        voter: true,
        removed: false,
        last_contact: Some(std::time::Duration::ZERO),
        commit_index: 9,
        applied_index: 8,
        command_index: 7,
        write_index: 5,
        snapshot_index: 6,
        snapshot_term: 2,
        snapshot_name: "2-6-1700000000000".to_owned(),
        proposals_waiting: 0,
        log: LogStats { first_index: 1, last_index: 9, last_term: 2, bytes: 32768, ..LogStats::default() },
        totals: Totals::default(),
        differs: None,
        stopped: None,
    }
}
