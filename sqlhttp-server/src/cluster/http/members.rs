//! The endpoints about the members of the cluster and its leader: `/nodes`, `/leader` and `/remove`.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::{StatusCode, header};
use sqlhttp_raft::{ClusterError, Member, Node, PeerInfo};
use sqlhttp_rqlite::{ContentType, NodeInfo, Params, decode_leader_target, decode_remove, encode_node, encode_nodes};

use super::request::Request;
use super::route::NodeEndpoint;
use crate::api::rqlite::redirect;
use crate::api::rqlite::reply::{body_error, error, from_protocol, refused, served_by};
use crate::http::reply::{self, EarlyResponse, HttpResponse};

/// Handles `/nodes`: lists all members of the cluster, or only the voters. Sends a request to each of them.
pub(crate) async fn nodes(request: &Request<'_>, params: &Params) -> Result<HttpResponse, EarlyResponse> {
    let Some(node) = request.cluster.node() else {
        return Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "store nodes: store not open")));
    };
    let members = node.status().members;
    let wanted = members.iter().filter(|member| member.voter || params.nonvoters);
    let nodes = join_all(wanted.map(|member| describe(node, member, params))).await;
    Ok(from_protocol(encode_nodes(&nodes, params.nodes_as_list, params.pretty)))
}

/// Handles `GET /leader`: returns which node is the leader.
pub(crate) async fn leader(request: &Request<'_>, params: &Params) -> Result<HttpResponse, EarlyResponse> {
    let not_found = || Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found"));
    let node = request.cluster.node().ok_or_else(not_found)?;
    let leader = node.leader().ok_or_else(not_found)?;
    Ok(from_protocol(encode_node(&describe(node, &leader, params).await, params.pretty)))
}

/// Describes a member of the cluster for `/nodes`, as it describes itself.
async fn describe(node: &Node, member: &Member, params: &Params) -> NodeInfo {
    let Member { name, raft_address, voter, leader, .. } = member.clone();
    let described = NodeInfo { id: name, addr: raft_address, voter, ..NodeInfo::default() };
    match peer_info(node, &member.raft_address, params).await {
        Ok(PeerInfo { api_url, version, round_trip, .. }) => NodeInfo {
            api_addr: Some(api_url),
            version,
            reachable: true,
            leader,
            time: Some(round_trip.max(Duration::from_nanos(1))),
            ..described
        },
        Err(error) => NodeInfo { error: Some(error), ..described },
    }
}

/// Requests a node's description of itself. If the request fails, sends it again, up to `retries` times, within
/// `timeout`. Fails with the error message for the client.
pub(crate) async fn peer_info(node: &Node, raft_address: &str, params: &Params) -> Result<PeerInfo, String> {
    let requests = async {
        let mut retries_left = params.retries;
        loop {
            match node.peer_info(raft_address, params.timeout).await {
                Err(_) if retries_left > 0 => retries_left -= 1,
                result => return result.map_err(|error| dial_error(&error, raft_address)),
            }
        }
    };
    let responded = tokio::time::timeout(params.timeout, requests).await;
    responded.unwrap_or_else(|_| Err("timeout waiting for node to respond".to_owned()))
}

/// Returns the error message for a node that cannot be reached, in Go's words if it refuses the connection.
fn dial_error(error: &ClusterError, raft_address: &str) -> String {
    let text = error.to_string();
    let refused = text.contains("Connection refused");
    if refused { format!("dial tcp {raft_address}: connect: connection refused") } else { text }
}

/// Handles `POST /leader`: transfers the leadership. Without `wait`, the response does not depend on the result.
pub(crate) async fn step_down(
    request: &Request<'_>,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let bytes = request.exchange.read(body).await.map_err(|why| body_error(&why))?;
    let content_type = request.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let target = decode_leader_target(content_type, &bytes).map_err(refused)?;
    let node = request.cluster.node();
    if let (Some(node), Some(target)) = (node, target.as_deref()) {
        check_target(node, target)?;
    }
    if params.wait {
        return transfer(request, params, node, target).await;
    }
    if let Some(node) = node.filter(|node| node.is_leader()).cloned() {
        tokio::spawn(async move {
            if let Err(why) = node.transfer_leadership(target.as_deref(), None).await {
                tracing::warn!(target: "http", "the leadership was not transferred: {why}");
            }
        });
    }
    Ok(served_by(NodeEndpoint::Leader.empty(StatusCode::OK), request.exchange.served_by(false)))
}

/// Checks whether the node that a client has named can become the leader.
fn check_target(node: &Node, target: &str) -> Result<(), EarlyResponse> {
    let members = node.status().members;
    match members.iter().find(|member| member.name == target) {
        None => Err(step_down_failed("node not found in cluster")),
        Some(member) if member.leader => Err(step_down_failed("cannot step down to the current Leader")),
        Some(_) => Ok(()),
    }
}

/// Transfers the leadership and waits for the result.
async fn transfer(
    request: &Request<'_>,
    params: &Params,
    node: Option<&Node>,
    target: Option<String>,
) -> Result<HttpResponse, EarlyResponse> {
    let not_open = || Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "stepdown: store not open"));
    let node = node.ok_or_else(not_open)?;
    if target.as_ref() == Some(&request.cluster.config.node_id) {
        // rqlite transfers the leadership to a node only if another node is asked.
        return Err(step_down_failed("cannot transfer leadership to itself"));
    }
    redirect::to_leader(&request.exchange, params, Some(ContentType::Json.header())).await?;
    if node.leader().is_none() {
        return Err(request.no_leader());
    }
    // The leader changes, so its address is read before.
    let address = request.exchange.served_by(true);
    let transfer = node.transfer_leadership(target.as_deref(), request.credentials());
    match within(params.timeout, transfer).await {
        Ok(()) => Ok(served_by(NodeEndpoint::Leader.empty(StatusCode::OK), address)),
        Err(ClusterError::NoLeader) => Err(request.no_leader()),
        Err(ClusterError::Unauthorized) => {
            Err(Box::new(error(StatusCode::UNAUTHORIZED, "remote stepdown not authorized")))
        }
        Err(why) => Err(step_down_failed(&why.to_string())),
    }
}

fn step_down_failed(why: &str) -> EarlyResponse {
    Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, &format!("stepdown: {why}")))
}

/// Waits for a change of the cluster, but at most for `timeout`.
async fn within(timeout: Duration, change: impl Future<Output = Result<(), ClusterError>>) -> Result<(), ClusterError> {
    let timed_out = |_| Err(ClusterError::Unknown("timeout waiting for the leader to respond".to_owned()));
    tokio::time::timeout(timeout, change).await.unwrap_or_else(timed_out)
}

/// Handles `/remove`: removes a node from the cluster.
pub(crate) async fn remove(
    request: &Request<'_>,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let bytes = request.exchange.read(body).await.map_err(|why| body_error(&why))?;
    let Some(id) = decode_remove(&bytes) else {
        return Err(Box::new(reply::empty(StatusCode::BAD_REQUEST)));
    };
    let failed = |why: &str| Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, why));
    let node = request.cluster.node().ok_or_else(|| failed("store not open"))?;
    redirect::to_leader(&request.exchange, params, None).await?;
    if node.leader().is_none() {
        return Err(request.no_leader());
    }
    // The leader may be the node that is removed, so its address is read before.
    let address = request.exchange.served_by(true);
    match within(params.timeout, node.remove_member(&id, request.credentials())).await {
        Ok(()) => Ok(served_by(reply::empty(StatusCode::OK), address)),
        Err(ClusterError::NoLeader) => Err(request.no_leader()),
        Err(ClusterError::Unauthorized) => {
            Err(Box::new(error(StatusCode::UNAUTHORIZED, "remote remove node not authorized")))
        }
        Err(why) => Err(failed(&why.to_string())),
    }
}
