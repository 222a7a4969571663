//! Operation of the standalone server: metrics and health, TLS, one file for several databases, graceful stops, limits,
//! the environment, and logs. (Static files and compression are in `operations_files.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use common::{Client, ENDLESS, Launch, Request, Response, Server, counting_to, eventually, temp_dir, write};
use serde_json::{Value, json};
use tokio_rustls::rustls;

fn get(addr: SocketAddr, target: &str) -> Response {
    Client::connect(addr).expect("a connection").send(&Request::new("GET", target)).expect("an answer")
}

#[test]
fn metrics_and_health_have_an_address_of_their_own() {
    let server = Launch::new().with_metrics().args(["--mem-db", "t"]).start();
    let metrics = server.metrics_addr();
    assert_eq!(get(metrics, "/healthz").status, 200);
    for _ in 0..3 {
        server.assert_alive("t");
    }
    server.transaction("t", json!([{"query": "NONSENSE"}]));
    let response = get(metrics, "/metrics");
    assert_eq!(response.status, 200);
    let text = response.text();
    assert!(text.contains("# TYPE ") && text.contains("sqlhttp_"), "{text}");
    let counted = text.lines().any(|line| {
        line.contains("requests") && line.contains("database=\"t\"") && line.contains("2xx") && line.ends_with(" 3")
    });
    assert!(counted, "three successful requests are not counted in\n{text}");
    assert_eq!(get(metrics, "/nope").status, 404);
    for target in ["/metrics", "/healthz"] {
        assert_eq!(get(server.addr(), target).status, 404, "{target} on the clients' address");
    }
    assert_eq!(
        Client::connect(metrics).expect("a connection").send(&Request::json("/t", "{}")).expect("404").status / 100,
        4
    );
}

/// Writes a certificate for `localhost` and its key as PEM files into a directory. Returns the roots for its clients.
fn certificate(dir: &std::path::Path) -> rustls::RootCertStore {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    write(dir, "cert.pem", issued.cert.pem());
    write(dir, "key.pem", issued.signing_key.serialize_pem());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).expect("a root");
    roots
}

fn ask_over_tls(addr: SocketAddr, roots: rustls::RootCertStore, request: &Request) -> std::io::Result<Response> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(addr)?);
    stream.sock.set_read_timeout(Some(common::http::PATIENCE))?;
    stream.write_all(&request.encode())?;
    common::http::read_response(&mut BufReader::new(stream), false)
}

#[test]
fn tls_is_served_with_the_given_certificate() {
    let dir = temp_dir();
    let roots = certificate(dir.path());
    let args = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--mem-db", "t"];
    let server = Launch::new().dir(dir.path()).args(args).start();
    let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1 AS a"}]}));
    let response = ask_over_tls(server.addr(), roots.clone(), &ask).expect("an answer");
    assert_eq!(response.results()[0]["resultSet"], json!([{"a": 1}]));
    let stranger = certificate(temp_dir().path());
    assert!(ask_over_tls(server.addr(), stranger, &ask).is_err(), "any certificate is accepted");
    // Plain HTTP is not served, and the server goes on.
    assert!(server.client().send(&ask).is_ok_and(|r| r.status >= 400) || server.client().send(&ask).is_err());
    assert_eq!(ask_over_tls(server.addr(), roots, &ask).expect("an answer").status, 200);
}

#[test]
fn tls_files_that_do_not_fit_stop_the_start() {
    let dir = temp_dir();
    certificate(dir.path());
    write(dir.path(), "garbage.pem", "-----BEGIN NONSENSE-----\n");
    for (cert, key) in [
        ("cert.pem", "missing.pem"),
        ("missing.pem", "key.pem"),
        ("garbage.pem", "key.pem"),
        ("cert.pem", "garbage.pem"),
    ] {
        let exit = Launch::new().dir(dir.path()).args(["--tls-cert", cert, "--tls-key", key, "--mem-db", "t"]).run();
        assert_eq!(exit.code, Some(1), "{cert} {key}: {exit:#?}");
        assert!(exit.stderr[0].starts_with("FATAL | ") && exit.stderr[0].contains(".pem"), "{:?}", exit.stderr);
    }
    let exit = Launch::new().dir(dir.path()).args(["--tls-cert", "cert.pem", "--mem-db", "t"]).run();
    assert_ne!(exit.code, Some(0), "a certificate without a key");
}

const CONFIG: &str = "
server:
  max-body: 2K
databases:
  - id: file
    path: data.db
    initStatements: [\"CREATE TABLE T(a)\"]
  - id: memory
    inMemory: true
    auth: {mode: HTTP, byCredentials: [{user: u, password: p}]}
  - path: dir/by_name.db
    readOnly: true
";

#[test]
fn one_file_configures_several_databases_and_the_server() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("dir")).expect("a folder");
    write(dir.path(), "all.yaml", CONFIG);
    let server = Launch::new().dir(dir.path()).args(["--config", "all.yaml", "--mem-db", "extra"]).start();
    assert_eq!(server.execute("file", "INSERT INTO T VALUES(1)"), 1);
    assert!(dir.path().join("data.db").exists());
    let ask = Request::json("/memory", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.send(&ask).status, 401);
    assert_eq!(server.send(&ask.basic("u:p")).status, 200);
    server.assert_alive("by_name");
    assert_eq!(server.transaction("by_name", json!([{"statement": "CREATE TABLE T(a)"}])).status, 500);
    server.assert_alive("extra");
    let large = format!("{}{}", " ".repeat(3000), json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.post("file", large.clone()).status, 413);
    // The command line has precedence over the file.
    let server = Launch::new().dir(dir.path()).args(["--config", "all.yaml", "--max-body", "1M"]).start();
    assert_eq!(server.post("file", large).status, 200);
    let exit = Launch::new().dir(dir.path()).args(["--config", "none.yaml"]).run();
    assert!(exit.code == Some(1) && exit.stderr[0].contains("none.yaml"), "{exit:#?}");
}

#[test]
fn a_running_request_is_finished_before_the_process_ends() {
    let server = Server::memory();
    let mut client = server.client();
    let items = json!([{"query": counting_to(3_000_000)}]);
    let body = json!({ "transaction": items }).to_string();
    // The interim answer shows that the server has received the request before the signal.
    let head = format!("POST /t HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write(head.as_bytes()).expect("sent");
    assert_eq!(client.receive_interim().expect("an interim answer"), 100);
    client.write(body.as_bytes()).expect("sent");
    server.signal("TERM");
    let response = client.receive(false).expect("the answer is finished");
    assert_eq!(response.results()[0]["resultSet"], json!([{"count(*)": 3_000_000}]));
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn new_connections_are_not_taken_while_stopping_and_idle_ones_are_closed() {
    let server = Server::memory();
    let mut idle = server.client();
    let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(idle.send(&ask).expect("an answer").status, 200);
    let addr = server.addr();
    let exit = server.stop();
    assert_eq!(exit.code, Some(0), "{:?}", exit.stderr);
    assert!(idle.send(&ask).is_err());
    assert!(Client::connect(addr).is_err());
}

#[test]
fn stopping_waits_until_its_timeout_or_a_second_signal() {
    let start =
        |timeout: &str| Launch::new().with_metrics().args(["--shutdown-timeout", timeout, "--mem-db", "t"]).start();
    let server = start("300ms");
    let _client = server.begin_endless_query("t");
    server.stop();
    let server = start("10m");
    let _client = server.begin_endless_query("t");
    // A second signal within half a second of the first one is ignored.
    eventually("a second signal ends it", || {
        server.signal("TERM");
        server.has_ended()
    });
    server.wait();
}

#[test]
fn rows_beyond_the_limit_are_refused() {
    let server = Server::start(["--max-rows", "10", "--mem-db", "t"]);
    assert_eq!(server.query("t", &format!("SELECT * FROM ({})", counting_to(10))), json!([[10]]));
    let rows =
        |n: u32| format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {n}) SELECT x FROM c");
    assert_eq!(server.query("t", &rows(10)).as_array().map(Vec::len), Some(10));
    let response = server.transaction("t", json!([{"query": rows(11)}]));
    assert!((400..=500).contains(&response.status), "{}", response.status);
    assert!(response.error().contains("10"), "{}", response.error());
    let tolerated = json!([{"query": rows(11), "noFail": true}, {"query": "SELECT 1"}]);
    let results = server.transaction("t", tolerated).results();
    assert_eq!((&results[0]["success"], &results[1]["success"]), (&json!(false), &json!(true)));
}

#[test]
fn queries_and_statements_end_at_the_time_limit() {
    let server = Server::start(["--query-timeout", "300ms", "--mem-db", "t"]);
    server.execute("t", "CREATE TABLE T(a)");
    for items in [
        json!([{"query": ENDLESS}]),
        json!([{"statement": "INSERT INTO T VALUES(1)"}, {"statement": format!("INSERT INTO T {ENDLESS}")}]),
        json!([{"statement": "INSERT INTO T VALUES(1)"}, {"query": ENDLESS, "noFail": true}]),
    ] {
        let response = server.transaction("t", items.clone());
        assert!([408, 500, 503, 504].contains(&response.status), "{items}: {}", response.text());
        assert!(response.error().contains("time limit"), "{items}: {}", response.error());
        server.assert_alive("t");
        assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]), "{items}");
    }
    server.execute("t", "INSERT INTO T VALUES(1)");
}

#[test]
fn flags_can_come_from_the_environment_and_the_command_line_has_precedence() {
    let dir = temp_dir();
    let launch = || {
        let launch = Launch::new().dir(dir.path()).env("SQLHTTP_MAX_BODY", "100");
        launch.env("SQLHTTP_MEM_DB", "one,two").env("SQLHTTP_DB", "three.db").env("SQLHTTP_PORT", "1")
    };
    let server = launch().start();
    for database in ["one", "two", "three"] {
        server.assert_alive(database);
    }
    let large = format!("{}{}", " ".repeat(100), json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.post("one", large.clone()).status, 413);
    let server = launch().args(["--max-body", "1000"]).start();
    assert_eq!(server.post("one", large).status, 200);
    let exit = launch().env("SQLHTTP_MAX_BODY", "much").run();
    assert_ne!(exit.code, Some(0));
    assert!(exit.stderr.join("\n").contains("SQLHTTP_MAX_BODY"), "the variable is not named: {:?}", exit.stderr);
}

#[test]
fn logs_are_structured_carry_request_ids_and_no_secrets() {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "auth: {mode: HTTP, byCredentials: [{user: user, password: pa55word}]}\n");
    let args = ["--log-format", "json", "--log-level", "debug", "--mem-db", "t:t.yaml"];
    let server = Launch::new().dir(dir.path()).args(args).start();
    let ask = Request::json("/t?token=s3cret", json!({"transaction": [{"query": "SELECT 'pr1vate'"}]}));
    let response = server.send(&ask.clone().basic("user:pa55word").header("X-Request-Id", "abc-123"));
    assert_eq!((response.status, response.header("X-Request-Id")), (200, Some("abc-123")));
    let response = server.send(&ask.clone().basic("user:wr0ng"));
    assert_eq!(response.status, 401);
    server.wait_stderr("abc-123");
    // A request without an id is given one.
    let line: Value = serde_json::from_str(&server.wait_stderr("credentials not valid")).expect("JSON");
    let id = line["span"]["id"].as_str().unwrap_or_else(|| panic!("no id in {line}"));
    assert!(id.len() >= 4 && id != "abc-123", "{id}");
    let insane = server.send(&ask.basic("user:pa55word").header("X-Request-Id", "x".repeat(5000)));
    assert_ne!(insane.header("X-Request-Id").map(str::len), Some(5000));
    let exit = server.stop();
    let lines: Vec<&String> = exit.stderr.iter().filter(|line| line.contains("abc-123")).collect();
    for line in lines {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "no JSON: {line}");
    }
    let all = exit.stderr.join("\n") + &exit.stdout.join("\n");
    for secret in ["pa55word", "wr0ng", "s3cret", "pr1vate", "cGE1NXdvcmQ"] {
        assert!(!all.contains(secret), "{secret} is in the log:\n{all}");
    }
}

#[test]
fn nothing_is_logged_about_requests_unless_asked_for() {
    let server = Server::memory();
    server.assert_alive("t");
    server.transaction("t", json!([{"query": "NONSENSE"}]));
    let exit = server.stop();
    assert!(exit.stderr.is_empty(), "{:?}", exit.stderr);
}

#[test]
fn a_failed_login_is_logged_with_its_user() {
    let server = Server::configured("auth: {mode: HTTP, byCredentials: [{user: u, password: p}]}\n");
    let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.send(&ask.basic("mallory\u{1b}[31m:wr0ng")).status, 401);
    let line = server.wait_stderr("credentials not valid for user 'mallory");
    assert!(!line.contains("wr0ng") && !line.contains('\u{1b}'), "{line:?}");
}
