//! The endpoints whose request body is SQL: `/db/execute`, `/db/query`, `/db/request`, `/db/load`, and `/db/sql`, which
//! does not execute the SQL.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use sqlhttp_core::{Answer, Batch, Deadline, Error, Outcome};
use sqlhttp_rqlite::{
    Call, ContentType, Endpoint, Params, Refusal, ReplyShape, Trailer, decode, decode_query_string, encode_sql,
    encode_top_level_error, is_database_file,
};

use super::answer::{self, ReplyContext};
use super::redirect;
use super::reply::{body_error, body_error_with_hint, error, from_protocol, panicked, refused};
use crate::api::admin::Copies;
use crate::api::exchange::{DECODED_INLINE_MAX, Exchange, with_deadline};
use crate::api::outcome::log_error;
use crate::http::basic_auth::BasicCredentials;
use crate::http::compress::compress;
use crate::http::peeked_body::{FileLimits, PeekedBody, StoreError};
use crate::http::reply::{self, EarlyResponse, HttpResponse};
use crate::http::request_log;

/// The number of bytes at the beginning of the body of `/db/load` that show whether it is a database file.
const HEAD_BYTES: usize = 32;

/// Handles a request with SQL statements. For `/db/load`, the body may also be a database file.
pub(crate) async fn answer(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let started = Instant::now();
    let call = match read(exchange, endpoint, &params, body).await? {
        RequestContent::Statements(call) => call,
        RequestContent::File(body) => return load_file(exchange, &params, started, *body).await,
    };
    count_statements(exchange, endpoint, call.statements.len());
    let (batch, shape) =
        call.into_batch(endpoint, &params).map_err(|refusal| refused_by(endpoint, refusal, params.pretty))?;
    redirect_to_leader(exchange, endpoint, &params).await?;
    let is_stale = is_stale(exchange, &params);
    let outcome = run(exchange, endpoint, batch, &params).await;
    if is_stale && (endpoint == Endpoint::Query || outcome.as_ref().is_ok_and(only_reads)) {
        let trailer = Trailer { elapsed: started.elapsed(), raft_index: 0 };
        return Ok(from_protocol(encode_top_level_error("stale read", &shape, &trailer)));
    }
    if matches!(outcome, Err(Error::NoLeader)) {
        exchange.context.counters.leader_not_found.add(1);
    }
    let served_by = exchange.served_by(is_forwarded(endpoint, &outcome));
    let mut response = answer::respond(outcome, ReplyContext { endpoint, shape, served_by, started }).await;
    compress(&mut response, &exchange.request.headers).await;
    Ok(response)
}

/// Returns the redirect to the leader as an error if the request must be redirected. A request at a level that this
/// node answers without the leader is not redirected, unless its endpoint only writes.
async fn redirect_to_leader(exchange: &Exchange<'_>, endpoint: Endpoint, params: &Params) -> Result<(), EarlyResponse> {
    let writes = matches!(endpoint, Endpoint::Execute | Endpoint::Load);
    if !params.redirect || (!writes && redirect::is_local_read(exchange, params.level)) {
        return Ok(());
    }
    let media_type = Some(endpoint.content_type().header()).filter(|_| endpoint != Endpoint::Load);
    redirect::to_leader(exchange, params, media_type).await
}

/// Returns whether a read of this request would return data that is older than the request allows. The limit applies
/// only to reads from this node's database without the leader.
fn is_stale(exchange: &Exchange<'_>, params: &Params) -> bool {
    let (Some(replication), Some(freshness)) = (&exchange.database.replication, params.freshness) else {
        return false;
    };
    replication.reads_locally(params.level) && replication.is_stale(freshness, params.freshness_strict)
}

/// Returns whether a batch has only read. A result in parts is always one of a batch that only reads.
fn only_reads(answer: &Answer) -> bool {
    match answer {
        Answer::Whole(outcome) => outcome.info.iter().all(|info| info.reads),
        Answer::Parts(_) => true,
    }
}

/// Returns whether a node that is not the leader forwards the batch to the leader: all writes, but no reads.
fn is_forwarded(endpoint: Endpoint, outcome: &Result<Answer, Error>) -> bool {
    match endpoint {
        Endpoint::Execute | Endpoint::Load => true,
        Endpoint::Request => outcome.as_ref().is_ok_and(|answer| answer.log_index() > 0 && !only_reads(answer)),
        Endpoint::Query | Endpoint::Queue | Endpoint::Sql => false,
    }
}

/// Handles a request to `/db/sql`: returns the statements of the request without executing them.
pub(crate) async fn explain(
    exchange: &Exchange<'_>,
    params: Params,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    let started = Instant::now();
    let call = read_call(exchange, Endpoint::Sql, &params, body).await?;
    exchange.context.counters.sql_analyze.add(1);
    let shape = ReplyShape::new(Endpoint::Sql, &params, call.statements.len());
    let trailer = Trailer { elapsed: started.elapsed(), raft_index: 0 };
    Ok(from_protocol(encode_sql(&call, &shape, &trailer)))
}

async fn run(exchange: &Exchange<'_>, endpoint: Endpoint, batch: Batch, params: &Params) -> Result<Answer, Error> {
    let deadline = deadline(exchange, params.db_timeout).and(queue_deadline(params));
    // Loading SQL text may take a long time. So it has a time limit only if the request sets one.
    let deadline = if endpoint == Endpoint::Load { deadline.without_default() } else { deadline };
    let backend = exchange.backend();
    let observation = exchange.database.sql.begin(&batch);
    let work = match endpoint {
        Endpoint::Query => backend.read_batch(batch, params.level, deadline),
        Endpoint::Request => backend.request(batch, params.level, deadline),
        _ => backend.write_batch(batch, deadline),
    };
    let answer = match endpoint {
        Endpoint::Query => with_deadline(deadline, work).await,
        _ => exchange.write_outcome(deadline, work).await,
    };
    exchange.database.sql.end(observation, answer)
}

fn count_statements(exchange: &Exchange<'_>, endpoint: Endpoint, statements: usize) {
    let counters = &exchange.context.counters;
    let (requests, received) = match endpoint {
        Endpoint::Execute => (&counters.executions, &counters.execute_stmts_rx),
        Endpoint::Query => (&counters.queries, &counters.query_stmts_rx),
        Endpoint::Request => (&counters.requests, &counters.request_stmts_rx),
        Endpoint::Load => return counters.loads.add(1),
        Endpoint::Queue | Endpoint::Sql => return,
    };
    requests.add(1);
    received.add(statements);
}

/// The body of a request: decoded SQL statements, or a database file of which only the beginning has been read.
enum RequestContent {
    Statements(Call),
    File(Box<PeekedBody>),
}

/// Replaces the whole content of the database with the content of an uploaded database file. The file is stored beside
/// the database while it arrives, so its length is not limited by the memory.
async fn load_file(
    exchange: &Exchange<'_>,
    params: &Params,
    started: Instant,
    body: PeekedBody,
) -> Result<HttpResponse, EarlyResponse> {
    exchange.context.counters.loads.add(1);
    let failed = |why: &str| Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, why));
    let copies = match target_of_load(exchange, params).await {
        Ok(copies) => copies,
        Err(response) => match body.discard().await {
            Ok(()) => return Err(response),
            Err(_) => return Err(Box::new(reply::closing(*response))),
        },
    };
    let file = copies.scratch_file();
    let body_limits = &exchange.context.transport.limits.body;
    let (bytes_max, flag) = copies.file_bytes_max().unwrap_or((body_limits.bytes_max, body_limits.flags.body));
    let limits = FileLimits { bytes_max, flag, has_space_for: &|bytes| copies.has_space_for(bytes) };
    body.store(file.path(), limits).await.map_err(|why| match why {
        StoreError::Body(why) => body_error_with_hint(&why, copies.large_file_hint()),
        StoreError::Disk(why) => Box::new(reply::closing(*failed(&why.to_string()))),
    })?;
    let credentials = BasicCredentials::of(&exchange.request.headers);
    let loaded = copies.load_file(file.path().to_owned(), credentials).await;
    drop(file);
    let shape = ReplyShape::new(Endpoint::Load, params, 0);
    match loaded {
        Ok(log_index) => {
            let served_by = exchange.served_by(true);
            let context = ReplyContext { endpoint: Endpoint::Load, shape, served_by, started };
            let outcome = Outcome { log_index, ..Outcome::default() };
            Ok(answer::respond(Ok(Answer::Whole(outcome)), context).await)
        }
        Err(why @ (Error::NoLeader | Error::Removed)) => {
            Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())))
        }
        Err(Error::Unauthorized) => Err(Box::new(error(StatusCode::UNAUTHORIZED, "remote load not authorized"))),
        Err(why @ (Error::Unavailable(_) | Error::Overloaded(_))) => {
            log_error(&why);
            Err(Box::new(error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())))
        }
        Err(Error::Closed) => Err(failed("store not open")),
        Err(why) => {
            log_error(&why);
            Err(failed(&why.to_string()))
        }
    }
}

/// Returns the database that a file can be loaded into. Returns the response as an error if the file cannot be loaded
/// here.
async fn target_of_load<'e>(exchange: &'e Exchange<'_>, params: &Params) -> Result<&'e dyn Copies, EarlyResponse> {
    let Some(copies) = &exchange.database.copies else {
        return Err(Box::new(error(StatusCode::NOT_IMPLEMENTED, "this database cannot be replaced")));
    };
    if has_no_leader(exchange) {
        // The response is that of rqlite, also with `redirect`.
        return Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, "store not ready")));
    }
    redirect_to_leader(exchange, Endpoint::Load, params).await?;
    Ok(copies.as_ref())
}

/// Returns whether the database is replicated and no leader is known.
fn has_no_leader(exchange: &Exchange<'_>) -> bool {
    let replication = exchange.database.replication.as_ref();
    replication.is_some_and(|it| it.is_open() && !it.is_leader() && it.leader_address().is_none())
}

/// Returns the deadline of a batch: the operator's time limit or `limit`, which the client has set, whichever ends
/// first.
pub(crate) fn deadline(exchange: &Exchange<'_>, limit: Option<Duration>) -> Deadline {
    let clients = limit.map_or(Deadline::NEVER, |limit| Deadline::after(Instant::now(), limit));
    exchange.context.deadline().and(clients)
}

/// Returns the deadline by which a write must have left the write queue, from the parameter `timeout`. The deadline
/// does not apply to a write that has begun. `NEVER` if the parameter is missing or zero.
fn queue_deadline(params: &Params) -> Deadline {
    if !params.timeout_given || params.timeout.is_zero() {
        return Deadline::NEVER;
    }
    Deadline::after(Instant::now(), params.timeout).for_turn_only()
}

/// Reads the body of a request and decodes its statements. A database file is refused.
pub(crate) async fn read_call(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<Call, EarlyResponse> {
    match read(exchange, endpoint, params, body).await? {
        RequestContent::Statements(call) => Ok(call),
        // Only `/db/load` accepts database files.
        RequestContent::File(_) => Err(refused(Refusal::text(StatusCode::BAD_REQUEST.as_u16(), "no statements"))),
    }
}

async fn read(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: &Params,
    body: &mut Option<Incoming>,
) -> Result<RequestContent, EarlyResponse> {
    let call = if exchange.request.method == Method::GET {
        decode_query_string(endpoint, params)
    } else if endpoint == Endpoint::Load {
        let peeked = exchange.peek(body, HEAD_BYTES).await.map_err(|why| body_error(&why))?;
        if is_database_file(peeked.head()) {
            return Ok(RequestContent::File(Box::new(peeked)));
        }
        let bytes = exchange.read_peeked(peeked).await.map_err(|why| body_error(&why))?;
        decode_body(exchange, endpoint, params, bytes).await?
    } else {
        let bytes = exchange.read(body).await.map_err(|why| body_error(&why))?;
        decode_body(exchange, endpoint, params, bytes).await?
    };
    let call = call.map_err(|refusal| refused_by(endpoint, refusal, params.pretty))?;
    let (count, max) = (call.statements.len(), exchange.context.limits.items_max);
    if count > max {
        let text = format!("too many statements: {count}, the limit is {max}");
        return Err(refused(Refusal::text(StatusCode::BAD_REQUEST.as_u16(), text)));
    }
    Ok(RequestContent::Statements(call))
}

async fn decode_body(
    exchange: &Exchange<'_>,
    endpoint: Endpoint,
    params: &Params,
    bytes: Bytes,
) -> Result<Result<Call, Refusal>, EarlyResponse> {
    let content_type = exchange.request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let content_type = content_type.map(|value| match std::str::from_utf8(value) {
        Ok(value) => Cow::Borrowed(value),
        Err(_) => String::from_utf8_lossy(value),
    });
    if bytes.len() <= DECODED_INLINE_MAX {
        return Ok(decode_now(endpoint, content_type.as_deref(), &bytes, params));
    }
    let (content_type, params, span) = (content_type.map(Cow::into_owned), params.clone(), tracing::Span::current());
    let decoding = tokio::task::spawn_blocking(move || {
        span.in_scope(|| decode_now(endpoint, content_type.as_deref(), &bytes, &params))
    });
    decoding.await.map_err(|_| Box::new(panicked()))
}

fn decode_now(endpoint: Endpoint, content_type: Option<&str>, bytes: &[u8], params: &Params) -> Result<Call, Refusal> {
    decode(endpoint, content_type, bytes, params).inspect_err(|_| request_log::note_bad_json(bytes))
}

/// Builds the response to a refused request. A JSON response gets the media type that the endpoint's other responses
/// have.
fn refused_by(endpoint: Endpoint, refusal: Refusal, pretty: bool) -> EarlyResponse {
    let mut reply = refusal.into_reply(pretty);
    if reply.content_type == ContentType::Json {
        reply.content_type = endpoint.content_type();
    }
    Box::new(from_protocol(reply))
}
