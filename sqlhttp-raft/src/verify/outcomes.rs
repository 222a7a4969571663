//! Compares the outcomes that the nodes compute for the entries of the Raft log, all the time.
//!
//! The leader asks each member for the running hash of its outcomes ([`sqlhttp_core::OutcomeLink`]) once per second,
//! and compares it with its own at the same index. If they differ, it finds the first entry with another outcome,
//! reports it, and verifies the content of all nodes, which finds out which of them differ from the majority.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sqlhttp_core::OutcomeLink;
use tokio::time::Instant;

use super::VerifyOptions;
use crate::network::{Request, Target};
use crate::node::{Node, NodeInner};
use crate::observer::Event;

/// The interval of the comparisons.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time within which a member must respond.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The minimum time between two verifications because of differing outcomes.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

/// Asks a member for the running hash of its outcomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutcomeCall;

/// The response is `None` if the member has no hash to compare.
impl Request for OutcomeCall {
    const KIND: u8 = 47;
    type Response = Option<WireLink>;
}

/// Asks a member for the running hashes up to an index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutcomesCall {
    pub(crate) index: u64,
}

impl Request for OutcomesCall {
    const KIND: u8 = 48;
    type Response = Vec<WireLink>;
}

/// The running hash of a node at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireLink {
    index: u64,
    hash: u64,
}

impl From<OutcomeLink> for WireLink {
    fn from(OutcomeLink { index, hash }: OutcomeLink) -> Self {
        WireLink { index, hash }
    }
}

/// The task that compares the outcomes while this node is leader.
pub(crate) struct OutcomeWatch {
    // A weak reference, so that the task does not keep the node alive.
    node: Weak<NodeInner>,
    verified: Option<Instant>,
}

impl OutcomeWatch {
    /// Starts the task on the runtime for slow requests.
    pub(crate) fn start(node: &Node) {
        let watch = OutcomeWatch { node: Arc::downgrade(&node.inner), verified: None };
        node.inner.slow_runtime.spawn(watch.run());
    }

    async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(inner) = self.node.upgrade() else { return };
            let node = Node { inner };
            if node.is_ready_leader() && self.may_verify() && node.finds_other_outcomes().await {
                self.verified = Some(Instant::now());
                // The verification records and reports its result. It fails if another one is running.
                let _ = node.verify(VerifyOptions::default(), None).await;
            }
        }
    }

    fn may_verify(&self) -> bool {
        self.verified.is_none_or(|last| last.elapsed() >= VERIFY_INTERVAL)
    }
}

impl Node {
    pub(crate) fn last_outcome(&self) -> Option<WireLink> {
        self.inner.database.last_outcome_link().map(WireLink::from)
    }

    pub(crate) fn outcomes_up_to(&self, call: &OutcomesCall) -> Vec<WireLink> {
        self.inner.database.outcome_links_up_to(call.index).into_iter().map(WireLink::from).collect()
    }

    /// Compares the outcomes of all members with those of this node, and reports the first entry with another outcome.
    /// Returns whether there is one.
    async fn finds_other_outcomes(&self) -> bool {
        let own = self.inner.leadership.own_id();
        let (members, _) = self.inner.members.current();
        let others = members.into_iter().filter(|(id, _)| *id != own);
        let found = join_all(others.map(|(id, member)| async move { (member.name, self.other_outcome_of(id).await) }));
        let mut differ = false;
        for (name, index) in found.await {
            if let Some(index) = index {
                differ = true;
                self.inner.options.observer.event(&Event::OutcomesDiffer { name: &name, index });
            }
        }
        differ
    }

    /// The index of the first entry for which a member has computed another outcome; `None` if there is none, or if it
    /// cannot be compared at the moment.
    async fn other_outcome_of(&self, member: u64) -> Option<u64> {
        let theirs = self.inner.peers.call(Target::Node(member), &OutcomeCall, TIMEOUT).await.ok().flatten()?;
        let call = OutcomesCall { index: theirs.index };
        let ours = *self.outcomes_up_to(&call).last()?;
        if ours.index != theirs.index || ours == theirs {
            return None;
        }
        let others = self.inner.peers.call(Target::Node(member), &call, TIMEOUT).await.ok()?;
        first_difference(&self.outcomes_up_to(&call), &others)
    }
}

/// The first index at which both nodes have a hash and the hashes differ.
fn first_difference(ours: &[WireLink], theirs: &[WireLink]) -> Option<u64> {
    let mut theirs = theirs.iter().peekable();
    for link in ours {
        while theirs.next_if(|other| other.index < link.index).is_some() {}
        if theirs.next_if(|other| other.index == link.index).is_some_and(|other| other.hash != link.hash) {
            return Some(link.index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_that_of_a_common_index() {
        let links = |pairs: &[(u64, u64)]| -> Vec<WireLink> {
            pairs.iter().map(|(index, hash)| WireLink { index: *index, hash: *hash }).collect()
        };
        let ours = links(&[(1, 10), (2, 20), (3, 30), (4, 40)]);
        assert_eq!(first_difference(&ours, &links(&[(1, 10), (2, 20), (3, 31), (4, 41)])), Some(3));
        assert_eq!(first_difference(&ours, &links(&[(3, 30), (4, 41)])), Some(4));
        assert_eq!(first_difference(&ours, &ours), None);
        assert_eq!(first_difference(&ours, &[]), None);
        assert_eq!(first_difference(&links(&[(5, 1)]), &ours), None);
    }
}
