//! The interface between a client and the library that sends its HTTP requests.

use std::future::Future;

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

/// An HTTP request, without the address of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path and the query string. It begins with `/`.
    pub target: String,
    /// The header fields, as names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// An HTTP response. The body arrives in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// No connection was opened. The server has not received the request.
    #[error("cannot connect: {0}")]
    NotSent(String),
    /// The connection failed before the response was complete. The server may have carried out the request.
    #[error("the connection failed: {0}")]
    Lost(String),
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
        HttpRequest { method, target: target.into(), headers: Vec::new(), body: Vec::new() }
    }
}

impl<B> HttpResponse<B> {
    /// Returns the value of the first header field with this name. The name must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
