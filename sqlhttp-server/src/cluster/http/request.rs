//! One request to a node.

use hyper::StatusCode;
use hyper::http::request::Parts;

use crate::api::context::AppContext;
use crate::api::exchange::Exchange;
use crate::api::rqlite::reply::error;
use crate::cluster::context::ClusterContext;
use crate::http::peer::Peer;
use crate::http::reply::EarlyResponse;

/// The index of a node's only database.
pub(crate) const DATABASE: usize = 0;

/// One request to a node.
pub(crate) struct Request<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) cluster: &'a ClusterContext,
    pub(crate) exchange: Exchange<'a>,
    pub(crate) head: &'a Parts,
}

impl<'a> Request<'a> {
    /// Makes a request to the node's database.
    pub(crate) fn new(context: &'a AppContext, cluster: &'a ClusterContext, head: &'a Parts, peer: &'a Peer) -> Self {
        Request { context, cluster, exchange: Exchange::new(context, DATABASE, head, peer), head }
    }

    /// Makes the response to a request that needs a leader while the cluster has none, and counts it.
    pub(crate) fn no_leader(&self) -> EarlyResponse {
        self.context.counters.leader_not_found.add(1);
        Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found"))
    }
}
