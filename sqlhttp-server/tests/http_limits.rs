//! What bounds a request: bytes, time, items, connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod http_support;

use std::io::Read;
use std::time::Duration;

use http_support::client::call;
use http_support::{Server, Setup};

const TOO_LARGE: &str = "{\"reqIdx\":-1,\"error\":\"Request Entity Too Large\"}";

async fn with_body_max(bytes: u64) -> Server {
    let mut setup = Setup::new();
    setup.server.body_bytes_max = bytes;
    setup.start().await
}

#[tokio::test]
async fn a_declared_length_is_refused_before_anything_is_read() {
    let server = with_body_max(100).await;
    let mut client = server.connect().await;
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 101\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, TOO_LARGE));
    assert_eq!(response.header("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_accepted() {
    let body = call("x");
    let server = with_body_max(body.len() as u64).await;
    assert_eq!(server.connect().await.query("x").await.status, 200);
    assert_eq!(server.connect().await.query("xx").await.status, 413);
}

#[tokio::test]
async fn the_refusal_arrives_although_the_client_sends_everything_first() {
    let server = with_body_max(1 << 10).await;
    let mut client = server.connect().await;
    client.send_request("POST /t HTTP/1.1", &vec![b'x'; 8 << 20]).await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, TOO_LARGE));
}

#[tokio::test]
async fn a_chunked_body_is_counted() {
    let server = with_body_max(100).await;
    let mut client = server.connect().await;
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        client.send(format!("32\r\n{}\r\n", "x".repeat(50))).await;
    }
    assert_eq!(client.response().await.status, 413);
}

fn gzip(bytes: impl Read) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(read_all(bytes));
    futures_util::FutureExt::now_or_never(async {
        tokio::io::AsyncReadExt::read_to_end(&mut encoder, &mut compressed).await.unwrap();
    })
    .unwrap();
    compressed
}

fn read_all(mut bytes: impl Read) -> std::io::Cursor<Vec<u8>> {
    let mut whole = Vec::new();
    bytes.read_to_end(&mut whole).unwrap();
    std::io::Cursor::new(whole)
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let body = gzip(call("x").as_bytes());
    assert_eq!(client.request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", &body).await.status, 200);
    // An encoding that nobody knows is taken for none.
    let unknown = client.request("POST /t HTTP/1.1\r\nContent-Encoding: none", call("x").as_bytes()).await;
    assert_eq!(unknown.status, 200);
    let broken = server.connect().await.request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", b"no gzip at all").await;
    assert_eq!(broken.status, 400);
    assert!(broken.text().contains("in parsing body: "), "{}", broken.text());
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let server = with_body_max(1 << 20).await;
    let bomb = gzip(std::io::repeat(b' ').take(64 << 20));
    assert!(bomb.len() < 1 << 20);
    let response = server.connect().await.request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", &bomb).await;
    assert_eq!((response.status, response.text()), (413, TOO_LARGE));
}

#[tokio::test]
async fn answers_are_compressed_on_demand() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let text = "x".repeat(5000);
    let head = "POST /t HTTP/1.1\r\nAccept-Encoding: gzip, br";
    let response = client.request(head, call(&text).as_bytes()).await;
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    assert!(response.body.len() < 1000);
    let short = client.request(head, call("x").as_bytes()).await;
    assert_eq!(short.header("content-encoding"), None);
    let streamed = client.request(head, call("blocks 50").as_bytes()).await;
    assert_eq!(streamed.header("content-encoding"), Some("gzip"));
    assert_eq!((streamed.header("transfer-encoding"), streamed.complete), (Some("chunked"), true));
    assert_eq!(streamed.body[..2], [0x1f, 0x8b]);
    let cut = client.request(head, call("blocks 50 then fail").as_bytes()).await;
    assert!(!cut.complete);
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let mut setup = Setup::new();
    setup.server.body_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let mut client = server.connect().await;
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (408, "{\"reqIdx\":-1,\"error\":\"Request Timeout\"}"));
    client.closed().await;
}

#[tokio::test]
async fn slow_headers_are_given_up() {
    let mut setup = Setup::new();
    setup.server.header_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let mut client = server.connect().await;
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nX-Slow: ").await;
    client.closed().await;
    assert_eq!(server.connect().await.query("x").await.status, 200);
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = Server::start().await;
    let fits = format!("POST /t HTTP/1.1\r\nX-Long: {}", "x".repeat(15 << 10));
    assert_eq!(server.connect().await.request(&fits, call("x").as_bytes()).await.status, 200);
    let mut client = server.connect().await;
    client.send(format!("POST /t HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(17 << 10))).await;
    assert_eq!(client.response().await.status, 431);
    client.closed().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Server::start().await;
    for bytes in ["nonsense\r\n\r\n", "POST /t HTTP/1.1\r\nno colon\r\n\r\n", "POST /t HTTP/9.9\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(bytes).await;
        assert_eq!(client.response().await.status, 400, "{bytes}");
    }
    let mut smuggler = server.connect().await;
    smuggler.send("POST /t HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx").await;
    assert_eq!(smuggler.response().await.status, 400);
    assert_eq!(server.connect().await.query("x").await.status, 200);
}

#[tokio::test]
async fn items_are_counted() {
    let mut setup = Setup::new();
    setup.server.items_max = 2;
    let server = setup.start().await;
    let mut client = server.connect().await;
    let items = |count: usize| format!("{{\"transaction\":[{}]}}", vec!["{\"query\":\"x\"}"; count].join(","));
    assert_eq!(client.request("POST /t HTTP/1.1", items(2).as_bytes()).await.status, 200);
    let response = client.request("POST /t HTTP/1.1", items(3).as_bytes()).await;
    let expected = "{\"reqIdx\":-1,\"error\":\"too many items in the transaction: 3, the limit is 2\"}";
    assert_eq!((response.status, response.text()), (400, expected));
}

#[tokio::test]
async fn connections_are_counted() {
    let mut setup = Setup::new();
    setup.server.connections_max = 1;
    let server = setup.start().await;
    let mut first = server.connect().await;
    assert_eq!(first.query("x").await.status, 200);
    let mut second = server.connect().await;
    second.send_query("x").await;
    let response = second.response().await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert_eq!(response.text(), "{\"reqIdx\":-1,\"error\":\"Too many connections\"}");
    assert_eq!(first.query("x").await.status, 200);
    drop(first);
    http_support::soon(async {
        while server.connect().await.try_query("x").await != Some(200) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn statements_get_a_deadline() {
    let mut setup = Setup::new();
    setup.server.query_timeout = Some(Duration::from_secs(3600));
    let server = setup.start().await;
    server.connect().await.query("x").await;
    assert!(server.database.deadlines.lock().unwrap()[0].moment().is_some());

    let without = Server::start().await;
    without.connect().await.query("x").await;
    assert!(without.database.deadlines.lock().unwrap()[0].moment().is_none());
}
