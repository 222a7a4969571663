//! Requests that a page of another site can make a browser send are refused if they would have an effect, by both
//! servers and in both protocols.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Node, Request, Response, Server, temp_dir, write};
use serde_json::json;

const FOREIGN: [(&str, &str); 4] = [
    ("Origin", "http://evil.example"),
    ("Origin", "null"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Site", "same-site"),
];

/// The content types that need no preflight; the last one is the absence of a content type.
const FORM_TYPES: [&str; 4] = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""];

const INSERT: &str = r#"{"transaction":[{"statement":"INSERT INTO t VALUES(1)"}]}"#;
const DB_INSERT: &str = r#"["INSERT INTO t VALUES(1)"]"#;

fn post(server: &Server, (target, body): (&str, &str), content_type: &str, headers: &[(&str, &str)]) -> Response {
    let request = Request::new("POST", target).body(body);
    let request = if content_type.is_empty() { request } else { request.header("Content-Type", content_type) };
    server.send(&headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
}

fn refused(answer: &Response, is_json: bool) -> bool {
    let text = if is_json { answer.error() } else { answer.text() };
    assert!(text.to_lowercase().starts_with("cross-site request refused"), "{} {text}", answer.status);
    answer.status == 403
}

/// Asserts that each of `writes` is refused from another site and changes nothing. `count` returns the number of rows.
fn assert_guarded(server: &Server, writes: &[(&str, &str)], count: impl Fn() -> serde_json::Value) {
    for target in writes {
        let is_json = target.1.starts_with('{');
        for content_type in FORM_TYPES {
            for foreign in FOREIGN {
                let answer = post(server, *target, content_type, &[foreign]);
                assert!(refused(&answer, is_json), "{target:?} {content_type} {foreign:?}");
            }
        }
    }
    assert_eq!(count(), json!([[0]]));
    for (target, body) in writes {
        // A browser sends a preflight before the first one. The others come from programs or from pages of this server.
        for headers in [&[FOREIGN[0]][..], &[], &[("Origin", "http://test")], &[("Sec-Fetch-Site", "same-origin")]] {
            let content_type = if headers == [FOREIGN[0]] { "application/json" } else { "" };
            assert_eq!(post(server, (target, body), content_type, headers).status, 200, "{target} {headers:?}");
        }
    }
    assert_eq!(count(), json!([[4 * writes.len()]]));
}

const STANDALONE_WRITES: [(&str, &str); 5] = [
    ("/t", INSERT),
    ("/db/execute", DB_INSERT),
    ("/t/db/request", DB_INSERT),
    ("/db/execute?queue", DB_INSERT),
    ("/db/load", "INSERT INTO t VALUES(1)"),
];

#[test]
fn pages_of_other_sites_cannot_write_on_the_standalone_server() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE t(a)");
    assert_guarded(&server, &STANDALONE_WRITES, || server.query("t", "SELECT count(*) FROM t"));
}

#[test]
fn pages_of_other_sites_cannot_write_on_a_node() {
    let dir = temp_dir();
    let server = Node::new(&dir.path().join("data")).start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let writes = [
        ("/main", INSERT),
        ("/db/execute", DB_INSERT),
        ("/db/request", DB_INSERT),
        ("/db/execute?queue&wait", DB_INSERT),
        ("/db/load", "INSERT INTO t VALUES(1)"),
    ];
    assert_guarded(&server, &writes, || server.db_query("SELECT count(*) FROM t"));
    for target in ["/boot", "/snapshot", "/reap", "/leader", "/nope", "/db/query?timeout=x"] {
        assert!(refused(&post(&server, (target, "x"), "text/plain", &[FOREIGN[0]]), false), "{target}");
    }
}

#[test]
fn macros_and_backups_by_get_are_guarded_too() {
    let dir = temp_dir();
    let yaml = "macros:\n  - id: m\n    statements: [INSERT INTO t VALUES(1)]\n    execution: {webService: {}}\n\
                backup: {backupDir: bk, numFiles: 2, execution: {webService: {}}}\n";
    write(dir.path(), "t.yaml", yaml);
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE t(a)");
    for target in ["/t/macro/m", "/t/backup"] {
        for headers in [&[("Sec-Fetch-Site", "cross-site")][..], &[("Origin", "http://evil.example")]] {
            let request = Request::new("GET", target);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            assert!(refused(&server.send(&request), true), "{target}");
        }
    }
    assert_eq!(server.query("t", "SELECT count(*) FROM t"), json!([[0]]));
    assert!(common::names(&dir.path().join("bk")).is_empty());
    assert_eq!(server.get("/t/macro/m").status, 200);
    // A read by GET has no effect, and the browser hides the answer from the page.
    let read = Request::new("GET", "/db/query?q=SELECT%201").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(server.send(&read).status, 200);
}

#[test]
fn cors_settings_allow_their_origins() {
    let from = |origin: &'static str| ("Origin", origin);
    let server = Server::configured("corsOrigin: https://a.com\n");
    server.execute("t", "CREATE TABLE t(a)");
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data")).flags(["-http-allow-origin", "https://a.com"]).start();
    node.db_execute(json!(["CREATE TABLE t(a)"]));
    for (server, target) in [(&server, "/t"), (&server, "/db/execute"), (&node, "/main"), (&node, "/db/execute")] {
        let body = if target == "/db/execute" { DB_INSERT } else { INSERT };
        let status = |headers: &[(&str, &str)]| post(server, (target, body), "text/plain", headers).status;
        let cross_site = ("Sec-Fetch-Site", "cross-site");
        let allowed = [status(&[from("https://a.com")]), status(&[cross_site, from("https://a.com")])];
        // ws4sqlite's protocol answers text/plain with 400 from any origin.
        let expected = if body == INSERT { 400 } else { 200 };
        assert_eq!(allowed, [expected; 2], "{target}");
        assert_eq!([status(&[from("https://b.com")]), status(&[cross_site])], [403; 2], "{target}");
    }
    let open = Server::configured("corsOrigin: '*'\n");
    open.execute("t", "CREATE TABLE t(a)");
    assert_eq!(post(&open, ("/t", INSERT), "", &[from("null")]).status, 200);
}

#[test]
fn hosts_can_be_restricted() {
    let dir = temp_dir();
    let node =
        Node::new(&dir.path().join("data")).flags(["-http-allowed-hosts", "db.example,localhost"]).spawn_server();
    common::eventually("it listens", || common::Client::connect(node.addr()).is_ok());
    let own = Server::start(["--mem-db", "t", "-allowed-hosts", "db.example,localhost"]);
    let alias = Server::start(["--mem-db", "t", "-http-allowed-hosts", "db.example,localhost"]);
    for (server, targets) in [(&own, ["/t", "/readyz"]), (&alias, ["/t", "/readyz"]), (&node, ["/main", "/readyz"])] {
        for target in targets {
            for (host, allowed) in [("db.example", true), ("localhost:1", true), ("evil.example", false)] {
                let mut client = server.client();
                client.write(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
                let answer = client.receive(false).unwrap();
                assert_eq!(answer.status != 403, allowed, "{target} {host}");
                assert!(allowed || answer.text().contains("-http-allowed-hosts"), "{}", answer.text());
            }
        }
    }
}
