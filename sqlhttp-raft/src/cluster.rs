//! The node as a member of its cluster: joining, removing members, transferring the leadership, and information about
//! other members.

use std::sync::Arc;
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};
use sqlhttp_core::{BoxFuture, Deadline};
use tokio::time::Instant;

use crate::forward::{Authorization, Caller, Credentials};
use crate::members::{JoinCall, MembershipReply, RemoveCall, SharedSettings};
use crate::network::{CallError, Request, Target};
use crate::node::Node;
use crate::status::Member;

/// The time within which the leader must respond to a request that changes the membership.
const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum number of times that a join follows the address of the leader that another node has returned.
const HINTS_MAX: usize = 10;

/// Asks a node for information about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InfoCall;

/// The response to an [`InfoCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InfoReply {
    name: String,
    raft_address: String,
    api_url: String,
    version: String,
}

impl Request for InfoCall {
    const KIND: u8 = 15;
    type Response = InfoReply;
}

/// Asks the leader to transfer the leadership.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepDownCall {
    pub(crate) authorization: Authorization,
    /// The name of the next leader; `None` if the leader chooses it.
    pub(crate) to: Option<String>,
}

impl Request for StepDownCall {
    const KIND: u8 = 18;
    type Response = MembershipReply;
}

/// Information about another node, from that node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The base URL of the node's HTTP API; empty if it has none.
    pub api_url: String,
    /// The version of the program that runs the node.
    pub version: String,
    /// The time between sending the question and receiving the answer.
    pub round_trip: Duration,
}

/// Why a cluster could not be changed as requested. Nothing has changed, unless stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// There is no leader, or it cannot be reached.
    #[error("leader not found")]
    NoLeader,
    /// The leader does not permit the change.
    #[error("unauthorized")]
    Unauthorized,
    /// The leader refuses the change, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The connection broke before the response. The change may have been made.
    #[error("{0}")]
    Unknown(String),
    /// None of the addresses belongs to a node that can be reached. The value contains the reason for each.
    #[error("{0}")]
    Unreachable(String),
}

/// Whether a join has changed the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The node has been added, or its address has been updated.
    Added,
    /// The node was a member already.
    Unchanged,
}

impl Node {
    pub(crate) fn own_peer_info(&self) -> InfoReply {
        let options = &self.inner.options;
        InfoReply {
            name: options.name.clone(),
            raft_address: options.raft_address.clone(),
            api_url: options.api_url.clone(),
            version: options.version.clone(),
        }
    }

    /// Returns whether this node is leader and can serve requests.
    pub fn is_ready_leader(&self) -> bool {
        self.inner.leadership.is_ready()
    }

    /// Returns whether this node is leader.
    pub fn is_leader(&self) -> bool {
        self.inner.leadership.is_leader()
    }

    /// Returns the leader; `None` if there is none, or if this node has lost contact with it.
    pub fn leader(&self) -> Option<Member> {
        let leader = self.inner.leadership.leader()?;
        let (members, voters) = self.inner.members.current();
        let member = members.get(&leader)?;
        Some(Member {
            name: member.name.clone(),
            raft_address: member.raft_address.clone(),
            voter: voters.contains(&leader),
            leader: true,
        })
    }

    /// Waits until this node knows of a leader. Returns early if the node has stopped.
    pub async fn wait_for_leader(&self) {
        self.inner.leadership.wait_for_leader().await;
    }

    /// Returns whether this node belongs to a cluster.
    pub fn is_member(&self) -> bool {
        self.inner.members.current().0.contains_key(&self.inner.leadership.own_id())
    }

    /// Asks the node at `raft_address` for information about itself.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`]: the node does not respond in time.
    pub async fn peer_info(&self, raft_address: &str, timeout: Duration) -> Result<PeerInfo, ClusterError> {
        let asked = Instant::now();
        let reply = if raft_address == self.inner.options.raft_address {
            self.own_peer_info()
        } else {
            let (members, _) = self.inner.members.current();
            let known = members.iter().find(|(_, member)| member.raft_address == raft_address);
            let target = known.map_or_else(|| Target::Address(raft_address.to_owned()), |(id, _)| Target::Node(*id));
            let mut called = self.inner.peers.call(target.clone(), &InfoCall, timeout).await;
            let left = timeout.saturating_sub(asked.elapsed());
            // The node may have ended since the last request on its connection. This request changes nothing, so it is
            // repeated on a new connection.
            if matches!(called, Err(CallError::Lost(_))) && !left.is_zero() {
                called = self.inner.peers.call(target, &InfoCall, left).await;
            }
            called.map_err(|error| ClusterError::Unreachable(error.to_string()))?
        };
        let InfoReply { api_url, version, .. } = reply;
        Ok(PeerInfo { api_url, version, round_trip: asked.elapsed() })
    }

    /// Asks the cluster of which the nodes at `targets` (`host:port`) are members to add this node. Tries each target
    /// once, and follows it to its leader. Returns when the leader has added this node; this node becomes a voter
    /// later, when it has caught up. If this node is a member already, the leader updates its address.
    ///
    /// # Errors
    /// [`ClusterError::Refused`], [`ClusterError::Unauthorized`] and [`ClusterError::NoLeader`] of the last target that
    /// has responded; otherwise [`ClusterError::Unreachable`].
    pub async fn join(&self, targets: &[String], credentials: Option<Credentials>) -> Result<Joined, ClusterError> {
        let options = &self.inner.options;
        let call = JoinCall {
            authorization: authorization(credentials),
            node: self.inner.identity.node(),
            instance: self.inner.identity.instance(),
            name: options.name.clone(),
            raft_address: options.raft_address.clone(),
            non_voter: options.non_voter,
            settings: SharedSettings::of(options),
        };
        let (mut refused, mut unreachable) = (None, Vec::new());
        for target in targets {
            match self.join_by(target, &call).await {
                Ok(joined) => return Ok(joined),
                Err(ClusterError::Unreachable(why)) => unreachable.push(format!("{target}: {why}")),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| ClusterError::Unreachable(unreachable.join("; "))))
    }

    async fn join_by(&self, target: &str, call: &JoinCall) -> Result<Joined, ClusterError> {
        let mut address = target.to_owned();
        for _ in 0..HINTS_MAX {
            let target = Target::Address(address.clone());
            let called = self.inner.peers.call(target, call, MEMBERSHIP_TIMEOUT).await;
            match called.map_err(|error| ClusterError::Unreachable(error.to_string()))? {
                MembershipReply::Done => return Ok(Joined::Added),
                MembershipReply::Unchanged => return Ok(Joined::Unchanged),
                MembershipReply::NotLeader(Some(leader)) if leader != address => address = leader,
                MembershipReply::NotLeader(_) => return Err(ClusterError::NoLeader),
                MembershipReply::Unauthorized => return Err(ClusterError::Unauthorized),
                MembershipReply::Refused(why) => return Err(ClusterError::Refused(why)),
            }
        }
        Err(ClusterError::NoLeader)
    }

    /// Removes the member with this name from the cluster. Does nothing if there is none.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn remove_member(&self, name: &str, credentials: Option<Credentials>) -> Result<(), ClusterError> {
        let authorization = authorization(credentials);
        let call = RemoveCall { authorization, name: name.to_owned() };
        let own = self.inner.leadership.own_id();
        self.change_cluster(|leader| -> BoxFuture<'_, _> {
            if leader == own {
                return Box::pin(async { Ok(self.inner.members.remove(name).await) });
            }
            Box::pin(self.inner.peers.call(Target::Node(leader), &call, MEMBERSHIP_TIMEOUT))
        })
        .await
    }

    /// Transfers the leadership to the member with the name `to`, or to the voter whose log is the longest. Returns
    /// when another node is leader.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn transfer_leadership(
        &self,
        to: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<(), ClusterError> {
        let call = StepDownCall { authorization: authorization(credentials), to: to.map(str::to_owned) };
        let own = self.inner.leadership.own_id();
        self.change_cluster(|leader| -> BoxFuture<'_, _> {
            if leader == own {
                return Box::pin(async { Ok(self.step_down_here(to).await) });
            }
            Box::pin(self.inner.peers.call(Target::Node(leader), &call, MEMBERSHIP_TIMEOUT))
        })
        .await
    }

    /// Calls `change` with the Raft id of the leader. If there is no leader, or it is not ready, waits for a short
    /// time.
    ///
    /// `change` returns a boxed future: the compiler cannot prove that the future of an async closure is `Send`.
    async fn change_cluster<'a>(
        &self,
        change: impl Fn(u64) -> BoxFuture<'a, Result<MembershipReply, CallError>>,
    ) -> Result<(), ClusterError> {
        let wait = self.leader_wait(Deadline::NEVER);
        loop {
            if let Some(leader) = self.inner.leadership.leader() {
                match change(leader).await {
                    Ok(MembershipReply::NotLeader(_)) | Err(CallError::NotSent(_)) => {}
                    Ok(reply) => return into_result(reply),
                    Err(CallError::Lost(why)) => return Err(ClusterError::Unknown(why)),
                }
            }
            wait.pause().await.map_err(|_| ClusterError::NoLeader)?;
        }
    }

    /// Transfers the leadership of this node to the member with the name `to`, or to the best one.
    pub(crate) async fn step_down_here(&self, to: Option<&str>) -> MembershipReply {
        let refused = |why: &str| MembershipReply::Refused(why.to_owned());
        let own = self.inner.leadership.own_id();
        let (members, voters) = self.inner.members.current();
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let Some(replication) = metrics.replication.filter(|_| metrics.state.is_leader()) else {
            return MembershipReply::NotLeader(None);
        };
        let next = match to {
            Some(name) => match members.iter().find(|(_, member)| member.name == name).map(|(id, _)| *id) {
                None => return refused("node not found in cluster"),
                Some(id) if id == own => return refused("cannot step down to the current Leader"),
                Some(id) => Some(id),
            },
            None => {
                let recent = |id: &u64| {
                    let acked = metrics.heartbeat.as_ref().and_then(|acked| acked.get(id)?.as_ref());
                    acked.is_some_and(|acked| acked.elapsed() < self.inner.options.heartbeat_timeout)
                };
                let others = voters.iter().filter(|id| **id != own && recent(id));
                others.max_by_key(|id| replication.get(id).copied().flatten()).copied()
            }
        };
        let Some(next) = next.filter(|next| voters.contains(next)) else { return refused("cannot find peer") };
        self.inner.leadership.begin_transfer(metrics.current_term);
        if let Err(fatal) = self.inner.raft.trigger().transfer_leader(next).await {
            return MembershipReply::Refused(fatal.to_string());
        }
        let mut metrics = self.inner.raft.server_metrics();
        let transferred = async {
            loop {
                let led_by = metrics.borrow_and_update().current_leader;
                if led_by.is_some_and(|leader| leader != own) || metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        match tokio::time::timeout(self.inner.options.heartbeat_timeout * 3, transferred).await {
            Ok(()) => MembershipReply::Done,
            Err(_) => refused("the other node did not become leader in time"),
        }
    }
}

fn into_result(reply: MembershipReply) -> Result<(), ClusterError> {
    match reply {
        MembershipReply::Done | MembershipReply::Unchanged => Ok(()),
        MembershipReply::NotLeader(_) => Err(ClusterError::NoLeader),
        MembershipReply::Unauthorized => Err(ClusterError::Unauthorized),
        MembershipReply::Refused(why) => Err(ClusterError::Refused(why)),
    }
}

fn authorization(credentials: Option<Credentials>) -> Authorization {
    Authorization::of(&Caller { credentials: credentials.map(Arc::new), permissions: &[] })
}
