//! `/metrics` and `/healthz` on a separate port, so that they are available even if the clients' port has reached its
//! maximum number of connections.

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

use super::app::StandaloneApp;
use crate::api::context::AppContext;
use crate::api::metrics;
use crate::api::ws4sqlite::reply::{not_found, wrong_method};
use crate::http::connection::http1_builder;
use crate::http::reply::{self, HttpResponse};

/// The maximum number of connections to this port that are served at the same time. Further connections wait until one
/// of them ends.
const CONNECTIONS_MAX: usize = 32;

/// The maximum duration of a connection to this port. It is then closed, so that clients that leave their connections
/// open do not block others.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// The pause after `accept` has failed, for example because the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `/metrics` and `/healthz` until `shutdown` resolves. It should resolve after the clients' listener has
/// finished, so that the health check can report the shutdown.
pub async fn run_monitor(listener: TcpListener, app: Arc<StandaloneApp>, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = accept_all(&listener, &app) => {}
    }
}

async fn accept_all(listener: &TcpListener, app: &Arc<StandaloneApp>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Acquiring a permit fails only if the semaphore is closed, which never happens.
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let app = Arc::clone(app);
                tokio::spawn(async move {
                    let _slot = slot;
                    let _ = tokio::time::timeout(CONNECTION_MAX, serve(socket, app)).await;
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept connections to the metrics: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, app: Arc<StandaloneApp>) -> Result<(), hyper::Error> {
    let builder = http1_builder(&app.context().transport.limits);
    let service = service_fn(|request| {
        let response = answer(app.context(), &request);
        async move { Ok::<_, Infallible>(response) }
    });
    builder.serve_connection(TokioIo::new(socket), service).await
}

fn answer(context: &AppContext, request: &Request<Incoming>) -> HttpResponse {
    let known = matches!(request.uri().path(), "/metrics" | "/healthz");
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => metrics::answer(context),
        (&Method::GET | &Method::HEAD, "/healthz") => health(context),
        _ if known => wrong_method("GET, HEAD"),
        (method, path) => not_found(method, path),
    }
}

fn health(context: &AppContext) -> HttpResponse {
    match context.unhealthy() {
        None => reply::text(StatusCode::OK, "ok\n"),
        Some(why) => reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
