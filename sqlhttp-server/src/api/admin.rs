//! Macros and backups over HTTP, as sqliterg has them: `/<id>/macro/<name>` and `/<id>/backup`, with `?token=…`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;
use sqlhttp_core::{BoxFuture, Error};

use super::auth::token_matches;
use super::context::{Entry, State};
use super::ws4sqlite::answer;
use crate::http::peer::Peer;
use crate::http::reply::{self, HttpResponse};
use crate::process::metrics::DatabaseMetrics;
use crate::standalone::config::WebServiceConfig;
use crate::standalone::route::query_parameter;

/// Who runs a database's macros and backups. Dropping a future gives the run up as soon as that is possible.
pub trait Admin: Send + Sync {
    /// Runs the macro of this name; how many rows each statement changed.
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>>;

    /// Makes a backup and removes those that are too many.
    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>>;

    /// Writes a copy of the database, as it is now, to a file that does not exist yet. `vacuumed`: rebuilt, so that it
    /// takes no more room than it needs. Who cannot, says [`Error::Unsupported`].
    fn copy_to<'a>(&'a self, to: &'a Path, vacuumed: bool) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (to, vacuumed);
        Box::pin(async { Err(Error::Unsupported("this database cannot be copied".to_owned())) })
    }

    /// Replaces all content by that of a database file, which is checked before and taken away after. Returns its place in
    /// the log, 0 where there is none. Who cannot, says [`Error::Unsupported`].
    fn load_file(&self, file: PathBuf) -> BoxFuture<'_, Result<u64, Error>> {
        drop(file);
        Box::pin(async { Err(Error::Unsupported("this database cannot be replaced".to_owned())) })
    }

    /// A name for a file that is to be loaded: where there is room for it, and used by nobody else. `None` for who cannot
    /// load.
    fn scratch_file(&self) -> Option<PathBuf> {
        None
    }
}

/// Why a macro or a backup did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no such macro, or no place for backups.
    #[error("{0}")]
    NotFound(String),
    /// What would be made is there already (a second backup within a minute).
    #[error("{0}")]
    AlreadyExists(String),
    /// A statement failed, or the backup did.
    #[error("{message}")]
    Failed {
        /// The index of the statement, from 0, if it was one.
        statement: Option<usize>,
        /// What went wrong.
        message: String,
    },
    /// The database has no outcome to tell.
    #[error(transparent)]
    Database(#[from] Error),
}

/// sqliterg's error object. (Its key is `message`; that of ws4sqlite's is `error`.)
#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "reqIdx")]
    req_idx: i64,
    message: &'a str,
}

#[derive(Serialize)]
struct Results {
    results: Vec<StatementResult>,
}

#[derive(Serialize)]
struct StatementResult {
    success: bool,
    #[serde(rename = "rowsUpdated")]
    rows_updated: u64,
}

/// A call of a macro or a backup.
pub(crate) struct AdminCall<'a> {
    pub(crate) state: &'a State,
    pub(crate) database: &'a Entry,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
}

impl AdminCall<'_> {
    /// The answer to `/<id>/macro/<name>`.
    pub(crate) async fn run_macro(&self, name: &str) -> HttpResponse {
        let what = format!("In database '{}', macro '{name}'", self.database.id);
        let (Some(admin), Some(access)) = (&self.database.admin, self.database.macros.get(name)) else {
            return self.unknown(&what);
        };
        match self.refuse(access, &what).await {
            Some(refusal) => refusal,
            None => respond(admin.run_macro(name).await),
        }
    }

    /// The answer to `/<id>/backup`.
    pub(crate) async fn run_backup(&self) -> HttpResponse {
        let what = format!("In database '{}', backup", self.database.id);
        let (Some(admin), Some(access)) = (&self.database.admin, &self.database.backup) else {
            return self.unknown(&what);
        };
        match self.refuse(access, &what).await {
            Some(refusal) => refusal,
            None => respond(admin.run_backup().await.map(|()| Vec::new())),
        }
    }

    /// Whoever has configured neither macros nor backups never hears of them.
    fn unknown(&self, what: &str) -> HttpResponse {
        if self.database.macros.is_empty() && self.database.backup.is_none() {
            return reply::not_found(&self.request.method, self.request.uri.path());
        }
        error(StatusCode::NOT_FOUND.as_u16(), None, &format!("{what}: not found"))
    }

    async fn refuse(&self, access: &WebServiceConfig, what: &str) -> Option<HttpResponse> {
        let token = query_parameter(self.request.uri.query(), "token");
        let key = self.state.penalty.key("", self.peer.address.ip());
        if access.token_sha256.is_some() && self.state.penalty.check(key).is_err() {
            return Some(reply::closing(reply::overloaded("Too many failed attempts")));
        }
        if token_matches(access.token_sha256.as_ref(), token.as_deref()) {
            return None;
        }
        self.metrics.auth_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("{what}: token mismatch from {}", self.peer.address);
        Some(match self.state.penalty.wait(key).await {
            Ok(()) => error(access.error_code, None, &format!("{what}: token mismatch")),
            Err(_) => reply::closing(reply::overloaded("Too many failed attempts")),
        })
    }
}

fn respond(outcome: Result<Vec<u64>, AdminError>) -> HttpResponse {
    match outcome {
        Ok(counts) => {
            let results = counts.into_iter().map(|rows_updated| StatementResult { success: true, rows_updated });
            reply::json(200, to_json(&Results { results: results.collect() }))
        }
        Err(AdminError::NotFound(message)) => error(404, None, &message),
        Err(AdminError::AlreadyExists(message)) => error(409, None, &message),
        Err(AdminError::Failed { statement, message }) => error(500, statement, &message),
        Err(AdminError::Database(error)) => answer::database_error(&error),
    }
}

fn error(status: u16, statement: Option<usize>, message: &str) -> HttpResponse {
    let req_idx = statement.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1);
    reply::json(status, to_json(&ErrorBody { req_idx, message }))
}

/// Numbers and strings always have a JSON form.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl fmt::Debug for dyn Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admin")
    }
}
