//! One database as the handlers of requests see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use sqlhttp_core::{Backend, JournalMode, Location, Status};
use sqlhttp_ws4sqlite::Statements;

use super::admin::{Copies, Macros};
use super::auth::{AuthConfig, TokenConfig};
use super::rqlite::queued_writes::QueuedWrites;
use super::sql_observer::SqlObserver;
use super::ws4sqlite::CorsPolicy;
use crate::process::metrics::{LastBackup, Observed, StatusFn};

/// A database that is served.
pub(crate) struct Database {
    /// The name in URLs, metrics and log lines.
    pub(crate) id: String,
    /// Runs batches.
    pub(crate) backend: Arc<dyn Backend>,
    /// Counts and logs the SQL of requests.
    pub(crate) sql: Arc<SqlObserver>,
    /// How long a request waits for the outcome of a write.
    pub(crate) write_wait: WriteWait,
    /// Writes queued writes (rqlite's `?queue`).
    pub(crate) queued_writes: Arc<dyn QueuedWrites>,
    /// Copies and replaces the database; `None` if that is not possible.
    pub(crate) copies: Option<Arc<dyn Copies>>,
    pub(crate) last_backup: LastBackup,
    pub(crate) location: Location,
    pub(crate) journal_mode: JournalMode,
    pub(crate) status: Option<StatusFn>,
    pub(crate) rules: DatabaseRules,
}

/// How long a request waits for the outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteWait {
    /// Until its deadline. A write that has not begun by then never begins.
    UntilDeadline,
    /// Until there is an outcome: a write in a replicated log takes effect however long that takes. The backend applies
    /// the deadline to writes that have no place in the log.
    ForOutcome,
}

/// What a companion file (ws4sqlite, sqliterg) says about the clients of a database. The default allows every client
/// everything.
#[derive(Default)]
pub(crate) struct DatabaseRules {
    /// The stored statements, and whether clients may call only those.
    pub(crate) statements: Statements,
    /// The users; `None` allows every client.
    pub(crate) auth: Option<AuthConfig>,
    pub(crate) cors: Option<CorsPolicy>,
    /// The value that the policy was made of.
    pub(crate) cors_origin: Option<String>,
    /// Runs macros and backups; `None` if there are none.
    pub(crate) macros: Option<Arc<dyn Macros>>,
    /// The macros that clients may call, by name.
    pub(crate) macro_access: HashMap<String, TokenConfig>,
    /// How clients may ask for a backup, if they may.
    pub(crate) backup_access: Option<TokenConfig>,
}

impl Database {
    /// Returns the state of the database's engine, if it can be asked.
    pub(crate) fn status(&self) -> Option<Status> {
        Some(self.status.as_ref()?())
    }

    /// The value of `WWW-Authenticate`: `Basic realm="<id>"`, as far as a header can contain the id.
    pub(crate) fn challenge(&self) -> HeaderValue {
        challenge(&self.id)
    }
}

/// Returns what the metrics read of a database, and the observer that counts its SQL. SQL that takes longer than `slow` is
/// logged.
pub(crate) fn observe(
    id: &str,
    status: Option<StatusFn>,
    location: &Location,
    last_backup: &LastBackup,
    slow: Option<Duration>,
) -> (Observed, Arc<SqlObserver>) {
    let observed = Observed {
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
