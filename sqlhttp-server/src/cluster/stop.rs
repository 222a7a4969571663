//! The preparations for the stop of a node, while it still serves requests: it hands over the leadership, and leaves
//! the cluster if it is configured to.

use std::time::Duration;

use sqlhttp_raft::Node;
use tokio::time::Instant;

use super::auth::AuthFile;
use super::config::ClusterConfig;
use super::formation;

/// The time within which another node must have become the leader.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time within which the node must have been removed from the cluster.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit of one request to remove the node, and the pause before the next one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// Returns the time that [`prepare`] takes at most.
pub(crate) fn prepare_timeout(config: &ClusterConfig) -> Duration {
    let remove = if config.raft.leave_on_stop { REMOVE_TIMEOUT } else { Duration::ZERO };
    let transfer = if config.raft.step_down_on_stop { TRANSFER_TIMEOUT } else { Duration::ZERO };
    remove + transfer
}

/// Transfers the leadership to another node if this node is the leader, and removes this node from the cluster if
/// `-raft-cluster-remove-shutdown` is set. Fails if it could not be removed.
pub(crate) async fn prepare(node: &Node, config: &ClusterConfig, auth: Option<&AuthFile>) -> Result<(), String> {
    let status = node.status();
    let others = status.members.iter().filter(|member| member.voter && member.name != config.node_id).count();
    if others == 0 {
        return Ok(());
    }
    if config.raft.step_down_on_stop && node.is_leader() {
        step_down(node).await;
    }
    if config.raft.leave_on_stop && status.is_member {
        return leave(node, config, auth).await;
    }
    Ok(())
}

/// Transfers the leadership, so that the other nodes need not detect first that this node has stopped.
async fn step_down(node: &Node) {
    match tokio::time::timeout(TRANSFER_TIMEOUT, node.transfer_leadership(None, None)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::warn!(target: "rqlited", "failed to step down before shutdown: {why}"),
        Err(_) => tracing::warn!(target: "rqlited", "failed to step down before shutdown: no other node took over"),
    }
}

/// Removes this node from the cluster.
async fn leave(node: &Node, config: &ClusterConfig, auth: Option<&AuthFile>) -> Result<(), String> {
    let end = Instant::now() + REMOVE_TIMEOUT;
    let credentials = formation::credentials(&config.formation, auth);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let limit = REQUEST_TIMEOUT.min(left);
        let removed = node.remove_member(&config.node_id, credentials.clone());
        let why = match tokio::time::timeout(limit, removed).await {
            Ok(Ok(())) => {
                tracing::info!(target: "cluster-remove", "removed this node from the cluster");
                return Ok(());
            }
            Ok(Err(why)) => why.to_string(),
            Err(_) => "the leader did not respond in time".to_owned(),
        };
        if Instant::now() + PAUSE >= end {
            return Err(format!("failed to remove this node from the cluster: {why}"));
        }
        tracing::warn!(target: "cluster-remove", "failed to remove this node from the cluster: {why}, will retry");
        tokio::time::sleep(PAUSE).await;
    }
}
