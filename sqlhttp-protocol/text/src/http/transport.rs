//! The interface between a client and the library that sends its HTTP requests.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::host::Host;

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// DELETE.
    Delete,
}

/// An HTTP request, without the address of the server. The debug output does not contain the value of the header field
/// `authorization`.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path and the query string. It begins with `/`.
    pub target: String,
    /// The header fields, as names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: RequestBody,
    /// Whether the transport waits for the response without a time limit. A backup and a load of a large database can
    /// take long until the response begins.
    pub unlimited_time: bool,
    /// The maximum time from sending the request to a server until the header of the response has arrived, in addition
    /// to the limit of the transport. `None` for no limit.
    pub time_limit: Option<Duration>,
    /// The moment until which the header of the response must have arrived, from whichever server. `None` for no limit.
    pub deadline: Option<Instant>,
}

/// The body of a request.
#[derive(Clone)]
pub enum RequestBody {
    /// Bytes in memory; empty for no body.
    Bytes(Vec<u8>),
    /// Bytes that the transport reads while it sends them.
    Source(Arc<dyn BodySource>),
}

/// Bytes that are too many to be held in memory, such as those of a file.
pub trait BodySource: Send + Sync {
    /// The number of bytes.
    fn length(&self) -> u64;

    /// Opens the bytes at their beginning. The client opens them again if it sends the request to another server.
    ///
    /// # Errors
    /// The bytes cannot be opened.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// An HTTP response. The body arrives in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse<B> {
    /// The status.
    pub status: u16,
    /// The header fields, as names in lower case and values. Fields whose value is not UTF-8 are missing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: B,
}

/// The error of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection was opened, or not in time. The server has not received the request.
    #[error("cannot connect: {0}")]
    NotSent(String),
    /// The body of the request cannot be read. The server has not received the request, or only a part of it, and has
    /// not carried it out.
    #[error("the body of the request cannot be read: {0}")]
    Body(String),
    /// The connection failed before the response was complete. The server may have carried out the request.
    #[error("the connection failed: {0}")]
    Lost(String),
}

impl TransportError {
    /// The reason, without the words that tell what it means for the request.
    pub fn reason(&self) -> &str {
        match self {
            TransportError::NotSent(reason) | TransportError::Body(reason) | TransportError::Lost(reason) => reason,
        }
    }
}

/// The body of a response.
pub trait ResponseBody: Send {
    /// Receives the next chunk; `None` at the end of the body.
    ///
    /// # Errors
    /// [`TransportError::Lost`]: the connection failed.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;
}

/// A library that sends HTTP requests.
pub trait Transport: Send + Sync {
    /// The body of a response.
    type Body: ResponseBody;

    /// Sends a request to a server, and receives the header of the response.
    ///
    /// # Errors
    /// See [`TransportError`].
    fn send(
        &self,
        host: &Host,
        request: &HttpRequest,
    ) -> impl Future<Output = Result<HttpResponse<Self::Body>, TransportError>> + Send;

    /// Returns the time from now until `moment`, zero if it has passed. The client sends it to the server as the time
    /// limit of a request. The default is `None`, for a transport without a clock: no time limit is sent.
    fn time_until(&self, _moment: Instant) -> Option<Duration> {
        None
    }
}

impl Method {
    /// The name of the method.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

impl HttpRequest {
    /// Creates a request without header fields and body.
    pub fn new(method: Method, target: impl Into<String>) -> HttpRequest {
        let body = RequestBody::Bytes(Vec::new());
        HttpRequest {
            method,
            target: target.into(),
            headers: Vec::new(),
            body,
            unlimited_time: false,
            time_limit: None,
            deadline: None,
        }
    }

    /// Sets the body and its media type.
    #[must_use]
    pub fn with_body(mut self, media_type: &str, body: impl Into<RequestBody>) -> HttpRequest {
        self.headers.push(("content-type", media_type.to_owned()));
        self.body = body.into();
        self
    }

    /// Sets the maximum time from sending the request to a server until the header of the response has arrived. If it
    /// passes, the request fails with [`TransportError::Lost`]. A transport without timers ignores it.
    ///
    /// The time begins again when a client sends the request to another server, because the first one cannot be reached
    /// or has redirected it. [`HttpRequest::with_deadline`] limits the whole time.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> HttpRequest {
        self.time_limit = Some(limit);
        self
    }

    /// Sets the moment until which the header of the response must have arrived, no matter how many servers the request
    /// is sent to. If it passes, the request fails with [`TransportError::NotSent`] while no connection is open, and
    /// then with [`TransportError::Lost`]. A transport without a clock ([`Transport::time_until`]) ignores it.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> HttpRequest {
        self.deadline = Some(deadline);
        self
    }

    /// Makes the transport wait for the response without its time limit.
    #[must_use]
    pub fn without_time_limit(mut self) -> HttpRequest {
        self.unlimited_time = true;
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HttpRequest { method, target, headers, body, unlimited_time, time_limit, deadline } = self;
        let shown = |(name, value): &(&'static str, String)| {
            let secret = name.eq_ignore_ascii_case("authorization");
            (*name, if secret { "***".to_owned() } else { value.clone() })
        };
        f.debug_struct("HttpRequest")
            .field("method", method)
            .field("target", target)
            .field("headers", &headers.iter().map(shown).collect::<Vec<_>>())
            .field("body", body)
            .field("unlimited_time", unlimited_time)
            .field("time_limit", time_limit)
            .field("deadline", deadline)
            .finish()
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> RequestBody {
        RequestBody::Bytes(bytes)
    }
}

impl From<Arc<dyn BodySource>> for RequestBody {
    fn from(source: Arc<dyn BodySource>) -> RequestBody {
        RequestBody::Source(source)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestBody::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            RequestBody::Source(source) => write!(f, "a source of {} bytes", source.length()),
        }
    }
}

impl<B> HttpResponse<B> {
    /// Creates a response. The names of the header fields must be in lower case.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: B) -> HttpResponse<B> {
        HttpResponse { status, headers, body }
    }

    /// Returns the value of the first header field with this name. The name must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
