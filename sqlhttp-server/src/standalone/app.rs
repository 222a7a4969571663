//! The standalone server as an application that the HTTP transport serves. It has databases in ws4sqlite's protocol,
//! sqliterg's macros and backups, rqlite's API below the path of each database, and static files.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};
use sqlhttp_core::{Backend, ReadLevel};
use sqlhttp_ws4sqlite::{Refusal, Statements};

use super::config::{DatabaseConfig, ServerConfig};
use super::files::Files;
use super::route::{Route, RouteTable, route};
use super::rqlite::RqliteRequest;
use crate::api::admin::{Copies, Macros};
use crate::api::context::{AppContext, RequestLimits};
use crate::api::database::{Database, DatabaseRules, WriteWait, observe};
use crate::api::exchange::Exchange;
use crate::api::rqlite::queued_writes::DirectWrites;
use crate::api::rqlite::resource::Resource;
use crate::api::rqlite::service;
use crate::api::ws4sqlite::cors::{self, CorsError, CorsPolicy};
use crate::api::ws4sqlite::macros::MacroCall;
use crate::api::ws4sqlite::reply::{error, not_found, overloaded, wrong_method};
use crate::api::ws4sqlite::transaction;
use crate::http::app::{App, Refused};
use crate::http::compress::compress;
use crate::http::limits::{BodyLimits, FlagNames, Limits, unless_zero};
use crate::http::origin::{self, CROSS_SITE};
use crate::http::peer::Peer;
use crate::http::reply::{self, HttpResponse};
use crate::http::request_log;
use crate::http::transport::Transport;
use crate::process::metrics::{LastBackup, Metrics, ObservedDatabase, StatusFn};

const FLAGS: FlagNames =
    FlagNames { connections: "max-connections", body: "max-body", bodies: "max-bodies", body_timeout: "body-timeout" };

/// A database to be served, and what its endpoints call.
pub struct ServedDatabase {
    /// The settings of the database.
    pub config: DatabaseConfig,
    /// The backend that runs batches on the database.
    pub backend: Arc<dyn Backend>,
    /// Runs the macros and backups of the database. If `None`, requests to their paths get a 404.
    pub macros: Option<Arc<dyn Macros>>,
    /// Copies the database to a file, and replaces its content. If `None`, requests that do so are refused.
    pub(crate) copies: Option<Arc<dyn Copies>>,
    /// Returns the status of the database, for the metrics and the health check; if `None`, these do not include the
    /// database's status.
    pub status: Option<StatusFn>,
    /// The time of the last backup of the database.
    pub last_backup: LastBackup,
}

/// The request handler of the standalone server.
pub struct StandaloneApp {
    context: AppContext,
    table: RouteTable,
    files: Option<Files>,
}

/// The reason for which a database cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("in {database}: {source}")]
pub struct SetupError {
    /// The id of the database.
    database: String,
    source: CorsError,
}

impl ServedDatabase {
    /// Creates a database without macros, backups, copies and status.
    pub fn new(config: DatabaseConfig, backend: Arc<dyn Backend>) -> ServedDatabase {
        let last_backup = LastBackup::default();
        ServedDatabase { config, backend, macros: None, copies: None, status: None, last_backup }
    }
}

impl StandaloneApp {
    /// Creates a request handler for `databases` with the settings in `config`.
    ///
    /// # Errors
    /// Returned if the `corsOrigin` of a database cannot be parsed.
    pub fn new(config: &ServerConfig, databases: Vec<ServedDatabase>) -> Result<Arc<StandaloneApp>, SetupError> {
        let table = RouteTable::new(databases.iter().map(|served| served.config.id.as_str()));
        let mut observed = Vec::with_capacity(databases.len());
        let databases = databases.into_iter().map(|served| database(served, config, &mut observed));
        let databases = databases.collect::<Result<Vec<_>, _>>()?;
        let metrics = Metrics::new(observed, config.tls.as_ref().map(|files| files.cert.clone()));
        let transport = Arc::new(Transport::new(limits(config), metrics, &config.allowed_hosts));
        let context =
            AppContext::new(transport, Arc::default(), request_limits(config), databases, config.tls.is_some());
        let files = config.serve_dir.clone().map(|root| Files::new(root, config.index_file.clone()));
        Ok(Arc::new(StandaloneApp { context, table, files }))
    }

    pub(crate) fn context(&self) -> &AppContext {
        &self.context
    }
}

fn limits(config: &ServerConfig) -> Limits {
    Limits {
        body: BodyLimits { bytes_max: config.body_bytes_max, timeout: unless_zero(config.body_timeout), flags: &FLAGS },
        all_bodies_bytes_max: config.all_bodies_bytes_max,
        header_bytes_max: config.header_bytes_max,
        header_timeout: unless_zero(config.header_timeout),
        first_request_timeout: unless_zero(config.first_request_timeout),
        connections_max: config.connections_max,
        shutdown_timeout: config.shutdown_timeout,
        flags: &FLAGS,
    }
}

/// Returns the limits of a request. `-query-timeout` applies to reads and writes, `-write-timeout` only to writes. If
/// both are set, a write is limited by the shorter one.
fn request_limits(config: &ServerConfig) -> RequestLimits {
    let (all, writes) = (config.query_timeout.and_then(unless_zero), config.write_timeout.and_then(unless_zero));
    let write_timeout = all.into_iter().chain(writes).min();
    RequestLimits { items_max: config.items_max, read_timeout: all, write_timeout }
}

fn database(
    served: ServedDatabase,
    server: &ServerConfig,
    all: &mut Vec<ObservedDatabase>,
) -> Result<Database, SetupError> {
    let ServedDatabase { config, backend, macros, copies, status, last_backup } = served;
    let (observed, sql) = observe(&config.id, status.clone(), &config.location, &last_backup, server.log_slow);
    all.push(observed);
    Ok(Database {
        queued_writes: Arc::new(DirectWrites::new(backend.clone(), sql.clone())),
        id: config.id.clone(),
        backend,
        sql,
        write_wait: WriteWait::UntilDeadline,
        copies,
        replication: None,
        last_backup,
        location: config.location.clone(),
        journal_mode: config.journal_mode,
        status,
        rules: rules(config, macros)?,
    })
}

fn rules(config: DatabaseConfig, macros: Option<Arc<dyn Macros>>) -> Result<DatabaseRules, SetupError> {
    let cors = config.cors_origin.as_deref().map(CorsPolicy::parse).transpose();
    let cors = cors.map_err(|source| SetupError { database: config.id.clone(), source })?;
    let access = config.macros.into_iter().filter_map(|it| Some((it.id, it.execution.web_service?)));
    Ok(DatabaseRules {
        statements: Statements { stored: config.stored_statements, only_stored: config.only_stored_statements },
        auth: config.auth,
        cors,
        cors_origin: config.cors_origin,
        macros,
        macro_access: access.collect(),
        backup_access: config.backup.and_then(|backup| backup.execution.web_service),
    })
}

impl App for StandaloneApp {
    fn transport(&self) -> &Arc<Transport> {
        &self.context.transport
    }

    fn listening(&self, address: SocketAddr) {
        self.context.identity.set_listener(address);
        if let Some(open) = self.context.databases.iter().find(|database| database.rules.auth.is_none())
            && !address.ip().is_loopback()
        {
            let what = format!("database '{}' is served", open.id);
            tracing::warn!(target: "http", "{what} without authentication on {address}, which other machines can reach");
        }
    }

    async fn answer(&self, head: &Parts, peer: &Peer, body: &mut Option<Incoming>) -> (Option<usize>, HttpResponse) {
        if let Some(files) = &self.files
            && matches!(head.method, Method::GET | Method::HEAD)
            && let Some(file) = files.answer(head).await
        {
            return (None, file);
        }
        let route = route(&head.method, head.uri.path(), &self.table);
        let Some(index) = route.database() else {
            return (None, not_found(&head.method, head.uri.path()));
        };
        let target = DatabaseRequest::new(&self.context, index, head, peer);
        (Some(index), target.answer(route, body).await)
    }

    fn refusal(&self, refused: Refused) -> HttpResponse {
        match refused {
            Refused::Ambiguous(why) => reply::closing(error(StatusCode::BAD_REQUEST, why)),
            Refused::HostNotAllowed => error(StatusCode::FORBIDDEN, origin::HOST_NOT_ALLOWED),
            Refused::TooManyConnections => overloaded("Too many connections"),
            Refused::Panicked => error(StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }

    fn malformed_head(status: &str) -> (&'static str, String) {
        let reason = status.split_once(' ').map_or(status, |(_, reason)| reason);
        let body = Refusal { status: 400, req_idx: -1, error: reason.to_owned() }.body();
        ("application/json", String::from_utf8(body).unwrap_or_default())
    }
}

/// A request whose path names a database.
struct DatabaseRequest<'a> {
    context: &'a AppContext,
    index: usize,
    request: &'a Parts,
    peer: &'a Peer,
}

impl<'a> DatabaseRequest<'a> {
    fn new(context: &'a AppContext, index: usize, request: &'a Parts, peer: &'a Peer) -> Self {
        let target = DatabaseRequest { context, index, request, peer };
        request_log::name_database(&target.database().id);
        target
    }

    fn database(&self) -> &'a Database {
        self.context.database(self.index)
    }

    fn exchange(&self) -> Exchange<'a> {
        Exchange::new(self.context, self.index, self.request, self.peer)
    }

    async fn answer(&self, route: Route, body: &mut Option<Incoming>) -> HttpResponse {
        if route.has_effect() && self.is_cross_site() {
            return self.with_cors(error(StatusCode::FORBIDDEN, CROSS_SITE));
        }
        let response = match route {
            Route::Call(_) => self.transaction(body).await,
            Route::Options(_) => match &self.database().rules.cors {
                None => wrong_method("POST"),
                Some(policy) if cors::is_preflight(&self.request.headers) => return self.preflight(policy),
                Some(_) => reply::with_header(reply::empty(StatusCode::NO_CONTENT), header::ALLOW, "POST, OPTIONS"),
            },
            Route::Macro(_, name) => self.macro_call().run_macro(&name).await,
            Route::Backup(_) => self.macro_call().run_backup().await,
            Route::Rqlite(_, resource) => self.rqlite(resource, body).await,
            Route::WrongMethod(_, allow) => self.wrong_method(allow),
            Route::Unknown => not_found(&self.request.method, self.request.uri.path()),
        };
        self.with_cors(response)
    }

    /// Returns whether a page of another origin may have made a browser send this request without a preflight. `false`
    /// if the database's CORS policy allows that origin.
    fn is_cross_site(&self) -> bool {
        let cors = self.database().rules.cors.as_ref();
        origin::is_cross_site(self.request, |origin| cors.is_some_and(|policy| policy.allows(origin)))
    }

    async fn transaction(&self, body: &mut Option<Incoming>) -> HttpResponse {
        let mut response = transaction::answer(&self.exchange(), ReadLevel::Weak, body).await;
        compress(&mut response, &self.request.headers).await;
        response
    }

    async fn rqlite(&self, resource: Resource, body: &mut Option<Incoming>) -> HttpResponse {
        service::answer(&RqliteRequest { exchange: self.exchange(), resource }, body).await
    }

    /// Creates the response to a CORS preflight request.
    fn preflight(&self, policy: &CorsPolicy) -> HttpResponse {
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        policy.add_preflight_headers(&self.request.headers, response.headers_mut());
        response
    }

    fn macro_call(&self) -> MacroCall<'a> {
        let DatabaseRequest { context, index, request, peer } = *self;
        let metrics = context.transport.metrics.database(Some(index));
        MacroCall { context, database: self.database(), metrics, request, peer }
    }

    fn wrong_method(&self, allow: &'static str) -> HttpResponse {
        let with_options = allow == "POST" && self.database().rules.cors.is_some();
        wrong_method(if with_options { "POST, OPTIONS" } else { allow })
    }

    fn with_cors(&self, mut response: HttpResponse) -> HttpResponse {
        if let Some(policy) = &self.database().rules.cors {
            policy.add_headers(self.request.headers.get(header::ORIGIN), response.headers_mut());
        }
        response
    }
}

impl fmt::Debug for StandaloneApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandaloneApp").field("context", &self.context).finish_non_exhaustive()
    }
}
