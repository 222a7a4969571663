//! One request to one database: checks its credentials, reads its body, and waits for the outcome of its batch.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header;
use hyper::http::request::Parts;
use sqlhttp_core::{Answer, Deadline, Error};

use super::auth::{self, AuthConfig, CredentialCheck};
use super::context::AppContext;
use super::database::{Database, WriteWait};
use super::login_delay::LoginKey;
use crate::http::basic_auth::BasicCredentials;
use crate::http::body::{self, BodyError};
use crate::http::body_memory::MemoryClaim;
use crate::http::content::ContentCoding;
use crate::http::peer::Peer;
use crate::process::metrics::DatabaseMetrics;

/// The greatest length of a body that is decoded on the connection's thread, in bytes. Longer ones are decoded on the
/// blocking pool.
pub(crate) const DECODED_INLINE_MAX: usize = 1 << 20;

/// The error text for a login that is refused because too many failed logins of its user are waiting.
pub(crate) const TOO_MANY_FAILURES: &str = "Too many failed attempts";

/// The time after its deadline within which an interrupted batch may still report its error.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// One request to one database.
pub(crate) struct Exchange<'a> {
    pub(crate) context: &'a AppContext,
    pub(crate) database: &'a Database,
    pub(crate) metrics: &'a DatabaseMetrics,
    pub(crate) request: &'a Parts,
    pub(crate) peer: &'a Peer,
    /// The memory claimed for the request's body.
    claim: MemoryClaim<'a>,
}

/// The reason for which header authentication has failed.
pub(crate) enum AuthError {
    /// The credentials are missing, or they are wrong and the delay has passed.
    Unauthorized,
    /// The credentials could not be checked.
    Unavailable(Error),
    /// Too many failed logins of this user are waiting; the credentials were not checked.
    TooManyFailures,
}

impl<'a> Exchange<'a> {
    /// Makes the exchange of a request to the database at this index.
    pub(crate) fn new(context: &'a AppContext, index: usize, request: &'a Parts, peer: &'a Peer) -> Self {
        let transport = &context.transport;
        let (database, metrics) = (context.database(index), transport.metrics.database(Some(index)));
        Exchange { context, database, metrics, request, peer, claim: MemoryClaim::new(&transport.body_budget) }
    }

    /// Takes the body out of `body` and reads all of it.
    ///
    /// # Errors
    /// The body exceeds a limit, or the connection fails. The rest of the body remains unread.
    pub(crate) async fn read(&self, body: &mut Option<Incoming>) -> Result<Bytes, BodyError> {
        let Some(body) = body.take() else {
            return Ok(Bytes::new());
        };
        let coding = ContentCoding::of(&self.request.headers);
        body::read(body, coding, self.context.transport.limits.body, &self.claim).await
    }

    /// Checks the credentials in the `Authorization` header. After a failed login it returns when the delay has passed.
    pub(crate) async fn authenticate_header(&self, auth: &AuthConfig) -> Result<(), AuthError> {
        let header = self.request.headers.get(header::AUTHORIZATION);
        let Some(credentials) = header.and_then(|header| BasicCredentials::from_header(header.as_bytes())) else {
            // A request without credentials is not a guess, so there is no delay.
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

    /// Returns whether the credentials are valid.
    pub(crate) async fn check(&self, auth: &AuthConfig, credentials: &BasicCredentials) -> Result<bool, Error> {
        let backend = self.database.backend.as_ref();
        match auth::check(&auth.users, credentials, backend, self.context.deadline()).await {
            CredentialCheck::Valid => Ok(true),
            CredentialCheck::Invalid => Ok(false),
            CredentialCheck::Failed(error) => Err(error),
        }
    }

    /// Returns the key under which failed logins of this user from the client's address are delayed.
    pub(crate) fn login_key(&self, user: &str) -> LoginKey {
        self.context.login_delays.key(user, self.peer.address.ip())
    }

    /// Counts a failed login.
    pub(crate) fn count_failure(&self) {
        self.metrics.auth_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the outcome of a batch that may write.
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

/// Waits for a batch until [`DEADLINE_GRACE`] after its deadline. The backend checks the deadline when the batch leaves
/// the queue and while it runs; this function also limits its time in the queue.
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
