//! Where this server differs from ws4sqlite on purpose: tests for the rows of `docs/differences.md` that are visible
//! over HTTP. (Differences in the forms of a transaction are in `first_steps.rs`, those at the start in
//! `differences_start.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Launch, Request, Server, temp_dir};
use serde_json::{Value, json};

/// A companion file that enforces foreign keys, which is off by default.
const FOREIGN_KEYS: &str = "scheduledTasks: [{atStartup: true, statements: [\"PRAGMA foreign_keys=ON\"]}]\n";

/// Runs items that must fail as a whole. Returns the status, the index of the item and the error.
fn refused(server: &Server, items: Value) -> (u16, i64, String) {
    let response = server.transaction("t", items.clone());
    assert!(response.status >= 400, "accepted: {items}");
    (response.status, response.json()["reqIdx"].as_i64().expect("reqIdx"), response.error())
}

fn values(server: &Server, sql: &str, values: Value) -> Value {
    let body = json!({"resultFormat": "list", "transaction": [{"query": sql, "values": values}]});
    server.post("t", body).results()[0]["resultSetList"].clone()
}

#[test]
fn sql_with_time_or_random_numbers_is_not_rewritten() {
    let server = Server::memory();
    server.execute(
        "t",
        "CREATE TABLE T(a, made TEXT DEFAULT CURRENT_TIMESTAMP, r INT DEFAULT (random()));
         CREATE VIEW V AS SELECT 'random()' AS text, random() AS number, datetime('now') AS time",
    );
    let sql = server.query("t", "SELECT sql FROM sqlite_master WHERE name = 'V'");
    assert!(sql[0][0].as_str().expect("text").contains("random() AS number, datetime('now') AS time"), "{sql}");
    assert_eq!(server.query("t", "SELECT text FROM V"), json!([["random()"]]));
    server.execute("t", "INSERT INTO T(a) VALUES(1),(2),(3)");
    assert_eq!(server.query("t", "SELECT count(DISTINCT r) FROM T"), json!([[3]]));
    assert_eq!(server.query("t", "SELECT count(*) FROM T WHERE made LIKE '____-__-__ __:__:__'"), json!([[3]]));
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let seconds = server.query("t", "SELECT CAST(strftime('%s','now') AS INT)")[0][0].as_u64().expect("seconds");
    assert!(seconds.abs_diff(now) < 60, "the time is {seconds} instead of {now}");
    assert_ne!(server.query("t", "SELECT random()"), server.query("t", "SELECT random()"));
    let blob = server.query("t", "SELECT typeof(randomblob(9)), length(randomblob(9))");
    assert_eq!(blob, json!([["blob", 9]]));
    let mut order = server.query("t", "SELECT a FROM T ORDER BY random()").as_array().expect("rows").clone();
    order.sort_by_key(|row| row[0].as_i64());
    assert_eq!(json!(order), json!([[1], [2], [3]]));
}

#[test]
fn one_request_sees_one_time() {
    let server = Server::memory();
    let slow = common::counting_to(300_000);
    let now = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS now";
    let results = server.transaction("t", json!([{ "query": now }, { "query": slow }, { "query": now }])).results();
    assert_eq!(results[0]["resultSet"], results[2]["resultSet"]);
}

#[test]
fn integers_survive_in_both_directions() {
    let server = Server::memory();
    for integer in [0, 1, -1, 9_007_199_254_740_993, i64::MAX, i64::MIN] {
        assert_eq!(values(&server, "SELECT ?, typeof(?1)", json!([integer])), json!([[integer, "integer"]]));
    }
    let body = r#"{"transaction": [{"query": "SELECT typeof(:a) a, typeof(:b) b, typeof(:c) c",
        "values": {"a": 9223372036854775808, "b": 1.0, "c": 1e3}}]}"#;
    let row = server.post("t", body).results()[0]["resultSet"][0].clone();
    assert_eq!(row, json!({"a": "real", "b": "real", "c": "real"}));
    server.execute("t", "CREATE TABLE T(v TEXT)");
    let insert = json!([{"statement": "INSERT INTO T VALUES(?)", "values": [1]}]);
    assert_eq!(server.transaction("t", insert).status, 200);
    assert_eq!(server.query("t", "SELECT v FROM T"), json!([["1"]]));
}

#[test]
fn any_parameter_name_that_sqlite_accepts_works_with_and_without_its_prefix() {
    let server = Server::memory();
    let sql = "SELECT :a, @b, $c, :_d, :1x, :ä, $e::f";
    let plain = json!({"a": 1, "b": 2, "c": 3, "_d": 4, "1x": 5, "ä": 6, "e::f": 7});
    assert_eq!(values(&server, sql, plain), json!([[1, 2, 3, 4, 5, 6, 7]]));
    let prefixed = json!({":a": 1, "@b": 2, "$c": 3, ":_d": 4, ":1x": 5, ":ä": 6, "$e::f": 7});
    assert_eq!(values(&server, sql, prefixed), json!([[1, 2, 3, 4, 5, 6, 7]]));
}

#[test]
fn transaction_control_is_refused_in_every_spelling() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a)");
    for (sql, keyword) in [
        ("BEGIN", "BEGIN"),
        ("begin immediate", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("  commit", "COMMIT"),
        ("/* c */ COMMIT", "COMMIT"),
        ("-- c\nCOMMIT", "COMMIT"),
        ("END", "COMMIT"),
        ("End Transaction", "COMMIT"),
        (";ROLLBACK", "ROLLBACK"),
        ("SAVEPOINT s", "SAVEPOINT"),
        ("RELEASE s", "RELEASE"),
        ("SELECT 1; COMMIT", "COMMIT"),
    ] {
        for kind in ["statement", "query"] {
            let items = json!([{ "statement": "INSERT INTO T VALUES(1)" }, { kind: sql }]);
            let (status, index, error) = refused(&server, items);
            assert_eq!((status, index), (400, 1), "{kind} {sql:?}: {error}");
            let named = error.contains(keyword) || (sql.to_uppercase().starts_with("END") && error.contains("END"));
            assert!(named && error.ends_with("is not allowed"), "{kind} {sql:?}: {error}");
        }
    }
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]), "a refused request left something behind");
    // This is not transaction control, although it begins with BEGIN.
    let (_, _, error) = refused(&server, json!([{ "query": "BEGINNING" }]));
    assert!(!error.contains("not allowed"), "{error}");
}

#[test]
fn a_script_that_brackets_itself_is_atomic_or_refused() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a UNIQUE)");
    server
        .transaction("t", json!([{ "statement": "BEGIN; INSERT INTO T VALUES(1); INSERT INTO T VALUES(1); COMMIT" }]));
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]));
    let sound = json!([{ "statement": "BEGIN; INSERT INTO T VALUES(1); INSERT INTO T VALUES(2); COMMIT" }]);
    let accepted = server.transaction("t", sound).status == 200;
    let rows = if accepted { 2 } else { 0 };
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[rows]]));
    server.execute("t", "INSERT INTO T VALUES(9)");
}

#[test]
fn a_failed_item_leaves_nothing_behind() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a UNIQUE); INSERT INTO T VALUES(1)");
    for item in [
        json!({"statement": "INSERT INTO T VALUES(?)", "valuesBatch": [[20], [1], [21]], "noFail": true}),
        json!({"statement": "INSERT INTO T VALUES(?)", "valuesBatch": [[20], 5, [21]], "noFail": true}),
        json!({"statement": "INSERT INTO T VALUES(40); INSERT INTO T VALUES(1)", "noFail": true}),
        json!({"statement": "INSERT INTO T VALUES(50); CREATE TABLE U(a); NONSENSE", "noFail": true}),
        json!({"query": "INSERT INTO T VALUES(60); SELECT nope", "noFail": true}),
    ] {
        let after = json!({"statement": "INSERT OR IGNORE INTO T VALUES(2)"});
        let results = server.transaction("t", json!([item.clone(), after])).results();
        assert_eq!((&results[0]["success"], &results[1]["success"]), (&json!(false), &json!(true)), "{item}");
        assert_eq!(server.query("t", "SELECT a FROM T ORDER BY a"), json!([[1], [2]]), "{item}");
        assert_eq!(server.query("t", "SELECT count(*) FROM sqlite_master WHERE name='U'"), json!([[0]]), "{item}");
    }
}

#[test]
fn a_rollback_of_the_whole_transaction_fails_the_whole_request() {
    let server = Server::memory();
    server.execute(
        "t",
        "CREATE TABLE T(a UNIQUE); INSERT INTO T VALUES(1); CREATE TABLE G(a);
         CREATE TRIGGER tr BEFORE INSERT ON G BEGIN SELECT RAISE(ROLLBACK, 'not this'); END",
    );
    for sql in ["INSERT OR ROLLBACK INTO T VALUES(1)", "INSERT INTO G VALUES(1)"] {
        let items = json!([
            {"statement": "INSERT INTO T VALUES(2)"},
            {"statement": sql, "noFail": true},
            {"statement": "INSERT INTO T VALUES(3)"}
        ]);
        let (status, index, error) = refused(&server, items);
        assert_eq!((status, index), (500, 1), "{sql}: {error}");
        assert_eq!(server.query("t", "SELECT a FROM T"), json!([[1]]), "{sql}");
    }
}

#[test]
fn a_commit_that_fails_is_reported_and_the_database_goes_on() {
    let server = Server::configured(FOREIGN_KEYS);
    server.execute(
        "t",
        "CREATE TABLE P(id INTEGER PRIMARY KEY);
         CREATE TABLE C(p INTEGER REFERENCES P(id) DEFERRABLE INITIALLY DEFERRED)",
    );
    let (status, index, error) = refused(&server, json!([{ "statement": "INSERT INTO C VALUES(7)" }]));
    assert_eq!((status, index), (500, -1));
    assert!(error.contains("FOREIGN KEY constraint failed"), "{error}");
    assert_eq!(server.query("t", "SELECT count(*) FROM C"), json!([[0]]));
    let repaired = json!([{"statement": "INSERT INTO C VALUES(7)"}, {"statement": "INSERT INTO P VALUES(7)"}]);
    assert_eq!(server.transaction("t", repaired).status, 200);
    assert_eq!(server.query("t", "SELECT count(*) FROM C"), json!([[1]]));
}

const FORBIDDEN: &[&str] = &[
    "ATTACH 'other.db' AS o",
    "/**/ attach database ':memory:' as o",
    "SELECT 1; ATTACH 'other.db' AS o",
    "DETACH main",
    "VACUUM INTO 'other.db'",
    " vacuum main into 'other.db'",
    "SELECT load_extension('x')",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA main.journal_mode = 'off'",
    "PRAGMA synchronous=OFF",
    "pragma /* c */ synchronous(0)",
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA page_size=512",
    "PRAGMA writable_schema=ON",
    "PRAGMA query_only=1",
    "SELECT 1; PRAGMA query_only=1",
];

#[test]
fn statements_that_reach_out_of_the_database_are_refused_in_every_spelling() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE T(a)");
    for sql in FORBIDDEN {
        for kind in ["statement", "query"] {
            let (status, index, _) = refused(&server, json!([{ "statement": "SELECT 1" }, { kind: sql }]));
            assert!(index == 1 && (400..=500).contains(&status), "{kind} {sql:?}: {status} at {index}");
        }
    }
    assert!(!dir.path().join("other.db").exists());
    assert_eq!(server.query("t", "PRAGMA journal_mode"), json!([["wal"]]));
    server.execute("t", "INSERT INTO T VALUES(1)");
    // PRAGMAs that read are allowed.
    assert_eq!(server.query("t", "SELECT name FROM pragma_table_info('T')"), json!([["a"]]));
}

#[test]
fn attach_can_be_allowed() {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).args(["--allow-attach", "--db", "t.db", "--db", "o.db"]).start();
    server.execute("o", "CREATE TABLE O(a); INSERT INTO O VALUES(5)");
    let items = json!([{ "statement": "ATTACH 'o.db' AS other" }, { "query": "SELECT a FROM other.O" }]);
    let response = server.transaction("t", items);
    assert_eq!(response.results()[1]["resultSet"], json!([{"a": 5}]), "{}", response.text());
    assert_eq!(refused(&server, json!([{ "query": "SELECT a FROM other.O" }])).0, 500, "it stays attached");
}

#[test]
fn read_only_cannot_be_undone_by_a_client() {
    let dir = temp_dir();
    Server::file(dir.path()).execute("t", "CREATE TABLE T(a)");
    common::write(dir.path(), "t.yaml", "readOnly: true\n");
    let server = Server::file(dir.path());
    server.transaction("t", json!([{ "statement": "PRAGMA query_only=0", "noFail": true }]));
    let (status, _, error) = refused(&server, json!([{ "statement": "INSERT INTO T VALUES(1)" }]));
    assert_eq!((status, error.as_str()), (500, "attempt to write a readonly database (8)"));
    assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]));
}

#[test]
fn temporary_state_of_one_request_does_not_leak_into_the_next() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a INTEGER PRIMARY KEY)");
    let items = json!([
        {"statement": "INSERT INTO T VALUES(77)"},
        {"statement": "CREATE TEMP TABLE tmp(a)"},
        {"statement": "INSERT INTO tmp VALUES(1),(2)"}
    ]);
    assert_eq!(server.transaction("t", items).status, 200);
    assert_eq!(server.query("t", "SELECT changes()"), json!([[0]]));
    let own = json!([{"statement": "INSERT INTO T VALUES(5)"}, {"query": "SELECT last_insert_rowid() AS id"}]);
    assert_eq!(server.transaction("t", own).results()[1]["resultSet"], json!([{"id": 5}]));
    // Neither the connection of the writer nor that of a reader has the table.
    let writing = json!([{"statement": "INSERT INTO T VALUES(6)"}, {"query": "SELECT * FROM tmp"}]);
    assert_eq!(refused(&server, writing).1, 1, "a temporary table leaked");
    assert_eq!(refused(&server, json!([{ "query": "SELECT * FROM tmp" }])).1, 0, "a temporary table leaked");
}

#[test]
fn infinity_is_a_number_that_reads_back_as_infinity() {
    let server = Server::memory();
    let sql = "SELECT 9e999 AS a, -9e999 AS b";
    let response = server.transaction("t", json!([{ "query": sql }]));
    assert!(response.text().ends_with(r#""resultSet":[{"a":9e999,"b":-9e999}]}]}"#), "{}", response.text());
    let response = server.post("t", json!({"resultFormat": "list", "transaction": [{ "query": sql }]}));
    assert!(response.text().ends_with(r#""resultSetList":[[9e999,-9e999]]}]}"#), "{}", response.text());
}

#[test]
fn text_is_not_escaped_for_html_and_invalid_utf8_is_replaced() {
    let server = Server::memory();
    let response = server.transaction("t", json!([{ "query": "SELECT '<a href=\"x\">&</a>' AS \"<&>\"" }]));
    assert!(response.text().contains(r#"[{"<&>":"<a href=\"x\">&</a>"}]"#), "{}", response.text());
    let rows = server.query("t", "SELECT CAST(x'41ff42' AS TEXT)");
    assert_eq!(rows, json!([["A\u{fffd}B"]]));
}

#[test]
fn reals_are_written_as_the_original_writes_them() {
    let server = Server::memory();
    let sql = "SELECT 1.0, 0.1, 1e20, 1e21, 1e-6, 1e-7, -0.0, 1.7976931348623157e308, 100.25";
    let response = server.post("t", json!({"resultFormat": "list", "transaction": [{ "query": sql }]}));
    let expected = "[[1,0.1,100000000000000000000,1e+21,0.000001,1e-7,-0,1.7976931348623157e+308,100.25]]";
    // Some versions of SQLite turn the literal -0.0 into 0.0, so either sign is accepted.
    let text = response.text();
    assert!(text.contains(expected) || text.contains(&expected.replace(",-0,", ",0,")), "{text}");
}

#[test]
fn a_json_body_needs_no_content_type() {
    let server = Server::memory();
    let body = json!({"transaction": [{"query": "SELECT 1 AS a"}]}).to_string();
    let response = server.send(&Request::new("POST", "/t").body(body.clone()));
    assert_eq!(response.results()[0]["resultSet"], json!([{"a": 1}]));
    // The default of curl.
    let curl = Request::new("POST", "/t").header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(server.send(&curl.body(body.clone())).results()[0]["resultSet"], json!([{"a": 1}]));
    let text = Request::new("POST", "/t").header("Content-Type", "text/plain").body(body);
    let response = server.send(&text);
    assert_eq!((response.status, response.error().as_str()), (400, "in parsing body: Unprocessable Entity"));
}

#[test]
fn options_never_executes_anything() {
    for yaml in ["corsOrigin: \"*\"\n", "{}\n"] {
        let server = Server::configured(yaml);
        server.execute("t", "CREATE TABLE T(a)");
        let insert = json!({"transaction": [{"statement": "INSERT INTO T VALUES(1)"}]}).to_string();
        let options = Request::new("OPTIONS", "/t").header("Content-Type", "application/json").body(insert);
        let response = server.send(&options);
        assert!([204, 405].contains(&response.status), "{yaml}: {}", response.status);
        assert_eq!(server.query("t", "SELECT count(*) FROM T"), json!([[0]]), "{yaml}");
    }
}

#[test]
fn rows_updated_is_what_the_statement_itself_changed() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE L(a); CREATE TABLE T(a)");
    server.execute("t", "CREATE TRIGGER tr AFTER INSERT ON T BEGIN INSERT INTO L VALUES(1),(2),(3); END");
    for (sql, rows) in [
        ("INSERT INTO T VALUES(1),(2),(3)", 3),
        ("CREATE TABLE U(a)", 0),
        ("CREATE TABLE X AS SELECT a FROM T", 0),
        ("INSERT INTO T SELECT 1 WHERE 0", 0),
        ("CREATE VIRTUAL TABLE F USING fts5(a)", 0),
        ("SELECT a FROM T", 0),
        ("PRAGMA user_version", 0),
        ("UPDATE T SET a = a WHERE 0", 0),
        ("INSERT INTO T VALUES(4),(5) RETURNING a", 2),
        ("UPDATE T SET a = a + 1 RETURNING a", 5),
        ("DROP TABLE U", 0),
        ("DELETE FROM T WHERE a > 4", 2),
        ("DELETE FROM T", 3),
    ] {
        assert_eq!(server.execute("t", sql), rows, "{sql}");
    }
}

#[test]
fn a_refused_login_names_its_realm() {
    let server = Server::configured("auth: {mode: HTTP, byCredentials: [{user: u, password: p}]}\n");
    let ask = Request::json("/t", json!({"transaction": [{"query": "SELECT 1"}]}));
    for request in [ask.clone(), ask.clone().basic("u:wrong")] {
        let response = server.send(&request);
        assert_eq!((response.status, response.text().as_str()), (401, "Unauthorized"));
        assert_eq!(response.header("WWW-Authenticate"), Some("Basic realm=\"t\""));
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(server.send(&ask.basic("u:p")).status, 200);
}
