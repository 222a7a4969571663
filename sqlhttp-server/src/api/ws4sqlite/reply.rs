//! Error responses of the server itself, in ws4sqlite's format.

use hyper::{StatusCode, header};
use sqlhttp_ws4sqlite::{Refusal, capitalized};

use crate::http::reply::{HttpResponse, json, retry_later, with_header};

/// Makes an error response: `{"reqIdx":-1,"error":"…"}`. The text is capitalized.
pub(crate) fn error(status: StatusCode, message: &str) -> HttpResponse {
    refusal(&Refusal { status: status.as_u16(), req_idx: -1, error: capitalized(message) })
}

/// Makes the response to a request that the protocol crate refuses.
pub(crate) fn refusal(refusal: &Refusal) -> HttpResponse {
    json(refusal.status, refusal.body())
}

/// Makes a 404 response with the text of the original. `path` is the path as it was received.
pub(crate) fn not_found(method: &hyper::Method, path: &str) -> HttpResponse {
    error(StatusCode::NOT_FOUND, &format!("Cannot {method} {path}"))
}

/// Makes a 405 response. `allow` lists the allowed methods.
pub(crate) fn wrong_method(allow: &'static str) -> HttpResponse {
    with_header(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"), header::ALLOW, allow)
}

/// Makes a 503 response with `Retry-After`.
pub(crate) fn overloaded(message: &str) -> HttpResponse {
    retry_later(error(StatusCode::SERVICE_UNAVAILABLE, message))
}
