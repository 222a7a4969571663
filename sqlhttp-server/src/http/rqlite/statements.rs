//! The endpoints that take SQL: `/db/execute`, `/db/query`, `/db/request`, `/db/load`, and `/db/sql`, which runs none.

use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, StatusCode, header};
use sqlhttp_core::{Answer, Batch, Deadline, Error};
use sqlhttp_rqlite::{
    Call, ContentType, Endpoint, Params, Refusal, Shape, Trailer, decode, decode_query_string, encode_sql,
    is_database_file,
};

use super::super::compress::compress;
use super::super::content::Coding;
use super::super::exchange::{DECODED_INLINE_MAX, Exchange, until};
use super::super::reply::{HttpResponse, Rejection};
use super::answer::{self, Form};
use super::{error, from_protocol, panicked, refused, unread};

/// What who sends a database file hears.
const NO_FILES: &str = "loading a database file is not supported here; send SQL text";

/// Runs the statements of a request.
pub(super) async fn answer(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, Rejection> {
    let started = Instant::now();
    let call = call(exchange, endpoint, &params, body).await?;
    let (batch, shape) =
        call.into_batch(endpoint, &params).map_err(|refusal| refused_by(endpoint, refusal, params.pretty))?;
    let outcome = run(exchange, endpoint, batch, &params).await;
    let response = answer::respond(outcome, Form { endpoint, shape, started }, &exchange.state.node).await;
    Ok(compress(response, Coding::accepted(&exchange.request.headers)).await)
}

/// Shows what would be run.
pub(super) async fn explain(
    exchange: &Exchange<'_>,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, Rejection> {
    let started = Instant::now();
    let call = call(exchange, Endpoint::Sql, &params, body).await?;
    let shape = Shape::new(Endpoint::Sql, &params, call.statements.len());
    let trailer = Trailer { elapsed: started.elapsed(), raft_index: 0 };
    Ok(from_protocol(encode_sql(&call, &shape, &trailer)))
}

async fn run(exchange: &Exchange<'_>, endpoint: Endpoint, batch: Batch, params: &Params) -> Result<Answer, Error> {
    let deadline = deadline(exchange, params.db_timeout.filter(|_| endpoint != Endpoint::Load));
    let backend = &exchange.database.backend;
    let work = match endpoint {
        Endpoint::Query => backend.query(batch, params.level, deadline),
        _ => backend.request(batch, deadline),
    };
    until(deadline, work).await
}

/// The operator's deadline or the client's, whichever comes first.
pub(super) fn deadline(exchange: &Exchange<'_>, limit: Option<Duration>) -> Deadline {
    let (operators, now) = (exchange.state.deadline(), Instant::now());
    let clients = limit.map_or(Deadline::NEVER, |limit| Deadline::after(now, limit));
    match (operators.moment(), clients.moment()) {
        (Some(a), Some(b)) => Deadline::at(a.min(b)),
        (None, _) => clients,
        (_, None) => operators,
    }
}

/// Reads and understands the statements of a request.
pub(super) async fn call(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<Call, Rejection> {
    let call = if exchange.request.method == Method::GET {
        decode_query_string(endpoint, params)
    } else {
        decode_body(exchange, endpoint, params, body).await?
    };
    let call = call.map_err(|refusal| refused_by(endpoint, refusal, params.pretty))?;
    let (count, max) = (call.statements.len(), exchange.state.limits.items_max);
    if count > max {
        let text = format!("too many statements: {count}, the limit is {max}");
        return Err(refused(Refusal::text(StatusCode::BAD_REQUEST.as_u16(), text)));
    }
    Ok(call)
}

async fn decode_body(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<Result<Call, Refusal>, Rejection> {
    let bytes = exchange.read(body).await.map_err(|why| unread(&why))?;
    if endpoint == Endpoint::Load && is_database_file(&bytes) {
        return Err(Box::new(error(StatusCode::NOT_IMPLEMENTED, NO_FILES)));
    }
    let content_type = exchange.request.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if bytes.len() <= DECODED_INLINE_MAX {
        return Ok(decode(endpoint, content_type.as_deref(), &bytes, params));
    }
    let params = params.clone();
    let decoding = tokio::task::spawn_blocking(move || decode(endpoint, content_type.as_deref(), &bytes, &params));
    decoding.await.map_err(|_| Box::new(panicked()))
}

/// A refusal in the form that the endpoint's answers have.
fn refused_by(endpoint: Endpoint, refusal: Refusal, pretty: bool) -> Rejection {
    let mut reply = refusal.into_reply(pretty);
    if reply.content_type == ContentType::Json {
        reply.content_type = endpoint.content_type();
    }
    Box::new(from_protocol(reply))
}
