//! `/metrics` and `/healthz`, on a port of their own: they answer even if the clients' port is full.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::context::State;
use crate::http::connection::http1_builder;
use crate::http::reply::{self, HttpResponse, ReplyBody};

/// How many connections are served at once; more wait until one of them ends.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection may last, so that those who forget to close it do not keep others out.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// How long to wait after the system has refused to give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The media type of what Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` and `/healthz` until `shutdown` resolves. Let that be after the clients' listener has finished,
/// so that the health check can tell that the server is about to end.
pub async fn run_monitor(listener: TcpListener, state: Arc<State>, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = accept_all(&listener, &state) => {}
    }
}

async fn accept_all(listener: &TcpListener, state: &Arc<State>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let state = Arc::clone(state);
                tokio::spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(CONNECTION_MAX, serve(socket, state)).await;
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept connections to the metrics: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, state: Arc<State>) -> Result<(), hyper::Error> {
    let builder = http1_builder(&state.limits);
    let service = service_fn(|request| {
        let response = answer(&state, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    builder.serve_connection(TokioIo::new(socket), service).await
}

fn answer(state: &State, request: &Request<Incoming>) -> HttpResponse {
    let known = matches!(request.uri().path(), "/metrics" | "/healthz");
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(state),
        (&Method::GET | &Method::HEAD, "/healthz") => health(state),
        _ if known => reply::wrong_method("GET, HEAD"),
        (method, path) => reply::not_found(method, path),
    }
}

pub(crate) fn metrics(state: &State) -> HttpResponse {
    match state.metrics.encode() {
        Ok(text) => reply::with_type(StatusCode::OK, OPEN_METRICS, ReplyBody::Whole(text.into())),
        Err(_) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded"),
    }
}

fn health(state: &State) -> HttpResponse {
    match state.unhealthy() {
        None => reply::text(StatusCode::OK, "ok\n"),
        Some(why) => reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
