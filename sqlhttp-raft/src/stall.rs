//! Leaves the leadership to other voters while this node cannot write to its disk, or while its content is known to
//! differ from that of the majority.
//!
//! A leader that cannot apply entries, or cannot append them to its Raft log, acknowledges no writes, although a quorum
//! of other nodes could. Raft itself does not replace such a leader, because it still sends heartbeats.

use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

use crate::members::MembershipReply;
use crate::node::{Node, NodeInner};
use crate::observer::Event;

/// The minimum time between two transfers of the leadership. It limits the number of transfers if the next leader
/// cannot write to its disk either.
const TRANSFER_INTERVAL: Duration = Duration::from_secs(30);
/// The number of heartbeat timeouts without a leader after which a stalled node starts elections. A stalled leader can
/// still serve reads.
const ELECTION_AFTER: u32 = 5;

/// The task that tracks whether this node can write to its disk.
pub(crate) struct StallWatch {
    /// A weak reference, so that this task does not keep the node alive.
    node: Weak<NodeInner>,
    heartbeat_timeout: Duration,
    /// Since when this node has not been able to write to its disk; `None` while it can.
    stalled: Option<Instant>,
    /// Since when this node has not known a leader; `None` while it knows one.
    leaderless: Option<Instant>,
    transferred: Option<Instant>,
}

impl StallWatch {
    /// Starts the task on the runtime of the node.
    pub(crate) fn start(node: &Node) {
        let watch = StallWatch {
            node: Arc::downgrade(&node.inner),
            heartbeat_timeout: node.inner.options.heartbeat_timeout,
            stalled: None,
            leaderless: None,
            transferred: None,
        };
        node.inner.runtime.spawn(watch.run());
    }

    /// Checks the node ten times per heartbeat timeout, until the node is closed.
    async fn run(mut self) {
        loop {
            tokio::time::sleep(self.heartbeat_timeout / 10).await;
            let Some(inner) = self.node.upgrade() else { return };
            self.check(&Node { inner }).await;
        }
    }

    async fn check(&mut self, node: &Node) {
        let leadership = &node.inner.leadership;
        let reason = node.waits_for().or_else(|| node.inner.difference.reason()).filter(|_| !leadership.is_sole());
        self.stalled = reason.is_some().then(|| self.stalled.unwrap_or_else(Instant::now));
        self.leaderless = leadership.leader().is_none().then(|| self.leaderless.unwrap_or_else(Instant::now));
        leadership.mark_stalled(!self.may_campaign());
        if let Some(reason) = reason.filter(|_| leadership.is_leader() && self.should_transfer()) {
            self.transferred = Some(Instant::now());
            // If no other voter can lead, this node stays leader.
            if matches!(node.step_down_here(None).await, MembershipReply::Done) {
                node.inner.options.observer.event(&Event::LeadershipLeft { reason: &reason });
            }
        }
    }

    /// Returns whether this node may start an election.
    fn may_campaign(&self) -> bool {
        let has_waited = |since: Instant| since.elapsed() >= self.heartbeat_timeout * ELECTION_AFTER;
        self.stalled.is_none() || self.leaderless.is_some_and(has_waited)
    }

    /// Returns whether this node has been stalled for a heartbeat timeout, which is how long a silent leader would be
    /// accepted.
    fn should_transfer(&self) -> bool {
        self.stalled.is_some_and(|since| since.elapsed() >= self.heartbeat_timeout)
            && self.transferred.is_none_or(|last| last.elapsed() >= TRANSFER_INTERVAL)
    }
}
