//! A transaction's way through the server: authentication, body, decoding, the database, the answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header;
use hyper::http::request::Parts;
use sqlhttp_core::{Answer, Batch, Deadline, Error, ReadLevel};
use sqlhttp_ws4sqlite::{Call, Credentials, Refusal, decode, decode_form};

use super::auth::{self, Verdict};
use super::context::{Entry, State};
use super::penalty::Key;
use super::ws4sqlite::answer;
use crate::http::body::{self, BodyError};
use crate::http::body_memory::Claim;
use crate::http::content::{Coding, Kind};
use crate::http::peer::Peer;
use crate::http::reply::{self, HttpResponse, Rejection};
use crate::http::request_log;
use crate::process::metrics::DatabaseMetrics;
use crate::standalone::config::{AuthConfig, AuthMode};
use crate::standalone::route::DatabaseIndex;

/// Longer bodies are decoded on a thread that may be kept busy, in bytes.
pub(crate) const DECODED_INLINE_MAX: usize = 1 << 20;

/// How long after its deadline a batch may take to say by itself that it was interrupted.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// One `POST /<id>`.
pub(crate) struct Exchange<'a> {
    pub(crate) state: &'a State,
    pub(crate) database: &'a Entry,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
    /// The memory of the request's body.
    claim: Claim<'a>,
}

impl<'a> Exchange<'a> {
    /// A request for this database.
    pub(crate) fn new(state: &'a State, index: DatabaseIndex, request: &'a Parts, peer: &'a Peer) -> Self {
        let (database, metrics) = (state.database(index), state.metrics.database(Some(index)));
        Exchange { state, database, metrics, request, peer, claim: Claim::new(&state.body_budget) }
    }
    /// The answer. The body is taken out of its place when it is read.
    pub(crate) async fn answer(&self, body: &mut Option<Incoming>) -> HttpResponse {
        self.carry_out(body).await.unwrap_or_else(|rejection| *rejection)
    }

    async fn carry_out(&self, body: &mut Option<Incoming>) -> Result<HttpResponse, Rejection> {
        if let Some(auth) = self.auth(AuthMode::Http) {
            self.authenticate_header(auth).await.map_err(|locked| Box::new(self.locked(auth, &locked)))?;
        }
        let kind = Kind::of(&self.request.headers);
        if kind == Kind::Unsupported {
            return Err(refused(unprocessable()));
        }
        let bytes = self.read(body).await.map_err(|error| Box::new(body_error(&error)))?;
        let mut call = decode_as(kind, bytes).await?;
        if let Some(auth) = self.auth(AuthMode::Inline)
            && let Err(denied) = self.check_inline(auth, call.credentials.take()).await
        {
            // Nothing is held while the refusal waits.
            drop(call);
            return Err(self.refuse_inline(auth, denied).await);
        }
        self.check_item_count(&call)?;
        let (batch, shape) = call.into_batch(&self.database.statements).map_err(refused)?;
        Ok(answer::respond(self.request(batch).await, shape).await)
    }

    async fn request(&self, batch: Batch) -> Result<Answer, Error> {
        let deadline = self.state.deadline();
        let observed = self.database.sql.begin(&batch);
        let work = self.database.backend.request(batch, ReadLevel::Weak, deadline);
        // A write that is in the log of a node takes effect, however long that takes. The backend applies the deadline to
        // writes that are not in the log yet.
        let answer = if self.state.member.is_some() { work.await } else { until(deadline, work).await };
        self.database.sql.end(observed, answer)
    }

    fn auth(&self, mode: AuthMode) -> Option<&AuthConfig> {
        self.database.auth.as_ref().filter(|auth| auth.mode == mode)
    }

    /// All of the body, which is taken out of its place.
    pub(crate) async fn read(&self, body: &mut Option<Incoming>) -> Result<Bytes, BodyError> {
        let Some(body) = body.take() else {
            return Ok(Bytes::new());
        };
        let coding = Coding::of(&self.request.headers);
        body::read(body, coding, self.state.limits.body, &self.claim).await.map_err(|why| self.with_another_way(why))
    }

    /// A node takes database files of any length by another way.
    fn with_another_way(&self, why: BodyError) -> BodyError {
        let loads = self.state.member.is_some() && self.request.uri.path().trim_end_matches('/').ends_with("/db/load");
        match why {
            BodyError::TooLarge { max, flag, .. } if loads => {
                BodyError::TooLarge { max, flag, instead: "; POST /boot takes database files of any size" }
            }
            why => why,
        }
    }

    fn check_item_count(&self, call: &Call) -> Result<(), Rejection> {
        let (count, max) = (call.item_count(), self.state.limits.items_max);
        if count <= max {
            return Ok(());
        }
        Err(refused(Refusal::whole(400, format!("too many items in the transaction: {count}, the limit is {max}"))))
    }

    /// Credentials in the header: checked before the body is read.
    pub(crate) async fn authenticate_header(&self, auth: &AuthConfig) -> Result<(), Locked> {
        let header = self.request.headers.get(header::AUTHORIZATION);
        let Some(credentials) = header.and_then(|header| auth::basic(header.as_bytes())) else {
            // Who shows nothing has not guessed, and is told at once what to show.
            self.count_failure();
            return Err(Locked::Unauthorized);
        };
        let key = self.key(&credentials.user);
        self.state.penalty.check(key).map_err(|_| Locked::Crowded)?;
        match self.check(auth, &credentials).await.map_err(Locked::Unknown)? {
            true => Ok(()),
            false => {
                self.count_failure();
                let (user, address) = (&credentials.user, self.peer.address);
                tracing::error!("credentials not valid for user '{user}' from {address}");
                self.state.penalty.wait(key).await.map_err(|_| Locked::Crowded)?;
                Err(Locked::Unauthorized)
            }
        }
    }

    /// Credentials in the body. The error is what the client is to be told, after a delay.
    async fn check_inline(&self, auth: &AuthConfig, credentials: Option<Credentials>) -> Result<(), Denied> {
        let Some(credentials) = credentials else {
            return Err(Denied::Because("missing auth credentials", self.key("")));
        };
        let key = self.key(&credentials.user);
        self.state.penalty.check(key).map_err(|_| Denied::Crowded)?;
        request_log::name_user(&credentials.user);
        match self.check(auth, &credentials).await.map_err(Denied::Unknown)? {
            true => Ok(()),
            false => {
                let (user, address) = (&credentials.user, self.peer.address);
                tracing::warn!("credentials not valid for user '{user}' from {address}");
                Err(Denied::Because("wrong credentials", key))
            }
        }
    }

    async fn refuse_inline(&self, auth: &AuthConfig, denied: Denied) -> Rejection {
        let (reason, key) = match denied {
            Denied::Because(reason, key) => (reason, key),
            Denied::Unknown(error) => return Box::new(answer::database_error(&error)),
            Denied::Crowded => return Box::new(self.locked(auth, &Locked::Crowded)),
        };
        self.count_failure();
        match self.state.penalty.wait(key).await {
            Ok(()) => refused(Refusal::whole(auth.error_code, reason)),
            Err(_) => Box::new(self.locked(auth, &Locked::Crowded)),
        }
    }

    async fn check(&self, auth: &AuthConfig, credentials: &Credentials) -> Result<bool, Error> {
        let backend = self.database.backend.as_ref();
        match auth::check(&auth.users, credentials, backend, self.state.deadline()).await {
            Verdict::Granted => Ok(true),
            Verdict::Denied => Ok(false),
            Verdict::Unknown(error) => Err(error),
        }
    }

    fn locked(&self, auth: &AuthConfig, locked: &Locked) -> HttpResponse {
        match locked {
            Locked::Unauthorized => self.unauthorized(auth),
            Locked::Unknown(error) => answer::database_error(error),
            Locked::Crowded => reply::closing(reply::overloaded(TOO_MANY_FAILURES)),
        }
    }

    fn key(&self, user: &str) -> Key {
        self.state.penalty.key(user, self.peer.address.ip())
    }

    fn count_failure(&self) {
        self.metrics.auth_failures.fetch_add(1, Ordering::Relaxed);
    }

    fn unauthorized(&self, auth: &AuthConfig) -> HttpResponse {
        let mut response = reply::text(reply::status_code(auth.error_code), "Unauthorized");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.database.challenge.clone());
        response
    }
}

/// Why credentials in the header do not open the door.
pub(crate) enum Locked {
    /// They are missing, or wrong (which has been waited out).
    Unauthorized,
    /// They could not be checked.
    Unknown(Error),
    /// So many wrong ones of this user wait that these are not checked.
    Crowded,
}

/// What the client hears then.
pub(crate) const TOO_MANY_FAILURES: &str = "Too many failed attempts";

/// Why inline credentials do not open the door.
enum Denied {
    /// They are missing or wrong.
    Because(&'static str, Key),
    /// They could not be checked.
    Unknown(Error),
    /// So many wrong ones of this user wait that these are not checked.
    Crowded,
}

/// Waits for what a database does, which looks at the deadline only when the batch's turn comes: the time in its queue
/// is bounded here.
pub(crate) async fn until<T>(deadline: Deadline, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match deadline.moment() {
        None => work.await,
        Some(moment) => {
            let latest = tokio::time::Instant::from_std(moment + DEADLINE_GRACE);
            tokio::time::timeout_at(latest, work).await.unwrap_or(Err(Error::Timeout))
        }
    }
}

async fn decode_as(kind: Kind, bytes: Bytes) -> Result<Call, Rejection> {
    let decoded = if bytes.len() <= DECODED_INLINE_MAX {
        decode_now(kind, &bytes)
    } else {
        let span = tracing::Span::current();
        let decoding = tokio::task::spawn_blocking(move || span.in_scope(|| decode_now(kind, &bytes)));
        decoding.await.map_err(|_| Box::new(answer::panicked()))?
    };
    decoded.map_err(refused)
}

/// curl calls every body a form unless it is told better; a form never begins with a brace.
fn decode_now(kind: Kind, bytes: &[u8]) -> Result<Call, Refusal> {
    match kind {
        Kind::Form if !bytes.trim_ascii_start().starts_with(b"{") => decode_form(bytes),
        Kind::Json | Kind::Form => decode(bytes).inspect_err(|_| request_log::note_bad_json(bytes)),
        Kind::Unsupported => Err(unprocessable()),
    }
}

fn unprocessable() -> Refusal {
    Refusal::whole(400, "in parsing body: Unprocessable Entity")
}

fn refused(refusal: Refusal) -> Rejection {
    Box::new(reply::refusal(&refusal))
}

/// The rest of the body has not been read, so that the connection cannot be used again.
fn body_error(error: &BodyError) -> HttpResponse {
    match error {
        BodyError::TooLarge { max, flag, .. } => {
            let text = format!("Request Entity Too Large: more than {max} bytes, see -{flag}");
            reply::closing(reply::error(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        BodyError::NoMemory { .. } => reply::closing(reply::overloaded(&error.to_string())),
        BodyError::TooSlow { .. } => reply::closing(reply::error(StatusCode::REQUEST_TIMEOUT, "Request Timeout")),
        BodyError::Broken(_) | BodyError::Undecodable(_) => {
            reply::closing(reply::refusal(&Refusal::whole(400, format!("in parsing body: {error}"))))
        }
    }
}
