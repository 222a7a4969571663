//! A node as an application that the HTTP transport serves. It has rqlite's HTTP API, and its database is also
//! available in ws4sqlite's protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use sqlhttp_core::{JournalMode, Location, Status};

use super::collector::{LogTimes, NodeCollector};
use super::config::ClusterConfig;
use super::context::{ClusterContext, NodeCopies, NodeSettings};
use super::http::request::{DATABASE, Request};
use super::replication::NodeReplication;
use super::slot::{NodeSlot, OwnBackend};
use super::write_queue::WriteQueue;
use crate::api::context::{AppContext, RequestLimits};
use crate::api::database::{Database, DatabaseRules, WriteWait, observe};
use crate::api::rqlite::counters::Counters;
use crate::api::rqlite::reply::{error, panicked};
use crate::api::rqlite::service;
use crate::http::app::{App, Refused};
use crate::http::limits::{BodyLimits, FlagNames, Limits, unless_zero};
use crate::http::origin::HOST_NOT_ALLOWED;
use crate::http::peer::Peer;
use crate::http::reply::{self, HttpResponse};
use crate::http::request_log;
use crate::http::transport::Transport;
use crate::process::metrics::{LastBackup, Metrics, StatusFn};

/// The time within which running requests must end after the process has received a stop signal.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// The maximum total length of the request line and the headers, in bytes. Go's HTTP server has the same limit.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// The time within which a client must send the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

const FLAGS: FlagNames = FlagNames {
    connections: "http-max-conns",
    body: "http-max-body",
    bodies: "http-max-bodies",
    body_timeout: "http-body-timeout",
};

/// The request handler of a node.
pub(crate) struct ClusterApp {
    context: AppContext,
    cluster: Arc<ClusterContext>,
}

impl ClusterApp {
    /// Returns the node and its settings.
    pub(crate) fn cluster(&self) -> &Arc<ClusterContext> {
        &self.cluster
    }
}

/// Creates the request handler of a node that is not open yet, and starts its queue of queued writes.
pub(crate) fn build_app(settings: NodeSettings, log_times: Arc<LogTimes>) -> ClusterApp {
    let config = &settings.config;
    let (slot, counters) = (Arc::<NodeSlot>::default(), Arc::<Counters>::default());
    let backend = Arc::new(OwnBackend(slot.clone()));
    let (location, last_backup) = (Location::File(config.data_dir.join("db.sqlite")), LastBackup::default());
    let status = status_of(&slot);
    let (observed, sql) = observe(&config.db_name, Some(status.clone()), &location, &last_backup, config.log.slow);
    let queue = WriteQueue::start(&config.write_queue, backend.clone(), sql.clone(), counters.clone());
    let mut metrics = Metrics::new(vec![observed], config.http_tls.as_ref().map(|files| files.cert.clone()));
    let (limits, hosts) = (limits(config), config.http_allowed_hosts.clone());
    let (request_limits, is_https) = (request_limits(config), config.http_tls.is_some());
    let cluster = Arc::new(ClusterContext::new(slot.clone(), settings, queue.written().clone()));
    metrics.register_collector(Box::new(NodeCollector { cluster: cluster.clone(), times: log_times }));
    let database = Database {
        id: cluster.config.db_name.clone(),
        backend,
        sql,
        write_wait: WriteWait::ForOutcome,
        queued_writes: Arc::new(queue),
        copies: Some(Arc::new(NodeCopies(cluster.clone()))),
        replication: Some(Arc::new(NodeReplication(slot))),
        last_backup,
        location,
        journal_mode: JournalMode::Wal,
        status: Some(status),
        rules: DatabaseRules::default(),
    };
    let transport = Arc::new(Transport::new(limits, metrics, &hosts));
    let context = AppContext::new(transport, counters, request_limits, vec![database], is_https);
    context.identity.set_advertised_address(cluster.config.http_adv_addr.clone());
    ClusterApp { context, cluster }
}

/// Returns a function that returns the status of the node's database. While the node writes nothing because it waits
/// for something, such as disk space, the status contains the reason. Until the node is open, the status is empty.
fn status_of(slot: &Arc<NodeSlot>) -> StatusFn {
    let slot = slot.clone();
    Arc::new(move || {
        let Some(node) = slot.get() else { return Status::default() };
        let mut status = node.database().status();
        status.waits_for = node.waits_for().map(|why| why.to_string());
        status
    })
}

fn limits(config: &ClusterConfig) -> Limits {
    let timeout = unless_zero(config.http_body_timeout);
    Limits {
        body: BodyLimits { bytes_max: config.http_body_bytes_max, timeout, flags: &FLAGS },
        all_bodies_bytes_max: config.http_all_bodies_bytes_max,
        header_bytes_max: HEADER_BYTES_MAX,
        header_timeout: Some(HEADER_TIMEOUT),
        first_request_timeout: unless_zero(config.http_first_request_timeout),
        connections_max: config.http_connections_max,
        shutdown_timeout: SHUTDOWN_TIMEOUT,
        flags: &FLAGS,
    }
}

/// Returns the limits of requests. Writes have no time limit, because all nodes must get the same result from an entry
/// of the Raft log. Instead, an entry is limited to a number of steps of SQLite's virtual machine, which all nodes
/// count in the same way.
fn request_limits(config: &ClusterConfig) -> RequestLimits {
    let read_timeout = config.query_timeout.and_then(unless_zero);
    RequestLimits { items_max: config.http_statements_max, read_timeout, write_timeout: None }
}

impl App for ClusterApp {
    fn transport(&self) -> &Arc<Transport> {
        &self.context.transport
    }

    fn listening(&self, address: SocketAddr) {
        self.context.identity.set_listener(address);
        let is_open = self.cluster.auth.is_none() && !self.cluster.config.http_verify_client;
        if is_open && !address.ip().is_loopback() {
            let what = "this node is served without authentication on";
            tracing::warn!(target: "http", "{what} {address}, which other machines can reach");
        }
    }

    async fn answer(&self, head: &Parts, peer: &Peer, body: &mut Option<Incoming>) -> (Option<usize>, HttpResponse) {
        request_log::name_database(&self.context.database(DATABASE).id);
        if let Some(refusal) = refuse_like_go(head) {
            return (Some(DATABASE), refusal);
        }
        let request = Request::new(&self.context, &self.cluster, head, peer).await;
        let mut response = service::answer(&request, body).await;
        if response.status().is_success() {
            request.count();
        }
        let origin = self.cluster.config.http_allow_origin.as_deref();
        if let Some(Ok(origin)) = origin.map(HeaderValue::from_str) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        (Some(DATABASE), response)
    }

    /// Creates the response to a request that the transport refuses. The error texts are those of Go's HTTP server.
    fn refusal(&self, refused: Refused) -> HttpResponse {
        match refused {
            Refused::Ambiguous(why) => {
                reply::closing(reply::text(StatusCode::BAD_REQUEST, format!("400 Bad Request: {why}")))
            }
            Refused::HostNotAllowed => error(StatusCode::FORBIDDEN, HOST_NOT_ALLOWED),
            Refused::TooManyConnections => error(StatusCode::SERVICE_UNAVAILABLE, "too many connections"),
            Refused::Panicked => panicked(),
        }
    }

    fn malformed_head(status: &str) -> (&'static str, String) {
        ("text/plain; charset=utf-8", status.to_owned())
    }
}

/// If Go's HTTP server would refuse this request before its handler runs, returns the response of that server: a
/// missing `Host` header, or an unknown `Expect` header. Returns `None` for any other request.
fn refuse_like_go(head: &Parts) -> Option<HttpResponse> {
    if head.version > Version::HTTP_11 {
        return None;
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(header::HOST) && head.method != Method::CONNECT {
        let text = "400 Bad Request: missing required Host header";
        return Some(reply::closing(reply::text(StatusCode::BAD_REQUEST, text)));
    }
    let expected = head.headers.get(header::EXPECT)?.as_bytes();
    let known = expected.split(|byte| *byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
    let unknown = !known && !expected.is_empty();
    unknown.then(|| reply::closing(reply::empty(StatusCode::EXPECTATION_FAILED)))
}
