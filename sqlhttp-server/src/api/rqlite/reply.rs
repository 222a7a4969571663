//! Functions that build HTTP responses in rqlite's format.

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use sqlhttp_rqlite::{Refusal, Reply};

use crate::http::body::BodyError;
use crate::http::reply::{self, EarlyResponse, HttpResponse, ReplyBody};

/// The header with the address of the node that has executed the statements of a request.
pub(crate) const X_RQLITE_SERVED_BY: HeaderName = HeaderName::from_static("x-rqlite-served-by");

/// Converts a reply of the protocol crate to an HTTP response.
pub(crate) fn from_protocol(protocol: Reply) -> HttpResponse {
    let Reply { status, content_type, body } = protocol;
    let mut response =
        reply::with_type(reply::status_code(status), content_type.header(), ReplyBody::Whole(body.into()));
    if content_type.nosniff() {
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE { reply::retry_later(response) } else { response }
}

/// Builds an error response with a body of plain text.
pub(crate) fn error(status: StatusCode, text: &str) -> HttpResponse {
    from_protocol(Reply::error(status.as_u16(), text))
}

/// Builds the response to a request that the protocol crate refuses.
pub(crate) fn refused(refusal: Refusal) -> EarlyResponse {
    Box::new(from_protocol(refusal.into_reply(false)))
}

/// Builds the response to a request whose body could not be read. It closes the connection, because the rest of the
/// body is unread.
pub(crate) fn body_error(why: &BodyError) -> EarlyResponse {
    body_error_with_hint(why, "")
}

/// Like [`body_error`], but appends `if_too_large` to the error message if the body is too large.
pub(crate) fn body_error_with_hint(why: &BodyError, if_too_large: &str) -> EarlyResponse {
    let (status, hint) = match why {
        BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, if_too_large),
        BodyError::NoMemory { .. } => (StatusCode::SERVICE_UNAVAILABLE, ""),
        BodyError::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, ""),
        BodyError::Broken(_) | BodyError::Undecodable(_) => (StatusCode::BAD_REQUEST, ""),
    };
    Box::new(reply::closing(error(status, &format!("{why}{hint}"))))
}

/// Builds the response to a request whose work has panicked on another thread.
pub(crate) fn panicked() -> HttpResponse {
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

/// Adds to a response the header with the address of the node that has executed the statements.
pub(crate) fn served_by(mut response: HttpResponse, address: Option<HeaderValue>) -> HttpResponse {
    if let Some(address) = address {
        response.headers_mut().insert(X_RQLITE_SERVED_BY, address);
    }
    response
}
