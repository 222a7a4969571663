//! A client of one or more servers that continues with another server when one cannot be reached.

use std::time::Instant;

use sqlhttp_core::{Batch, ReadLevel};
use sqlhttp_text::form::encode_segment;
use sqlhttp_text::http::{
    Host, Hosts, HttpRequest, HttpResponse, Method, RESPONSE_BYTES_MAX, SendError, Transport, basic_auth, receive,
};

use super::call::{Format, NotExpressible, adapt, encode_call};
use super::reply::{ItemResult, ReplyError, decode_reply};
use crate::call::Credentials;

/// A client of a database of `sqlhttp-standalone` or ws4sqlite, or of the nodes of a cluster (`sqlhttp-cluster`), whose
/// database has the id `main`.
///
/// Requests are sent to one host, at first the first one. If the host cannot be reached, the client sends the request
/// to the next host, and stays with that host. A request that may have been carried out is not sent again: its error is
/// [`SendError::Lost`]. Several hosts must serve the same data, as the nodes of a cluster do.
///
/// A client is a [`sqlhttp_core::Backend`], so that the methods of [`sqlhttp_core::Executor`] run a program on a server
/// as on an embedded database:
///
/// ```
/// use sqlhttp_core::{Error, Executor as _, params};
/// use sqlhttp_ws4sqlite::client::{AuthMode, Client, Host, Transport};
///
/// async fn add_user<T: Transport<Body: 'static> + 'static>(transport: T, host: Host) -> Result<i64, Error> {
///     let db = Client::new(transport, host, [], "selfhost").with_credentials(AuthMode::Http, "joe", "secret");
///     db.execute("INSERT INTO users(name, age) VALUES(?, ?)", params!["Ada", 36]).await?;
///     db.query_one("SELECT count(*) FROM users", ()).await
/// }
/// ```
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
    hosts: Hosts,
    /// The path of the database.
    path: String,
    credentials: Option<(AuthMode, Credentials)>,
    response_bytes_max: usize,
}

/// The place of the credentials in a request. It is the `auth.mode` that is configured for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// In the header, as basic authentication (RFC 7617). A node of a cluster has this mode.
    Http,
    /// In the body.
    Inline,
}

/// The error of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No server has received the request, or the connection failed, or the response is too long.
    #[error(transparent)]
    Http(#[from] SendError),
    /// The batch cannot be expressed in the protocol.
    #[error(transparent)]
    NotExpressible(#[from] NotExpressible),
    /// The server refused the request or rolled its transaction back, or its response is malformed.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

impl<T: Transport> Client<T> {
    /// Creates a client of the database with the id `database`. `first` receives the requests until it cannot be
    /// reached; `others` serve the same data.
    pub fn new(transport: T, first: Host, others: impl IntoIterator<Item = Host>, database: &str) -> Client<T> {
        Client {
            transport,
            hosts: Hosts::new(first, others),
            path: format!("/{}", encode_segment(database)),
            credentials: None,
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    /// Sets the user and the password that are sent with each request.
    #[must_use]
    pub fn with_credentials(mut self, mode: AuthMode, user: &str, password: &str) -> Client<T> {
        self.credentials = Some((mode, Credentials { user: user.to_owned(), password: password.to_owned() }));
        self
    }

    /// Sets the maximum length of a response that [`Client::run`] accepts, and of a row of a response that is
    /// streamed, in bytes. The default is 1 GiB.
    #[must_use]
    pub fn with_response_limit(mut self, bytes: usize) -> Client<T> {
        self.response_bytes_max = bytes;
        self
    }

    /// The host that receives the next request.
    pub fn host(&self) -> &Host {
        self.hosts.current()
    }

    /// Runs a batch, and returns the results of its steps. The batch is adapted to the protocol ([`adapt`]).
    ///
    /// # Errors
    /// See [`ClientError`]. The failure of a step after which the batch has continued is no error: its result is
    /// [`ItemResult::Failed`].
    pub async fn run(&self, batch: Batch) -> Result<Vec<ItemResult>, ClientError> {
        let (host, response) = self.send(&adapt(batch), ReadLevel::default(), None).await?;
        let response = receive(host, response, self.response_bytes_max).await?;
        Ok(decode_reply(response.status, &response.body)?)
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    pub(super) fn response_bytes_max(&self) -> usize {
        self.response_bytes_max
    }

    /// Sends a batch, and receives the header of the response. Returns the server that has sent it, and the response.
    /// `deadline`: the moment until which the header must have arrived.
    pub(super) async fn send(
        &self,
        batch: &Batch,
        level: ReadLevel,
        deadline: Option<Instant>,
    ) -> Result<(&Host, HttpResponse<T::Body>), ClientError> {
        let in_body = self.credentials.as_ref().filter(|(mode, _)| *mode == AuthMode::Inline);
        let body = encode_call(batch, in_body.map(|(_, credentials)| credentials), Format::List)?;
        let target = format!("{}{}", self.path, query(level));
        let mut request = HttpRequest::new(Method::Post, target).with_body("application/json", body);
        request.deadline = deadline;
        if let Some((AuthMode::Http, Credentials { user, password })) = &self.credentials {
            request.headers.push(("authorization", basic_auth(user, password)));
        }
        Ok(self.hosts.send(&self.transport, &request).await?)
    }
}

/// Returns the query string with the consistency level. The nodes of a cluster take it as rqlite's nodes do, and other
/// servers ignore it.
fn query(level: ReadLevel) -> &'static str {
    match level {
        ReadLevel::None => "?level=none",
        ReadLevel::Weak => "",
        ReadLevel::Linearizable => "?level=linearizable",
        ReadLevel::Strong => "?level=strong",
        ReadLevel::Auto => "?level=auto",
    }
}
