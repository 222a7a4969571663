//! Clients that leave, and a server that stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use std::sync::Arc;
use std::time::Duration;

use http_support::{Client, Server, Setup, eventually};

#[test]
fn a_statement_is_interrupted_when_its_client_leaves() {
    let server = Server::start();
    let mut client = server.connect();
    client.send_query("hang");
    server.database.started.reaches(1);
    drop(client);
    server.database.dropped.reaches(1);
    assert_eq!(server.connect().query("x").status, 200);
}

#[test]
fn an_answer_ends_when_its_client_leaves() {
    let server = Server::start();
    let mut client = server.connect();
    client.send_query("blocks 100000");
    server.database.started.reaches(1);
    drop(client);
    server.database.dropped.reaches(1);
}

#[test]
fn stopping_finishes_running_requests() {
    let mut server = Server::start();
    let mut idle = server.connect();
    assert_eq!(idle.query("x").status, 200);
    let mut busy = server.connect();
    busy.send_query("wait");
    server.database.started.reaches(2);

    server.stop();
    idle.closed();
    assert_eq!(server.database.dropped.get(), 0);
    server.database.gate.add_permits(1);
    assert_eq!(busy.response().status, 200);
    busy.closed();

    let address = server.address;
    server.ended();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn stopping_ends_at_the_timeout() {
    let mut setup = Setup::new();
    setup.server.shutdown_timeout = Duration::from_millis(50);
    let mut server = setup.start();
    let mut client = server.connect();
    client.send_query("hang");
    server.database.started.reaches(1);
    let database = Arc::clone(&server.database);
    server.stop();
    server.ended();
    assert_eq!(database.dropped.get(), 1);
    client.closed();
}

fn get(client: &mut Client, path: &str) -> (u16, String) {
    let response = client.request(&format!("GET {path} HTTP/1.1"), b"");
    (response.status, response.text().to_owned())
}

#[test]
fn health_and_metrics_are_served() {
    let mut server = Server::start();
    let mut monitor = server.connect_to_monitor();
    assert_eq!(get(&mut monitor, "/healthz"), (200, "ok\n".to_owned()));
    let mut client = server.connect();
    client.query("x");
    client.query("overloaded");
    let (status, metrics) = get(&mut monitor, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "sqlhttp_requests_total{database=\"t\",status=\"2xx\"} 1",
        "sqlhttp_requests_total{database=\"t\",status=\"5xx\"} 1",
        "sqlhttp_connections 1",
        "sqlhttp_requests_in_flight 0",
        "sqlhttp_poisoned{database=\"t\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }
    assert_eq!(get(&mut monitor, "/other").0, 404);
    assert_eq!(monitor.request("POST /metrics HTTP/1.1", b"").status, 405);

    *server.database.poisoned.lock().unwrap() = Some("the disk is gone".into());
    let sick = (503, "database 't' takes no more writes: the disk is gone\n".to_owned());
    assert_eq!(get(&mut monitor, "/healthz"), sick);
    *server.database.poisoned.lock().unwrap() = None;

    drop(client);
    server.stop();
    let stopping = (503, "shutting down\n".to_owned());
    eventually("the health check reports the stop", || get(&mut monitor, "/healthz") == stopping);
    server.ended();
}
