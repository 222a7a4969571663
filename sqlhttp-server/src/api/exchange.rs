//! One request to one database: checks the credentials, reads the body, and waits for the outcome of the batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use sqlhttp_core::{Answer, Backend, Deadline, Error};

use super::auth::{self, AuthConfig, CredentialCheck};
use super::context::AppContext;
use super::database::{Database, WriteWait};
use super::login_delay::LoginKey;
use crate::http::basic_auth::BasicCredentials;
use crate::http::body::{self, BodyError};
use crate::http::body_memory::MemoryClaim;
use crate::http::content::ContentCoding;
use crate::http::peeked_body::PeekedBody;
use crate::http::peer::Peer;
use crate::process::metrics::DatabaseMetrics;

/// The maximum length, in bytes, of a body that is decoded on the thread of the connection. A longer body is decoded on
/// the blocking pool.
pub(crate) const DECODED_INLINE_MAX: usize = 1 << 20;

/// The error message for a login that is refused without a check, because too many failed logins of the same user are
/// waiting for their responses.
pub(crate) const TOO_MANY_FAILURES: &str = "Too many failed attempts";

/// The time after the deadline of a batch for which the request still waits, so that the interrupted batch can report
/// its own error.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// One request to one database, with the state that is needed to handle it.
pub(crate) struct Exchange<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) database: &'a Database,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
    backend: RequestBackend<'a>,
    /// The memory that is claimed for the body of the request.
    claim: MemoryClaim<'a>,
    /// Whether the response names the leader as the node that has carried out the request.
    was_forwarded: AtomicBool,
}

/// The backend that runs the batches of one request.
pub(crate) enum RequestBackend<'a> {
    /// A backend that many requests share.
    Shared(&'a dyn Backend),
    /// A backend with the credentials of this request.
    Own(Box<dyn Backend>),
}

/// The reason why authentication with the `Authorization` header has failed.
pub(crate) enum AuthError {
    /// The credentials are missing, or they are wrong and the delay of a failed login has passed.
    Unauthorized,
    /// The database could not check the credentials.
    Unavailable(Error),
    /// Too many failed logins of this user are waiting for their responses. The credentials were not checked.
    TooManyFailures,
}

impl<'a> Exchange<'a> {
    /// Creates the exchange for a request to the database at this index in `context`.
    pub(crate) fn new(context: &'a AppContext, index: usize, request: &'a Parts, peer: &'a Peer) -> Self {
        let transport = &context.transport;
        let (database, metrics) = (context.database(index), transport.metrics.database(Some(index)));
        let claim = MemoryClaim::new(&transport.body_budget);
        let backend = RequestBackend::Shared(database.backend.as_ref());
        let was_forwarded = AtomicBool::new(false);
        Exchange { context, database, metrics, request, peer, backend, claim, was_forwarded }
    }

    /// Replaces the backend that runs the batches of this request, which is that of the database otherwise.
    pub(crate) fn with_backend(self, backend: RequestBackend<'a>) -> Self {
        Exchange { backend, ..self }
    }

    /// Returns the backend that runs the batches of this request.
    pub(crate) fn backend(&self) -> &dyn Backend {
        match &self.backend {
            RequestBackend::Shared(backend) => *backend,
            RequestBackend::Own(backend) => backend.as_ref(),
        }
    }

    /// Returns the value of the header `X-RQLITE-SERVED-BY`: the address of this server's API or, if the request was
    /// forwarded, the address at which other nodes connect to the leader. Returns `None` if a header cannot contain it.
    pub(crate) fn served_by(&self, forwarded: bool) -> Option<HeaderValue> {
        let replication = self.database.replication.as_ref().filter(|it| forwarded && !it.is_leader());
        match replication.and_then(|it| it.leader_address()) {
            Some(address) => {
                self.was_forwarded.store(true, Ordering::Relaxed);
                HeaderValue::try_from(address).ok()
            }
            None => self.context.identity.served_by(),
        }
    }

    /// Returns whether [`Exchange::served_by`] has returned the address of the leader.
    pub(crate) fn was_forwarded(&self) -> bool {
        self.was_forwarded.load(Ordering::Relaxed)
    }

    /// Takes the request body out of `body` and reads it to its end. A missing body is read as empty.
    ///
    /// # Errors
    /// Fails if the body exceeds a limit or the connection fails. The rest of the body then remains unread.
    pub(crate) async fn read(&self, body: &mut Option<Incoming>) -> Result<Bytes, BodyError> {
        let Some(body) = body.take() else {
            return Ok(Bytes::new());
        };
        let coding = ContentCoding::of(&self.request.headers);
        body::read(body, coding, self.context.transport.limits.body, &self.claim).await
    }

    /// Takes the request body out of `body` and reads its first `len` bytes, or the whole body if it is shorter.
    ///
    /// # Errors
    /// Fails if the connection fails or the body is too slow.
    pub(crate) async fn peek(&self, body: &mut Option<Incoming>, len: usize) -> Result<PeekedBody, BodyError> {
        let coding = ContentCoding::of(&self.request.headers);
        PeekedBody::new(body.take(), coding, self.context.transport.limits.body, len).await
    }

    /// Reads the rest of a request body into memory.
    ///
    /// # Errors
    /// Those of [`Exchange::read`].
    pub(crate) async fn read_peeked(&self, body: PeekedBody) -> Result<Bytes, BodyError> {
        body.into_bytes(&self.claim).await
    }

    /// Checks the credentials in the `Authorization` header. If they are wrong, returns only after the delay of a
    /// failed login.
    pub(crate) async fn authenticate_header(&self, auth: &AuthConfig) -> Result<(), AuthError> {
        let header = self.request.headers.get(header::AUTHORIZATION);
        let Some(credentials) = header.and_then(|header| BasicCredentials::from_header(header.as_bytes())) else {
            // A request without credentials is not an attempt to guess a password, so it is not delayed.
            self.count_failure();
            return Err(AuthError::Unauthorized);
        };
        let key = self.login_key(&credentials.username);
        self.context.login_delays.check(key).map_err(|_| AuthError::TooManyFailures)?;
        match self.check(auth, &credentials).await.map_err(AuthError::Unavailable)? {
            true => Ok(()),
            false => {
                self.count_failure();
                let (user, address) = (&credentials.username, self.peer.address);
                tracing::error!("credentials not valid for user '{user}' from {address}");
                self.context.login_delays.wait(key).await.map_err(|_| AuthError::TooManyFailures)?;
                Err(AuthError::Unauthorized)
            }
        }
    }

    /// Returns whether the credentials are valid for the database. Fails if the database could not check them.
    pub(crate) async fn check(&self, auth: &AuthConfig, credentials: &BasicCredentials) -> Result<bool, Error> {
        match auth::check(&auth.users, credentials, self.backend(), self.context.deadline()).await {
            CredentialCheck::Valid => Ok(true),
            CredentialCheck::Invalid => Ok(false),
            CredentialCheck::Failed(error) => Err(error),
        }
    }

    /// Returns the key under which the failed logins of `user` from the client's address are delayed.
    pub(crate) fn login_key(&self, user: &str) -> LoginKey {
        self.context.login_delays.key(user, self.peer.address.ip())
    }

    /// Counts a failed login in the metrics of the database.
    pub(crate) fn count_failure(&self) {
        self.metrics.auth_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the outcome of a batch that may write, as [`WriteWait`] of the database requires.
    pub(crate) async fn write_outcome(
        &self,
        deadline: Deadline,
        work: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        match self.database.write_wait {
            WriteWait::UntilDeadline => with_deadline(deadline, work).await,
            WriteWait::ForOutcome => work.await,
        }
    }
}

/// Waits for the result of a batch, but at most until [`DEADLINE_GRACE`] after its deadline; then returns
/// [`Error::Timeout`]. The backend checks the deadline only when the batch leaves the queue and while it runs, so this
/// function is needed to limit the time in the queue.
pub(crate) async fn with_deadline<T>(
    deadline: Deadline,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match deadline.moment() {
        None => work.await,
        Some(moment) => {
            let latest = tokio::time::Instant::from_std(moment + DEADLINE_GRACE);
            tokio::time::timeout_at(latest, work).await.unwrap_or(Err(Error::Timeout))
        }
    }
}
