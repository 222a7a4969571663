//! Forms a cluster of nodes that all start with an empty directory and know only each other's addresses.
//!
//! Each node repeatedly notifies all others that it exists. A node that has been notified by as many nodes as expected,
//! and has the smallest Raft id among them, creates the cluster: it asks each of them to promise that it will belong to
//! this cluster only, and initializes Raft with all of them. A promise is durable ([`crate::identity`]), so two nodes
//! that have seen different sets of nodes cannot form two clusters with a common member.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::ClusterError;
use crate::identity::random_u128;
use crate::leadership::own_info;
use crate::network::{Request, Target};
use crate::node::Node;
use crate::types::MemberInfo;

/// The time within which another node must respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Notifies a node of the existence of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotifyCall {
    node: u64,
    instance: u128,
    name: String,
    raft_address: String,
    /// The number of nodes that form the cluster.
    expect: u64,
}

/// The response to a [`NotifyCall`]. New variants are added only at the end, because postcard encodes the position of a
/// variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotifyReply {
    Noted,
    /// The node belongs to a cluster already; the other node joins it.
    HasCluster,
}

impl Request for NotifyCall {
    const KIND: u8 = 22;
    type Response = NotifyReply;
}

/// Asks a node to promise that it will belong to no other cluster than this one. The response is `false` if it has
/// promised to belong to another one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PromiseCall {
    pub(crate) cluster: u128,
}

impl Request for PromiseCall {
    const KIND: u8 = 23;
    type Response = bool;
}

/// The nodes that have notified this node, by Raft id, with the times of their last notifications.
#[derive(Debug, Default)]
pub(crate) struct Notified(Mutex<BTreeMap<u64, (MemberInfo, Instant)>>);

/// The time after which a notification is ignored. A node that waits for a cluster repeats it about once per second.
const NOTIFIED_FOR: Duration = Duration::from_secs(10);
/// The maximum number of nodes whose notifications are kept.
const NOTIFIED_MAX: usize = 1024;

impl Notified {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (MemberInfo, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> BTreeMap<u64, MemberInfo> {
        let mut known = self.lock();
        known.retain(|_, (_, at)| at.elapsed() < NOTIFIED_FOR);
        known.iter().map(|(id, (member, _))| (*id, member.clone())).collect()
    }
}

/// The state of the formation of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootstrapState {
    /// The node belongs to a cluster.
    Formed,
    /// Not enough nodes have been found yet, or the cluster is being created.
    Waiting,
    /// One of the other nodes belongs to a cluster already, which this node must join.
    MustJoin,
}

impl Node {
    /// Makes one attempt to form a cluster of `expect` nodes, of which the nodes at `targets` (`host:port`) are some.
    /// The targets may include this node. Call it repeatedly until this node belongs to a cluster.
    ///
    /// # Errors
    /// [`ClusterError::Refused`]: the cluster could not be created.
    pub async fn bootstrap(&self, targets: &[String], expect: usize) -> Result<BootstrapState, ClusterError> {
        if self.is_member() {
            return Ok(BootstrapState::Formed);
        }
        let (identity, options) = (&self.inner.identity, &self.inner.options);
        let call = NotifyCall {
            node: identity.node(),
            instance: identity.instance(),
            name: options.name.clone(),
            raft_address: options.raft_address.clone(),
            expect: expect as u64,
        };
        self.notified(call.clone());
        let others = targets.iter().filter(|target| **target != options.raft_address);
        let mut has_cluster = false;
        for target in others {
            let reply = self.inner.peers.call(Target::Address(target.clone()), &call, TIMEOUT).await;
            has_cluster |= matches!(reply, Ok(NotifyReply::HasCluster));
        }
        if has_cluster {
            return Ok(BootstrapState::MustJoin);
        }
        let is_initialized = self.inner.raft.is_initialized().await;
        if is_initialized.map_err(|error| ClusterError::Refused(error.to_string()))? {
            // The cluster was created a moment ago.
            return Ok(BootstrapState::Waiting);
        }
        let members = self.inner.notified.recent();
        if members.len() >= expect && members.first_key_value().is_some_and(|(first, _)| *first == identity.node()) {
            let chosen = members.into_iter().take(expect).collect();
            self.create_cluster(chosen).await?;
        }
        Ok(if self.is_member() { BootstrapState::Formed } else { BootstrapState::Waiting })
    }

    pub(crate) fn notified(&self, call: NotifyCall) -> NotifyReply {
        if self.is_member() {
            return NotifyReply::HasCluster;
        }
        let NotifyCall { node, instance, name, raft_address, .. } = call;
        let mut known = self.inner.notified.lock();
        // A node that was started again with an empty directory has another id.
        known.retain(|_, (member, _)| member.name != name && member.raft_address != raft_address);
        if known.len() < NOTIFIED_MAX {
            known.insert(node, (MemberInfo { name, raft_address, non_voter: false, instance }, Instant::now()));
        }
        NotifyReply::Noted
    }

    async fn create_cluster(&self, members: BTreeMap<u64, MemberInfo>) -> Result<(), ClusterError> {
        let refused = |why: String| ClusterError::Refused(why);
        let (identity, own_id) = (&self.inner.identity, self.inner.identity.node());
        // This node promises first. After a failed attempt or a crash, it continues with the same cluster.
        let cluster = if identity.cluster() == 0 { random_u128() } else { identity.cluster() };
        match identity.adopt_cluster(cluster) {
            Ok(true) => {}
            Ok(false) => return Err(refused("this node belongs to another cluster".to_owned())),
            Err(error) => return Err(refused(error.to_string())),
        }
        for (id, member) in members.iter().filter(|(id, _)| **id != own_id) {
            let target = Target::Address(member.raft_address.clone());
            let promised = self.inner.peers.call(target, &PromiseCall { cluster }, TIMEOUT).await;
            match promised {
                Ok(true) => {}
                Ok(false) => return Err(refused(format!("node '{}' belongs to another cluster", member.name))),
                Err(error) => return Err(refused(format!("node '{}' ({id}): {error}", member.name))),
            }
        }
        let own = own_info(&self.inner.options, identity.instance());
        let members: BTreeMap<u64, MemberInfo> =
            members.into_iter().map(|(id, member)| (id, if id == own_id { own.clone() } else { member })).collect();
        self.inner.raft.initialize(members).await.map_err(|error| refused(error.to_string()))?;
        Ok(())
    }
}
