//! Log lines about requests: one for each response, and hints about probable mistakes of the client.
//!
//! The tracing span of a request contains the id, method, path, client address, database and user of the request. It is
//! created only if log lines about requests are enabled ([`crate::process::logging::RequestLines`]). If they are not,
//! this module allocates and formats nothing.

use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{StatusCode, header};
use serde::de::IgnoredAny;
use serde_json::Value;
use tracing::{Level, Span};

use super::basic_auth::BasicCredentials;
use super::peer::Peer;
use super::reply::{HttpResponse, ReplyBody};
use super::request_id::RequestId;
use crate::process::logging::{REQUEST_LOG, REQUEST_SPAN, shortened};

/// The maximum length in a log line, in bytes, of the reason why a request failed. A longer reason is truncated.
const REASON_BYTES_MAX: usize = 256;

/// Creates the tracing span of a request. The span contains no secrets: no query string (which may contain a token), no
/// password and no body.
pub(crate) fn span(id: &RequestId, head: &Parts, peer: &Peer) -> Span {
    let span = tracing::info_span!(
        target: REQUEST_SPAN,
        "request",
        %id,
        method = %head.method,
        path = head.uri.path(),
        peer = %peer.address,
        database = tracing::field::Empty,
        user = tracing::field::Empty,
    );
    if !span.is_disabled()
        && let Some(user) =
            head.headers.get(header::AUTHORIZATION).and_then(|it| BasicCredentials::from_header(it.as_bytes()))
    {
        span.record("user", user.username.as_str());
    }
    span
}

/// Records in the span of the current request the id of the database that the request is for.
pub(crate) fn name_database(id: &str) {
    record("database", id);
}

/// Records in the span of the current request the user that the body of the request names.
pub(crate) fn name_user(user: &str) {
    record("user", user);
}

fn record(field: &'static str, value: &str) {
    if tracing::span_enabled!(target: REQUEST_SPAN, Level::INFO) {
        Span::current().record(field, value);
    }
}

/// Logs that a response was sent: its status and the time it took. A client error (4xx) or status 503 is logged with
/// its error message. Other server errors are logged with their error message only at level debug.
pub(crate) fn answered(response: &HttpResponse, took: Duration) {
    if !tracing::enabled!(target: REQUEST_LOG, Level::INFO) {
        return;
    }
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let status = response.status();
    let explained = status.is_client_error()
        || status == StatusCode::SERVICE_UNAVAILABLE
        // At lower levels, the error messages of server errors are not logged, because SQLite's may quote the
        // statement.
        || (status.is_server_error() && tracing::enabled!(target: REQUEST_LOG, Level::DEBUG));
    let reason = if explained { reason(response) } else { None };
    tracing::info!(target: REQUEST_LOG, status = status.as_u16(), took_us, reason, "answered");
}

/// Returns the error message in the body of a response: the field `error` or `message` if the body is a JSON object,
/// and the body itself if it is plain text.
fn reason(response: &HttpResponse) -> Option<String> {
    let ReplyBody::Whole(body) = response.body() else { return None };
    let text = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object.get("error").or(object.get("message"))?.as_str()?.to_owned(),
        _ => std::str::from_utf8(body).ok()?.trim().to_owned(),
    };
    (!text.is_empty()).then(|| shortened(&text, REASON_BYTES_MAX).to_owned())
}

/// Logs at level debug if a request has a body without `Content-Type`. Such a request is no error: the body is read as
/// JSON.
pub(crate) fn log_missing_content_type(head: &Parts, has_body: bool) {
    if !tracing::enabled!(target: REQUEST_LOG, Level::DEBUG) {
        return;
    }
    if has_body && !head.headers.contains_key(header::CONTENT_TYPE) {
        tracing::debug!(target: REQUEST_LOG, "no Content-Type: the body is taken for JSON");
    }
}

/// Logs the position of the first syntax error in a request body that was refused. Logs nothing if the body is valid
/// JSON.
pub(crate) fn note_bad_json(body: &[u8]) {
    if tracing::enabled!(target: REQUEST_LOG, Level::INFO)
        && let Err(error) = serde_json::from_slice::<IgnoredAny>(body)
    {
        // The message of serde_json contains the line and the column, and nothing from the body.
        tracing::info!(target: REQUEST_LOG, "the body is not JSON: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply;
    use super::*;

    #[test]
    fn the_reason_is_the_error_message_of_the_response() {
        let json = |body: &str| reason(&reply::json(400, body.to_owned()));
        assert_eq!(json("{\"reqIdx\":-1,\"error\":\"too many\"}").as_deref(), Some("too many"));
        assert_eq!(json("{\"reqIdx\":-1,\"message\":\"token mismatch\"}").as_deref(), Some("token mismatch"));
        assert_eq!(json("invalid request\n").as_deref(), Some("invalid request"));
        assert_eq!(json("{\"results\":[]}"), None);
        assert_eq!(json(""), None);
        assert_eq!(json(&"é".repeat(200)).map(|text| text.len()), Some(REASON_BYTES_MAX));
    }
}
