//! The endpoint `/readyz`: whether a node can serve requests.

use std::time::Instant;

use sqlhttp_core::Deadline;
use sqlhttp_raft::{Node, NodeStatus};
use sqlhttp_rqlite::{Params, Readiness, encode_readiness};

use super::members::peer_info;
use super::request::Request;
use crate::api::exchange::with_deadline;
use crate::api::replication::Replication as _;
use crate::api::rqlite::readyz::{database_problem, first_damage};
use crate::api::rqlite::reply::from_protocol;
use crate::cluster::replication::NodeReplication;
use crate::http::reply::HttpResponse;

/// Handles `/readyz`.
pub(crate) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.context.counters.num_readyz.add(1);
    if params.noleader {
        return from_protocol(encode_readiness(Readiness::Alive, false));
    }
    let problem = match request.cluster.node() {
        Some(node) => problem(request, params, node).await,
        None => Some(Problem::NoLeader),
    };
    let damage = first_damage(&request.exchange);
    let readiness = match &problem {
        Some(problem) => problem.readiness(),
        None => damage.as_deref().map_or(Readiness::Ready, Readiness::Damaged),
    };
    from_protocol(encode_readiness(readiness, params.sync))
}

/// The reason for which a node cannot serve requests.
enum Problem {
    /// The node is not open, or knows of no leader.
    NoLeader,
    /// The node was removed from its cluster.
    Removed,
    /// The leader does not respond to this node, for this reason.
    LeaderUnreachable(String),
    /// The node is shutting down, or has not applied every entry that was acknowledged before.
    NotReady,
    /// The node is applying the entries that its Raft log contained at the start.
    Replaying { applied: u64, last: u64 },
    /// The request contains `?sync`, and the node has not applied all committed entries of the Raft log within the
    /// timeout.
    NotSynced,
    /// The content of the node differs from that of the majority, for this reason.
    Differs(String),
    /// The database cannot serve requests, for this reason.
    Database(String),
}

impl Problem {
    fn readiness(&self) -> Readiness<'_> {
        match self {
            Problem::NoLeader => Readiness::NoLeader,
            Problem::Removed => Readiness::Removed,
            Problem::LeaderUnreachable(why) => Readiness::LeaderUnreachable(why),
            Problem::NotReady => Readiness::StoreNotReady,
            Problem::Replaying { applied, last } => Readiness::Replaying { applied: *applied, last: *last },
            Problem::NotSynced => Readiness::NotSynced,
            Problem::Differs(why) => Readiness::Differs(why),
            Problem::Database(why) => Readiness::DatabaseFails(why),
        }
    }
}

/// Returns the first reason for which a node cannot serve requests; `None` if it can.
async fn problem(request: &Request<'_>, params: &Params, node: &Node) -> Option<Problem> {
    let Some(leader) = node.leader() else {
        return Some(if node.is_removed() { Problem::Removed } else { Problem::NoLeader });
    };
    if !node.is_leader()
        && let Err(why) = peer_info(node, &leader.raft_address, params).await
    {
        return Some(Problem::LeaderUnreachable(why));
    }
    if request.context.is_stopping() {
        return Some(Problem::NotReady);
    }
    if !is_ready(node) {
        return Some(not_ready(&node.status()));
    }
    if params.sync {
        let deadline = Deadline::after(Instant::now(), params.timeout);
        let replication = NodeReplication(request.cluster.slot.clone());
        if with_deadline(deadline, replication.catch_up(deadline)).await.is_err() {
            return Some(Problem::NotSynced);
        }
    }
    if let Some(why) = node.differs() {
        return Some(Problem::Differs(why.to_string()));
    }
    database_problem(&request.exchange, params).await.map(Problem::Database)
}

/// Returns whether a node can serve requests: it knows of a leader or, if it is the leader itself, has applied every
/// entry that was acknowledged before.
pub(crate) fn is_ready(node: &Node) -> bool {
    node.is_ready_leader() || !node.is_leader() && node.leader().is_some()
}

fn not_ready(status: &NodeStatus) -> Problem {
    let (applied, last) = (status.applied_index, status.log.last_index);
    if applied < last { Problem::Replaying { applied, last } } else { Problem::NotReady }
}
