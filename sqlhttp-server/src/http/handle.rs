//! One request from its head to the head of its answer.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tracing::Instrument;

use super::compress::compress;
use super::drain;
use super::head;
use super::origin::{self, FORGED};
use super::peer::Peer;
use super::reply::{self, HttpResponse};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::request_log;
use crate::api::admin::AdminCall;
use crate::api::context::State;
use crate::api::exchange::Exchange;
use crate::api::rqlite;
use crate::api::ws4sqlite::answer;
use crate::api::ws4sqlite::cors;
use crate::standalone::route::{DatabaseIndex, Resource, Route, route};

/// Answers a request. Dropping the future gives the request up, which interrupts its statement.
pub(crate) async fn handle(state: &State, peer: &Peer, request: Request<Incoming>) -> HttpResponse {
    let started = Instant::now();
    let _counted = Counted::new(&state.metrics.requests_in_flight);
    let (head, body) = request.into_parts();
    let id = RequestId::of(&head.headers);
    let span = request_log::span(&id, &head, peer);
    let work = async {
        request_log::note_oddities(&head, !body.is_end_stream());
        let mut body = Some(body);
        let (database, mut response) = unless_it_panics(state, peer, &head, &mut body).await;
        if let Some(body) = body {
            drain::leave_unread(body, &head, &mut response, state.is_stopping());
        }
        if closes(&response) {
            peer.expect_unread_bytes();
        }
        name(&mut response, &id);
        let took = started.elapsed();
        peer.answered_at(started + took);
        state.metrics.database(database).answered(response.status().as_u16(), took);
        request_log::answered(&response, took);
        response
    };
    work.instrument(span).await
}

async fn unless_it_panics(
    state: &State,
    peer: &Peer,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> (Option<DatabaseIndex>, HttpResponse) {
    // Nothing that a panic could leave half done is used afterwards: the request's own data is dropped.
    AssertUnwindSafe(answer(state, peer, head, body)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("answering a request has panicked");
        (None, reply::closing(answer::panicked()))
    })
}

/// The answer, and the database whose it is.
async fn answer(
    state: &State,
    peer: &Peer,
    head: &Parts,
    body: &mut Option<Incoming>,
) -> (Option<DatabaseIndex>, HttpResponse) {
    if let Some(why) = head::ambiguity(head, body.as_ref(), peer) {
        return (None, ambiguous(state, why));
    }
    if let Some(refusal) = host_not_allowed(state, head) {
        return (None, refusal);
    }
    if let Some(member) = &state.member {
        request_log::name_database(&state.database(crate::cluster::http::DATABASE).id);
        let response = crate::cluster::http::answer(state, member, peer, head, body).await;
        return (Some(crate::cluster::http::DATABASE), response);
    }
    if let Some(files) = &state.files
        && matches!(head.method, Method::GET | Method::HEAD)
        && let Some(file) = files.answer(head).await
    {
        return (None, file);
    }
    let route = route(&head.method, head.uri.path(), &state.table);
    let target = |index| Target::new(state, index, head, peer);
    if let Some((index, refusal)) = forged(state, &route, head) {
        return (Some(index), target(index).with_cors(refusal));
    }
    match route {
        Route::Unknown => (None, reply::not_found(&head.method, head.uri.path())),
        Route::Call(index) => (Some(index), target(index).call(body).await),
        Route::Options(index) => (Some(index), target(index).options()),
        Route::Macro(index, name) => (Some(index), target(index).run_macro(&name).await),
        Route::Backup(index) => (Some(index), target(index).run_backup().await),
        Route::Rqlite(index, resource) => (Some(index), target(index).rqlite(resource, body).await),
        Route::WrongMethod(index, allow) => (Some(index), target(index).wrong_method(allow)),
    }
}

/// As Go's server words it on a node.
fn ambiguous(state: &State, why: &str) -> HttpResponse {
    let status = StatusCode::BAD_REQUEST;
    reply::closing(match &state.member {
        Some(_) => reply::text(status, format!("400 Bad Request: {why}")),
        None => reply::error(status, why),
    })
}

fn host_not_allowed(state: &State, head: &Parts) -> Option<HttpResponse> {
    let allowed = state.allowed_hosts.as_ref().is_none_or(|hosts| hosts.allow(head));
    (!allowed).then(|| match &state.member {
        Some(_) => rqlite::error(StatusCode::FORBIDDEN, origin::HOST_NOT_ALLOWED),
        None => reply::error(StatusCode::FORBIDDEN, origin::HOST_NOT_ALLOWED),
    })
}

/// The refusal of a request with an effect that a page of another site may have sent, and the database it is for.
fn forged(state: &State, route: &Route, head: &Parts) -> Option<(DatabaseIndex, HttpResponse)> {
    let index = route.database_with_effect(&head.method)?;
    let cors = state.database(index).cors.as_ref();
    let forged = origin::is_forged(head, |origin| cors.is_some_and(|policy| policy.allows(origin)));
    forged.then(|| match route {
        Route::Rqlite(..) => (index, rqlite::error(StatusCode::FORBIDDEN, FORGED)),
        _ => (index, reply::error(StatusCode::FORBIDDEN, FORGED)),
    })
}

/// The database that a request is for.
struct Target<'a> {
    state: &'a State,
    index: DatabaseIndex,
    request: &'a Parts,
    peer: &'a Peer,
}

impl<'a> Target<'a> {
    fn new(state: &'a State, index: DatabaseIndex, request: &'a Parts, peer: &'a Peer) -> Self {
        request_log::name_database(&state.database(index).id);
        Target { state, index, request, peer }
    }

    async fn call(&self, body: &mut Option<Incoming>) -> HttpResponse {
        let Target { state, index, request, peer } = *self;
        let mut response = Exchange::new(state, index, request, peer).answer(body).await;
        compress(&mut response, &request.headers).await;
        self.with_cors(response)
    }

    async fn rqlite(&self, resource: Resource, body: &mut Option<Incoming>) -> HttpResponse {
        let Target { state, index, request, peer } = *self;
        let exchange = Exchange::new(state, index, request, peer);
        let response = rqlite::answer(&exchange, resource, body).await;
        self.with_cors(response)
    }

    fn options(&self) -> HttpResponse {
        let Some(policy) = &self.state.database(self.index).cors else {
            return reply::wrong_method("POST");
        };
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        if cors::is_preflight(&self.request.headers) {
            policy.answer_preflight(&self.request.headers, response.headers_mut());
            return response;
        }
        self.with_cors(reply::with_header(response, header::ALLOW, "POST, OPTIONS"))
    }

    async fn run_macro(&self, name: &str) -> HttpResponse {
        let response = self.admin().run_macro(name).await;
        self.with_cors(response)
    }

    async fn run_backup(&self) -> HttpResponse {
        let response = self.admin().run_backup().await;
        self.with_cors(response)
    }

    fn admin(&self) -> AdminCall<'a> {
        let Target { state, index, request, peer } = *self;
        let (database, metrics) = (state.database(index), state.metrics.database(Some(index)));
        AdminCall { state, database, metrics, request, peer }
    }

    fn wrong_method(&self, allow: &'static str) -> HttpResponse {
        let with_options = allow == "POST" && self.state.database(self.index).cors.is_some();
        self.with_cors(reply::wrong_method(if with_options { "POST, OPTIONS" } else { allow }))
    }

    fn with_cors(&self, mut response: HttpResponse) -> HttpResponse {
        if let Some(policy) = &self.state.database(self.index).cors {
            policy.answer(self.request.headers.get(header::ORIGIN), response.headers_mut());
        }
        response
    }
}

/// Clients that name their requests hear the name again; others hear ours when they may want to complain.
fn name(response: &mut HttpResponse, id: &RequestId) {
    if (id.is_given() || response.status().is_server_error())
        && let Some(value) = id.header()
    {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
}

pub(crate) fn closes(response: &HttpResponse) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}

/// Counts something while it lasts.
pub(crate) struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    /// One more, until this is dropped.
    pub(crate) fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Counted(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
