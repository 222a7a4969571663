//! One request to a node, with the context of its handler.

use hyper::StatusCode;
use hyper::http::request::Parts;

use crate::api::context::AppContext;
use crate::api::exchange::Exchange;
use crate::api::rqlite::reply::error;
use crate::cluster::context::ClusterContext;
use crate::http::peer::Peer;
use crate::http::reply::EarlyResponse;

/// The index of a node's only database in [`AppContext`].
pub(crate) const DATABASE: usize = 0;

/// One request to a node, with the context of its handler.
pub(crate) struct Request<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) cluster: &'a ClusterContext,
    pub(crate) exchange: Exchange<'a>,
    pub(crate) head: &'a Parts,
}

impl<'a> Request<'a> {
    /// Creates a request to the node's only database.
    pub(crate) fn new(context: &'a AppContext, cluster: &'a ClusterContext, head: &'a Parts, peer: &'a Peer) -> Self {
        Request { context, cluster, exchange: Exchange::new(context, DATABASE, head, peer), head }
    }

    /// Creates the response to a request that requires a leader while the cluster has none. Also increments the
    /// counter `leader_not_found`.
    pub(crate) fn no_leader(&self) -> EarlyResponse {
        self.context.counters.leader_not_found.add(1);
        Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found"))
    }
}
