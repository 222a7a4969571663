//! Authentication, and the answers to requests that fail it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

async fn with_auth(mode: AuthMode) -> Server {
    let mut setup = Setup::new();
    setup.database.auth = auth(mode);
    setup.start().await
}

async fn post(client: &mut Client, header: &str) -> (u16, String) {
    let head = format!("POST /t HTTP/1.1\r\n{header}");
    let response = client.request(head.trim_end(), call("x").as_bytes()).await;
    (response.status, response.text().to_owned())
}

#[tokio::test]
async fn credentials_in_the_header_are_checked() {
    let server = with_auth(AuthMode::Http).await;
    let mut client = server.connect().await;
    assert_eq!(post(&mut client, RIGHT).await.0, 200);
    for header in ["", "Authorization: Bearer abc", "Authorization: Basic %%%", WRONG, NOBODY] {
        assert_eq!(post(&mut client, header).await, (401, "Unauthorized".to_owned()), "{header}");
    }
    assert_eq!(server.database.started.get(), 1);
}

#[tokio::test]
async fn a_refusal_names_the_scheme_and_the_realm() {
    let server = with_auth(AuthMode::Http).await;
    let response = server.connect().await.query("x").await;
    assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"t\""));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn the_header_is_checked_before_the_body_arrives() {
    let server = with_auth(AuthMode::Http).await;
    let mut client = server.connect().await;
    client.send("POST /t HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n").await;
    assert_eq!(client.response().await.status, 401);
}

#[tokio::test]
async fn a_refused_connection_can_be_used_again() {
    let server = with_auth(AuthMode::Http).await;
    let mut client = server.connect().await;
    let refused = client.request("POST /t HTTP/1.1", &vec![b'x'; 200_000]).await;
    assert_eq!((refused.status, refused.header("connection")), (401, None));
    assert_eq!(post(&mut client, RIGHT).await.0, 200);
}

#[tokio::test]
async fn other_status_codes_can_be_chosen() {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.auth.as_mut().unwrap().error_code = 444;
    let server = setup.start().await;
    assert_eq!(post(&mut server.connect().await, "").await, (444, "Unauthorized".to_owned()));
}

async fn inline(client: &mut Client, credentials: &str) -> (u16, String) {
    let body = format!("{{{credentials}\"transaction\":[]}}");
    let response = client.request("POST /t HTTP/1.1", body.as_bytes()).await;
    (response.status, response.text().to_owned())
}

fn json_error(text: &str) -> String {
    format!("{{\"reqIdx\":-1,\"error\":\"{text}\"}}")
}

#[tokio::test]
async fn credentials_in_the_body_are_checked() {
    let server = with_auth(AuthMode::Inline).await;
    let mut client = server.connect().await;
    // Credentials are checked before the list of statements, which is empty here.
    let right = inline(&mut client, "\"credentials\":{\"user\":\"user\",\"password\":\"secret\"},").await;
    assert_eq!(right, (400, json_error("missing statements list ('transaction' node)")));
    for (credentials, reason) in [
        ("\"credentials\":{\"user\":\"user\",\"password\":\"wrong\"},", "wrong credentials"),
        ("\"credentials\":{},", "wrong credentials"),
        ("", "missing auth credentials"),
    ] {
        assert_eq!(inline(&mut client, credentials).await, (401, json_error(reason)));
    }
    // A body that is no JSON is refused before credentials are checked.
    let broken = client.request("POST /t HTTP/1.1", b"{").await;
    assert_eq!(broken.status, 400);
}

async fn with_query(sql: &str) -> Server {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.auth.as_mut().unwrap().users = Users::ByQuery(sql.into());
    setup.start().await
}

#[tokio::test]
async fn users_are_checked_by_a_query() {
    let server = with_query("login").await;
    let mut client = server.connect().await;
    // These are `abc:cba` and `abc:abc`.
    assert_eq!(post(&mut client, "Authorization: Basic YWJjOmNiYQ==").await.0, 200);
    assert_eq!(post(&mut client, "Authorization: Basic YWJjOmFiYw==").await.0, 401);
}

#[tokio::test]
async fn a_query_with_many_rows_is_not_read_to_its_end() {
    let server = with_query("blocks 1000000").await;
    assert_eq!(post(&mut server.connect().await, RIGHT).await.0, 200);
    server.database.dropped.reaches(1).await;
}

#[tokio::test]
async fn a_login_query_that_fails_reveals_nothing() {
    let server = with_query("login broken").await;
    assert_eq!(post(&mut server.connect().await, RIGHT).await, (401, "Unauthorized".to_owned()));
    // An overloaded database is not a failed login.
    let busy = with_query("login overloaded").await;
    assert_eq!(post(&mut busy.connect().await, RIGHT).await.0, 503);
}

#[tokio::test]
async fn wrong_credentials_do_not_delay_other_requests() {
    let server = with_auth(AuthMode::Http).await;
    let mut guessing = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send_request(&format!("POST /t HTTP/1.1\r\n{WRONG}"), call("x").as_bytes()).await;
        guessing.push(client);
    }
    // The gate of this request is opened once the database has received it, so it has overtaken the others.
    let mut client = server.connect().await;
    client.send_request(&format!("POST /t HTTP/1.1\r\n{RIGHT}"), call("wait").as_bytes()).await;
    server.database.started.reaches(1).await;
    server.database.gate.add_permits(1);
    assert_eq!(client.response().await.status, 200);
    for mut client in guessing {
        assert_eq!(client.response().await.status, 401);
    }
}

#[tokio::test]
async fn preflights_need_no_credentials() {
    let mut setup = Setup::new();
    setup.database.auth = auth(AuthMode::Http);
    setup.database.cors_origin = Some("*".into());
    let server = setup.start().await;
    let mut client = server.connect().await;
    client
        .send("OPTIONS /t HTTP/1.1\r\nHost: t\r\nOrigin: https://a.com\r\nAccess-Control-Request-Method: POST\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 204);
    let head = "POST /t HTTP/1.1\r\nOrigin: https://a.com";
    let refused = client.request(head, call("x").as_bytes()).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

struct PretendedAdmin;

impl Macros for PretendedAdmin {
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

async fn with_macros() -> Server {
    let mut setup = Setup::new();
    let open = ["open", "broken", "busy"].map(|name| macro_config(name, None));
    setup.database.macros = open.into_iter().chain([macro_config("guarded", Some("token"))]).collect();
    setup.database.backup = Some(backup_config(Some("token")));
    setup.macros = Some(Arc::new(PretendedAdmin));
    setup.start().await
}

#[tokio::test]
async fn macros_and_backups_are_guarded_by_tokens() {
    let server = with_macros().await;
    let mut client = server.connect().await;
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
        let response = client.request(&format!("{line} HTTP/1.1"), b"").await;
        assert_eq!((response.status, response.text()), (status, body), "{line}");
    }
    assert_eq!(client.request("GET /t/macro/busy HTTP/1.1", b"").await.status, 503);
    assert_eq!(client.request("PUT /t/backup HTTP/1.1", b"").await.status, 405);
}

#[tokio::test]
async fn failed_logins_are_counted() {
    let server = with_auth(AuthMode::Http).await;
    assert_eq!(post(&mut server.connect().await, "").await.0, 401);
    assert_eq!(server.metric("sqlhttp_auth_failures_total{database=\"t\"}").await, 1.0);
}
