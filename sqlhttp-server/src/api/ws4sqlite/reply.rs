//! Responses of the server itself, in ws4sqlite's shape.

use hyper::{StatusCode, header};
use sqlhttp_ws4sqlite::{Refusal, capitalized};

use crate::http::reply::{HttpResponse, json, retry_later, with_header};

/// An error of the server itself: `{"reqIdx":-1,"error":"…"}`, the text with a capital.
pub(crate) fn error(status: StatusCode, message: &str) -> HttpResponse {
    refusal(&Refusal { status: status.as_u16(), req_idx: -1, error: capitalized(message) })
}

/// What a protocol refused, in its own words.
pub(crate) fn refusal(refusal: &Refusal) -> HttpResponse {
    json(refusal.status, refusal.body())
}

/// 404 as the original says it, with the path as it was received.
pub(crate) fn not_found(method: &hyper::Method, path: &str) -> HttpResponse {
    error(StatusCode::NOT_FOUND, &format!("Cannot {method} {path}"))
}

/// 405 with what is allowed instead.
pub(crate) fn wrong_method(allow: &'static str) -> HttpResponse {
    with_header(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"), header::ALLOW, allow)
}

/// 503 for a client that should come back.
pub(crate) fn overloaded(message: &str) -> HttpResponse {
    retry_later(error(StatusCode::SERVICE_UNAVAILABLE, message))
}
