//! The settings and the status of a node, for tests.

use sqlhttp_raft::{Member, NodeStatus, Role};

use crate::cluster::config::{ClusterConfig, parse};

/// Returns the settings of the node `n1`, from a command line that also contains `flags`.
pub(crate) fn config(flags: &[&str]) -> ClusterConfig {
    let own = ["-node-id", "n1", "-raft-addr", "127.0.0.1:4002"];
    let arguments: Vec<_> = own.iter().chain(flags).chain(&["/data"]).map(Into::into).collect();
    parse(&arguments).unwrap()
}

/// Returns the status of the leader of a one-node cluster, which has not yet applied the last committed entry.
pub(crate) fn status() -> NodeStatus {
    let mut leader = Member::default();
    (leader.name, leader.raft_address) = ("n1".to_owned(), "127.0.0.1:4002".to_owned());
    (leader.voter, leader.leader) = (true, true);
    let mut status = NodeStatus::default();
    (status.role, status.term, status.ready) = (Role::Leader, 2, true);
    (status.members, status.is_member, status.voter) = (vec![leader], true, true);
    status.last_contact = Some(std::time::Duration::ZERO);
    (status.commit_index, status.applied_index, status.command_index, status.write_index) = (9, 8, 7, 5);
    (status.snapshot_index, status.snapshot_term) = (6, 2);
    status.snapshot_name = "2-6-1700000000000".to_owned();
    (status.log.first_index, status.log.last_index, status.log.last_term, status.log.bytes) = (1, 9, 2, 32768);
    status
}
