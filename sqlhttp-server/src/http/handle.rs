//! The handling of one request, from its head to the head of its response.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use prometheus_client::metrics::gauge::Gauge;
use tracing::Instrument;

use super::app::{App, Refused};
use super::peer::Peer;
use super::reply::{self, HttpResponse};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::transport::Transport;
use super::{drain, head, request_log};

/// Handles a request: assigns its id, calls the program's handler, and counts and logs the response. Dropping the
/// future cancels the request and interrupts its SQL statement.
pub(crate) async fn handle<A: App>(app: &A, peer: &Peer, request: Request<Incoming>) -> HttpResponse {
    let started = Instant::now();
    let transport = app.transport();
    let _in_flight = GaugeGuard::new(&transport.metrics.requests_in_flight);
    let (head, body) = request.into_parts();
    let id = RequestId::of(&head.headers);
    let span = request_log::span(&id, &head, peer);
    let work = async {
        request_log::log_missing_content_type(&head, !body.is_end_stream());
        let mut body = Some(body);
        let (database, mut response) = catch_panic(app, peer, &head, &mut body).await;
        if let Some(body) = body {
            drain::drain_or_close(body, &head, &mut response, transport.is_stopping());
        }
        if reply::closes(&response) {
            peer.expect_unread_bytes();
        }
        add_request_id(&mut response, &id);
        let took = started.elapsed();
        peer.record_answer(started + took);
        transport.metrics.database(database).count_answer(response.status().as_u16(), took);
        request_log::answered(&response, took);
        response
    };
    work.instrument(span).await
}

/// Calls the handler of a request. If the handler panics, returns a response with status 500.
async fn catch_panic<A: App>(
    app: &A,
    peer: &Peer,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> (Option<usize>, HttpResponse) {
    // Unwind safe: after a panic the data of the request is dropped, so no state that the panic left inconsistent is
    // used again.
    AssertUnwindSafe(answer(app, peer, head, body)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("the handler of a request has panicked");
        (None, reply::closing(app.refusal(Refused::Panicked)))
    })
}

async fn answer<A: App>(
    app: &A,
    peer: &Peer,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> (Option<usize>, HttpResponse) {
    match refused(app.transport(), peer, head, body.as_ref()) {
        Some(refused) => (None, app.refusal(refused)),
        None => app.answer(head, peer, body).await,
    }
}

/// Returns the reason why the transport refuses a request on any path; `None` if it does not refuse the request.
fn refused(transport: &Transport, peer: &Peer, head: &Parts, body: Option<&Incoming>) -> Option<Refused> {
    if let Some(why) = head::ambiguity(head, body, peer) {
        return Some(Refused::Ambiguous(why));
    }
    let allowed = transport.allowed_hosts.as_ref().is_none_or(|hosts| hosts.allow(head));
    (!allowed).then_some(Refused::HostNotAllowed)
}

/// Adds `X-Request-Id` to a response if the client has sent an id. Also adds it if the response is a server error, so
/// that the operator can find the log lines of the request.
fn add_request_id(response: &mut HttpResponse, id: &RequestId) {
    if (id.is_from_client() || response.status().is_server_error())
        && let Some(value) = id.header()
    {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
}

/// Drop guard: the gauge is one higher while the guard exists.
pub(crate) struct GaugeGuard<'a>(&'a Gauge);

impl<'a> GaugeGuard<'a> {
    /// Increments the gauge. Dropping the guard decrements the gauge.
    pub(crate) fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        GaugeGuard(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
