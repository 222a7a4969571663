//! rqlite's `/db/backup` and `/db/load` on the standalone server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Request, Server, assert_backup, decompressed, names, temp_dir, write};
use serde_json::json;

fn rows_to(n: u32) -> String {
    format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {n}) SELECT x FROM c")
}

#[test]
fn backups_in_every_form() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    let fill = format!("INSERT INTO x(v) SELECT hex(randomblob(500)) FROM ({})", rows_to(2000));
    server.post_json("/db/execute", json!(["CREATE TABLE x(id INTEGER PRIMARY KEY, v)", fill])).results();
    let count = "SELECT count(*), sum(length(v)) FROM x";
    let want = json!([[2000, 2_000_000]]);
    for (target, version) in [
        ("/db/backup", Some(2)),
        ("/t/db/backup?fmt=nonsense&compress", Some(2)),
        ("/db/backup?fmt=delete", Some(1)),
        ("/db/backup?fmt=delete&compress", Some(1)),
        ("/db/backup?vacuum", Some(1)),
    ] {
        let response = server.get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        assert_eq!(response.header("Content-Type"), Some("application/octet-stream"), "{target}");
        assert_eq!(response.header("Content-Encoding"), None);
        let bytes = if target.contains("compress") { decompressed("gzip", &response.body) } else { response.body };
        assert_eq!(version.map(|version| [version, version]), Some([bytes[18], bytes[19]]), "{target}");
        let copy = write(dir.path(), "copy", bytes);
        assert_backup(&copy, count, want.clone());
        std::fs::remove_file(copy).unwrap();
    }
    let text = server.get("/db/backup?fmt=sql");
    assert_eq!(text.header("Content-Type"), Some("application/sql"));
    assert_eq!(decompressed("gzip", &server.get("/db/backup?fmt=sql&compress").body), text.body);
    let other = Server::memory();
    let load = other.post_bytes("/db/load", text.body);
    assert_eq!(load.results()[0].get("error"), None, "{}", load.text());
    assert_eq!(other.query("t", count), want);
    for target in ["/db/backup?vacuum&fmt=sql", "/db/backup?vacuum&fmt=delete"] {
        let response = server.get(target);
        assert_eq!((response.status, response.text().as_str()), (500, "invalid backup format\n"));
    }
    common::eventually("the copies are removed", || names(dir.path()) == ["t.db", "t.db-shm", "t.db-wal"]);
}

#[test]
fn copies_are_removed_when_their_clients_leave() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    let fill = format!("CREATE TABLE x AS SELECT randomblob(10000) AS v FROM ({})", rows_to(2000));
    assert_eq!(server.post_json("/db/execute", json!([fill])).results(), [json!({})]);
    for target in ["/db/backup", "/db/backup?compress", "/db/backup?fmt=sql", "/db/backup?vacuum"] {
        let mut client = server.client();
        client.write(&Request::new("GET", target).encode()).unwrap();
        common::eventually("a copy is made", || names(dir.path()).iter().any(|name| name.contains("-download-")));
        drop(client);
        common::eventually("the copy is removed", || names(dir.path()) == ["t.db", "t.db-shm", "t.db-wal"]);
    }
    server.assert_alive("t");
}

#[test]
fn a_database_in_memory_is_backed_up() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE x(v)");
    server.execute("t", "INSERT INTO x VALUES('a')");
    let dir = temp_dir();
    for (name, target) in [("a", "/db/backup"), ("b", "/db/backup?vacuum"), ("c", "/db/backup?fmt=delete")] {
        let copy = write(dir.path(), name, server.get(target).body);
        assert_backup(&copy, "SELECT v FROM x", json!([["a"]]));
    }
}

#[test]
fn an_empty_database_is_backed_up() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    assert_eq!(server.get("/db/backup").status, 200);
    assert_eq!(server.get("/db/backup?fmt=sql").text(), "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n");
}

#[test]
fn the_text_of_a_database_rebuilds_it() {
    let server = Server::memory();
    let steps = json!([
        "CREATE TABLE \"a \"\"b\"\"\"(\"c \"\"d\"\"\" TEXT, e REAL, g AS (e + 1))",
        "INSERT INTO \"a \"\"b\"\"\" VALUES('it''s', 1.5), (NULL, -9e999), (x'00ff', 0.1)",
        "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        "INSERT INTO w VALUES('b', 1), ('a', 2)",
        "CREATE TABLE r(v, n)",
        "INSERT INTO r(rowid, v, n) VALUES(1, 'z', 1), (2, 'a', 2)",
        "CREATE INDEX r_v ON r(v, n)",
        "CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO auto VALUES(41)",
        "DELETE FROM auto",
        "CREATE VIRTUAL TABLE f USING fts5(body)",
        "INSERT INTO f VALUES('quick brown fox')",
        "CREATE VIEW z AS SELECT v FROM r",
        "CREATE TRIGGER tr AFTER INSERT ON r BEGIN INSERT INTO w VALUES(new.v, 9); END",
        "ANALYZE"
    ]);
    let results = server.post_json("/db/execute", steps).results();
    assert!(results.iter().all(|result| result.get("error").is_none()), "{results:?}");
    let text = server.get("/db/backup?fmt=sql").text();
    assert!(text.contains("INSERT INTO \"r\" VALUES('z',1);\nINSERT INTO \"r\" VALUES('a',2);\n"), "{text}");
    let other = Server::memory();
    let load = other.post_bytes("/db/load", text.clone());
    assert_eq!(load.results()[0].get("error"), None, "{}\n{text}", load.text());
    for sql in [
        "SELECT *, typeof(\"c \"\"d\"\"\") FROM \"a \"\"b\"\"\"",
        "SELECT * FROM w",
        "SELECT * FROM r",
        "SELECT * FROM f WHERE f MATCH 'brown'",
        "SELECT * FROM sqlite_sequence",
        "SELECT * FROM sqlite_stat1",
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'f%' ORDER BY name",
    ] {
        let ask = |server: &Server| server.post_json("/db/query?blob_array", json!([sql])).text();
        assert_eq!(ask(&other), ask(&server), "{sql}");
    }
    let some = server.get("/db/backup?fmt=sql&tables=w,%20nope,").text();
    assert!(some.contains("CREATE TABLE w(") && !some.contains("CREATE TABLE r("), "{some}");
    assert!(!some.contains("CREATE INDEX r_v") && some.contains("CREATE VIEW z"), "{some}");
}

#[test]
fn a_script_is_loaded_whole_or_not_at_all() {
    let server = Server::memory();
    let load = |sql: &str| server.post_bytes("/db/load", sql);
    let response = load("BEGIN; CREATE TABLE x(v); INSERT INTO x VALUES(1), (2); COMMIT;");
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.results(), [json!({"last_insert_id": 2, "rows_affected": 2})]);
    let response = load("BEGIN; INSERT INTO x VALUES(3); INSERT INTO nope VALUES(1); COMMIT;");
    assert_eq!(response.results(), [json!({"error": "no such table: nope"})]);
    assert_eq!(server.query("t", "SELECT count(*) FROM x"), json!([[2]]));
    // A text that only resembles a database file is run as SQL.
    assert_eq!(load("SQLite format").results()[0]["error"], "near \"SQLite\": syntax error");
}

#[test]
fn a_database_file_replaces_everything_at_once() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE x(v)");
    let file = server.get("/db/backup").body;
    server.execute("t", "INSERT INTO x VALUES(1); CREATE TABLE y(v)");
    let response = server.post_bytes("/db/load", file.clone());
    assert_eq!((response.status, response.text()), (200, "{\"results\":[]}".to_owned()));
    assert_eq!(server.query("t", "SELECT (SELECT count(*) FROM x), count(*) FROM sqlite_schema"), json!([[0, 1]]));
    server.execute("t", "INSERT INTO x VALUES(1)");
    let mut damaged = file;
    let half = damaged.len() / 2;
    damaged[half..].fill(0x5a);
    let response = server.post_bytes("/db/load", damaged);
    assert_eq!(response.status, 500);
    assert_eq!(server.query("t", "SELECT count(*) FROM x"), json!([[1]]));
}
