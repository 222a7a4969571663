//! HTTP access to macros (configured lists of statements) and backups, as in sqliterg: `/<id>/macro/<name>` and
//! `/<id>/backup`, with `?token=…`.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Serialize;

use super::answer;
use super::reply::{not_found, overloaded};
use crate::api::admin::AdminError;
use crate::api::auth::{TokenConfig, token_matches};
use crate::api::context::AppContext;
use crate::api::database::Database;
use crate::api::exchange::TOO_MANY_FAILURES;
use crate::http::peer::Peer;
use crate::http::query::query_parameter;
use crate::http::reply::{self, HttpResponse};
use crate::process::metrics::DatabaseMetrics;

/// The error object of sqliterg. It has the key `message`, where the error object of ws4sqlite has `error`.
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

/// A request to run a macro or to make a backup.
pub(crate) struct MacroCall<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) database: &'a Database,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
}

impl MacroCall<'_> {
    /// Handles a request to `/<id>/macro/<name>`.
    pub(crate) async fn run_macro(&self, name: &str) -> HttpResponse {
        let subject = format!("In database '{}', macro '{name}'", self.database.id);
        let (Some(macros), Some(access)) = (&self.database.rules.macros, self.database.rules.macro_access.get(name))
        else {
            return self.unknown(&subject);
        };
        match self.check_token(access, &subject).await {
            Some(refusal) => refusal,
            None => respond(macros.run_macro(name).await),
        }
    }

    /// Handles a request to `/<id>/backup`.
    pub(crate) async fn run_backup(&self) -> HttpResponse {
        let subject = format!("In database '{}', backup", self.database.id);
        let (Some(macros), Some(access)) = (&self.database.rules.macros, &self.database.rules.backup_access) else {
            return self.unknown(&subject);
        };
        match self.check_token(access, &subject).await {
            Some(refusal) => refusal,
            None => respond(macros.run_backup().await.map(|()| Vec::new())),
        }
    }

    /// Builds the response to a request for a macro or backup that does not exist. If clients can use neither macros
    /// nor backups of the database, the response is the one to an unknown path.
    fn unknown(&self, subject: &str) -> HttpResponse {
        if self.database.rules.macro_access.is_empty() && self.database.rules.backup_access.is_none() {
            return not_found(&self.request.method, self.request.uri.path());
        }
        error(StatusCode::NOT_FOUND.as_u16(), None, &format!("{subject}: not found"))
    }

    /// Checks the token of the request. `None` if the token is right. Otherwise returns the response to send, after the
    /// delay of a failed login.
    async fn check_token(&self, access: &TokenConfig, subject: &str) -> Option<HttpResponse> {
        let token = query_parameter(self.request.uri.query(), "token");
        let key = self.context.login_delays.key("", self.peer.address.ip());
        if access.token_sha256.is_some() && self.context.login_delays.check(key).is_err() {
            return Some(reply::closing(overloaded(TOO_MANY_FAILURES)));
        }
        if token_matches(access.token_sha256.as_ref(), token.as_deref()) {
            return None;
        }
        self.metrics.auth_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("{subject}: token mismatch from {}", self.peer.address);
        Some(match self.context.login_delays.wait(key).await {
            Ok(()) => error(access.error_code, None, &format!("{subject}: token mismatch")),
            Err(_) => reply::closing(overloaded(TOO_MANY_FAILURES)),
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

/// Encodes a value as JSON. It never fails, because the values encoded in this module consist of numbers and strings.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
