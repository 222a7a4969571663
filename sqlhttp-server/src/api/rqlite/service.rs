//! The order in which a request to rqlite's API is checked. Clients depend on this order: if a request has several
//! errors, the response reports the first one that a check finds.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use sqlhttp_rqlite::{Params, VERSION};
use tracing::Level;

use super::reply::refused;
use crate::http::query::query_parameter;
use crate::http::reply::{self, EarlyResponse, HttpResponse};
use crate::process::logging::{REQUEST_LOG, shortened};

const X_RQLITE_VERSION: HeaderName = HeaderName::from_static("x-rqlite-version");

/// The valid values of the query parameter `level`.
const READ_LEVELS: [&str; 5] = ["none", "weak", "strong", "linearizable", "auto"];

/// The maximum length, in bytes, of a query parameter's value in a log line. A longer value is truncated.
const LOGGED_BYTES_MAX: usize = 256;

/// One request to a program that serves rqlite's API. Each program implements this trait.
pub(crate) trait Service {
    /// An endpoint of the program.
    type Endpoint: Copy;

    /// Returns the head of the request: method, URI and headers.
    fn head(&self) -> &Parts;

    /// Refuses the request if it would have an effect and a page of another site may have made the browser send it.
    fn refuse_forged(&self) -> Result<(), EarlyResponse>;

    /// Returns the endpoint at the path of the request; `None` if the path has no endpoint.
    fn endpoint(&self) -> Option<Self::Endpoint>;

    /// Checks whether the credentials of the request permit access to an endpoint. Returns the response to send if they
    /// do not.
    fn authorize(&self, endpoint: Self::Endpoint) -> impl Future<Output = Result<(), EarlyResponse>> + Send;

    /// Returns whether an endpoint accepts a request method.
    fn takes(endpoint: Self::Endpoint, method: &Method) -> bool;

    /// Builds a response without a body, with the media type that the endpoint's other responses have.
    fn empty(endpoint: Self::Endpoint, status: StatusCode) -> HttpResponse;

    /// Handles the request after it has passed all checks.
    fn run(
        &self,
        endpoint: Self::Endpoint,
        params: Params,
        body: &mut Option<Incoming>,
    ) -> impl Future<Output = Result<HttpResponse, EarlyResponse>> + Send;

    /// Returns whether clients send credentials in the `Authorization` header.
    fn takes_credentials(&self) -> bool;
}

/// Handles a request. The checks are, in this order: the method OPTIONS, which succeeds on every path; forgery by
/// another site; the query string, even if the path does not exist; the path; the permission; the method.
/// [`Service::run`] then checks the body.
pub(crate) async fn answer<S: Service>(service: &S, body: &mut Option<Incoming>) -> HttpResponse {
    let mut response = checked(service, body).await.unwrap_or_else(|early| *early);
    add_headers(service.takes_credentials(), response.headers_mut());
    response
}

async fn checked<S: Service>(service: &S, body: &mut Option<Incoming>) -> Result<HttpResponse, EarlyResponse> {
    let head = service.head();
    if head.method == Method::OPTIONS {
        return Ok(reply::empty(StatusCode::OK));
    }
    service.refuse_forged()?;
    note_unknown_level(head);
    let params = Params::parse(head.uri.query().unwrap_or_default()).map_err(refused)?;
    let Some(endpoint) = service.endpoint() else {
        return Err(Box::new(reply::empty(StatusCode::NOT_FOUND)));
    };
    service.authorize(endpoint).await?;
    if !S::takes(endpoint, &head.method) {
        return Err(Box::new(S::empty(endpoint, StatusCode::METHOD_NOT_ALLOWED)));
    }
    service.run(endpoint, params, body).await
}

/// Adds the headers that every response has.
fn add_headers(takes_credentials: bool, headers: &mut HeaderMap) {
    let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
    add(X_RQLITE_VERSION, VERSION);
    add(header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, GET, POST");
    if takes_credentials {
        add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization");
        add(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        add(header::WWW_AUTHENTICATE, "Basic realm=\"rqlite\"");
    } else {
        add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type");
    }
}

/// Logs at level debug that the parameter `level` has an unknown value. The protocol crate treats such a value as
/// `weak`.
fn note_unknown_level(head: &Parts) {
    if tracing::enabled!(target: REQUEST_LOG, Level::DEBUG)
        && let Some(level) = query_parameter(head.uri.query(), "level")
        && !READ_LEVELS.contains(&level.to_ascii_lowercase().as_str())
    {
        let level = shortened(&level, LOGGED_BYTES_MAX);
        tracing::debug!(target: REQUEST_LOG, level, "unknown read level: taken for weak");
    }
}
