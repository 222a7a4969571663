//! What all connections share: the databases with their rules, and the limits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use sqlhttp_core::{Backend, Deadline, JournalMode, Location, Status};
use sqlhttp_ws4sqlite::Statements;

use super::admin::Admin;
use super::observe::SqlObserver;
use super::penalty::Penalty;
use super::rqlite::Node;
use super::rqlite::counters::Vars;
use super::ws4sqlite::cors::{CorsError, CorsPolicy};
use crate::cluster::member::Member;
use crate::cluster::write_queue::WriteQueue;
use crate::http::body::Bounds;
use crate::http::body_memory::BodyBudget;
use crate::http::origin::AllowedHosts;
use crate::process::metrics::{LogTimes, Metrics, Observed, StatusFn};
use crate::standalone::config::{AuthConfig, DatabaseConfig, ServerConfig, WebServiceConfig};
use crate::standalone::files::Files;
use crate::standalone::route::{DatabaseIndex, Table};
use crate::standalone::schedule::LastBackup;

/// A database to be served.
pub struct Served {
    /// What its companion file says.
    pub config: DatabaseConfig,
    /// Who runs its batches.
    pub backend: Arc<dyn Backend>,
    /// Who runs its macros and backups; without one, their paths are unknown.
    pub admin: Option<Arc<dyn Admin>>,
    /// Who knows how it is, for the metrics and the health check.
    pub status: Option<StatusFn>,
    /// When it was backed up.
    pub last_backup: LastBackup,
}

/// Everything that answering needs. Shared by all connections, immutable but for counters.
pub struct State {
    pub(crate) limits: Limits,
    pub(crate) table: Table,
    pub(crate) files: Option<Files>,
    pub(crate) allowed_hosts: Option<AllowedHosts>,
    pub(crate) metrics: Metrics,
    pub(crate) body_budget: BodyBudget,
    pub(crate) penalty: Penalty,
    pub(crate) node: Node,
    pub(crate) vars: Arc<Vars>,
    /// The queue of queued writes, where there is one.
    pub(crate) write_queue: Option<WriteQueue>,
    /// The node of a cluster that this server is, if it is one.
    pub(crate) member: Option<Arc<Member>>,
    databases: Vec<Entry>,
    stopping: AtomicBool,
}

/// What bounds connections and requests.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) body: Bounds,
    pub(crate) header_bytes_max: usize,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) first_request_timeout: Option<Duration>,
    pub(crate) connections_max: usize,
    pub(crate) items_max: usize,
    pub(crate) query_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) flags: &'static FlagNames,
}

/// The names of flags, for messages: the two servers have different ones.
#[derive(Debug)]
pub(crate) struct FlagNames {
    pub(crate) connections: &'static str,
    pub(crate) body: &'static str,
    pub(crate) bodies: &'static str,
    pub(crate) body_timeout: &'static str,
}

const STANDALONE_FLAGS: FlagNames =
    FlagNames { connections: "max-connections", body: "max-body", bodies: "max-bodies", body_timeout: "body-timeout" };

const NODE_FLAGS: FlagNames = FlagNames {
    connections: "http-max-conns",
    body: "http-max-body",
    bodies: "http-max-bodies",
    body_timeout: "http-body-timeout",
};

/// A database that is served, ready for requests.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) backend: Arc<dyn Backend>,
    /// Observes what requests have the backend run.
    pub(crate) sql: Arc<SqlObserver>,
    pub(crate) last_backup: LastBackup,
    pub(crate) statements: Statements,
    pub(crate) auth: Option<AuthConfig>,
    /// What `WWW-Authenticate` says.
    pub(crate) challenge: HeaderValue,
    pub(crate) cors: Option<CorsPolicy>,
    /// The value that the policy was made of.
    pub(crate) cors_origin: Option<String>,
    pub(crate) admin: Option<Arc<dyn Admin>>,
    /// The macros that may be called over HTTP.
    pub(crate) macros: HashMap<String, WebServiceConfig>,
    /// How a backup may be asked for over HTTP, if it may.
    pub(crate) backup: Option<WebServiceConfig>,
    pub(crate) location: Location,
    pub(crate) journal_mode: JournalMode,
    status: Option<StatusFn>,
}

/// Why a database cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("in {database}: {source}")]
pub struct SetupError {
    /// The id of the database.
    pub database: String,
    /// What is wrong.
    pub source: CorsError,
}

impl State {
    /// Everything for these databases, under these settings.
    ///
    /// # Errors
    /// A database's `corsOrigin` makes no sense.
    pub fn new(config: &ServerConfig, databases: Vec<Served>) -> Result<Arc<State>, SetupError> {
        State::build(config, databases, None).map(Arc::new)
    }

    /// Everything for the database of a node of a cluster.
    ///
    /// # Errors
    /// As [`State::new`].
    pub(crate) fn of_member(
        config: &ServerConfig,
        database: Served,
        member: Arc<Member>,
        log_times: Arc<LogTimes>,
    ) -> Result<Arc<State>, SetupError> {
        let address = member.config.http_adv_addr.clone();
        let mut state = State::build(config, vec![database], Some(member.clone()))?;
        state.node.is_reached_at(address);
        let database = state.database(0);
        let (backend, sql) = (database.backend.clone(), database.sql.clone());
        state.write_queue = Some(WriteQueue::start(&member.config.write_queue, backend, sql, state.vars.clone()));
        state.metrics.watch_node(member, log_times);
        Ok(Arc::new(state))
    }

    fn build(config: &ServerConfig, databases: Vec<Served>, member: Option<Arc<Member>>) -> Result<State, SetupError> {
        let observed: Vec<Observed> = databases.iter().map(observed).collect();
        let entry = |(served, observed): (Served, &Observed)| Entry::new(served, observed, config.log_slow);
        let databases = databases.into_iter().zip(&observed).map(entry).collect::<Result<Vec<_>, _>>()?;
        let root = config.serve_dir.clone();
        Ok(State {
            limits: Limits::new(config, if member.is_some() { &NODE_FLAGS } else { &STANDALONE_FLAGS }),
            table: Table::new(databases.iter().map(|entry| entry.id.as_str())),
            files: root.map(|root| Files::new(root, config.index_file.clone())),
            allowed_hosts: AllowedHosts::new(&config.allowed_hosts),
            metrics: Metrics::new(observed, config.tls.as_ref().map(|files| files.cert.clone())),
            // One body of the greatest length always fits.
            body_budget: BodyBudget::new(config.all_bodies_bytes_max.max(config.body_bytes_max)),
            penalty: Penalty::default(),
            node: Node::new(config.tls.is_some()),
            vars: Arc::default(),
            write_queue: None,
            member,
            databases,
            stopping: AtomicBool::new(false),
        })
    }

    /// The database at an index that the table has given out.
    pub(crate) fn database(&self, index: DatabaseIndex) -> &Entry {
        &self.databases[index]
    }

    /// The beginning of a warning, if there is something that needs no authentication.
    pub(crate) fn is_open_to_all(&self) -> Option<String> {
        match &self.member {
            Some(member) if member.auth.is_some() || member.config.http_verify_client => None,
            Some(_) => Some("this node is served".to_owned()),
            None => {
                let open = self.databases.iter().find(|entry| entry.auth.is_none())?;
                Some(format!("database '{}' is served", open.id))
            }
        }
    }

    /// How many databases are served.
    pub(crate) fn databases_len(&self) -> usize {
        self.databases.len()
    }

    /// The moment after which a statement that starts now may not run any more.
    pub(crate) fn deadline(&self) -> Deadline {
        let after =
            |limit: Option<Duration>| limit.map_or(Deadline::NEVER, |limit| Deadline::after(Instant::now(), limit));
        let deadline = after(self.limits.query_timeout);
        // Nodes with different flags must decide alike about a write in the log.
        let deadline = if self.member.is_some() { deadline.for_reads_only() } else { deadline };
        deadline.and(after(self.limits.write_timeout).for_writes_only())
    }

    /// From now on the health check fails, so that no new work is sent here.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether no new work should be sent here because the server is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why no work should be sent here, if so.
    pub(crate) fn unhealthy(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("shutting down".to_owned());
        }
        self.databases.iter().find_map(|entry| {
            let why = entry.status()?.poisoned?;
            Some(format!("database '{}' takes no more writes: {why}", entry.id))
        })
    }
}

impl Limits {
    fn new(config: &ServerConfig, flags: &'static FlagNames) -> Self {
        // A duration of zero means that there is no limit.
        let limit = |duration: Duration| Some(duration).filter(|duration| !duration.is_zero());
        Limits {
            body: Bounds { bytes_max: config.body_bytes_max, timeout: limit(config.body_timeout), flags },
            header_bytes_max: config.header_bytes_max,
            header_timeout: limit(config.header_timeout),
            first_request_timeout: limit(config.first_request_timeout),
            connections_max: config.connections_max,
            items_max: config.items_max,
            query_timeout: config.query_timeout.and_then(limit),
            write_timeout: config.write_timeout.and_then(limit),
            shutdown_timeout: config.shutdown_timeout,
            flags,
        }
    }
}

impl Entry {
    fn new(served: Served, observed: &Observed, slow: Option<Duration>) -> Result<Self, SetupError> {
        let Served { config, backend, admin, status, last_backup } = served;
        let cors = config.cors_origin.as_deref().map(CorsPolicy::parse).transpose();
        let cors = cors.map_err(|source| SetupError { database: config.id.clone(), source })?;
        let macros = config.macros.into_iter().filter_map(|it| Some((it.id, it.execution.web_service?)));
        Ok(Entry {
            challenge: challenge(&config.id),
            id: config.id,
            backend,
            sql: Arc::new(SqlObserver::new(Arc::clone(&observed.sql), slow)),
            last_backup,
            statements: Statements { stored: config.stored_statements, only_stored: config.only_stored_statements },
            auth: config.auth,
            cors,
            cors_origin: config.cors_origin,
            admin,
            macros: macros.collect(),
            backup: config.backup.and_then(|backup| backup.execution.web_service),
            location: config.location,
            journal_mode: config.journal_mode,
            status,
        })
    }

    /// What the database tells of itself, if it does.
    pub(crate) fn status(&self) -> Option<Status> {
        Some(self.status.as_ref()?())
    }
}

fn observed(served: &Served) -> Observed {
    Observed {
        id: served.config.id.clone(),
        status: served.status.clone(),
        location: served.config.location.clone(),
        last_backup: served.last_backup.clone(),
        sql: Arc::default(),
    }
}

/// `Basic realm="<id>"`, as far as a header can hold the id.
fn challenge(id: &str) -> HeaderValue {
    let quoted = id.replace('\\', "\\\\").replace('"', "\\\"");
    let challenge = format!("Basic realm=\"{quoted}\"");
    HeaderValue::from_bytes(challenge.as_bytes()).unwrap_or(HeaderValue::from_static("Basic realm=\"sqlhttp\""))
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("id", &self.config.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        assert_eq!(challenge("test"), "Basic realm=\"test\"");
        assert_eq!(challenge("a\"b\\c"), "Basic realm=\"a\\\"b\\\\c\"");
        assert_eq!(challenge("数").as_bytes(), "Basic realm=\"数\"".as_bytes());
        assert_eq!(challenge("a\nb"), "Basic realm=\"sqlhttp\"");
    }
}
