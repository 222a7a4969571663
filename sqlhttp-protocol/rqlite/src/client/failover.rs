//! A client of one or more servers that continues with another server when one cannot be reached.

use std::fmt;

use sqlhttp_core::Batch;
use sqlhttp_text::http::{
    Host, Hosts, HttpRequest, HttpResponse, InvalidHost, Method, RESPONSE_BYTES_MAX, Scheme, SendError, Transport,
    basic_auth, receive,
};

use super::call::{NotExpressible, Request, adapt_to_endpoint, encode_call};
use super::reply::{Cell, ReplyError, Response, decode_reply_as};
use super::stream::ResultStream;
use crate::endpoint::Endpoint;
use crate::params::Params;

/// The maximum number of redirects that the client follows for one request.
const REDIRECTS_MAX: usize = 21;

/// A client of the nodes of a cluster, or of one server.
///
/// Requests are sent to one host, at first the first one. If the host cannot be reached, the client sends the request
/// to the next host, and stays with that host. A request that may have been carried out is not sent again: its error is
/// [`ClientError::Lost`]. The client follows redirects, which rqlite uses to name the leader; the credentials are sent
/// to the leader, too.
///
/// ```
/// use sqlhttp_core::{Batch, Step};
/// use sqlhttp_rqlite::client::{Client, ClientError, Transport};
/// use sqlhttp_rqlite::{Endpoint, Params};
///
/// async fn add_user<T: Transport>(client: &Client<T>) -> Result<(), ClientError> {
///     let batch = Batch::one(Step::execute("INSERT INTO users(name) VALUES(?)", ["fiona"]));
///     let response = client.run(Endpoint::Execute, &batch, |_| {}).await?;
///     println!("{:?}", response.results);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
    hosts: Hosts,
    prefix: String,
    authorization: Option<Authorization>,
    response_bytes_max: usize,
}

/// The value of the header field `Authorization`. The debug output does not contain it.
#[derive(Clone)]
struct Authorization(String);

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The error of a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No host could be reached. No server has received the request. Contains the error of each host.
    #[error("{}", SendError::Unreachable(.0.clone()))]
    Unreachable(Vec<(Host, String)>),
    /// The connection failed before the response was complete. The server may have carried out the request.
    #[error("{host}: the connection failed, and the request may have been carried out: {reason}")]
    Lost {
        /// The server.
        host: Host,
        /// The error of the connection.
        reason: String,
    },
    /// The body of the request cannot be read. No server has carried out the request.
    #[error("the body of the request cannot be read: {0}")]
    Body(String),
    /// A server redirected the request to an address that is not a URL, or from HTTPS to HTTP.
    #[error("invalid redirect: {0}")]
    Redirect(#[from] InvalidHost),
    /// Servers redirected the request too many times.
    #[error("more than {REDIRECTS_MAX} redirects")]
    TooManyRedirects,
    /// The response is longer than the limit of the client, in bytes.
    #[error("the response is longer than {0} bytes")]
    TooLong(usize),
    /// The batch cannot be expressed in the protocol.
    #[error(transparent)]
    NotExpressible(#[from] NotExpressible),
    /// The server has not carried out the request, or its response is malformed.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> ClientError {
        match error {
            SendError::Unreachable(errors) => ClientError::Unreachable(errors),
            SendError::Lost { host, reason } => ClientError::Lost { host, reason },
            SendError::Body(why) => ClientError::Body(why),
            SendError::TooLong(limit) => ClientError::TooLong(limit),
        }
    }
}

impl<T: Transport> Client<T> {
    /// Creates a client of these hosts. `first` receives the requests until it cannot be reached.
    pub fn new(transport: T, first: Host, others: impl IntoIterator<Item = Host>) -> Client<T> {
        Client {
            transport,
            hosts: Hosts::new(first, others),
            prefix: "/".to_owned(),
            authorization: None,
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    /// Sets the path of the API. The default is `/`. A database of `sqlhttp-standalone` has the path `/<id>/`.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Client<T> {
        self.set_prefix(prefix);
        self
    }

    /// Changes the path of the API. See [`Client::with_prefix`].
    pub fn set_prefix(&mut self, prefix: &str) {
        let name = prefix.trim_matches('/');
        self.prefix = if name.is_empty() { "/".to_owned() } else { format!("/{name}/") };
    }

    /// Sets the user and the password that are sent with each request (basic authentication, RFC 7617).
    #[must_use]
    pub fn with_basic_auth(mut self, user: &str, password: &str) -> Client<T> {
        self.authorization = Some(Authorization(basic_auth(user, password)));
        self
    }

    /// Sets the maximum length of a response that [`Client::run`] and [`Client::send_whole`] accept, and of a row that
    /// [`Client::stream`] accepts, in bytes. The default is 1 GiB.
    #[must_use]
    pub fn with_response_limit(mut self, bytes: usize) -> Client<T> {
        self.response_bytes_max = bytes;
        self
    }

    /// Creates a client of another host, with the same transport, path and credentials.
    #[must_use]
    pub fn for_host(&self, host: Host) -> Client<T>
    where
        T: Clone,
    {
        Client {
            transport: self.transport.clone(),
            hosts: Hosts::new(host, []),
            prefix: self.prefix.clone(),
            authorization: self.authorization.clone(),
            response_bytes_max: self.response_bytes_max,
        }
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    /// The path of the API.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The host that receives the next request.
    pub fn host(&self) -> &Host {
        self.hosts.current()
    }

    /// Returns the path and query string of a resource of the API: `db/query` becomes `/db/query?level=none`.
    pub fn target(&self, resource: &str, params: &Params) -> String {
        let query = params.to_query();
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{}{resource}{separator}{query}", self.prefix)
    }

    /// Runs a batch, and returns the results of its statements. The batch is adapted to the endpoint
    /// ([`adapt_to_endpoint`]). `set` sets further parameters of the request, such as the consistency level.
    ///
    /// # Errors
    /// See [`ClientError`]. A statement that fails is no error: its result is
    /// [`StatementResult::Failed`](super::StatementResult::Failed).
    pub async fn run(
        &self,
        endpoint: Endpoint,
        batch: &Batch,
        set: impl FnOnce(&mut Params),
    ) -> Result<Response, ClientError> {
        self.run_as(endpoint, batch, set).await
    }

    /// Runs a batch like [`Client::run`], with values of another type.
    ///
    /// # Errors
    /// Those of [`Client::run`].
    pub async fn run_as<V: Cell>(
        &self,
        endpoint: Endpoint,
        batch: &Batch,
        set: impl FnOnce(&mut Params),
    ) -> Result<Response<V>, ClientError> {
        let mut call = encode_call(&adapt_to_endpoint(batch, endpoint), endpoint)?;
        set(&mut call.params);
        let response = self.send_whole(self.request(endpoint, call)).await?;
        Ok(decode_reply_as(response.status, &response.body)?)
    }

    /// Runs a batch like [`Client::run`], and returns the results while they arrive. The memory that they need does not
    /// depend on the number of rows.
    ///
    /// # Errors
    /// Those of [`Client::run`].
    pub async fn stream<V: Cell>(
        &self,
        endpoint: Endpoint,
        batch: &Batch,
        set: impl FnOnce(&mut Params),
    ) -> Result<ResultStream<T::Body, V>, ClientError> {
        let mut call = encode_call(&adapt_to_endpoint(batch, endpoint), endpoint)?;
        set(&mut call.params);
        let (host, response) = self.send(self.request(endpoint, call)).await?;
        if response.status == 200 {
            return Ok(ResultStream::new(host, response.body, self.response_bytes_max));
        }
        let status = response.status;
        let response = receive(&host, response, self.response_bytes_max).await?;
        let malformed = ReplyError::Malformed("it is an error without a message".to_owned());
        Err(decode_reply_as::<V>(status, &response.body).err().unwrap_or(malformed).into())
    }

    fn request(&self, endpoint: Endpoint, call: Request) -> HttpRequest {
        let request = HttpRequest::new(Method::Post, self.target(endpoint.path(), &call.params));
        request.with_body("application/json", call.body)
    }

    /// Sends a request, and receives the whole response.
    ///
    /// # Errors
    /// See [`ClientError`]. A response with an error status is no error.
    pub async fn send_whole(&self, request: HttpRequest) -> Result<HttpResponse<Vec<u8>>, ClientError> {
        let (host, response) = self.send(request).await?;
        Ok(receive(&host, response, self.response_bytes_max).await?)
    }

    /// Sends a request, and receives the header of the response. Returns the server that has sent it, and the response.
    /// Adds the header field with the credentials.
    ///
    /// # Errors
    /// See [`ClientError`]. A response with an error status is no error.
    pub async fn send(&self, mut request: HttpRequest) -> Result<(Host, HttpResponse<T::Body>), ClientError> {
        if let Some(Authorization(value)) = &self.authorization {
            request.headers.push(("authorization", value.clone()));
        }
        let (host, response) = self.hosts.send(&self.transport, &request).await?;
        self.follow(host.clone(), response, request).await
    }

    /// Sends the request again as long as the response is a redirect.
    async fn follow(
        &self,
        mut host: Host,
        mut response: HttpResponse<T::Body>,
        mut request: HttpRequest,
    ) -> Result<(Host, HttpResponse<T::Body>), ClientError> {
        let mut redirects = 0;
        while let Some(url) = redirect(&response) {
            redirects += 1;
            if redirects > REDIRECTS_MAX {
                return Err(ClientError::TooManyRedirects);
            }
            let (next, target) = if url.starts_with('/') { (host.clone(), url) } else { Host::split_url(url)? };
            if host.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
                let reason = "it would send the request without encryption";
                return Err(InvalidHost { text: url.to_owned(), reason }.into());
            }
            request.target = target.to_owned();
            host = next;
            let sent = self.transport.send(&host, &request).await;
            response = sent.map_err(|error| SendError::new(&host, error))?;
        }
        Ok((host, response))
    }
}

/// Returns the URL to which a response redirects the client. rqlite redirects a POST with status 301, and expects the
/// same request at the new address.
fn redirect<B>(response: &HttpResponse<B>) -> Option<&str> {
    if [301, 302, 307, 308].contains(&response.status) { response.header("location") } else { None }
}
