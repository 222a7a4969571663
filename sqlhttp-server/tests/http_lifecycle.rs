//! Clients that leave, and a server that stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod http_support;

use std::sync::Arc;
use std::time::Duration;

use http_support::{Client, Server, Setup, eventually};

#[tokio::test]
async fn a_statement_is_interrupted_when_its_client_leaves() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send_query("hang").await;
    server.database.started.reaches(1).await;
    drop(client);
    server.database.dropped.reaches(1).await;
    assert_eq!(server.connect().await.query("x").await.status, 200);
}

#[tokio::test]
async fn an_answer_ends_when_its_client_leaves() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send_query("blocks 100000").await;
    server.database.started.reaches(1).await;
    drop(client);
    server.database.dropped.reaches(1).await;
}

#[tokio::test]
async fn stopping_finishes_running_requests() {
    let mut server = Server::start().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.query("x").await.status, 200);
    let mut busy = server.connect().await;
    busy.send_query("wait").await;
    server.database.started.reaches(2).await;

    server.stop();
    idle.closed().await;
    assert_eq!(server.database.dropped.get(), 0);
    server.database.gate.add_permits(1);
    let response = busy.response().await;
    assert_eq!((response.status, response.complete), (200, true));
    busy.closed().await;

    let address = server.address;
    server.ended().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stopping_ends_at_the_timeout() {
    let mut setup = Setup::new();
    setup.server.shutdown_timeout = Duration::from_millis(50);
    let mut server = setup.start().await;
    let mut client = server.connect().await;
    client.send_query("hang").await;
    server.database.started.reaches(1).await;
    let database = Arc::clone(&server.database);
    server.stop();
    server.ended().await;
    assert_eq!(database.dropped.get(), 1);
    client.closed().await;
}

async fn get(client: &mut Client, path: &str) -> (u16, String) {
    let response = client.request(&format!("GET {path} HTTP/1.1"), b"").await;
    (response.status, response.text().to_owned())
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let mut server = Server::start().await;
    let mut monitor = server.connect_to_monitor().await;
    assert_eq!(get(&mut monitor, "/healthz").await, (200, "ok\n".to_owned()));
    let mut client = server.connect().await;
    client.query("x").await;
    client.query("overloaded").await;
    let (status, metrics) = get(&mut monitor, "/metrics").await;
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
    assert_eq!(get(&mut monitor, "/other").await.0, 404);
    assert_eq!(monitor.request("POST /metrics HTTP/1.1", b"").await.status, 405);

    *server.database.poisoned.lock().unwrap() = Some("the disk is gone".into());
    let sick = (503, "database 't' takes no more writes: the disk is gone\n".to_owned());
    assert_eq!(get(&mut monitor, "/healthz").await, sick);
    *server.database.poisoned.lock().unwrap() = None;

    drop(client);
    server.stop();
    let stopping = (503, "shutting down\n".to_owned());
    eventually("the health check reports the stop", async || get(&mut monitor, "/healthz").await == stopping).await;
    server.ended().await;
}
