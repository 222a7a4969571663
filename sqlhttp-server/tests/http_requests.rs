//! Requests and answers over a real socket, with a simulated database behind the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use http_support::client::call;
use http_support::simulated::ROWS_PER_BLOCK;
use http_support::{Server, Setup, macro_config};

const OK: &str = "{\"results\":[{\"success\":true,\"resultHeaders\":[\"a\"],\"resultSet\":[{\"a\":\"x\"}]}]}";

#[test]
fn a_query_is_answered() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.request("POST /t HTTP/1.1\r\nContent-Type: application/json", call("x").as_bytes());
    assert_eq!((response.status, response.text()), (200, OK));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("content-length"), Some(OK.len().to_string().as_str()));
    assert!(response.header("date").is_some());
    for absent in ["server", "x-request-id", "vary", "connection", "access-control-allow-origin"] {
        assert_eq!(response.header(absent), None, "{absent}");
    }
}

#[test]
fn a_connection_serves_many_requests_and_pipelined_ones() {
    let server = Server::start();
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.query("x").status, 200);
    }
    client.send_query("one");
    client.send_query("two");
    client.send_query("three");
    for text in ["one", "two", "three"] {
        assert!(client.response().text().contains(text));
    }
}

#[test]
fn chunked_bodies_are_read() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in call("x").as_bytes().chunks(7) {
        client.send(format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), OK);
    assert_eq!(client.query("x").status, 200);
}

#[test]
fn http_1_0_is_supported() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.request("POST /t HTTP/1.0", call("x").as_bytes());
    assert_eq!((response.status, response.text()), (200, OK));
    client.closed();
}

#[test]
fn unknown_paths_and_methods_are_refused() {
    let server = Server::start();
    let mut client = server.connect();
    for (line, status, body) in [
        ("POST /nope?x=1", 404, "{\"reqIdx\":-1,\"error\":\"Cannot POST /nope\"}"),
        ("POST /", 404, "{\"reqIdx\":-1,\"error\":\"Cannot POST /\"}"),
        ("POST //t", 404, "{\"reqIdx\":-1,\"error\":\"Cannot POST //t\"}"),
        ("POST /%6e%6Fpe", 404, "{\"reqIdx\":-1,\"error\":\"Cannot POST /%6e%6Fpe\"}"),
        ("POST /t/macro/m", 404, "{\"reqIdx\":-1,\"error\":\"Cannot POST /t/macro/m\"}"),
        ("GET /t", 405, "{\"reqIdx\":-1,\"error\":\"Method Not Allowed\"}"),
        ("PUT /t", 405, "{\"reqIdx\":-1,\"error\":\"Method Not Allowed\"}"),
        ("OPTIONS /t", 405, "{\"reqIdx\":-1,\"error\":\"Method Not Allowed\"}"),
    ] {
        let response = client.request(&format!("{line} HTTP/1.1"), b"");
        assert_eq!((response.status, response.text()), (status, body), "{line}");
        assert_eq!(response.header("allow"), (status == 405).then_some("POST"), "{line}");
    }
    client.send("HEAD /t HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("content-length")), (405, Some("42")));
    assert_eq!(server.database.started.get(), 0);
}

#[test]
fn every_spelling_of_the_path_is_understood() {
    let mut setup = Setup::new();
    setup.database.id = "数据".into();
    let server = setup.start();
    let mut client = server.connect();
    for path in ["/数据", "/%E6%95%B0%E6%8D%AE", "/%e6%95%b0%E6%8D%AE/", "http://host/数据?x=1"] {
        let response = client.request(&format!("POST {path} HTTP/1.1"), call("x").as_bytes());
        assert_eq!(response.status, 200, "{path}");
    }
}

#[test]
fn content_types_of_json_and_forms_are_accepted() {
    let server = Server::start();
    let mut client = server.connect();
    let body = call("x");
    for accepted in
        ["application/json; charset=utf-8", "text/json", "APPLICATION/JSON", "application/x-www-form-urlencoded"]
    {
        let response = client.request(&format!("POST /t HTTP/1.1\r\nContent-Type: {accepted}"), body.as_bytes());
        assert_eq!(response.status, 200, "{accepted}");
    }
    for refused in ["text/plain", "text/html", "multipart/form-data; boundary=x"] {
        let response = client.request(&format!("POST /t HTTP/1.1\r\nContent-Type: {refused}"), body.as_bytes());
        let expected = "{\"reqIdx\":-1,\"error\":\"in parsing body: Unprocessable Entity\"}";
        assert_eq!((response.status, response.text()), (400, expected), "{refused}");
    }
    for body in ["", "{", "[]", "\u{feff}{}"] {
        let response = client.request("POST /t HTTP/1.1", body.as_bytes());
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text().starts_with("{\"reqIdx\":-1,\"error\":\"in parsing body: "), "{}", response.text());
    }
}

#[test]
fn errors_of_the_database_have_their_status() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.query("overloaded");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert!(response.header("x-request-id").is_some());
    assert_eq!(client.query("closed").status, 503);
    assert_eq!(client.query("login broken").status, 500);
}

#[test]
fn a_panic_is_answered_with_500() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.query("panic");
    assert_eq!((response.status, response.text()), (500, "{\"reqIdx\":-1,\"error\":\"Internal error\"}"));
    assert_eq!(server.connect().query("x").status, 200);
}

#[test]
fn an_answer_in_parts_that_ends_soon_has_a_length() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.query("blocks 2");
    assert_eq!(response.status, 200);
    assert!(response.header("content-length").is_some());
    assert_eq!(response.text().matches("some text").count(), 2 * ROWS_PER_BLOCK);
}

#[test]
fn a_long_answer_is_streamed() {
    let server = Server::start();
    let mut client = server.connect();
    let response = client.query("blocks 50");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    let parsed: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(parsed["results"][0]["resultSet"].as_array().unwrap().len(), 50 * ROWS_PER_BLOCK);
    assert_eq!(client.query("x").status, 200);
}

#[test]
fn a_failure_before_anything_was_sent_has_its_status() {
    let server = Server::start();
    let mut client = server.connect();
    let aborted = client.query("blocks 1 then abort");
    let expected = "{\"reqIdx\":0,\"error\":\"SQL logic error: no such table: secrets (1)\"}";
    assert_eq!((aborted.status, aborted.text()), (500, expected));
    assert_eq!(client.query("blocks 1 then fail").status, 504);
}

#[test]
fn a_failure_after_something_was_sent_cuts_the_connection() {
    let server = Server::start();
    for sql in ["blocks 50 then fail", "blocks 50 then abort"] {
        let mut client = server.connect();
        client.send_query(sql);
        assert_eq!(client.cut_response(), 200, "{sql}");
    }
}

#[test]
fn request_ids_are_echoed_if_they_are_sane() {
    let server = Server::start();
    let mut client = server.connect();
    let head = "POST /t HTTP/1.1\r\nX-Request-Id: ";
    let response = client.request(&format!("{head}abc-1"), call("x").as_bytes());
    assert_eq!(response.header("x-request-id"), Some("abc-1"));
    let response = client.request(&format!("{head}two words"), call("x").as_bytes());
    assert_eq!(response.header("x-request-id"), None);
}

#[test]
fn cross_origin_requests_follow_the_allowed_origin() {
    let mut setup = Setup::new();
    setup.database.cors_origin = Some("https://a.com".into());
    setup.database.macros = vec![macro_config("m", None)];
    let server = setup.start();
    let mut client = server.connect();

    let origin = "Origin: https://A.com";
    let response = client.request(&format!("POST /t HTTP/1.1\r\n{origin}"), call("x").as_bytes());
    assert_eq!(response.header("access-control-allow-origin"), Some("https://a.com"));
    assert_eq!(response.header("vary"), Some("Origin"));

    let other = "POST /t HTTP/1.1\r\nOrigin: https://evil.com";
    let refused = client.request(other, call("x").as_bytes());
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    let other = client.request(&format!("{other}\r\nContent-Type: application/json"), call("x").as_bytes());
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));

    let asked = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,authorization";
    client.send(format!("OPTIONS /t HTTP/1.1\r\nHost: t\r\n{origin}\r\n{asked}\r\n\r\n"));
    let preflight = client.response();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://a.com"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST,OPTIONS"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type,authorization"));

    let started = server.database.started.get();
    client.send_request(&format!("OPTIONS /t HTTP/1.1\r\n{origin}"), call("x").as_bytes());
    let options = client.response();
    assert_eq!((options.status, options.header("allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(server.database.started.get(), started);

    let wrong = client.request("GET /t HTTP/1.1", b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST, OPTIONS")));
}
