//! A served database, with everything that the request handlers need to serve it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use sqlhttp_core::{Backend, JournalMode, Location, Status};
use sqlhttp_ws4sqlite::Statements;

use super::admin::{Copies, Macros};
use super::auth::{AuthConfig, TokenConfig};
use super::replication::Replication;
use super::rqlite::queued_writes::QueuedWrites;
use super::sql_observer::SqlObserver;
use super::ws4sqlite::CorsPolicy;
use crate::process::metrics::{LastBackup, ObservedDatabase, StatusFn};

/// A served database, with everything that the request handlers need to serve it.
pub(crate) struct Database {
    /// The name of the database in URLs, metrics and log lines.
    pub(crate) id: String,
    /// The backend that runs the batches of requests to the database.
    pub(crate) backend: Arc<dyn Backend>,
    /// The observer that counts and logs the SQL of requests.
    pub(crate) sql: Arc<SqlObserver>,
    /// How long a request waits for the outcome of a write.
    pub(crate) write_wait: WriteWait,
    /// Executes queued writes (rqlite's `?queue`).
    pub(crate) queued_writes: Arc<dyn QueuedWrites>,
    /// Copies the database to a file and replaces it with a file; `None` if the database supports neither.
    pub(crate) copies: Option<Arc<dyn Copies>>,
    /// The replication of the database; `None` if the database is not replicated.
    pub(crate) replication: Option<Arc<dyn Replication>>,
    pub(crate) last_backup: LastBackup,
    pub(crate) location: Location,
    pub(crate) journal_mode: JournalMode,
    pub(crate) status: Option<StatusFn>,
    pub(crate) rules: DatabaseRules,
}

/// How long a request waits for the outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteWait {
    /// The request waits until its deadline. A write that has not begun by then is not executed.
    UntilDeadline,
    /// The request waits until the outcome arrives, even after its deadline, because a write in a Raft log takes effect
    /// regardless of the deadline. The backend refuses a write whose deadline passes before it is in the Raft log.
    ForOutcome,
}

/// The permissions of the clients of a database, as its companion file of ws4sqlite or sqliterg configures them. By
/// default, every client may do everything.
#[derive(Default)]
pub(crate) struct DatabaseRules {
    /// The stored statements that clients may call, and whether clients may run no other statements.
    pub(crate) statements: Statements,
    /// The users of the database; `None` if clients need no credentials.
    pub(crate) auth: Option<AuthConfig>,
    pub(crate) cors: Option<CorsPolicy>,
    /// The value of the setting `corsOrigin` from which `cors` was parsed.
    pub(crate) cors_origin: Option<String>,
    /// Runs the macros and backups of the database; `None` if none are configured.
    pub(crate) macros: Option<Arc<dyn Macros>>,
    /// The access rule of each macro that clients may run, by the name of the macro.
    pub(crate) macro_access: HashMap<String, TokenConfig>,
    /// The access rule of backups; `None` if clients may not request backups.
    pub(crate) backup_access: Option<TokenConfig>,
}

impl Database {
    /// Returns the status of the database's engine; `None` if the program does not provide it.
    pub(crate) fn status(&self) -> Option<Status> {
        Some(self.status.as_ref()?())
    }

    /// Returns the value of the header `WWW-Authenticate`: `Basic realm="<id>"`. If a header cannot contain the id of
    /// the database, the realm is a fixed one.
    pub(crate) fn challenge(&self) -> HeaderValue {
        challenge(&self.id)
    }
}

/// Creates what is needed to observe a database: the sources of its metrics, and the observer that counts its SQL. The
/// observer logs SQL that takes longer than `slow`.
pub(crate) fn observe(
    id: &str,
    status: Option<StatusFn>,
    location: &Location,
    last_backup: &LastBackup,
    slow: Option<Duration>,
) -> (ObservedDatabase, Arc<SqlObserver>) {
    let observed = ObservedDatabase {
        id: id.to_owned(),
        status,
        location: location.clone(),
        last_backup: last_backup.clone(),
        sql: Arc::default(),
    };
    let observer = SqlObserver::new(Arc::clone(&observed.sql), slow);
    (observed, Arc::new(observer))
}

fn challenge(id: &str) -> HeaderValue {
    let quoted = id.replace('\\', "\\\\").replace('"', "\\\"");
    let challenge = format!("Basic realm=\"{quoted}\"");
    HeaderValue::from_bytes(challenge.as_bytes()).unwrap_or(HeaderValue::from_static("Basic realm=\"sqlhttp\""))
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("id", &self.id).finish_non_exhaustive()
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
