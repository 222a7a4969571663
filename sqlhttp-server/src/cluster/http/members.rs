//! The endpoints about the members of the cluster, its leader, and the readiness of the node: `/nodes`, `/leader`,
//! `/remove`, `/readyz`.

use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{StatusCode, header};
use sqlhttp_core::Deadline;
use sqlhttp_raft::NodeStatus;
use sqlhttp_rqlite::{
    NodeInfo, Params, Readiness, VERSION, decode_leader_target, decode_remove, encode_node, encode_nodes,
    encode_readiness,
};

use super::request::Request;
use super::route::NodeEndpoint;
use crate::api::rqlite::readyz::{database_problem, first_damage};
use crate::api::rqlite::reply::{body_error, error, from_protocol, refused, served_by};
use crate::cluster::context::ClusterContext;
use crate::http::reply::{self, EarlyResponse, HttpResponse};

/// Handles `/nodes`: lists all members of the cluster, or only the voters.
pub(crate) fn nodes(request: &Request<'_>, params: &Params) -> HttpResponse {
    let started = Instant::now();
    let status = request.cluster.node.status();
    let wanted = status.members.iter().filter(|member| member.voter || params.nonvoters);
    let nodes: Vec<NodeInfo> = wanted.map(|member| describe(request.cluster, member, started)).collect();
    from_protocol(encode_nodes(&nodes, params.nodes_as_list, params.pretty))
}

/// Handles `GET /leader`: returns which node is the leader.
pub(crate) fn leader(request: &Request<'_>, params: &Params) -> Result<HttpResponse, EarlyResponse> {
    let started = Instant::now();
    let status = request.cluster.node.status();
    let leader = status.leader().ok_or_else(|| request.no_leader())?;
    Ok(from_protocol(encode_node(&describe(request.cluster, leader, started), params.pretty)))
}

/// Describes a member of the cluster for `/nodes`. This node is reported as reachable, and every other node as
/// unreachable, because for now a cluster has only one node.
fn describe(cluster: &ClusterContext, member: &sqlhttp_raft::Member, started: Instant) -> NodeInfo {
    let is_this = member.raft_address == cluster.config.raft_adv_addr;
    NodeInfo {
        id: member.name.clone(),
        api_addr: is_this.then(|| cluster.api_url()),
        addr: member.raft_address.clone(),
        version: if is_this { VERSION.to_owned() } else { String::new() },
        voter: member.voter,
        reachable: is_this,
        leader: member.leader,
        time: is_this.then(|| started.elapsed().max(Duration::from_nanos(1))),
        error: (!is_this).then(|| "this node cannot be reached from here".to_owned()),
    }
}

/// Handles `POST /leader`: transfers the leadership, which always fails in a cluster of one node.
pub(crate) async fn step_down(
    request: &Request<'_>,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let bytes = request.exchange.read(body).await.map_err(|why| body_error(&why))?;
    let content_type = request.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let target = decode_leader_target(content_type, &bytes).map_err(refused)?;
    if !params.wait {
        return Ok(served_by(NodeEndpoint::Leader.empty(StatusCode::OK), &request.context.identity));
    }
    let status = request.cluster.node.status();
    let leader = status.leader().ok_or_else(|| request.no_leader())?;
    let why = match target {
        Some(target) if target == leader.name => "cannot step down to the current Leader",
        Some(target) if !status.members.iter().any(|member| member.name == target) => "node not found in cluster",
        _ => "cannot find peer",
    };
    Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, &format!("stepdown: {why}"))))
}

/// Handles `/remove`: removes a node from the cluster, which fails for the only voter.
pub(crate) async fn remove(
    request: &Request<'_>,
    _params: &Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let bytes = request.exchange.read(body).await.map_err(|why| body_error(&why))?;
    let Some(id) = decode_remove(&bytes) else {
        return Err(Box::new(reply::empty(StatusCode::BAD_REQUEST)));
    };
    let status = request.cluster.node.status();
    if status.leader().is_none() {
        return Err(request.no_leader());
    }
    if status.members.iter().any(|member| member.name == id) {
        // In a cluster of one node, the member with this name is the last voter, which cannot be removed.
        let text = "need at least one voter in configuration: {[]}";
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, text)));
    }
    Ok(served_by(reply::empty(StatusCode::OK), &request.context.identity))
}

/// Handles `/readyz`: returns whether the node can serve requests.
pub(crate) async fn readyz(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.context.counters.num_readyz.add(1);
    if params.noleader {
        return from_protocol(encode_readiness(Readiness::Alive, false));
    }
    let status = request.cluster.node.status();
    let problem = readiness_problem(request, params, &status).await;
    let damage = first_damage(&request.exchange);
    let readiness = match &problem {
        _ if status.leader().is_none() => Readiness::NoLeader,
        _ if request.context.is_stopping() => Readiness::StoreNotReady,
        _ if !status.ready && status.applied_index < status.log.last_index => {
            Readiness::Replaying { applied: status.applied_index, last: status.log.last_index }
        }
        _ if !status.ready => Readiness::StoreNotReady,
        Some(ReadinessProblem::NotSynced) => Readiness::NotSynced,
        Some(ReadinessProblem::Database(why)) => Readiness::DatabaseFails(why),
        None => damage.as_deref().map_or(Readiness::Ready, Readiness::Damaged),
    };
    from_protocol(encode_readiness(readiness, params.sync))
}

/// The reason for which a node that has a leader cannot serve requests.
enum ReadinessProblem {
    /// The request contains `?sync`, and the node has not applied all committed entries of the Raft log within the
    /// timeout.
    NotSynced,
    /// The database cannot serve requests, for this reason.
    Database(String),
}

/// Checks whether the database of a node can serve requests. Returns `None` if it can, and also if the node is not
/// ready, because `/readyz` has other messages for a node that is not ready.
async fn readiness_problem(request: &Request<'_>, params: &Params, status: &NodeStatus) -> Option<ReadinessProblem> {
    if !status.ready {
        return None;
    }
    if params.sync {
        let deadline = Deadline::after(Instant::now(), params.timeout);
        let node = &request.cluster.node;
        if !matches!(tokio::time::timeout(params.timeout, node.barrier(deadline)).await, Ok(Ok(_))) {
            return Some(ReadinessProblem::NotSynced);
        }
    }
    database_problem(&request.exchange, params).await.map(ReadinessProblem::Database)
}
