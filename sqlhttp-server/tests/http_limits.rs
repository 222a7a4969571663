//! Limits on requests: bytes, time, items and connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use std::io::Read;
use std::time::Duration;

use http_support::client::call;
use http_support::{Client, Response, Server, Setup, eventually};

fn too_large(max: u64) -> String {
    format!("{{\"reqIdx\":-1,\"error\":\"Request Entity Too Large: more than {max} bytes, see -max-body\"}}")
}

fn with_body_max(bytes: u64) -> Server {
    let mut setup = Setup::new();
    setup.server.body_bytes_max = bytes;
    setup.start()
}

#[test]
fn a_declared_length_is_refused_before_anything_is_read() {
    let server = with_body_max(100);
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 101\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, &*too_large(100)));
    assert_eq!(response.header("connection"), Some("close"));
    client.closed();
}

#[test]
fn a_body_of_just_the_limit_is_accepted() {
    let body = call("x");
    let server = with_body_max(body.len() as u64);
    assert_eq!(server.connect().query("x").status, 200);
    assert_eq!(server.connect().query("xx").status, 413);
}

#[test]
fn the_refusal_arrives_although_the_client_sends_everything_first() {
    let server = with_body_max(1 << 10);
    let mut client = server.connect();
    client.send_request("POST /t HTTP/1.1", &vec![b'x'; 8 << 20]);
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, &*too_large(1 << 10)));
}

#[test]
fn a_chunked_body_beyond_the_limit_is_refused() {
    let server = with_body_max(100);
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        client.send(format!("32\r\n{}\r\n", "x".repeat(50)));
    }
    assert_eq!(client.response().status, 413);
}

fn gzip(mut plain: impl Read) -> Vec<u8> {
    let mut whole = Vec::new();
    plain.read_to_end(&mut whole).unwrap();
    common::compressed("gzip", &whole)
}

#[test]
fn compressed_bodies_are_read() {
    let server = Server::start();
    let mut client = server.connect();
    let body = gzip(call("x").as_bytes());
    assert_eq!(client.request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", &body).status, 200);
    // An unknown encoding is treated as none.
    let unknown = client.request("POST /t HTTP/1.1\r\nContent-Encoding: none", call("x").as_bytes());
    assert_eq!(unknown.status, 200);
    let broken = server.connect().request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", b"no gzip at all");
    assert_eq!(broken.status, 400);
    assert!(broken.text().contains("in parsing body: "), "{}", broken.text());
}

#[test]
fn a_decompression_bomb_is_refused() {
    let server = with_body_max(1 << 20);
    let bomb = gzip(std::io::repeat(b' ').take(64 << 20));
    assert!(bomb.len() < 1 << 20);
    let response = server.connect().request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", &bomb);
    assert_eq!((response.status, response.text()), (413, &*too_large(1 << 20)));
}

#[test]
fn answers_are_compressed_on_demand() {
    let server = Server::start();
    let mut client = server.connect();
    let text = "x".repeat(5000);
    let head = "POST /t HTTP/1.1\r\nAccept-Encoding: gzip, br";
    let response = client.request(head, call(&text).as_bytes());
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    assert!(response.body.len() < 1000);
    let short = client.request(head, call("x").as_bytes());
    assert_eq!(short.header("content-encoding"), None);
    let streamed = client.request(head, call("blocks 50").as_bytes());
    assert_eq!(streamed.header("content-encoding"), Some("gzip"));
    assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
    assert_eq!(streamed.body[..2], [0x1f, 0x8b]);
    client.send_request(head, call("blocks 50 then fail").as_bytes());
    assert!(client.try_response().is_none(), "the answer is complete");
}

#[test]
fn a_slow_body_times_out() {
    let mut setup = Setup::new();
    setup.server.body_timeout = Duration::from_millis(50);
    let server = setup.start();
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
    let response = client.response();
    assert_eq!((response.status, response.text()), (408, "{\"reqIdx\":-1,\"error\":\"Request Timeout\"}"));
    client.closed();
}

#[test]
fn slow_headers_time_out() {
    let mut setup = Setup::new();
    setup.server.header_timeout = Duration::from_millis(50);
    let server = setup.start();
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nX-Slow: ");
    client.closed();
    assert_eq!(server.connect().query("x").status, 200);
}

#[test]
fn headers_beyond_the_limit_are_refused() {
    let server = Server::start();
    let fits = format!("POST /t HTTP/1.1\r\nX-Long: {}", "x".repeat(15 << 10));
    assert_eq!(server.connect().request(&fits, call("x").as_bytes()).status, 200);
    let mut client = server.connect();
    client.send(format!("POST /t HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(17 << 10)));
    let response = client.response();
    let text = "{\"reqIdx\":-1,\"error\":\"Request Header Fields Too Large\"}";
    assert_eq!((response.status, response.text()), (431, text));
    client.closed();
}

#[test]
fn bytes_that_are_no_http_are_refused() {
    let server = Server::start();
    for bytes in ["nonsense\r\n\r\n", "POST /t HTTP/1.1\r\nno colon\r\n\r\n", "POST /t HTTP/9.9\r\n\r\n"] {
        let mut client = server.connect();
        client.send(bytes);
        let response = client.response();
        assert_eq!((response.status, response.text()), (400, "{\"reqIdx\":-1,\"error\":\"Bad Request\"}"), "{bytes}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        client.closed();
        // Such bytes are also refused after a valid request.
        let mut client = server.connect();
        assert_eq!(client.query("x").status, 200);
        client.send(bytes);
        assert_eq!(client.response().text(), "{\"reqIdx\":-1,\"error\":\"Bad Request\"}", "{bytes}");
    }
    let mut smuggler = server.connect();
    smuggler.send("POST /t HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx");
    assert_eq!(smuggler.response().status, 400);
    assert_eq!(server.connect().query("x").status, 200);
}

#[test]
fn items_beyond_the_limit_are_refused() {
    let mut setup = Setup::new();
    setup.server.items_max = 2;
    let server = setup.start();
    let mut client = server.connect();
    let items = |count: usize| format!("{{\"transaction\":[{}]}}", vec!["{\"query\":\"x\"}"; count].join(","));
    assert_eq!(client.request("POST /t HTTP/1.1", items(2).as_bytes()).status, 200);
    let response = client.request("POST /t HTTP/1.1", items(3).as_bytes());
    let expected = "{\"reqIdx\":-1,\"error\":\"too many items in the transaction: 3, the limit is 2\"}";
    assert_eq!((response.status, response.text()), (400, expected));
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let mut setup = Setup::new();
    setup.server.connections_max = 1;
    let server = setup.start();
    let mut first = server.connect();
    first.send_query("wait");
    server.database.started.reaches(1);
    let mut second = server.connect();
    second.send_query("x");
    let response = second.response();
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert_eq!(response.text(), "{\"reqIdx\":-1,\"error\":\"Too many connections\"}");
    server.database.gate.add_permits(1);
    assert_eq!(first.response().status, 200);
    drop(first);
    eventually("there is room for a connection again", || server.connect().try_query("x") == Some(200));
}

#[test]
fn statements_get_a_deadline() {
    let mut setup = Setup::new();
    setup.server.query_timeout = Some(Duration::from_secs(3600));
    let server = setup.start();
    server.connect().query("x");
    assert!(server.database.deadlines.lock().unwrap()[0].moment().is_some());

    let without = Server::start();
    without.connect().query("x");
    assert!(without.database.deadlines.lock().unwrap()[0].moment().is_none());
}

#[test]
fn idle_connections_give_their_places_to_new_ones() {
    let mut setup = Setup::new();
    setup.server.connections_max = 3;
    let server = setup.start();
    let mut busy = server.connect();
    busy.send_query("wait");
    server.database.started.reaches(1);
    let (mut silent, mut waiting) = (server.connect(), server.connect());
    // The oldest connection is closed, although it has sent a part of a head.
    silent.send("POST /t HTTP/1.1\r\n");
    let mut new = server.connect();
    assert_eq!(new.query("x").status, 200);
    silent.closed();
    assert_eq!(waiting.query("x").status, 200);
    // A connection counts as busy for a second after an answer. Then the oldest one is closed.
    eventually("an idle connection has given its place", || server.connect().try_query("x") == Some(200));
    server.database.gate.add_permits(1);
    assert_eq!(busy.response().status, 200, "a connection with a request stays");
}

#[test]
fn a_connection_without_a_request_is_closed_soon() {
    let mut setup = Setup::new();
    setup.server.first_request_timeout = Duration::from_secs(1);
    let server = setup.start();
    let (mut silent, mut slow) = (server.connect(), server.connect());
    slow.send("POST /t HTTP/1.1\r\nHost: t\r\n");
    silent.closed();
    slow.closed();
    let mut client = server.connect();
    client.send_query("wait");
    server.database.started.reaches(1);
    // The time limit of a later connection has passed, and so has that of this one.
    server.connect().closed();
    server.database.gate.add_permits(1);
    assert_eq!(client.response().status, 200, "the time limit is for the first request only");
    server.connect().closed();
    assert_eq!(client.query("x").status, 200);
}

#[test]
fn bodies_share_a_budget() {
    let mut setup = Setup::new();
    (setup.server.body_bytes_max, setup.server.all_bodies_bytes_max) = (4 << 20, 4 << 20);
    let server = setup.start();
    let body = format!("{}{}", call("x"), " ".repeat(3 << 20));
    let (sent, rest) = body.as_bytes().split_at(body.len() - 1);
    let head = format!("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut holder = server.connect();
    server.deliver(&mut holder, [head.as_bytes(), sent].concat());
    let refused = server.connect().request("POST /t HTTP/1.1", body.as_bytes());
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.text().contains("-max-bodies"), "{}", refused.text());
    assert_eq!(server.connect().query("x").status, 200, "short bodies need no budget");
    holder.send(rest);
    assert_eq!(holder.response().status, 200);
    eventually("there is room for a body again", || {
        server.connect().request("POST /t HTTP/1.1", body.as_bytes()).status == 200
    });
    // A compressed body is counted by its decompressed length.
    let bomb = gzip(std::io::repeat(b' ').take(3 << 20).chain(call("x").as_bytes()));
    assert_eq!(server.connect().request("POST /t HTTP/1.1\r\nContent-Encoding: gzip", &bomb).status, 200);
}

/// Sends these requests at once. Returns the first answer, and whether the connection stays open after it.
fn answer_and_next(server: &Server, requests: &str) -> (Response, bool) {
    let mut client = server.connect();
    client.send(requests);
    let first = client.response();
    if first.header("connection") == Some("close") {
        client.closed();
        return (first, false);
    }
    assert_eq!(client.query("x").status, 200);
    (first, true)
}

#[test]
fn a_connection_is_used_again_after_an_early_answer_or_its_end_is_announced() {
    let server = Server::start();
    for (path, status) in [("/nope", 404), ("/t/backup", 404), ("/t/db/nope", 404)] {
        for (len, stays) in [(100, true), (200_000, true), (256 << 10, true), ((256 << 10) + 1, false)] {
            let body = "x".repeat(len);
            let head = format!("POST {path} HTTP/1.1\r\nHost: t\r\n");
            let (answer, open) = answer_and_next(&server, &format!("{head}Content-Length: {len}\r\n\r\n{body}"));
            assert_eq!((answer.status, open), (status, stays), "{path} {len}");
            let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n");
            assert_eq!(answer_and_next(&server, &chunked).0.status, status, "{path} {len} in chunks");
        }
        let head = format!("PUT {path} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert!(!answer_and_next(&server, &head).1, "{path} without its body");
    }
}

/// Asserts that the request that was sent on this connection is refused, and that the connection ends with it.
fn assert_ambiguous(mut client: Client, request: &str) {
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{request}");
    assert!(response.text().starts_with("{\"reqIdx\":-1,\"error\":\""), "{}", response.text());
    client.closed();
}

#[test]
fn ambiguous_requests_are_refused() {
    let server = Server::start();
    let body = call("x");
    let (length, chunk) = (body.len(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    let after = format!("Content-Length: {length}\r\n\r\n{body}");
    for request in [
        format!("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("POST /t HTTP/1.1\r\nHost: t\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunk}"),
        format!("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n{chunk}"),
        format!("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity, chunked\r\n\r\n{chunk}"),
        format!(
            "POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ),
        format!(
            "POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ),
        format!("POST /t HTTP/1.1\r\nHost: t\r\nHost: u\r\n{after}"),
        format!("POST /t HTTP/1.1\r\nHost: t\r\nHost: t\r\n{after}"),
    ] {
        // The request comes as a whole, after another request, and in two pieces.
        let mut whole = server.connect();
        whole.send(&request);
        assert_ambiguous(whole, &request);
        let mut second = server.connect();
        assert_eq!(second.query("x").status, 200);
        second.send(&request);
        assert_ambiguous(second, &request);
        let mut cut = server.connect();
        server.deliver(&mut cut, &request[..70]);
        cut.send(&request[70..]);
        assert_ambiguous(cut, &request);
    }
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(format!("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: Chunked\r\n\r\n{chunk}"));
        assert_eq!(client.response().status, 200);
    }
    // Text in the body that looks like a header is not one.
    let body = "{\n\"transaction\":[{\"query\":\"x\"}],\nContent-Length: 5\n}";
    let request = format!(
        "POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    client.send(request);
    let response = client.response();
    assert!(response.text().contains("in parsing body"), "{} {}", response.status, response.text());
}

#[test]
fn a_client_that_expects_100_continue_receives_it() {
    let server = Server::start();
    let mut client = server.connect();
    let body = call("x");
    for _ in 0..2 {
        let head =
            format!("POST /t HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head);
        assert_eq!(client.interim_status(), 100);
        client.send(&body);
        assert_eq!(client.response().status, 200);
    }
}
