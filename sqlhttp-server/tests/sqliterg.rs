//! The features of sqliterg: macros and backups that run on request, at the creation of a database, at the start or
//! periodically; `journalMode`; and its names for the modes of authentication.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use base64::Engine as _;
use common::{Launch, Request, Response, Server, assert_backup, names, temp_dir, write};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const MACROS: &str = "
storedStatements:
  - {id: ONE, sql: INSERT INTO T VALUES(1)}
macros:
  - id: create
    statements: [CREATE TABLE IF NOT EXISTS T(a UNIQUE)]
    execution: {onCreate: true}
  - id: start
    statements: [\"INSERT INTO S VALUES(1)\"]
    execution: {onStartup: true}
  - id: open
    statements: [DELETE FROM T, ^ONE, \"INSERT INTO T VALUES(2),(3)\"]
    execution: {webService: {}}
  - id: secret
    statements: [DELETE FROM T]
    execution: {webService: {authToken: sesame}}
  - id: hashed
    statements: [DELETE FROM T]
    execution: {webService: {hashedAuthToken: HASH, authErrorCode: 499}}
  - id: failing
    statements: [\"INSERT INTO T VALUES(77)\", NONSENSE]
    execution: {webService: {}}
  - id: stepwise
    disableTransaction: true
    statements: [\"INSERT INTO T VALUES(88)\", NONSENSE]
    execution: {webService: {}}
  - id: vacuum
    disableTransaction: true
    statements: [VACUUM]
    execution: {webService: {}}
";

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A directory and a server with these macros, and one before them that creates the table `S`.
fn with_macros() -> (tempfile::TempDir, Server) {
    let dir = temp_dir();
    let first = "  - {id: first, statements: [\"CREATE TABLE S(a)\"], execution: {onCreate: true}}";
    let yaml = MACROS.replace("macros:\n", &format!("macros:\n{first}\n")).replace("HASH", &hash("sesame"));
    write(dir.path(), "t.yaml", yaml);
    let server = Server::file(dir.path());
    (dir, server)
}

fn call(server: &Server, method: &str, target: &str) -> Response {
    server.send(&Request::new(method, target))
}

/// The `reqIdx` and `message` of a refusal, which has the form of sqliterg.
fn message(response: &Response) -> (i64, String) {
    let json = response.json();
    let index = json["reqIdx"].as_i64().unwrap_or_else(|| panic!("no reqIdx in {}", response.text()));
    (index, json["message"].as_str().unwrap_or_else(|| panic!("no message in {}", response.text())).to_owned())
}

#[test]
fn macros_run_over_http_and_return_their_change_counts() {
    let (_dir, server) = with_macros();
    for method in ["GET", "POST"] {
        let response = call(&server, method, "/t/macro/open");
        let ones = |n: u64| json!({"success": true, "rowsUpdated": n});
        let deleted = response.json()["results"][0]["rowsUpdated"].as_u64().expect("a count");
        assert_eq!(response.status, 200);
        assert_eq!(response.json(), json!({"results": [ones(deleted), ones(1), ones(2)]}), "{method}");
        assert_eq!(server.query("t", "SELECT a FROM T ORDER BY a"), json!([[1], [2], [3]]));
    }
}

#[test]
fn macros_are_guarded_by_their_tokens() {
    let (_dir, server) = with_macros();
    assert_eq!(call(&server, "GET", "/t/macro/secret?token=sesame").status, 200);
    assert_eq!(call(&server, "POST", "/t/macro/hashed?x=1&token=sesame").status, 200);
    server.execute("t", "INSERT INTO T VALUES(5)");
    for query in ["", "?token=", "?token=wrong", "?TOKEN=sesame", &format!("?token={}", hash("sesame"))] {
        let response = call(&server, "GET", &format!("/t/macro/secret{query}"));
        assert_eq!(response.status, 401, "{query}: {}", response.text());
        let (index, text) = message(&response);
        assert!(index == -1 && text.contains("token mismatch"), "{query}: {text}");
    }
    let response = call(&server, "GET", &format!("/t/macro/hashed?token={}", hash("sesame")));
    assert_eq!(response.status, 499);
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[1]]), "a refused macro ran");
}

#[test]
fn unknown_macros_are_not_found() {
    let (_dir, server) = with_macros();
    for target in ["/t/macro/none", "/t/macro/create", "/t/macro/", "/x/macro/open", "/t/macro/open/x"] {
        assert_eq!(call(&server, "GET", target).status, 404, "{target}");
    }
    assert_eq!(call(&server, "DELETE", "/t/macro/open").status / 100, 4);
}

#[test]
fn a_failing_macro_is_reported_and_undone_unless_it_runs_without_a_transaction() {
    let (_dir, server) = with_macros();
    let response = call(&server, "POST", "/t/macro/failing");
    let (index, text) = message(&response);
    assert_eq!((response.status, index), (500, 1), "{text}");
    assert!(text.contains("syntax error"), "{text}");
    assert_eq!(server.query("t", "SELECT a FROM T"), json!([]));
    assert_eq!(call(&server, "POST", "/t/macro/stepwise").status, 500);
    assert_eq!(server.query("t", "SELECT a FROM T"), json!([[88]]));
    let response = call(&server, "POST", "/t/macro/vacuum");
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn macros_run_at_creation_and_at_every_start() {
    let (dir, server) = with_macros();
    assert_eq!(server.query("t", "SELECT count(*) FROM S"), json!([[1]]));
    assert_eq!(server.stop().code, Some(0));
    // `first` would fail if it ran again, since it creates its table without IF NOT EXISTS.
    assert_eq!(Server::file(dir.path()).query("t", "SELECT count(*) FROM S"), json!([[2]]));
}

#[test]
fn a_macro_that_fails_at_creation_stops_the_start_and_removes_the_new_file() {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "macros: [{id: bad, statements: [NONSENSE], execution: {onCreate: true}}]\n");
    let exit = Launch::new().dir(dir.path()).args(["--db", "t.db"]).run();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.stderr[0].starts_with("FATAL | ") && exit.stderr[0].contains("bad"), "{:?}", exit.stderr);
    assert_eq!(names(dir.path()), ["t.yaml"]);
}

#[test]
fn a_macro_with_a_period_is_accepted() {
    let yaml = "macros: [{id: tick, statements: [\"SELECT 1\"], execution: {period: 1}}]\n";
    Server::configured(yaml).assert_alive("t");
}

/// A directory and a server with a database `t.db` of one row, and backups over HTTP into `bk/`.
fn with_backup(number: u32, service: &str) -> (tempfile::TempDir, Server) {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("bk")).expect("a folder");
    let execution = format!("execution: {{webService: {service}}}");
    let init = "initStatements: [\"CREATE TABLE T(a); INSERT INTO T VALUES(1)\"]";
    write(dir.path(), "t.yaml", format!("{init}\nbackup: {{backupDir: bk, numFiles: {number}, {execution}}}\n"));
    let server = Server::file(dir.path());
    (dir, server)
}

/// Whether a name has the form `t_20261121-0304.db`.
fn is_backup_name(name: &str) -> bool {
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "t_00000000-0000.db"
}

#[test]
fn backups_are_made_over_http() {
    let (dir, server) = with_backup(5, "{}");
    let response = call(&server, "GET", "/t/backup");
    assert_eq!((response.status, response.json()), (200, json!({"results": []})));
    let files = names(&dir.path().join("bk"));
    assert!(files.len() == 1 && is_backup_name(&files[0]), "{files:?}");
    assert_backup(&dir.path().join("bk").join(&files[0]), "SELECT a FROM T", json!([[1]]));
    // A second backup in the same minute is refused, and the first one is kept.
    let response = call(&server, "POST", "/t/backup");
    let files = names(&dir.path().join("bk"));
    match response.status {
        200 => assert_eq!(files.len(), 2, "a new minute, but no new file"),
        status => {
            assert_eq!((status, files.len()), (409, 1));
            assert!(message(&response).1.contains("already exists"), "{}", response.text());
        }
    }
}

#[test]
fn backups_are_guarded_by_their_token() {
    let (dir, server) = with_backup(5, "{authToken: sesame, authErrorCode: 403}");
    assert_eq!(call(&server, "GET", "/t/backup").status, 403);
    assert_eq!(call(&server, "POST", "/t/backup?token=wrong").status, 403);
    assert_eq!(names(&dir.path().join("bk")), [""; 0]);
    assert_eq!(call(&server, "POST", "/t/backup?token=sesame").status, 200);
    assert_eq!(Server::memory().send(&Request::new("GET", "/t/backup")).status, 404, "not configured");
}

#[test]
fn old_backups_are_removed_and_other_files_are_not() {
    let (dir, server) = with_backup(2, "{}");
    for name in
        ["t_20200101-0101.db", "t_20210101-0101.db", "t_20220101-0101.db", "notes.txt", "other_20200101-0101.db"]
    {
        write(dir.path(), &format!("bk/{name}"), "old");
    }
    assert_eq!(call(&server, "GET", "/t/backup").status, 200);
    let files = names(&dir.path().join("bk"));
    let backups: Vec<&String> = files.iter().filter(|name| is_backup_name(name)).collect();
    assert_eq!(backups.len(), 2, "{files:?}");
    assert!(
        files.contains(&"notes.txt".to_owned()) && files.contains(&"other_20200101-0101.db".to_owned()),
        "{files:?}"
    );
    assert_backup(&dir.path().join("bk").join(backups[1]), "SELECT a FROM T", json!([[1]]));
}

#[test]
fn journal_modes_are_configured_under_sqlitergs_name() {
    for (mode, expected) in [("DELETE", "delete"), ("TRUNCATE", "truncate"), ("PERSIST", "persist"), ("WAL", "wal")] {
        let dir = temp_dir();
        write(dir.path(), "t.yaml", format!("journalMode: {mode}\n"));
        let server = Server::file(dir.path());
        server.execute("t", "CREATE TABLE T(a)");
        assert_eq!(server.query("t", "PRAGMA journal_mode"), json!([[expected]]), "{mode}");
    }
}

#[test]
fn authentication_is_configured_under_sqlitergs_names() {
    let yaml = "auth: {mode: HTTP_BASIC, authErrorCode: 499, byCredentials: [{user: u, password: p}]}\n";
    let server = Server::configured(yaml);
    let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.send(&ask).status, 499);
    assert_eq!(server.send(&ask.clone().basic("u:wrong")).status, 499);
    assert_eq!(server.send(&ask.basic("u:p")).status, 200);
    let encoded = base64::engine::general_purpose::STANDARD.encode("u:p");
    let lower = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    assert_eq!(server.send(&lower.header("Authorization", format!("basic {encoded}"))).status, 200);
}
