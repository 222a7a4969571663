//! The state that the handlers of both protocols share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlhttp_core::Deadline;

use super::database::Database;
use super::login_delay::LoginDelays;
use super::rqlite::counters::Counters;
use super::rqlite::identity::ServerIdentity;
use crate::http::transport::Transport;

/// The databases of a server and the limits of requests to them. Immutable but for counters.
#[derive(Debug)]
pub(crate) struct AppContext {
    pub(crate) transport: Arc<Transport>,
    pub(crate) identity: ServerIdentity,
    pub(crate) counters: Arc<Counters>,
    pub(crate) login_delays: LoginDelays,
    pub(crate) limits: RequestLimits,
    /// The databases, in the order of their metrics.
    pub(crate) databases: Vec<Database>,
}

/// The limits of a request's statements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// The number of statements in one request.
    pub(crate) items_max: usize,
    /// The time that a batch may run that only reads.
    pub(crate) read_timeout: Option<Duration>,
    /// The time that a batch may wait and run that writes. A node of a cluster has none: replicas with different flags
    /// would decide differently about an entry of the log.
    pub(crate) write_timeout: Option<Duration>,
}

impl AppContext {
    /// A context without requests. `is_https`: clients reach the server by HTTPS.
    pub(crate) fn new(
        transport: Arc<Transport>,
        counters: Arc<Counters>,
        limits: RequestLimits,
        databases: Vec<Database>,
        is_https: bool,
    ) -> AppContext {
        AppContext {
            transport,
            identity: ServerIdentity::new(is_https),
            counters,
            login_delays: LoginDelays::default(),
            limits,
            databases,
        }
    }

    /// Returns the database at an index that the program's route table contains.
    pub(crate) fn database(&self, index: usize) -> &Database {
        &self.databases[index]
    }

    /// Returns whether the server has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.transport.is_stopping()
    }

    /// Returns the deadline of a batch that starts now, if the request sets none.
    pub(crate) fn deadline(&self) -> Deadline {
        let now = Instant::now();
        let after = |limit: Option<Duration>| limit.map_or(Deadline::NEVER, |limit| Deadline::after(now, limit));
        let RequestLimits { read_timeout, write_timeout, .. } = self.limits;
        after(read_timeout).for_reads_only().and(after(write_timeout).for_writes_only())
    }

    /// Returns why load balancers should send no work to this server, if so.
    pub(crate) fn unhealthy(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("shutting down".to_owned());
        }
        self.databases.iter().find_map(|database| {
            let why = database.status()?.poisoned?;
            Some(format!("database '{}' takes no more writes: {why}", database.id))
        })
    }
}
