//! Responses: their body type, and functions that build the ones that no protocol defines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::Stream;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A response of this server.
pub(crate) type HttpResponse = Response<ReplyBody>;

/// A response that ends the handling of a request early, as the `Err` of a `Result`. Boxed, because it is large and
/// rare.
pub(crate) type EarlyResponse = Box<HttpResponse>;

/// The chunks of a body that is produced while it is sent. An error closes the connection, so that the client detects
/// an incomplete body.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of a response.
pub(crate) enum ReplyBody {
    /// The whole body. Empty after it has been sent.
    Whole(Bytes),
    /// A body that is sent in chunks.
    Stream {
        /// The chunks.
        stream: ByteStream,
        /// The number of bytes that are left, if it is known. The stream must yield exactly that many, because they are
        /// announced in `Content-Length`.
        len: Option<u64>,
    },
}

impl ReplyBody {
    /// An empty body.
    pub(crate) const EMPTY: ReplyBody = ReplyBody::Whole(Bytes::new());

    /// A body of unknown length that is sent in chunks.
    pub(crate) fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        ReplyBody::Stream { stream: Box::pin(stream), len: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            ReplyBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            ReplyBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            ReplyBody::Stream { stream, len } => stream.as_mut().poll_next(cx).map_ok(|bytes| {
                if let Some(len) = len {
                    *len = len.saturating_sub(bytes.len() as u64);
                }
                Frame::data(bytes)
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ReplyBody::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ReplyBody::Stream { len: Some(len), .. } => SizeHint::with_exact(*len),
            ReplyBody::Stream { len: None, .. } => SizeHint::default(),
        }
    }
}

/// A response with a JSON body.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status_code(status), "application/json", ReplyBody::Whole(body.into()))
}

/// A response with plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status, "text/plain; charset=utf-8", ReplyBody::Whole(body.into()))
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(ReplyBody::EMPTY);
    *response.status_mut() = status;
    response
}

/// A response with a body of this media type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, body: ReplyBody) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Adds `Retry-After: 1` (one second) to a response.
pub(crate) fn retry_later(response: HttpResponse) -> HttpResponse {
    with_header(response, header::RETRY_AFTER, "1")
}

/// Adds `Connection: close` to a response: hyper closes the connection after it.
pub(crate) fn closing(response: HttpResponse) -> HttpResponse {
    with_header(response, header::CONNECTION, "close")
}

/// Adds a header to a response, or replaces it.
pub(crate) fn with_header(mut response: HttpResponse, name: HeaderName, value: &'static str) -> HttpResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// Converts a number to a status; 500 if it is not a status of HTTP. Configured statuses are checked when the
/// configuration is read.
pub(crate) fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns whether the response has `Connection: close`.
pub(crate) fn closes(response: &HttpResponse) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}
