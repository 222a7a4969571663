//! Authorizes the requests to a node and dispatches them to the endpoints.

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use sqlhttp_rqlite::Params;

use super::request::Request;
use super::route::NodeEndpoint;
use super::{boot, console, licenses, members, readyz, snapshots, status, vars, verify};
use crate::api::exchange::TOO_MANY_FAILURES;
use crate::api::login_delay::TooManyFailures;
use crate::api::rqlite::reply::error;
use crate::api::rqlite::resource::Resource;
use crate::api::rqlite::{endpoints, redirect, service};
use crate::api::{metrics, ws4sqlite};
use crate::cluster::auth::{Access, Permission};
use crate::cluster::slot::LeaderPermissions;
use crate::http::basic_auth::BasicCredentials;
use crate::http::origin::{CROSS_SITE, is_cross_site};
use crate::http::reply::{self, EarlyResponse, HttpResponse, ReplyBody};

impl service::Service for Request<'_> {
    type Endpoint = NodeEndpoint;

    fn head(&self) -> &Parts {
        self.head
    }

    /// Refuses requests that pages of other sites have forged. GET and HEAD requests are not refused, because with
    /// these methods no endpoint of a node has an effect, except `/verify`.
    fn refuse_forged(&self) -> Result<(), EarlyResponse> {
        let has_effect = self.endpoint == Some(NodeEndpoint::Verify);
        let reads = matches!(self.head.method, Method::GET | Method::HEAD) && !has_effect;
        if reads || !is_cross_site(self.head, |origin| self.cluster.allows_origin(origin)) {
            return Ok(());
        }
        let is_ws4sqlite = self.endpoint == Some(NodeEndpoint::Ws4sqlite);
        let refuse = if is_ws4sqlite { ws4sqlite::reply::error } else { error };
        Err(Box::new(refuse(StatusCode::FORBIDDEN, CROSS_SITE)))
    }

    fn endpoint(&self) -> Option<NodeEndpoint> {
        self.endpoint
    }

    async fn authorize(&self, endpoint: NodeEndpoint) -> Result<(), EarlyResponse> {
        let needed = endpoint.permissions(&self.head.method);
        if needed.is_empty() {
            return Ok(());
        }
        let access = self.access(needed).await;
        if access == Ok(Access::Granted) {
            self.context.counters.auth_ok.add(1);
            return Ok(());
        }
        self.context.counters.auth_fail.add(1);
        Err(Box::new(match access {
            Ok(Access::Saturated) => error(StatusCode::SERVICE_UNAVAILABLE, "too many passwords are being checked"),
            Ok(_) => endpoint.empty(StatusCode::UNAUTHORIZED),
            Err(TooManyFailures) => reply::closing(error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_FAILURES)),
        }))
    }

    fn takes(endpoint: NodeEndpoint, method: &Method) -> bool {
        endpoint.takes(method)
    }

    fn empty(endpoint: NodeEndpoint, status: StatusCode) -> HttpResponse {
        endpoint.empty(status)
    }

    async fn run(
        &self,
        endpoint: NodeEndpoint,
        params: Params,
        body: &mut Option<Incoming>,
    ) -> Result<HttpResponse, EarlyResponse> {
        match endpoint {
            NodeEndpoint::Data(resource) => endpoints::run(&self.exchange, resource, params, body).await,
            NodeEndpoint::Readyz => Ok(readyz::answer(self, &params).await),
            NodeEndpoint::Status => Ok(status::answer(self, &params).await),
            NodeEndpoint::Nodes => members::nodes(self, &params).await,
            NodeEndpoint::Leader if self.head.method == Method::GET => members::leader(self, &params).await,
            NodeEndpoint::Leader => members::step_down(self, &params, body).await,
            NodeEndpoint::Remove => members::remove(self, &params, body).await,
            NodeEndpoint::Boot => boot::answer(self, body).await,
            NodeEndpoint::Snapshot => Ok(snapshots::take(self, &params).await),
            NodeEndpoint::Reap => Ok(snapshots::reap(self).await),
            NodeEndpoint::Verify => Ok(verify::answer(self, &params).await),
            NodeEndpoint::Licenses => Ok(licenses::answer()),
            NodeEndpoint::Vars => Ok(vars::answer(self, &params)),
            NodeEndpoint::Metrics => Ok(metrics::answer(self.context)),
            NodeEndpoint::Ws4sqlite => self.ws4sqlite(&params, body).await,
            NodeEndpoint::Root => Ok(self.redirect(StatusCode::FOUND)),
            NodeEndpoint::Console => Ok(self.redirect(StatusCode::MOVED_PERMANENTLY)),
            NodeEndpoint::ConsolePage => Ok(console::answer(self.context)),
        }
    }

    fn takes_credentials(&self) -> bool {
        self.cluster.auth.is_some()
    }
}

impl Request<'_> {
    /// Counts a request to which this node has responded with success. Only requests that were forwarded to the leader
    /// have a counter.
    pub(crate) fn count(&self) {
        let Some(endpoint) = self.endpoint.filter(|_| self.exchange.was_forwarded()) else { return };
        let forwarded = &self.cluster.forwarded;
        let counter = match endpoint {
            NodeEndpoint::Data(Resource::Execute) => &forwarded.remote_executions,
            NodeEndpoint::Data(Resource::Request) => &forwarded.remote_requests,
            NodeEndpoint::Data(Resource::Load) => &forwarded.remote_loads,
            NodeEndpoint::Remove => &forwarded.remote_remove_node,
            NodeEndpoint::Leader => &forwarded.remote_stepdowns,
            _ => return,
        };
        counter.add(1);
    }

    /// Handles a request in ws4sqlite's protocol. It takes rqlite's parameters `level` and `redirect`.
    async fn ws4sqlite(&self, params: &Params, body: &mut Option<Incoming>) -> Result<HttpResponse, EarlyResponse> {
        if !redirect::is_local_read(&self.exchange, params.level) {
            redirect::to_leader(&self.exchange, params, None).await?;
        }
        Ok(ws4sqlite::transaction::answer(&self.exchange, params.level, body).await)
    }

    /// Checks the credentials in the header `Authorization`. A failed login is logged, and this function returns only
    /// after a delay.
    async fn access(&self, needed: &[Permission]) -> Result<Access, TooManyFailures> {
        let Some(auth) = &self.cluster.auth else { return Ok(Access::Granted) };
        let Some(credentials) = BasicCredentials::of(&self.head.headers) else {
            return Ok(auth.access(None, needed).await);
        };
        let (delays, address) = (&self.context.login_delays, self.exchange.peer.address);
        let key = delays.key(&credentials.username, address.ip());
        delays.check(key)?;
        let access = auth.access(Some(&credentials), needed).await;
        if access == Access::Unauthenticated {
            let user = &credentials.username;
            tracing::warn!(target: "http", "failed login of user '{user}' from {address}");
            delays.wait(key).await?;
        }
        Ok(access)
    }

    /// Creates a redirect to `/console/`.
    fn redirect(&self, status: StatusCode) -> HttpResponse {
        let text = if status == StatusCode::FOUND { "Found" } else { "Moved Permanently" };
        let mut response = if matches!(self.head.method, Method::GET | Method::HEAD) {
            let page = format!("<a href=\"/console/\">{text}</a>.\n\n");
            reply::with_type(status, "text/html; charset=utf-8", ReplyBody::Whole(page.into()))
        } else {
            reply::empty(status)
        };
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/console/"));
        response
    }
}

/// The permissions that the endpoints require. The `match` is exhaustive, so that code with a new endpoint does not
/// compile until the endpoint's permissions are given.
impl NodeEndpoint {
    fn permissions(self, method: &Method) -> &'static [Permission] {
        match self {
            // A repair replaces the content of a node.
            NodeEndpoint::Verify if method == Method::POST => &[Permission::All],
            NodeEndpoint::Data(Resource::Execute) => &[Permission::Execute],
            NodeEndpoint::Data(Resource::Query | Resource::Sql) => &[Permission::Query],
            NodeEndpoint::Data(Resource::Request) | NodeEndpoint::Ws4sqlite => {
                &[Permission::Query, Permission::Execute]
            }
            NodeEndpoint::Data(Resource::Backup) => &[Permission::Backup],
            NodeEndpoint::Data(Resource::Load) | NodeEndpoint::Boot => &[Permission::Load],
            NodeEndpoint::Data(Resource::Readyz) | NodeEndpoint::Readyz => &[Permission::Ready],
            NodeEndpoint::Data(Resource::Status | Resource::Nodes | Resource::Leader | Resource::Verify)
            | NodeEndpoint::Status
            | NodeEndpoint::Nodes
            | NodeEndpoint::Licenses
            | NodeEndpoint::Vars
            | NodeEndpoint::Verify
            | NodeEndpoint::Metrics => &[Permission::Status],
            NodeEndpoint::Snapshot | NodeEndpoint::Reap => &[Permission::Snapshot],
            NodeEndpoint::Remove => &[Permission::Remove],
            NodeEndpoint::Leader => &[Permission::LeaderOps],
            NodeEndpoint::Root | NodeEndpoint::Console | NodeEndpoint::ConsolePage => &[],
        }
    }

    /// Returns the permissions that a batch of a request to this endpoint needs on the leader; `None` if the endpoint
    /// runs no batches of clients.
    pub(crate) fn leader_permissions(self) -> Option<LeaderPermissions> {
        match self {
            NodeEndpoint::Data(Resource::Execute) => Some(LeaderPermissions::Execute),
            NodeEndpoint::Data(Resource::Query) => Some(LeaderPermissions::Query),
            NodeEndpoint::Data(Resource::Request) | NodeEndpoint::Ws4sqlite => Some(LeaderPermissions::QueryAndExecute),
            NodeEndpoint::Data(Resource::Load) => Some(LeaderPermissions::Load),
            NodeEndpoint::Data(Resource::Backup) => Some(LeaderPermissions::Backup),
            _ => None,
        }
    }
}
