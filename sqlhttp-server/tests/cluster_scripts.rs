//! Texts of several statements, and statements on the wrong endpoint, on a node; data directories that are not its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fmt::Write as _;

use common::{Node, Request, Server, temp_dir};
use serde_json::json;

/// The cost of a statement does not depend on the length of the text after it. (If it did, this load would take most of
/// an hour, and the client would time out.)
#[test]
fn a_dump_of_many_statements_is_loaded_and_comes_back() {
    let server = Server::node(&[]);
    let mut script = "BEGIN; CREATE TABLE t(a);".to_owned();
    for n in 0..200_000 {
        writeln!(script, "INSERT INTO t VALUES('{n} and some more, so that it is not too short');").unwrap();
    }
    script.push_str("COMMIT; -- the end");
    let loaded = server.send(&Request::new("POST", "/db/load").body(script)).results();
    assert_eq!(loaded, [json!({ "last_insert_id": 200_000, "rows_affected": 1 })]);
    let dump = server.get("/db/backup?fmt=sql").text();
    server.db_execute(json!(["DROP TABLE t"]));
    server.send(&Request::new("POST", "/db/load").body(dump)).results();
    assert_eq!(server.db_query("SELECT count(*), max(rowid) FROM t"), json!([[200_000, 200_000]]));
}

#[test]
fn a_text_returns_the_result_of_its_last_statement() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let texts = [
        ("SELECT 1; SELECT 2; -- nothing more", json!([[2]])),
        ("SELECT 2;\u{feff}", json!([[2]])),
        ("BEGIN; SELECT 2;\u{feff}COMMIT;\u{feff}", json!([[2]])),
        ("INSERT INTO t VALUES(3); UPDATE t SET a = 4 WHERE a = 3 RETURNING a;;", json!([[4]])),
        ("BEGIN; INSERT INTO t VALUES(5) RETURNING a; COMMIT /* done */ ;", json!([[5]])),
        ("BEGIN; INSERT INTO t VALUES(6) RETURNING a; END", json!([[6]])),
    ];
    for (text, rows) in texts {
        let results = server.send(&Request::json("/db/request", json!([text]))).results();
        assert_eq!(results[0]["values"], rows, "{text}");
    }
    let last = "SELECT a FROM t; INSERT INTO t VALUES(7)";
    let results = server.send(&Request::json("/db/request", json!([last]))).results();
    assert_eq!(results[0]["rows_affected"], 1, "{last}");
}

#[test]
fn vacuum_is_refused_as_a_query() {
    let server = Server::node(&[]);
    for sql in ["VACUUM", "VACUUM INTO 'copy'"] {
        let results = server.send(&Request::json("/db/query", json!([sql]))).results();
        assert_eq!(results, [json!({ "error": "attempt to change database via query operation" })], "{sql}");
    }
}

/// The PRAGMAs of the node itself, for checkpoints and backups, are not settings that connections repeat.
#[test]
fn checkpoints_and_backups_leave_no_setting_behind() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    assert_eq!(server.send(&Request::new("POST", "/reap")).status, 200);
    for form in ["", "?fmt=delete", "?vacuum", "?fmt=sql"] {
        assert_eq!(server.get(&format!("/db/backup{form}")).status, 200);
    }
    let exit = server.stop();
    let warnings: Vec<_> = exit.stderr.iter().filter(|line| line.contains("does not hold")).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// A node cannot read a data directory of rqlite. If it started as with an empty directory, all data would seem lost.
#[test]
fn rqlites_own_directory_is_refused() {
    let dir = temp_dir();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("raft.db"), b"bolt").unwrap();
    let exit = Node::new(&data).run();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.iter().any(|line| line.contains("raft.db is rqlite's")), "{:?}", exit.stderr);
}

#[test]
fn a_database_that_no_node_has_written_is_refused() {
    let dir = temp_dir();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let server = common::Launch::new().dir(&data).args(["--db", "db.sqlite"]).start();
    server.execute("db", "CREATE TABLE t(a)");
    assert_eq!(server.stop().code, Some(0));
    let exit = Node::new(&data).run();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.iter().any(|line| line.contains("no log has written")), "{:?}", exit.stderr);
}
