//! rqlite's data API over one database of this server: `/<id>/db/execute` and its kin.
//!
//! The way of a request is rqlite's: the headers that every answer has, OPTIONS, the query string, permission, the
//! method, the body, the statements. Who may do what is the database's own affair: its users, its CORS policy, its
//! limits and rules hold as they do for its other protocol.
//!
//! # Decisions
//!
//! * **Queued writes** are run before they are answered, and share their transaction with others as all writes do. So
//!   nothing that was answered with 200 is lost, and there is no queue that could be.
//! * **Credentials inside the body** have no place in this protocol, so a database that wants them is closed to it.
//! * **Only stored statements**: there is no way to call them here, and a copy of the file would give away what they
//!   hide. So such a database tells only whether it can serve.
//! * **A database file** that is sent to `/db/load` is checked before it replaces anything, and replaces all at once.

pub(crate) mod answer;
pub(crate) mod backup;
pub(crate) mod counters;
pub(crate) mod dump;
pub(crate) mod identity;
pub(crate) mod members;
pub(crate) mod queue;
pub(crate) mod readyz;
pub(crate) mod statements;
pub(crate) mod status;

pub(crate) use identity::Node;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use sqlhttp_rqlite::{ContentType, Endpoint, Params, Refusal, Reply, VERSION};

use super::exchange::{Exchange, Locked, TOO_MANY_FAILURES};
use super::ws4sqlite::answer::log;
use crate::http::body::BodyError;
use crate::http::reply::{self, HttpResponse, Rejection, ReplyBody};
use crate::standalone::config::AuthMode;
use crate::standalone::route::Resource;

pub(crate) const X_RQLITE_VERSION: HeaderName = HeaderName::from_static("x-rqlite-version");
pub(crate) const X_RQLITE_SERVED_BY: HeaderName = HeaderName::from_static("x-rqlite-served-by");

/// What clients hear of a database that serves only stored statements.
const ONLY_STORED: &str = "this database serves only stored statements, which this API cannot call";

/// What clients hear of a database that wants its credentials in the body.
const ONLY_INLINE: &str = "this database takes credentials only in the body of its own requests";

/// Answers a request for something of rqlite's API.
pub(crate) async fn answer(exchange: &Exchange<'_>, resource: Resource, body: &mut Option<Incoming>) -> HttpResponse {
    let mut response = carry_out(exchange, resource, body).await.unwrap_or_else(|rejection| *rejection);
    add_headers(exchange, response.headers_mut());
    response
}

async fn carry_out(
    exchange: &Exchange<'_>,
    resource: Resource,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, Rejection> {
    let method = &exchange.request.method;
    if method == Method::OPTIONS {
        return Ok(reply::empty(StatusCode::OK));
    }
    let params = Params::parse(exchange.request.uri.query().unwrap_or_default()).map_err(refused)?;
    authorize(exchange, resource).await?;
    if !resource.takes(method) {
        return Err(Box::new(resource.empty(StatusCode::METHOD_NOT_ALLOWED)));
    }
    if exchange.database.statements.only_stored && resource != Resource::Readyz {
        return Err(Box::new(error(StatusCode::FORBIDDEN, ONLY_STORED)));
    }
    data(exchange, resource, params, body).await
}

/// Answers a request that has passed all checks.
pub(crate) async fn data(
    exchange: &Exchange<'_>,
    resource: Resource,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, Rejection> {
    match resource {
        Resource::Execute if params.queue => queue::answer(exchange, params, body).await,
        Resource::Execute => statements::answer(exchange, Endpoint::Execute, params, body).await,
        Resource::Query => statements::answer(exchange, Endpoint::Query, params, body).await,
        Resource::Request => statements::answer(exchange, Endpoint::Request, params, body).await,
        Resource::Load => statements::answer(exchange, Endpoint::Load, params, body).await,
        Resource::Sql => statements::explain(exchange, params, body).await,
        Resource::Backup => backup::answer(exchange, params).await,
        Resource::Readyz => Ok(readyz::answer(exchange, &params).await),
        Resource::Status => Ok(status::answer(exchange, &params).await),
        Resource::Nodes => Ok(members::nodes(exchange, &params)),
        Resource::Leader => Ok(members::leader(exchange, &params)),
    }
}

async fn authorize(exchange: &Exchange<'_>, resource: Resource) -> Result<(), Rejection> {
    let Some(auth) = &exchange.database.auth else {
        return Ok(());
    };
    if auth.mode == AuthMode::Inline {
        return Err(Box::new(error(StatusCode::UNAUTHORIZED, ONLY_INLINE)));
    }
    exchange.authenticate_header(auth).await.map_err(|locked| {
        Box::new(match locked {
            Locked::Unauthorized => resource.empty(reply::status_code(auth.error_code)),
            Locked::Unknown(source) => {
                log(&source);
                error(StatusCode::SERVICE_UNAVAILABLE, "credentials cannot be checked")
            }
            Locked::Crowded => reply::closing(error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_FAILURES)),
        })
    })
}

/// What every answer carries.
fn add_headers(exchange: &Exchange<'_>, headers: &mut HeaderMap) {
    let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
    add(X_RQLITE_VERSION, VERSION);
    add(header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, GET, POST");
    match exchange.database.auth.as_ref().map(|auth| auth.mode) {
        None | Some(AuthMode::Inline) => {
            add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type");
        }
        Some(AuthMode::Http) => {
            add(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization");
            add(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
            add(header::WWW_AUTHENTICATE, "Basic realm=\"rqlite\"");
        }
    }
}

impl Resource {
    pub(crate) fn takes(self, method: &Method) -> bool {
        match self {
            Resource::Execute | Resource::Request | Resource::Load => method == Method::POST,
            Resource::Query | Resource::Sql => matches!(*method, Method::GET | Method::POST),
            Resource::Backup => method == Method::GET,
            Resource::Readyz | Resource::Status | Resource::Nodes | Resource::Leader => {
                matches!(*method, Method::GET | Method::HEAD)
            }
        }
    }

    /// An answer without a body, of the type that the resource's answers usually have.
    pub(crate) fn empty(self, status: StatusCode) -> HttpResponse {
        match self {
            Resource::Execute
            | Resource::Query
            | Resource::Request
            | Resource::Sql
            | Resource::Status
            | Resource::Nodes
            | Resource::Leader => reply::with_type(status, ContentType::Json.header(), ReplyBody::EMPTY),
            Resource::Backup | Resource::Load | Resource::Readyz => reply::empty(status),
        }
    }
}

/// What the protocol says, as HTTP.
pub(crate) fn from_protocol(protocol: Reply) -> HttpResponse {
    let Reply { status, content_type, body } = protocol;
    let mut response =
        reply::with_type(reply::status_code(status), content_type.header(), ReplyBody::Whole(body.into()));
    if content_type.nosniff() {
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE { reply::retry_later(response) } else { response }
}

pub(crate) fn error(status: StatusCode, text: &str) -> HttpResponse {
    from_protocol(Reply::error(status.as_u16(), text))
}

pub(crate) fn refused(refusal: Refusal) -> Rejection {
    Box::new(from_protocol(refusal.into_reply(false)))
}

/// The rest of the body has not been read, so that the connection cannot be used again.
pub(crate) fn unread(why: &BodyError) -> Rejection {
    let status = match why {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::NoMemory { .. } => StatusCode::SERVICE_UNAVAILABLE,
        BodyError::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken(_) | BodyError::Undecodable(_) => StatusCode::BAD_REQUEST,
    };
    Box::new(reply::closing(error(status, &why.to_string())))
}

pub(crate) fn panicked() -> HttpResponse {
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}
