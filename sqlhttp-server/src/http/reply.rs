//! The type of the responses, the type of their bodies, and functions that build responses independent of any protocol.

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

/// A response that ends the handling of a request early, as the `Err` of a `Result`. It is boxed, because it is large
/// and rare.
pub(crate) type EarlyResponse = Box<HttpResponse>;

/// The chunks of a response body that is produced while it is sent. An error in the stream closes the connection, so
/// that the client detects that the body is incomplete.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of a response.
pub(crate) enum ReplyBody {
    /// The whole body. It is empty after it has been sent.
    Whole(Bytes),
    /// A body that is produced and sent in chunks.
    Stream {
        /// The chunks of the body.
        stream: ByteStream,
        /// The number of bytes that the stream has not yielded yet; `None` if it is unknown. The stream must yield
        /// exactly this number, because it is announced in `Content-Length`.
        len: Option<u64>,
    },
}

impl ReplyBody {
    /// An empty response body.
    pub(crate) const EMPTY: ReplyBody = ReplyBody::Whole(Bytes::new());

    /// Creates a response body of unknown length that is sent in chunks.
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

/// Builds a response with a JSON body.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status_code(status), "application/json", ReplyBody::Whole(body.into()))
}

/// Builds a response with a body of plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status, "text/plain; charset=utf-8", ReplyBody::Whole(body.into()))
}

/// Builds a response with an empty body.
pub(crate) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(ReplyBody::EMPTY);
    *response.status_mut() = status;
    response
}

/// Builds a response with a body of the given media type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, body: ReplyBody) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Adds `Retry-After: 1` to a response: the client should try again after one second.
pub(crate) fn retry_later(response: HttpResponse) -> HttpResponse {
    with_header(response, header::RETRY_AFTER, "1")
}

/// Adds `Connection: close` to a response. hyper closes the connection after sending it.
pub(crate) fn closing(response: HttpResponse) -> HttpResponse {
    with_header(response, header::CONNECTION, "close")
}

/// Sets a header of a response. A previous value of that header is replaced.
pub(crate) fn with_header(mut response: HttpResponse, name: HeaderName, value: &'static str) -> HttpResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// Converts a number to a status code. Returns 500 if the number is not a valid status code. Status codes from the
/// configuration are checked when it is read.
pub(crate) fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns whether the response has `Connection: close`.
pub(crate) fn closes(response: &HttpResponse) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}
