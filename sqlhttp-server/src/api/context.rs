//! The state that the request handlers of both protocols share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlhttp_core::Deadline;

use super::database::Database;
use super::login_delay::LoginDelays;
use super::rqlite::counters::Counters;
use super::rqlite::identity::ServerIdentity;
use crate::http::transport::Transport;

/// The databases of a server, and the limits of requests to them. After the start, only the counters, the login delays
/// and the data in `identity` change.
#[derive(Debug)]
pub(crate) struct AppContext {
    pub(crate) transport: Arc<Transport>,
    pub(crate) identity: ServerIdentity,
    pub(crate) counters: Arc<Counters>,
    pub(crate) login_delays: LoginDelays,
    pub(crate) limits: RequestLimits,
    /// The databases. The order is the same as in the metrics.
    pub(crate) databases: Vec<Database>,
}

/// The limits that apply to the statements of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// The maximum number of statements in one request.
    pub(crate) items_max: usize,
    /// The time limit of a batch that only reads; `None` for no limit.
    pub(crate) read_timeout: Option<Duration>,
    /// The time limit of a batch that writes, including its time in the queue; `None` for no limit. A node of a cluster
    /// has no such limit: nodes with different flags could otherwise apply the same entry of the Raft log with
    /// different results.
    pub(crate) write_timeout: Option<Duration>,
}

impl AppContext {
    /// Creates the context of a server. `is_https` states whether clients connect over HTTPS.
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

    /// Returns the database at an index. The index comes from the route table of the program.
    pub(crate) fn database(&self, index: usize) -> &Database {
        &self.databases[index]
    }

    /// Returns whether the server is shutting down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.transport.is_stopping()
    }

    /// Returns the deadline of a batch that is submitted now, if its request sets no time limit.
    pub(crate) fn deadline(&self) -> Deadline {
        let now = Instant::now();
        let after = |limit: Option<Duration>| limit.map_or(Deadline::NEVER, |limit| Deadline::after(now, limit));
        let RequestLimits { read_timeout, write_timeout, .. } = self.limits;
        after(read_timeout).for_reads_only().and(after(write_timeout).for_writes_only())
    }

    /// Returns the reason why load balancers should send no requests to this server; `None` if it is healthy.
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
