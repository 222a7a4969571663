//! Authentication, and the answers to requests that fail it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod http_support;

use std::sync::Arc;

use http_support::client::call;
use http_support::{Client, Server, Setup, auth, backup_config, macro_config};
use sqlhttp_core::BoxFuture;
use sqlhttp_server::api::admin::{AdminError, Macros};
use sqlhttp_server::api::auth::{AuthMode, Users};

/// Headers with `user:secret`, `user:wrong`, `nobody:secret`.
const RIGHT: &str = "Authorization: Basic dXNlcjpzZWNyZXQ=";
const WRONG: &str = "Authorization: Basic dXNlcjp3cm9uZw==";
const NOBODY: &str = "Authorization: Basic bm9ib2R5OnNlY3JldA==";

fn with_auth(mode: AuthMode) -> Server {
    let mut setup = Setup::new();
    setup.database.auth = auth(mode);
    setup.start()
}

fn post(client: &mut Client, header: &str) -> (u16, String) {
    let head = format!("POST /t HTTP/1.1\r\n{header}");
    let response = client.request(head.trim_end(), call("x").as_bytes());
    (response.status, response.text().to_owned())
}

#[test]
fn credentials_in_the_header_are_checked() {
    let server = with_auth(AuthMode::Http);
    let mut client = server.connect();
    assert_eq!(post(&mut client, RIGHT).0, 200);
    for header in ["", "Authorization: Bearer abc", "Authorization: Basic %%%", WRONG, NOBODY] {
        assert_eq!(post(&mut client, header), (401, "Unauthorized".to_owned()), "{header}");
    }
    assert_eq!(server.database.started.get(), 1);
}

#[test]
fn a_refusal_names_the_scheme_and_the_realm() {
    let server = with_auth(AuthMode::Http);
    let response = server.connect().query("x");
    assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"t\""));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn the_header_is_checked_before_the_body_arrives() {
    let server = with_auth(AuthMode::Http);
    let mut client = server.connect();
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(client.response().status, 401);
}

#[test]
fn a_refused_connection_can_be_used_again() {
    let server = with_auth(AuthMode::Http);
    let mut client = server.connect();
    let refused = client.request("POST /t HTTP/1.1", &vec![b'x'; 200_000]);
    assert_eq!((refused.status, refused.header("connection")), (401, None));
    assert_eq!(post(&mut client, RIGHT).0, 200);
}

#[test]
fn other_status_codes_can_be_chosen() {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.auth.as_mut().unwrap().error_code = 444;
    let server = setup.start();
    assert_eq!(post(&mut server.connect(), ""), (444, "Unauthorized".to_owned()));
}

fn inline(client: &mut Client, credentials: &str) -> (u16, String) {
    let body = format!("{{{credentials}\"transaction\":[]}}");
    let response = client.request("POST /t HTTP/1.1", body.as_bytes());
    (response.status, response.text().to_owned())
}

fn json_error(text: &str) -> String {
    format!("{{\"reqIdx\":-1,\"error\":\"{text}\"}}")
}

#[test]
fn credentials_in_the_body_are_checked() {
    let server = with_auth(AuthMode::Inline);
    let mut client = server.connect();
    // Credentials are checked before the list of statements, which is empty here.
    let right = inline(&mut client, "\"credentials\":{\"user\":\"user\",\"password\":\"secret\"},");
    assert_eq!(right, (400, json_error("missing statements list ('transaction' node)")));
    for (credentials, reason) in [
        ("\"credentials\":{\"user\":\"user\",\"password\":\"wrong\"},", "wrong credentials"),
        ("\"credentials\":{},", "wrong credentials"),
        ("", "missing auth credentials"),
    ] {
        assert_eq!(inline(&mut client, credentials), (401, json_error(reason)));
    }
    // A body that is no JSON is refused before credentials are checked.
    let broken = client.request("POST /t HTTP/1.1", b"{");
    assert_eq!(broken.status, 400);
}

fn with_query(sql: &str) -> Server {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.auth.as_mut().unwrap().users = Users::ByQuery(sql.into());
    setup.start()
}

#[test]
fn users_are_checked_by_a_query() {
    let server = with_query("login");
    let mut client = server.connect();
    // These are `abc:cba` and `abc:abc`.
    assert_eq!(post(&mut client, "Authorization: Basic YWJjOmNiYQ==").0, 200);
    assert_eq!(post(&mut client, "Authorization: Basic YWJjOmFiYw==").0, 401);
}

#[test]
fn a_query_with_many_rows_is_not_read_to_its_end() {
    let server = with_query("blocks 1000000");
    assert_eq!(post(&mut server.connect(), RIGHT).0, 200);
    server.database.dropped.reaches(1);
}

#[test]
fn a_login_query_that_fails_reveals_nothing() {
    let server = with_query("login broken");
    assert_eq!(post(&mut server.connect(), RIGHT), (401, "Unauthorized".to_owned()));
    // An overloaded database is not a failed login.
    let busy = with_query("login overloaded");
    assert_eq!(post(&mut busy.connect(), RIGHT).0, 503);
}

#[test]
fn wrong_credentials_do_not_delay_other_requests() {
    let server = with_auth(AuthMode::Http);
    let mut guessing = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect();
        client.send_request(&format!("POST /t HTTP/1.1\r\n{WRONG}"), call("x").as_bytes());
        guessing.push(client);
    }
    // The gate of this request is opened once the database has received it, so it has overtaken the others.
    let mut client = server.connect();
    client.send_request(&format!("POST /t HTTP/1.1\r\n{RIGHT}"), call("wait").as_bytes());
    server.database.started.reaches(1);
    server.database.gate.add_permits(1);
    assert_eq!(client.response().status, 200);
    for mut client in guessing {
        assert_eq!(client.response().status, 401);
    }
}

#[test]
fn preflights_need_no_credentials() {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.cors_origin = Some("*".into());
    let server = setup.start();
    let mut client = server.connect();
    client
        .send("OPTIONS /t HTTP/1.1\r\nHost: t\r\nOrigin: https://a.com\r\nAccess-Control-Request-Method: POST\r\n\r\n");
    assert_eq!(client.response().status, 204);
    let head = "POST /t HTTP/1.1\r\nOrigin: https://a.com";
    let refused = client.request(head, call("x").as_bytes());
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

struct SimulatedAdmin;

impl Macros for SimulatedAdmin {
    fn run_macro<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<u64>, AdminError>> {
        Box::pin(async move {
            match name {
                "broken" => Err(AdminError::Failed { statement: Some(1), message: "no such table: x".into() }),
                "busy" => Err(AdminError::Database(sqlhttp_core::Error::Overloaded("the queue is full"))),
                _ => Ok(vec![1, 0]),
            }
        })
    }

    fn run_backup(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Err(AdminError::AlreadyExists("File 'x' already exists".into())) })
    }
}

fn with_macros() -> Server {
    let mut setup = Setup::new();
    let open = ["open", "broken", "busy"].map(|name| macro_config(name, None));
    setup.database.macros = open.into_iter().chain([macro_config("guarded", Some("token"))]).collect();
    setup.database.backup = Some(backup_config(Some("token")));
    setup.macros = Some(Arc::new(SimulatedAdmin));
    setup.start()
}

#[test]
fn macros_and_backups_are_guarded_by_tokens() {
    let server = with_macros();
    let mut client = server.connect();
    let done = "{\"results\":[{\"success\":true,\"rowsUpdated\":1},{\"success\":true,\"rowsUpdated\":0}]}";
    let mismatch = "{\"reqIdx\":-1,\"message\":\"In database 't', macro 'guarded': token mismatch\"}";
    for (line, status, body) in [
        ("GET /t/macro/open", 200, done),
        ("POST /T/macro/open/", 200, done),
        ("GET /t/macro/open?token=any", 200, done),
        ("GET /t/macro/guarded?token=token", 200, done),
        ("GET /t/macro/guarded?token=wrong", 401, mismatch),
        ("GET /t/macro/guarded", 401, mismatch),
        ("GET /t/macro/none", 404, "{\"reqIdx\":-1,\"message\":\"In database 't', macro 'none': not found\"}"),
        ("GET /t/macro/broken", 500, "{\"reqIdx\":1,\"message\":\"no such table: x\"}"),
        ("POST /t/backup?token=token", 409, "{\"reqIdx\":-1,\"message\":\"File 'x' already exists\"}"),
    ] {
        let response = client.request(&format!("{line} HTTP/1.1"), b"");
        assert_eq!((response.status, response.text()), (status, body), "{line}");
    }
    assert_eq!(client.request("GET /t/macro/busy HTTP/1.1", b"").status, 503);
    assert_eq!(client.request("PUT /t/backup HTTP/1.1", b"").status, 405);
}

#[test]
fn failed_logins_are_counted() {
    let server = with_auth(AuthMode::Http);
    assert_eq!(post(&mut server.connect(), "").0, 401);
    assert_eq!(server.metric("sqlhttp_auth_failures_total{database=\"t\"}"), 1.0);
}
