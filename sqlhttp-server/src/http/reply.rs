//! Answers: their bodies, and the few shapes that do not come from a protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::Stream;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// An answer of this server.
pub(crate) type HttpResponse = Response<ReplyBody>;

/// A response that ends the handling of a request early. Boxed, because it is large and rare.
pub(crate) type EarlyResponse = Box<HttpResponse>;

/// Bytes of a body while they come into being. An error cuts the connection, so that the client notices.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// All of it; empty once it is sent.
    Whole(Bytes),
    /// Piece by piece.
    Stream {
        /// The pieces.
        stream: ByteStream,
        /// How many bytes there are left, if that is known. It must be true.
        len: Option<u64>,
    },
}

impl ReplyBody {
    /// No body.
    pub(crate) const EMPTY: ReplyBody = ReplyBody::Whole(Bytes::new());

    /// A body of unknown length.
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

/// A JSON body with this status.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status_code(status), "application/json", ReplyBody::Whole(body.into()))
}

/// Plain text with this status.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    with_type(status, "text/plain; charset=utf-8", ReplyBody::Whole(body.into()))
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(ReplyBody::EMPTY);
    *response.status_mut() = status;
    response
}

/// A body of this media type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, body: ReplyBody) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The same answer, with the advice to come back in a second.
pub(crate) fn retry_later(response: HttpResponse) -> HttpResponse {
    with_header(response, header::RETRY_AFTER, "1")
}

/// The same answer, after which the connection ends.
pub(crate) fn closing(response: HttpResponse) -> HttpResponse {
    with_header(response, header::CONNECTION, "close")
}

/// The same answer with one more header.
pub(crate) fn with_header(mut response: HttpResponse, name: HeaderName, value: &'static str) -> HttpResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// The status with this number, which is checked when the configuration is read; 500 for one that HTTP does not have.
pub(crate) fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns whether the connection ends after this response.
pub(crate) fn closes(response: &HttpResponse) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}
