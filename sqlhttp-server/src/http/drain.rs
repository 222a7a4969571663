//! Bodies that an answer does not need: the refusal of a login, an unknown path.
//!
//! A client reads the answer when it has sent its body. If the server closes the connection meanwhile without a word, the
//! client's next request on it fails. So a short body is read and dropped, and a longer one is announced to be cut off.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;

use super::reply::{self, HttpResponse};

/// The longest body that is read to its end, in bytes, as in Go's server.
const DRAINED_MAX: u64 = 256 << 10;

/// How long the client may take to send it.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Disposes of an unread body: reads and drops it if it is short, else has the connection closed after the answer.
pub(crate) fn drain_or_close(body: Incoming, head: &Parts, response: &mut HttpResponse, is_stopping: bool) {
    if body.is_end_stream() || head.version > Version::HTTP_11 || reply::closes(response) {
        return;
    }
    let is_short = body.size_hint().exact().is_some_and(|len| len <= DRAINED_MAX);
    // A client that asks before it sends its body need not send it now.
    if !is_short || is_stopping || head.headers.contains_key(header::EXPECT) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return;
    }
    // The next request on this connection is read when the body has ended. If it does not, dropping it closes the connection.
    tokio::spawn(tokio::time::timeout(DRAIN_TIME_MAX, drop_frames(body)));
}

async fn drop_frames(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}
