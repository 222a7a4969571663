//! `PRAGMA foreign_keys` and other settings in requests: they take effect, or the request is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Node, Request, Server, temp_dir};
use serde_json::{Value, json};

const REFUSED: &str =
    "foreign_keys can be changed only for the statements that follow in the same request; start with -fk";

/// A node with `-fk`, and a parent with a child that is deleted with it.
fn node() -> (tempfile::TempDir, Server) {
    let dir = temp_dir();
    let server = Node::new(&dir.path().join("data")).flags(["-fk"]).start();
    server.db_execute(json!([
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(pid REFERENCES p(id) ON DELETE CASCADE)",
        "INSERT INTO p VALUES(1)",
        "INSERT INTO c VALUES(1)"
    ]));
    (dir, server)
}

fn results(server: &Server, target: &str, statements: &Value) -> Vec<Value> {
    server.send(&Request::json(target, statements)).results()
}

fn errors(results: &[Value]) -> Vec<Option<&str>> {
    results.iter().map(|result| result["error"].as_str()).collect()
}

fn children(server: &Server) -> Value {
    server.db_query("SELECT count(*) FROM c")
}

#[test]
fn foreign_keys_hold_for_the_later_statements_of_the_request() {
    for statements in [
        json!(["PRAGMA foreign_keys=off", "DELETE FROM p", "PRAGMA foreign_keys=on"]),
        json!(["PRAGMA foreign_keys=off", "DELETE FROM p"]),
        json!(["INSERT INTO p VALUES(8)", "PRAGMA foreign_keys=off"]),
        json!(["PRAGMA Foreign_Keys(0); DELETE FROM p; PRAGMA foreign_keys=1"]),
        json!(["PRAGMA foreign_keys=off", "VACUUM", "DELETE FROM p"]),
    ] {
        let (_dir, server) = node();
        server.db_execute(statements.clone());
        assert_eq!(children(&server), json!([[1]]), "{statements}");
        // The setting ends with the request.
        assert_eq!(server.db_query("PRAGMA foreign_keys"), json!([[1]]));
        let orphan = results(&server, "/db/execute", &json!(["INSERT INTO c VALUES(77)"]));
        assert_eq!(errors(&orphan), [Some("FOREIGN KEY constraint failed")], "{statements}");
    }
}

#[test]
fn a_setting_that_cannot_take_effect_is_refused_before_anything_runs() {
    let (_dir, server) = node();
    for (target, statements) in [
        ("/db/execute", json!(["PRAGMA foreign_keys=off"])),
        ("/db/execute?transaction", json!(["PRAGMA foreign_keys=off", "DELETE FROM p"])),
        ("/db/request", json!(["PRAGMA foreign_keys=off"])),
    ] {
        let results = results(&server, target, &statements);
        assert_eq!(errors(&results), [Some(REFUSED)], "{target} {statements}");
    }
    assert_eq!(children(&server), json!([[1]]));
    assert_eq!(server.db_query("SELECT id FROM p"), json!([[1]]));
}

#[test]
fn the_present_setting_and_a_setting_on_a_reading_endpoint_are_accepted() {
    let (_dir, server) = node();
    server.db_execute(json!(["PRAGMA foreign_keys=ON"]));
    for target in ["/db/execute?transaction", "/db/request"] {
        let results = results(&server, target, &json!(["PRAGMA foreign_keys=1", "INSERT INTO p VALUES(NULL)"]));
        assert_eq!(errors(&results), [None, None], "{target}");
    }
    let results = results(&server, "/db/query", &json!(["PRAGMA foreign_keys=off", "SELECT 1"]));
    assert_eq!(errors(&results), [None, None]);
    // A request of ws4sqlite's protocol is a transaction, in which SQLite ignores this PRAGMA.
    let answer = server
        .transaction("main", json!([{ "statement": "PRAGMA foreign_keys=off" }, { "statement": "DELETE FROM p" }]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(children(&server), json!([[0]]));
}

#[test]
fn settings_that_clients_send_when_they_connect_are_accepted() {
    let (_dir, server) = node();
    for name in ["busy_timeout=5000", "mmap_size=268435456", "journal_size_limit=1", "trusted_schema=0", "threads=2"] {
        let pragma = format!("PRAGMA {name}");
        server.db_execute(json!([pragma]));
        let answer = server.transaction("main", json!([{ "statement": pragma }]));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
}

/// If a statement of a text fails, the effects of the statements before it are undone.
#[test]
fn a_text_whose_later_statement_fails_leaves_nothing() {
    let (_dir, server) = node();
    server.db_execute(json!(["CREATE TABLE u(a UNIQUE)"]));
    for text in [
        "INSERT INTO u VALUES(1); INSERT INTO nope VALUES(2)",
        "INSERT INTO u VALUES(1); syntax",
        "BEGIN; INSERT INTO u VALUES(1); INSERT INTO nope VALUES(2); COMMIT",
        "BEGIN; INSERT INTO u VALUES(1); ROLLBACK",
        "BEGIN; INSERT INTO u VALUES(1); COMMIT; SELECT 1",
        "INSERT INTO u VALUES(1); INSERT INTO u VALUES(1)",
    ] {
        let failed = results(&server, "/db/execute", &json!([text]));
        assert!(failed[0]["error"].is_string(), "{text}: {failed:?}");
        assert_eq!(server.db_query("SELECT a FROM u"), json!([]), "{text}");
    }
}

#[test]
fn vacuum_and_alter_table_work() {
    let (_dir, server) = node();
    server.db_execute(json!([
        "VACUUM",
        "CREATE TABLE st(a INT) STRICT",
        "ALTER TABLE st ADD COLUMN b INT",
        "ALTER TABLE p ADD COLUMN v INT CHECK (v > 0)"
    ]));
}

#[test]
fn a_dump_with_the_child_before_its_parent_is_loaded() {
    let (_dir, server) = node();
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE kid(d REFERENCES dad(id));\n\
                INSERT INTO kid VALUES(1);\nINSERT INTO kid VALUES(99);\nCREATE TABLE dad(id INTEGER PRIMARY KEY);\n\
                INSERT INTO dad VALUES(1);\nCOMMIT;\n";
    let loaded = server.send(&Request::new("POST", "/db/load").header("Content-Type", "text/plain").body(dump));
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(errors(&loaded.results()), [None], "{}", loaded.text());
    assert_eq!(server.db_query("SELECT d FROM kid"), json!([[1], [99]]));
    server.db_execute(json!([dump.replace("kid", "kid2").replace("dad", "dad2")]));
    assert_eq!(server.db_query("SELECT d FROM kid2"), json!([[1], [99]]));
}

#[test]
fn or_fail_keeps_the_rows_before_the_failure() {
    let (_dir, server) = node();
    server.db_execute(json!(["CREATE TABLE u(a UNIQUE)"]));
    let failed = results(&server, "/db/execute", &json!(["INSERT OR FAIL INTO u VALUES(1),(2),(1)"]));
    assert_eq!(errors(&failed), [Some("UNIQUE constraint failed: u.a")]);
    assert_eq!(server.db_query("SELECT a FROM u"), json!([[1], [2]]));
    let aborted = results(&server, "/db/execute", &json!(["INSERT INTO u VALUES(3),(4),(1)"]));
    assert_eq!(errors(&aborted), [Some("UNIQUE constraint failed: u.a")]);
    let script = "INSERT INTO u VALUES(5); INSERT OR FAIL INTO u VALUES(6),(1)";
    results(&server, "/db/execute", &json!([script]));
    results(&server, "/db/execute?transaction", &json!(["INSERT OR FAIL INTO u VALUES(7),(1)"]));
    assert_eq!(server.db_query("SELECT a FROM u"), json!([[1], [2]]));
}

#[test]
fn alter_table_returns_no_rows() {
    let (_dir, server) = node();
    let answer = server.db_execute(json!(["ALTER TABLE p ADD CHECK (id > 0)", "ALTER TABLE p ADD COLUMN x"]));
    assert!(answer.iter().all(|result| result.get("columns").is_none()), "{answer:?}");
}

#[test]
fn local_time_is_that_of_the_flag_in_reads_and_writes() {
    let local = "datetime('2024-07-15 12:00', 'localtime')";
    for (flags, time) in [(&["-time-zone", "Europe/Rome"][..], "2024-07-15 14:00:00"), (&[], "2024-07-15 12:00:00")] {
        let server = Server::node(flags);
        server.db_execute(json!([format!("CREATE TABLE t(a DEFAULT ({local}))"), "INSERT INTO t DEFAULT VALUES"]));
        assert_eq!(server.db_query(&format!("SELECT a, {local} FROM t")), json!([[time, time]]));
    }
}
