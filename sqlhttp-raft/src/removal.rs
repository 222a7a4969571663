//! Finds out whether this node was removed from its cluster.
//!
//! A leader stops replicating to a node when it appends the entry that removes the node. The node therefore usually
//! does not receive that entry, and only loses contact with its leader. It then asks the other members, of which only a
//! leader that a quorum has confirmed decides. A node that was not running when it was removed finds out in the same
//! way when it is started again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};

use crate::leadership::Timing;
use crate::network::{Request, Target};
use crate::node::{Node, NodeInner};
use crate::observer::Event;
use crate::types::StoredMembership;

/// The time within which another member must respond.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks a node whether the node with this Raft id is a member of the cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MembershipCall {
    node: u64,
}

/// The response to a [`MembershipCall`]. New variants are added only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MembershipAnswer {
    /// The node that responds is not leader, or not ready, so its membership may be out of date.
    Unknown,
    /// The node is a member, or its removal is not committed.
    Member,
    /// The node is not a member, according to the committed membership.
    NotMember,
}

impl Request for MembershipCall {
    const KIND: u8 = 29;
    type Response = MembershipAnswer;
}

impl Node {
    /// Starts a task that finds out whether this node was removed from its cluster. While it counts as removed, it
    /// starts no elections, and its requests fail with [`sqlhttp_core::Error::Removed`], except for reads at level
    /// `none`. It no longer counts as removed when it has contact with a leader, because it was added again. If
    /// `shut_down` is set, a node that was removed stops Raft for good instead, but continues to run.
    ///
    /// Call this when the node is a member: a node that joins its cluster again must not stop Raft meanwhile.
    pub fn watch_for_removal(&self, shut_down: bool) {
        let interval = Timing::new(self.inner.options.heartbeat_timeout).leader_lost_after();
        self.inner.runtime.spawn(watch(Arc::downgrade(&self.inner), interval, shut_down));
    }

    /// Returns whether this node was removed from its cluster, as far as it knows ([`Node::watch_for_removal`]).
    pub fn is_removed(&self) -> bool {
        self.inner.leadership.is_removed()
    }

    /// Returns whether a node is a member of the cluster, as far as this node can tell.
    pub(crate) fn membership_of(&self, call: &MembershipCall) -> MembershipAnswer {
        let metrics = self.inner.raft.server_metrics();
        let (effective, committed) = {
            let metrics = metrics.borrow_watched();
            (metrics.membership_config.clone(), metrics.committed_membership_config.clone())
        };
        let contains = |members: &StoredMembership| members.nodes().any(|(id, _)| *id == call.node);
        if !self.inner.leadership.is_ready() {
            MembershipAnswer::Unknown
        } else if contains(&effective) || contains(&committed) {
            MembershipAnswer::Member
        } else {
            MembershipAnswer::NotMember
        }
    }

    /// Checks whether this node was removed, or has been added again after its removal.
    async fn check_for_removal(&self) {
        let leadership = &self.inner.leadership;
        match (leadership.is_marked_removed(), leadership.leader().is_some()) {
            (false, false) if self.has_been_removed().await => self.mark_removed(true),
            (true, true) => self.mark_removed(false),
            _ => {}
        }
    }

    /// Asks all other members that this node knows whether it was removed. A node without a cluster knows none.
    async fn has_been_removed(&self) -> bool {
        let own = self.inner.leadership.own_id();
        let (members, _) = self.inner.members.current();
        let others: Vec<_> =
            members.into_keys().filter(|id| *id != own).map(|id| self.is_removed_according_to(id)).collect();
        join_all(others).await.contains(&true)
    }

    async fn is_removed_according_to(&self, id: u64) -> bool {
        let call = MembershipCall { node: self.inner.leadership.own_id() };
        let answer = self.inner.peers.call(Target::Node(id), &call, TIMEOUT).await;
        matches!(answer, Ok(MembershipAnswer::NotMember))
    }

    fn mark_removed(&self, removed: bool) {
        self.inner.leadership.mark_removed(removed);
        let event = if removed { Event::RemovedFromCluster } else { Event::AddedAgain };
        self.inner.options.observer.event(&event);
    }
}

/// Checks periodically whether the node was removed, until it is closed or Raft was shut down.
async fn watch(node: Weak<NodeInner>, interval: Duration, shut_down: bool) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(inner) = node.upgrade() else { return };
        let node = Node { inner };
        node.check_for_removal().await;
        if shut_down && node.inner.leadership.is_removed() {
            let observer = &node.inner.options.observer;
            match node.inner.raft.shutdown().await {
                Ok(()) => observer.event(&Event::ShutDownAfterRemoval),
                Err(error) => observer.event(&Event::ShutdownFailed { error: &error.to_string() }),
            }
            return;
        }
    }
}
