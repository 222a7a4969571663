//! One request to a node, with the context of its handler.

use hyper::StatusCode;
use hyper::http::request::Parts;
use sqlhttp_raft::Credentials;

use super::route::{NodeEndpoint, endpoint};
use crate::api::context::AppContext;
use crate::api::exchange::Exchange;
use crate::api::rqlite::reply::error;
use crate::cluster::context::{ClusterContext, to_leader};
use crate::http::basic_auth::BasicCredentials;
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
    /// The endpoint at the path of the request; `None` if the path has no endpoint.
    pub(crate) endpoint: Option<NodeEndpoint>,
}

impl<'a> Request<'a> {
    /// Creates a request to the node's only database. Batches that the node forwards carry the credentials of the
    /// request. If the endpoint runs batches, waits a short time for the node to be open.
    pub(crate) async fn new(
        context: &'a AppContext,
        cluster: &'a ClusterContext,
        head: &'a Parts,
        peer: &'a Peer,
    ) -> Self {
        let endpoint = endpoint(head.uri.path(), &cluster.config.db_name);
        let permissions = endpoint.and_then(NodeEndpoint::leader_permissions);
        if permissions.is_some() {
            cluster.slot.opened_soon().await;
        }
        let backend = permissions.and_then(|needed| cluster.slot.of_client(credentials(head), needed));
        let exchange = Exchange::new(context, DATABASE, head, peer);
        let exchange = match backend {
            Some(backend) => exchange.with_backend(backend),
            None => exchange,
        };
        Request { context, cluster, exchange, head, endpoint }
    }

    /// Returns the credentials of the request, for the leader; `None` if the request has none.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        credentials(self.head)
    }

    /// Creates the response to a request that requires a leader while the cluster has none. Also increments the
    /// counter `leader_not_found`.
    pub(crate) fn no_leader(&self) -> EarlyResponse {
        self.context.counters.leader_not_found.add(1);
        Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "leader not found"))
    }
}

fn credentials(head: &Parts) -> Option<Credentials> {
    BasicCredentials::of(&head.headers).map(to_leader)
}
