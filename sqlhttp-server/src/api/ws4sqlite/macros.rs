//! Macros and backups over HTTP (sqliterg): `/<id>/macro/<name>` and `/<id>/backup`, with `?token=…`.

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

/// sqliterg's error object. Its key is `message`, where ws4sqlite's error object has `error`.
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
pub(crate) struct MacroCall<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) database: &'a Database,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
}

impl MacroCall<'_> {
    /// Handles `/<id>/macro/<name>`.
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

    /// Handles `/<id>/backup`.
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

    /// Makes the response to an unknown macro or backup. If the database has neither macros nor backups, it is the
    /// response to an unknown path.
    fn unknown(&self, subject: &str) -> HttpResponse {
        if self.database.rules.macro_access.is_empty() && self.database.rules.backup_access.is_none() {
            return not_found(&self.request.method, self.request.uri.path());
        }
        error(StatusCode::NOT_FOUND.as_u16(), None, &format!("{subject}: not found"))
    }

    /// Checks the token of the request. Returns the response to a wrong token, after its delay.
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

/// Encodes a value as JSON. The values here consist of numbers and strings, which cannot fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
