//! `/nodes` and `/leader` on the standalone server, where each database appears as the leader of a cluster of one node.
//! Clients send their further requests to the address that these endpoints return. So the address is the one to which
//! the client has sent this request.

use std::time::{Duration, Instant};

use hyper::header;
use sqlhttp_rqlite::{NodeInfo, Params, VERSION, encode_node, encode_nodes};

use super::reply::from_protocol;
use crate::api::exchange::Exchange;
use crate::http::reply::HttpResponse;

/// Handles a request to `/nodes`: lists the only node.
pub(crate) fn nodes(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    from_protocol(encode_nodes(&[this_node(exchange, "/nodes")], params.nodes_as_list, params.pretty))
}

/// Handles a request to `/leader`: returns the only node.
pub(crate) fn leader(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    from_protocol(encode_node(&this_node(exchange, "/leader"), params.pretty))
}

fn this_node(exchange: &Exchange<'_>, resource: &str) -> NodeInfo {
    let started = Instant::now();
    NodeInfo {
        id: exchange.database.id.clone(),
        api_addr: Some(api_url(exchange, resource)),
        addr: exchange.context.identity.address().to_owned(),
        version: VERSION.to_owned(),
        voter: true,
        reachable: true,
        leader: true,
        time: Some(started.elapsed().max(Duration::from_nanos(1))),
        error: None,
    }
}

/// Returns the part of the request's URL that precedes the path of the endpoint, as the client has written it. Headers
/// that a proxy adds are not trusted.
fn api_url(exchange: &Exchange<'_>, resource: &str) -> String {
    let request = exchange.request;
    let scheme = if exchange.context.identity.is_https { "https" } else { "http" };
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(|authority| authority.as_str()).or(host).filter(|it| !it.is_empty());
    let path = request.uri.path();
    // The path of the database (`/<id>`); empty if the request's path does not contain it.
    let database = path.strip_suffix('/').unwrap_or(path).strip_suffix(resource).unwrap_or_default();
    format!("{scheme}://{}{database}", authority.unwrap_or(exchange.context.identity.address()))
}
