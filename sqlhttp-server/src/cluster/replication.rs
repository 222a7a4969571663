//! The replication of the node's database, for the request handlers of both protocols.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlhttp_core::{BoxFuture, Deadline, Error, ReadLevel};
use sqlhttp_raft::Node;

use super::slot::NodeSlot;
use crate::api::replication::Replication;

/// The replication of the database of the node in a slot.
pub(crate) struct NodeReplication(pub(crate) Arc<NodeSlot>);

impl Replication for NodeReplication {
    fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    fn is_leader(&self) -> bool {
        // A leader that has lost contact with the quorum does not count. `Node::leader` is slower, so it comes last.
        self.0.get().is_some_and(|node| node.is_ready_leader() || node.is_leader() && node.leader().is_some())
    }

    fn leader_address(&self) -> Option<String> {
        self.0.get()?.leader().map(|leader| leader.raft_address)
    }

    fn leader_url(&self, timeout: Duration) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let node = self.0.get()?;
            let leader = node.leader()?;
            let info = node.peer_info(&leader.raft_address, timeout).await.ok()?;
            Some(info.api_url).filter(|url| !url.is_empty())
        })
    }

    fn reads_locally(&self, level: ReadLevel) -> bool {
        match level {
            ReadLevel::None => true,
            ReadLevel::Auto => self.0.get().is_some_and(|node| !node.status().voter),
            ReadLevel::Weak | ReadLevel::Linearizable | ReadLevel::Strong => false,
        }
    }

    fn is_stale(&self, freshness: Duration, strict: bool) -> bool {
        let Some(node) = self.0.get().filter(|_| !self.is_leader()) else { return false };
        let status = node.status();
        let has_lost_quorum = node.is_leader();
        if has_lost_quorum || status.last_contact.is_none_or(|contact| contact > freshness) {
            return true;
        }
        strict && status.applied_index < status.commit_index && age(node) > freshness
    }

    fn catch_up(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.0.get().ok_or(Error::Closed)?.apply_acknowledged(deadline).await })
    }
}

/// Returns the time since the leader has created the last entry that this node has applied, by the clocks of the two
/// nodes.
fn age(node: &Node) -> Duration {
    let created = u64::try_from(node.database().progress().unix_ms).map_or(Duration::ZERO, Duration::from_millis);
    SystemTime::now().duration_since(UNIX_EPOCH + created).unwrap_or_default()
}
