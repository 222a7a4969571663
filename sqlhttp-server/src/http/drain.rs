//! Handling of request bodies that the handler has not read because the response does not depend on them, for example
//! after a failed login or for an unknown path.
//!
//! Many clients read the response only after they have sent the whole body. If the server closed the connection without
//! announcing it, the client's next request on that connection would fail. So a short body is read and discarded. If
//! the body is longer, the response has `Connection: close`.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;

use super::reply::{self, HttpResponse};

/// The maximum length, in bytes, of an unread request body that is read and discarded. Go's `net/http` has the same
/// limit.
const DRAINED_MAX: u64 = 256 << 10;

/// The time limit for reading and discarding an unread request body. After that, the connection is closed.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads and discards an unread HTTP/1 request body in the background if it is short. Instead adds `Connection: close`
/// to the response if the body is long or of unknown length, if the client waits for `100 Continue`, or if the server
/// is stopping.
pub(crate) fn drain_or_close(body: Incoming, head: &Parts, response: &mut HttpResponse, is_stopping: bool) {
    if body.is_end_stream() || head.version > Version::HTTP_11 || reply::closes(response) {
        return;
    }
    let is_short = body.size_hint().exact().is_some_and(|len| len <= DRAINED_MAX);
    // A client that sends `Expect: 100-continue` waits for that response before it sends the body, so it has not sent
    // it.
    if !is_short || is_stopping || head.headers.contains_key(header::EXPECT) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return;
    }
    // hyper reads the next request on this connection after the end of this body. If `DRAIN_TIME_MAX` passes first, the
    // incomplete body is dropped, and hyper closes the connection.
    tokio::spawn(tokio::time::timeout(DRAIN_TIME_MAX, drop_frames(body)));
}

async fn drop_frames(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}
