//! Limits on the requests to a node, and requests that are refused by their head.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Node, Request, Response, Server, temp_dir};
use serde_json::json;

/// Sends these bytes. Returns the answer, and the bytes after it until the end of the connection.
fn raw(server: &Server, request: &str) -> (Response, Vec<u8>) {
    let mut client = server.client();
    client.write(request.as_bytes()).unwrap();
    (client.receive(false).unwrap(), client.until_closed())
}

#[test]
fn requests_are_refused_as_by_gos_server() {
    let server = Server::node(&[]);
    for target in ["/readyz", "/nope"] {
        let (answer, rest) = raw(&server, &format!("GET {target} HTTP/1.1\r\nAccept: */*\r\n\r\n"));
        assert_eq!((answer.status, &*answer.text()), (400, "400 Bad Request: missing required Host header"));
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!((answer.header("X-Rqlite-Version"), rest.len()), (None, 0));
    }
    assert_eq!(raw(&server, "GET /readyz HTTP/1.0\r\n\r\n").0.status, 200);
    let (answer, rest) = raw(&server, "GET /readyz HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n");
    assert_eq!((answer.status, &*answer.text()), (417, ""));
    assert_eq!((answer.header("Connection"), rest.len()), (Some("close"), 0));
    for expected in ["100-continue", "100-Continue", ""] {
        let request = Request::json("/db/execute", json!(["SELECT 1"])).header("Expect", expected);
        assert_eq!(server.send(&request).status, 200, "{expected:?}");
    }
}

#[test]
fn ambiguous_requests_are_refused() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let body = r#"["INSERT INTO t VALUES(1)"]"#;
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (headers, body, why) in [
        ("Content-Length: 26\r\nTransfer-Encoding: chunked", &*chunks, "both Content-Length and Transfer-Encoding"),
        ("Transfer-Encoding: chunked, chunked", &*chunks, "unsupported transfer encoding"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", &*chunks, "unsupported transfer encoding"),
        ("Host: other\r\nContent-Length: 26", body, "too many Host headers"),
    ] {
        let (answer, rest) = raw(&server, &format!("POST /db/execute HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}"));
        assert_eq!((answer.status, answer.text()), (400, format!("400 Bad Request: {why}")));
        assert_eq!((answer.header("Connection"), rest.len()), (Some("close"), 0));
    }
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[0]]));
}

#[test]
fn refusals_of_long_bodies_name_the_flag_and_the_alternative() {
    let server = Server::node(&["-http-max-body", "1KiB"]);
    let refusal = |target: &str| {
        let answer = server.post_bytes(target, vec![b' '; 2000]);
        assert_eq!(answer.status, 413);
        answer.text()
    };
    let text = "request body too large: more than 1024 bytes, see -http-max-body";
    assert_eq!(refusal("/db/execute"), format!("{text}\n"));
    assert_eq!(refusal("/db/load"), format!("{text}\n"));
}

/// A database file with a table `t` of this number of rows, each of them about a kilobyte.
fn database_file(rows: u32) -> Vec<u8> {
    let dir = temp_dir();
    let server = common::Launch::new().dir(dir.path()).args(["--db", "t.db"]).start();
    let insert = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) \
                  INSERT INTO t SELECT x, randomblob(1000) FROM c";
    server.execute("t", "CREATE TABLE t(a, b)");
    server.transaction("t", json!([{ "statement": insert, "values": [rows] }])).results();
    assert_eq!(server.stop().code, Some(0));
    std::fs::read(dir.path().join("t.db")).unwrap()
}

#[test]
fn a_database_file_has_a_limit_of_its_own() {
    let server = Server::node(&["-max-body", "4KiB", "-max-load", "2MiB"]);
    let (small, large) = (database_file(1000), database_file(2500));
    assert!(small.len() > 512 << 10 && small.len() < 2 << 20 && large.len() > 2 << 20);
    let plain = Request::new("POST", "/db/load");
    for (request, file) in [
        (plain.clone(), small.clone()),
        (plain.clone().header("Transfer-Encoding", "chunked"), small.clone()),
        (plain.clone().header("Content-Encoding", "gzip"), common::compressed("gzip", &small)),
        (plain.clone().header("Content-Encoding", "deflate"), common::compressed("deflate", &small)),
        (plain.clone().header("Content-Encoding", "br"), common::compressed("br", &small)),
    ] {
        let headers = request.headers.clone();
        let loaded = server.send(&request.body(file));
        assert_eq!((loaded.status, loaded.text().as_str()), (200, "{\"results\":[]}"), "{headers:?}");
        assert_eq!(server.db_query("SELECT count(*), sum(length(b)) FROM t"), json!([[1000, 1_000_000]]));
        server.db_execute(json!(["DELETE FROM t"]));
    }
    let text = "request body too large: more than 2097152 bytes, see -max-load; POST /boot takes database files of \
                any size\n";
    for (request, file) in [
        (plain.clone(), large.clone()),
        (plain.clone().header("Transfer-Encoding", "chunked"), large.clone()),
        (plain.clone().header("Content-Encoding", "gzip"), common::compressed("gzip", &large)),
    ] {
        let headers = request.headers.clone();
        let refused = server.send(&request.body(file));
        assert_eq!((refused.status, refused.text().as_str()), (413, text), "{headers:?}");
        assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[0]]));
    }
    let sql = format!("INSERT INTO t(a) VALUES(1); -- {}", "x".repeat(5000));
    let long =
        server.send(&plain.clone().header("Content-Encoding", "gzip").body(common::compressed("gzip", sql.as_bytes())));
    assert_eq!((long.status, server.db_query("SELECT count(*) FROM t")), (413, json!([[0]])));
    let short =
        server.send(&plain.header("Content-Encoding", "gzip").body(common::compressed("gzip", &sql.as_bytes()[..30])));
    assert_eq!((short.status, server.db_query("SELECT count(*) FROM t")), (200, json!([[1]])));
}

#[test]
fn a_connection_is_used_again_after_an_early_answer_or_its_end_is_announced() {
    let dir = temp_dir();
    let auth = common::write(dir.path(), "auth.json", r#"[{"username": "*", "perms": ["query"]}]"#);
    let node = Node::new(&dir.path().join("data")).flags(["-auth", &*auth.to_string_lossy()]);
    let server = node.start();
    for (method, target, status) in [
        ("POST", "/db/execute", 401),
        ("POST", "/nope", 404),
        ("PUT", "/db/query", 405),
        ("POST", "/db/query?timeout=x", 400),
    ] {
        for (len, stays) in [(100_000, true), (300_000, false)] {
            let mut client = server.client();
            let answer = client.send(&Request::new(method, target).body(vec![b'x'; len])).unwrap();
            assert_eq!(answer.status, status, "{target}");
            assert_eq!(answer.header("Connection"), (!stays).then_some("close"), "{target} {len}");
            if stays {
                let query = Request::json("/db/query", json!(["SELECT 1"]));
                assert_eq!(client.send(&query).unwrap().status, 200, "{target}");
            }
        }
    }
}

#[test]
fn bodies_share_a_budget() {
    let server = Server::node(&["-http-max-body", "3MiB", "-http-max-bodies", "3MiB"]);
    let body = format!("[\"SELECT 1\"{}]", " ".repeat(2 << 20));
    let head = format!("POST /db/query HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let received = || server.metric("sqlhttp_received_bytes_total");
    let before = received();
    let mut holder = server.client();
    holder.write(format!("{head}{}", &body[..body.len() - 1]).as_bytes()).unwrap();
    common::eventually("all but the last byte is received", || received() >= before + body.len() as f64);
    let refused = server.send(&Request::json("/db/query", &body));
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
    assert!(refused.text().contains("-http-max-bodies"), "{}", refused.text());
    holder.write(b"]").unwrap();
    assert_eq!(holder.receive(false).unwrap().status, 200);
    common::eventually("there is room again", || server.send(&Request::json("/db/query", &body)).status == 200);
}

#[test]
fn headers_may_be_as_long_as_in_gos_server() {
    let server = Server::node(&[]);
    let with = |len: usize| Request::new("GET", "/readyz").header("X-Long", "x".repeat(len));
    assert_eq!(server.send(&with(1_000_000)).status, 200);
    let refused = server.send(&with(1_100_000));
    assert_eq!((refused.status, &*refused.text()), (431, "431 Request Header Fields Too Large"));
    assert_eq!(refused.header("Content-Type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn limits_beyond_those_of_rqlite_hold() {
    let server = Server::node(&["-http-max-statements", "2"]);
    let with_fields = |count: usize| {
        let ask = (0..count).fold(Request::new("GET", "/readyz"), |ask, i| ask.header(&format!("X-{i}"), i));
        server.send(&ask).status
    };
    // The Host header is counted, too.
    assert_eq!((with_fields(99), with_fields(100)), (200, 431));
    let with_url = |len: usize| server.get(&format!("/readyz?x={}", "x".repeat(len))).status;
    assert_eq!((with_url(65_000), with_url(66_000)), (200, 414));
    let results = server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2)"]));
    assert_eq!(results[1]["rows_affected"], 2);
    assert_eq!(server.send(&Request::json("/db/execute", json!(["SELECT 1", "SELECT 1", "SELECT 1"]))).status, 400);
    let limited = server.send(&Request::json("/db/execute", json!(["DELETE FROM t LIMIT 1"]))).results();
    assert_eq!(limited[0]["error"], "near \"LIMIT\": syntax error");
    let instead = server.db_execute(json!(["DELETE FROM t WHERE rowid IN (SELECT rowid FROM t LIMIT 1)"]));
    assert_eq!(instead[0]["rows_affected"], 1);
}
