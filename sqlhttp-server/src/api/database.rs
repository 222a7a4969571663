//! One served database, as the request handlers see it.

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
use crate::process::metrics::{LastBackup, ObservedDatabase, StatusFn};

/// A database that is served.
pub(crate) struct Database {
    /// The name of the database in URLs, metrics and log lines.
    pub(crate) id: String,
    /// The backend that runs batches.
    pub(crate) backend: Arc<dyn Backend>,
    /// The observer that counts and logs the SQL of requests.
    pub(crate) sql: Arc<SqlObserver>,
    /// The time that a request waits for the outcome of a write.
    pub(crate) write_wait: WriteWait,
    /// The handler of queued writes (rqlite's `?queue`).
    pub(crate) queued_writes: Arc<dyn QueuedWrites>,
    /// The handler of copies and replacement; `None` if the database supports neither.
    pub(crate) copies: Option<Arc<dyn Copies>>,
    pub(crate) last_backup: LastBackup,
    pub(crate) location: Location,
    pub(crate) journal_mode: JournalMode,
    pub(crate) status: Option<StatusFn>,
    pub(crate) rules: DatabaseRules,
}

/// The time that a request waits for the outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteWait {
    /// Until its deadline. A write that has not begun by then is not executed.
    UntilDeadline,
    /// Until the outcome arrives, because a write in a replicated log takes effect even if its deadline passes. The
    /// backend applies the deadline to writes that are not in the log yet.
    ForOutcome,
}

/// The rules for the clients of a database, from its companion file (ws4sqlite, sqliterg). By default, every client may
/// do everything.
#[derive(Default)]
pub(crate) struct DatabaseRules {
    /// The stored statements, and whether clients may call nothing else.
    pub(crate) statements: Statements,
    /// The users of the database; `None` allows every client.
    pub(crate) auth: Option<AuthConfig>,
    pub(crate) cors: Option<CorsPolicy>,
    /// The value of `corsOrigin` that `cors` was parsed from.
    pub(crate) cors_origin: Option<String>,
    /// The handler of macros and backups; `None` if none are configured.
    pub(crate) macros: Option<Arc<dyn Macros>>,
    /// The access to each macro that clients may call, by name.
    pub(crate) macro_access: HashMap<String, TokenConfig>,
    /// The access to backups; `None` if clients may not request backups.
    pub(crate) backup_access: Option<TokenConfig>,
}

impl Database {
    /// Returns the status of the database's engine, if the program provides it.
    pub(crate) fn status(&self) -> Option<Status> {
        Some(self.status.as_ref()?())
    }

    /// Returns the value of `WWW-Authenticate`: `Basic realm="<id>"`, or a fixed realm if a header cannot contain the
    /// id.
    pub(crate) fn challenge(&self) -> HeaderValue {
        challenge(&self.id)
    }
}

/// Makes the sources of a database's metrics, and the observer that counts its SQL. The observer logs SQL that takes
/// longer than `slow`.
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
