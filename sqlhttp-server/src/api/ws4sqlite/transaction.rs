//! `POST /<id>`: runs a transaction in ws4sqlite's protocol.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{StatusCode, header};
use sqlhttp_core::{Answer, Batch, Error, ReadLevel};
use sqlhttp_ws4sqlite::{Call, Credentials, Refusal, decode, decode_form};

use super::answer;
use super::reply::{error, overloaded, refusal};
use crate::api::auth::{AuthConfig, AuthMode};
use crate::api::exchange::{AuthError, DECODED_INLINE_MAX, Exchange, TOO_MANY_FAILURES};
use crate::api::login_delay::LoginKey;
use crate::http::basic_auth::BasicCredentials;
use crate::http::body::BodyError;
use crate::http::content::BodyFormat;
use crate::http::reply::{self, EarlyResponse, HttpResponse};
use crate::http::request_log;

/// The reason why authentication with credentials in the request body has failed.
enum InlineAuthError {
    /// The credentials are missing or wrong. The string is the error message; the key identifies the user and the
    /// address for the delay of the response.
    Unauthorized(&'static str, LoginKey),
    /// The database could not check the credentials.
    Unavailable(Error),
    /// Too many failed logins of this user are waiting for their responses. The credentials were not checked.
    TooManyFailures,
}

/// Handles a transaction: authenticates the client, reads and decodes the body, runs the batch, and encodes its
/// outcome.
///
/// `level` is the consistency level of a transaction that only reads.
pub(crate) async fn answer(exchange: &Exchange<'_>, level: ReadLevel, body: &mut Option<Incoming>) -> HttpResponse {
    run(exchange, level, body).await.unwrap_or_else(|early| *early)
}

async fn run(
    exchange: &Exchange<'_>,
    level: ReadLevel,
    body: &mut Option<Incoming>,
) -> Result<HttpResponse, EarlyResponse> {
    if let Some(auth) = auth_of(exchange, AuthMode::Http) {
        exchange.authenticate_header(auth).await.map_err(|error| Box::new(unauthenticated(exchange, auth, &error)))?;
    }
    let format = BodyFormat::of(&exchange.request.headers);
    if format == BodyFormat::Unsupported {
        return Err(refused(unprocessable()));
    }
    let bytes = exchange.read(body).await.map_err(|error| Box::new(body_error(&error)))?;
    let mut call = decode_as(format, bytes).await?;
    if let Some(auth) = auth_of(exchange, AuthMode::Inline)
        && let Err(error) = check_inline(exchange, auth, call.credentials.take()).await
    {
        // The response is delayed. The decoded request must not occupy memory during the delay.
        drop(call);
        return Err(refuse_inline(exchange, auth, error).await);
    }
    check_item_count(exchange, &call)?;
    let (batch, shape) = call.into_batch(&exchange.database.rules.statements).map_err(refused)?;
    Ok(answer::respond(execute(exchange, level, batch).await, shape).await)
}

fn auth_of<'a>(exchange: &Exchange<'a>, mode: AuthMode) -> Option<&'a AuthConfig> {
    exchange.database.rules.auth.as_ref().filter(|auth| auth.mode == mode)
}

async fn execute(exchange: &Exchange<'_>, level: ReadLevel, batch: Batch) -> Result<Answer, Error> {
    let deadline = exchange.context.deadline();
    let database = exchange.database;
    let observation = database.sql.begin(&batch);
    let work = exchange.backend().request(batch, level, deadline);
    let answer = exchange.write_outcome(deadline, work).await;
    database.sql.end(observation, answer)
}

fn check_item_count(exchange: &Exchange<'_>, call: &Call) -> Result<(), EarlyResponse> {
    let (count, max) = (call.item_count(), exchange.context.limits.items_max);
    if count <= max {
        return Ok(());
    }
    Err(refused(Refusal::whole(400, format!("too many items in the transaction: {count}, the limit is {max}"))))
}

/// Checks the credentials in the request body. It does not delay the response to a failed login; [`refuse_inline`]
/// does.
async fn check_inline(
    exchange: &Exchange<'_>,
    auth: &AuthConfig,
    credentials: Option<Credentials>,
) -> Result<(), InlineAuthError> {
    let Some(Credentials { user: username, password }) = credentials else {
        return Err(InlineAuthError::Unauthorized("missing auth credentials", exchange.login_key("")));
    };
    let credentials = BasicCredentials { username, password };
    let key = exchange.login_key(&credentials.username);
    exchange.context.login_delays.check(key).map_err(|_| InlineAuthError::TooManyFailures)?;
    request_log::name_user(&credentials.username);
    match exchange.check(auth, &credentials).await.map_err(InlineAuthError::Unavailable)? {
        true => Ok(()),
        false => {
            let (user, address) = (&credentials.username, exchange.peer.address);
            tracing::warn!("credentials not valid for user '{user}' from {address}");
            Err(InlineAuthError::Unauthorized("wrong credentials", key))
        }
    }
}

/// Builds the response to a request whose authentication has failed. If the credentials are missing or wrong, returns
/// only after the delay of a failed login.
async fn refuse_inline(exchange: &Exchange<'_>, auth: &AuthConfig, why: InlineAuthError) -> EarlyResponse {
    let (reason, key) = match why {
        InlineAuthError::Unauthorized(reason, key) => (reason, key),
        InlineAuthError::Unavailable(error) => return Box::new(answer::database_error(&error)),
        InlineAuthError::TooManyFailures => return Box::new(too_many_failures()),
    };
    exchange.count_failure();
    match exchange.context.login_delays.wait(key).await {
        Ok(()) => refused(Refusal::whole(auth.error_code, reason)),
        Err(_) => Box::new(too_many_failures()),
    }
}

fn unauthenticated(exchange: &Exchange<'_>, auth: &AuthConfig, why: &AuthError) -> HttpResponse {
    match why {
        AuthError::Unauthorized => {
            let mut response = reply::text(reply::status_code(auth.error_code), "Unauthorized");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, exchange.database.challenge());
            response
        }
        AuthError::Unavailable(error) => answer::database_error(error),
        AuthError::TooManyFailures => too_many_failures(),
    }
}

fn too_many_failures() -> HttpResponse {
    reply::closing(overloaded(TOO_MANY_FAILURES))
}

async fn decode_as(format: BodyFormat, bytes: Bytes) -> Result<Call, EarlyResponse> {
    let decoded = if bytes.len() <= DECODED_INLINE_MAX {
        decode_now(format, &bytes)
    } else {
        let span = tracing::Span::current();
        let decoding = tokio::task::spawn_blocking(move || span.in_scope(|| decode_now(format, &bytes)));
        decoding.await.map_err(|_| Box::new(answer::panicked()))?
    };
    decoded.map_err(refused)
}

/// Decodes a request body. A form that begins with a brace is decoded as JSON: by default curl sends every body with
/// the content type of a form, and no real form begins with a brace.
fn decode_now(format: BodyFormat, bytes: &[u8]) -> Result<Call, Refusal> {
    match format {
        BodyFormat::Form if !bytes.trim_ascii_start().starts_with(b"{") => decode_form(bytes),
        BodyFormat::Json | BodyFormat::Form => decode(bytes).inspect_err(|_| request_log::note_bad_json(bytes)),
        BodyFormat::Unsupported => Err(unprocessable()),
    }
}

fn unprocessable() -> Refusal {
    Refusal::whole(400, "in parsing body: Unprocessable Entity")
}

fn refused(why: Refusal) -> EarlyResponse {
    Box::new(refusal(&why))
}

/// Builds the response to a request whose body could not be read. It closes the connection, because the rest of the
/// body is unread.
fn body_error(why: &BodyError) -> HttpResponse {
    match why {
        BodyError::TooLarge { max, flag } => {
            let text = format!("Request Entity Too Large: more than {max} bytes, see -{flag}");
            reply::closing(error(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        BodyError::NoMemory { .. } => reply::closing(overloaded(&why.to_string())),
        BodyError::TooSlow { .. } => reply::closing(error(StatusCode::REQUEST_TIMEOUT, "Request Timeout")),
        BodyError::Broken(_) | BodyError::Undecodable(_) => {
            reply::closing(refusal(&Refusal::whole(400, format!("in parsing body: {why}"))))
        }
    }
}
