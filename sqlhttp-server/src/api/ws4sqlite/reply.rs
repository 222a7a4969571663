//! Error responses in ws4sqlite's format that do not come from the protocol crate.

use hyper::{StatusCode, header};
use sqlhttp_ws4sqlite::{Refusal, capitalized};

use crate::http::reply::{HttpResponse, json, retry_later, with_header};

/// Builds an error response: `{"reqIdx":-1,"error":"…"}`. The first letter of the message is capitalized.
pub(crate) fn error(status: StatusCode, message: &str) -> HttpResponse {
    refusal(&Refusal { status: status.as_u16(), req_idx: -1, error: capitalized(message) })
}

/// Builds the response to a request that the protocol crate refuses.
pub(crate) fn refusal(refusal: &Refusal) -> HttpResponse {
    json(refusal.status, refusal.body())
}

/// Builds a 404 response with the same error message as ws4sqlite. `path` is the path as the server received it.
pub(crate) fn not_found(method: &hyper::Method, path: &str) -> HttpResponse {
    error(StatusCode::NOT_FOUND, &format!("Cannot {method} {path}"))
}

/// Builds a 405 response. `allow` lists the allowed methods.
pub(crate) fn wrong_method(allow: &'static str) -> HttpResponse {
    with_header(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"), header::ALLOW, allow)
}

/// Builds a 503 response with the header `Retry-After`.
pub(crate) fn overloaded(message: &str) -> HttpResponse {
    retry_later(error(StatusCode::SERVICE_UNAVAILABLE, message))
}
