//! Statements that run long delay only their own request, no write stops a node for good, and no statement reads or
//! changes the internal state of the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Client, Launch, Node, Request, Server, eventually, temp_dir};
use serde_json::{Value, json};

/// Far longer than an answer that is not delayed takes, and far shorter than the statements here run.
const PROMPT: Duration = Duration::from_secs(5);

/// Statements that run long inside one opcode or one function, where SQLite does not call its progress handler.
const BUSY_INSIDE: &[&str] = &[
    "SELECT sum(instr(hex(zeroblob(16000000)), hex(zeroblob(1600000)) || x)) FROM (WITH RECURSIVE c(x) AS \
     (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c)",
    "SELECT sum(hex(zeroblob(30000000 + x)) LIKE '%00000000000001') FROM (WITH RECURSIVE c(x) AS \
     (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c)",
    "SELECT sum(length(replace(hex(zeroblob(16000000)), '00', x))) FROM (WITH RECURSIVE c(x) AS \
     (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c)",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
];

const ENDLESS: &str =
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

/// Sends requests that run until their time limit, and asserts that others are answered meanwhile.
fn assert_others_are_answered(server: &Server, target: &str, probe: &Request) {
    let mut busy: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for (client, sql) in busy.iter_mut().zip(BUSY_INSIDE.iter().cycle()) {
        client.write(&Request::json(target, json!([sql])).encode()).unwrap();
    }
    for _ in 0..50 {
        let started = Instant::now();
        let answer = server.send(probe);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    }
    for client in &mut busy {
        client.set_patience(Duration::from_secs(60));
        let answer = client.receive(false).unwrap();
        assert!(answer.text().contains("timeout"), "{}", answer.text());
    }
}

fn node() -> (tempfile::TempDir, Node, Server) {
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data"));
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    (dir, node, server)
}

fn execute(server: &Server, target: &str, sql: &str) -> Value {
    let mut client = server.client();
    client.set_patience(Duration::from_secs(120));
    client.send(&Request::json(target, json!([sql]))).unwrap().json()
}

#[test]
fn busy_reads_do_not_delay_others_on_a_node() {
    let (_dir, _node, server) = node();
    let probe = Request::json("/db/query", json!(["SELECT count(*) FROM t"]));
    assert_others_are_answered(&server, "/db/query?db_timeout=3s", &probe);
}

#[test]
fn busy_reads_do_not_delay_others_on_the_standalone_server() {
    let server = Launch::new().args(["--mem-db", "mem", "-query-timeout", "20s"]).start();
    let probe = Request::json("/mem/db/query", json!(["SELECT 1"]));
    assert_others_are_answered(&server, "/mem/db/query?db_timeout=3s", &probe);
}

#[test]
fn an_endless_write_ends_with_its_time_limit_and_the_node_goes_on() {
    let (_dir, node, server) = node();
    let answer = execute(&server, "/db/execute?db_timeout=1s", ENDLESS);
    // On a busy machine the steps of the write may take longer than the caller waits.
    let unknown = answer["error"].as_str().is_some_and(|error| error.contains("outcome is unknown"));
    assert!(unknown || answer["results"] == json!([{"error": "execute timeout"}]), "{answer}");
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    server.crash();
    let server = node.start();
    assert_eq!(server.db_query("SELECT a FROM t"), json!([[7]]));
}

#[test]
fn a_write_that_fills_memory_ends_and_the_node_goes_on() {
    let (_dir, node, server) = node();
    let huge = "INSERT INTO t SELECT length(max(zeroblob(900000000), zeroblob(900000001)))";
    let answer = execute(&server, "/db/execute", huge);
    let error = answer["results"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("string or blob too big") && error.contains("-max-value-bytes"), "{answer}");
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    server.crash();
    assert_eq!(node.start().db_query("SELECT a FROM t"), json!([[7]]));
}

/// The client stays connected and has set no time limit.
#[test]
fn a_running_read_does_not_delay_the_end_of_the_process() {
    let (_dir, _node, server) = node();
    let standalone = Launch::new().with_metrics().args(["--mem-db", "mem"]).start();
    for (server, target) in [(server, "/db/query"), (standalone, "/mem/db/query")] {
        let _client = server.begin(&Request::json(target, json!([common::ENDLESS])));
        server.await_requests_in_flight(1);
        let started = Instant::now();
        assert_eq!(server.stop().code, Some(0));
        assert!(started.elapsed() < 3 * PROMPT, "{:?}", started.elapsed());
    }
}

/// The statement makes a thousand passes over a text of the client, between which SQLite does not check for an
/// interrupt.
#[test]
fn a_statement_with_much_work_on_a_long_value_is_refused_at_once() {
    let (_dir, node, server) = node();
    let standalone = Launch::new().args(["--mem-db", "mem"]).start();
    execute(&standalone, "/mem/db/execute", "CREATE TABLE t(a)");
    let sums: Vec<_> = (0..1000).map(|i| format!("(v + {i})")).collect();
    let select = |bytes| format!("SELECT max({}) FROM (SELECT hex(zeroblob({bytes})) AS v)", sums.join(", "));
    let started = Instant::now();
    for (server, prefix) in [(&server, ""), (&standalone, "/mem")] {
        for (target, begin) in [("/db/query", ""), ("/db/execute", "INSERT INTO t ")] {
            let target = format!("{prefix}{target}");
            let answer = execute(server, &target, &format!("{begin}{}", select(30_000_000)));
            let error = answer["results"][0]["error"].as_str().unwrap_or_default();
            assert!(error.contains("string or blob too big"), "{answer}");
            let answer = execute(server, &target, &format!("{begin}{}", select(30_000)));
            assert!(answer["results"][0]["error"].is_null(), "{answer}");
        }
    }
    assert!(started.elapsed() < 4 * PROMPT, "{:?}", started.elapsed());
    server.crash();
    assert_eq!(node.start().db_query("SELECT a FROM t"), json!([[999]]));
}

/// Each trigger fires the next one twice: 2^30 rows without a loop.
#[test]
fn triggers_that_fire_each_other_end_with_the_time_limit() {
    let (_dir, node, server) = node();
    let standalone = Launch::new().args(["--mem-db", "mem", "-write-timeout", "1s"]).start();
    let tables = (0..=30).map(|i| format!("CREATE TABLE chain{i}(a)"));
    let triggers = (0..30).map(|i| {
        let next = format!("INSERT INTO chain{} VALUES (new.a);", i + 1);
        format!("CREATE TRIGGER fires{i} AFTER INSERT ON chain{i} BEGIN {next} {next} END")
    });
    let schema = tables.chain(triggers).collect::<Vec<_>>().join(";");
    for (server, prefix) in [(&server, ""), (&standalone, "/mem")] {
        execute(server, &format!("{prefix}/db/execute"), &schema);
        let answer = execute(server, &format!("{prefix}/db/execute?db_timeout=1s"), "INSERT INTO chain0 VALUES (1)");
        let error = answer["error"].as_str().or_else(|| answer["results"][0]["error"].as_str()).unwrap_or_default();
        assert!(error.contains("timeout") || error.contains("outcome is unknown"), "{answer}");
        let answer = execute(server, &format!("{prefix}/db/execute"), "INSERT INTO chain25 VALUES (1)");
        assert!(answer["results"][0]["error"].is_null(), "{answer}");
        let count = "SELECT (SELECT count(*) FROM chain0), (SELECT count(*) FROM chain30)";
        let answer = execute(server, &format!("{prefix}/db/query"), count);
        assert_eq!(answer["results"][0]["values"], json!([[0, 32]]), "{answer}");
    }
    server.crash();
    assert_eq!(node.start().db_query("SELECT count(*) FROM chain30"), json!([[32]]));
}

/// Statements on the damaged table fail; others succeed, also after a restart.
#[test]
fn a_damaged_page_fails_only_the_statements_that_read_it() {
    let (dir, node, server) = node();
    let fill = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2000) \
                INSERT INTO bad SELECT x, hex(randomblob(100)) FROM c";
    server.db_execute(json!(["CREATE TABLE bad(id INTEGER PRIMARY KEY, v)", fill]));
    let root = server.db_query("SELECT rootpage FROM sqlite_schema WHERE name = 'bad'")[0][0].as_u64().unwrap();
    assert_eq!(server.stop().code, Some(0));
    let path = dir.path().join("data").join("db.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = (root as usize - 1) * 4096;
    bytes[start..start + 64].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();

    let server = node.start();
    let answer = execute(&server, "/db/execute", "INSERT INTO bad VALUES(5000, 'x')");
    let error = answer["results"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("malformed"), "{answer}");
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    server.crash();
    let server = node.start();
    server.db_execute(json!(["INSERT INTO t VALUES(8)"]));
    assert_eq!(server.db_query("SELECT a FROM t"), json!([[7], [8]]));
}

#[test]
fn no_client_sees_statements_of_others_or_the_path_of_the_file() {
    let (_dir, _node, server) = node();
    server.db_execute(json!(["INSERT INTO t VALUES('hunter2-secret')"]));
    for sql in ["SELECT sql FROM sqlite_stmt", "SELECT * FROM bytecode('SELECT 1')"] {
        let answer = execute(&server, "/db/query", sql);
        assert!(answer["results"][0]["error"].is_string(), "{sql}: {answer}");
    }
    assert_eq!(server.db_query("PRAGMA database_list"), json!([[0, "main", ""]]));
    let paths = server.db_query("SELECT name, file FROM pragma_database_list");
    assert_eq!(paths, json!([["main", null]]));
    for table in ["pragma_database_list", "pragma_page_count", "dbstat"] {
        let answer = execute(&server, "/db/execute", &format!("INSERT INTO t SELECT count(*) FROM {table}"));
        assert!(answer["results"][0]["error"].is_string(), "{table}: {answer}");
    }
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[1]]));
}

/// No statement of a client can name the table in which a node records the entries it has applied.
#[test]
fn the_table_of_progress_is_protected_and_hidden() {
    let (_dir, _node, server) = node();
    server.db_execute(json!(["DROP TABLE t"]));
    for sql in [
        "CREATE TABLE c(p REFERENCES sqlite_sqlhttp(id) ON DELETE CASCADE)",
        "CREATE TABLE c(p, FOREIGN KEY(p) REFERENCES \"SQLITE_sqlhttp\"(id))",
        "CREATE VIEW v AS SELECT * FROM sqlite_sqlhttp",
        "CREATE VIRTUAL TABLE f USING fts5(membership, content=sqlite_sqlhttp)",
        "CREATE VIRTUAL TABLE f USING fts5(membership, content='sqlite_sqlhttp')",
        "CREATE INDEX i ON sqlite_sqlhttp(term)",
        "CREATE TRIGGER tr AFTER UPDATE ON sqlite_sqlhttp BEGIN SELECT 1; END",
        "ALTER TABLE sqlite_sqlhttp ADD COLUMN x",
        "ALTER TABLE sqlite_sqlhttp RENAME TO x",
        "DELETE FROM sqlite_sqlhttp",
        "UPDATE main.sqlite_sqlhttp SET term = 9",
        "INSERT INTO [sqlite_sqlhttp](id) VALUES(2)",
        "CREATE TABLE copy AS SELECT * FROM sqlite_sqlhttp",
        "SELECT * FROM sqlite_sqlhttp",
        "ANALYZE sqlite_sqlhttp",
    ] {
        let answer = execute(&server, "/db/execute", sql);
        let error = answer["results"][0]["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() || sql.starts_with("ANALYZE"), "{sql}: {answer}");
    }
    server.db_execute(json!(["DROP TABLE sqlite_sqlhttp", "CREATE TABLE mine(a)", "INSERT INTO mine VALUES(1)"]));
    for sql in [
        "SELECT name FROM sqlite_master",
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
        "SELECT tbl_name FROM main.sqlite_master",
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_schema'",
    ] {
        assert_eq!(server.db_query(sql), json!([["mine"]]), "{sql}");
    }
    assert!(!server.db_query("PRAGMA table_list").to_string().contains("sqlhttp"));
    assert!(!server.db_query("SELECT * FROM sqlite_master").to_string().contains("sqlhttp"));
}

/// LIMIT, aggregates, subqueries and joins over the schema read the tables of the user only.
#[test]
fn the_schema_is_read_without_the_table_of_progress() {
    let (_dir, _node, server) = node();
    let seen = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    server.db_execute(json!(["DROP TABLE t"]));
    for (sql, expected) in [
        ("SELECT count(*) FROM sqlite_master", json!([[0]])),
        ("SELECT EXISTS(SELECT 1 FROM main.sqlite_schema)", json!([[0]])),
        (seen, json!([])),
    ] {
        assert_eq!(server.db_query(sql), expected, "{sql}");
    }
    server.db_execute(json!(["CREATE TABLE users(name)", "CREATE TABLE posts(b)", "CREATE TABLE lm(name)"]));
    server.db_execute(json!(["INSERT INTO users VALUES('sqlite_sqlhttp'), ('x')"]));
    server.db_execute(json!(["INSERT INTO lm SELECT name FROM sqlite_master"]));
    for (sql, expected) in [
        ("SELECT name FROM sqlite_master WHERE type='table' LIMIT 1", json!([["users"]])),
        ("SELECT name FROM main.sqlite_master LIMIT 2 OFFSET 2", json!([["lm"]])),
        ("SELECT (SELECT name FROM sqlite_master LIMIT 1)", json!([["users"]])),
        ("SELECT group_concat(name) FROM \"main\".[sqlite_schema]", json!([["users,posts,lm"]])),
        ("SELECT count(*) FROM pragma_table_list WHERE name LIKE '%sqlhttp'", json!([[0]])),
        ("SELECT u.name FROM users u LEFT JOIN sqlite_master m ON m.name = u.name", json!([["sqlite_sqlhttp"], ["x"]])),
        ("WITH a AS (SELECT 1) SELECT count(*) FROM a, sqlite_master", json!([[3]])),
        ("SELECT rowid > 0 FROM sqlite_master WHERE name = 'lm'", json!([[1]])),
        ("SELECT name FROM lm", json!([["users"], ["posts"], ["lm"]])),
    ] {
        assert_eq!(server.db_query(sql), expected, "{sql}");
    }
    let error = execute(&server, "/db/query", "SELECT nope FROM sqlite_master");
    assert_eq!(error["results"], json!([{"error": "no such column: nope"}]));
}

#[test]
fn an_entry_can_be_skipped() {
    let (dir, node, server) = node();
    server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
    server.db_execute(json!(["INSERT INTO t VALUES(2)"]));
    let index = server.applied_index();
    server.db_execute(json!(["INSERT INTO t VALUES(3)"]));
    server.crash();
    let data = dir.path().join("data");
    // Without its database the node applies the whole log.
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    let skip = |digest: &str| {
        std::fs::write(data.join("raft/skip.json"), json!({"index": index, "digest": digest}).to_string()).unwrap();
    };
    skip("00000000");
    let exit = node.spawn_server().wait();
    let line =
        exit.stderr.iter().find(|line| line.contains("but its digest is")).unwrap_or_else(|| panic!("{exit:#?}"));
    let digest = line.split("but its digest is ").nth(1).unwrap()[..8].to_owned();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    skip(&digest);
    let server = node.start();
    assert_eq!(server.db_query("SELECT a FROM t"), json!([[1], [3]]));
    server.wait_stderr("is passed over");
}

/// A node that cannot go on exits, so that a supervisor can restart it.
#[test]
fn a_node_without_its_files_ends_with_a_message() {
    let (dir, _node, server) = node();
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    eventually("the process ends", || server.has_ended());
    let exit = server.wait();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.stderr.iter().any(|line| line.contains("was removed or renamed")), "{exit:#?}");
}

/// Runs far longer than a caller waits here, until a limit of the request or of the server.
const LONG: &str = "INSERT INTO t SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
                    SELECT x FROM c)";

#[test]
fn a_queued_write_ends_with_its_time_limit() {
    let (_dir, _node, server) = node();
    let answer = execute(&server, "/db/execute?queue&db_timeout=500ms", ENDLESS);
    assert!(answer["sequence_number"].is_i64() || answer["error"].is_string(), "{answer}");
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    assert_eq!(server.db_query("SELECT a FROM t"), json!([[7]]));
}

#[test]
fn a_load_ends_with_its_time_limit() {
    let (_dir, _node, server) = node();
    let mut client = server.client();
    client.set_patience(Duration::from_secs(120));
    let load = Request::new("POST", "/db/load?db_timeout=500ms").header("Content-Type", "text/plain").body(ENDLESS);
    let answer = client.send(&load).unwrap();
    assert!(answer.text().contains("timeout") || answer.text().contains("outcome is unknown"), "{}", answer.text());
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    assert_eq!(server.db_query("SELECT a FROM t"), json!([[7]]));
}

#[test]
fn the_limit_of_steps_is_a_flag() {
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data")).flags(["-write-steps-max", "1000000"]);
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let answer = execute(&server, "/db/execute", ENDLESS);
    assert_eq!(answer["results"], json!([{"error": "execute timeout"}]), "{answer}");
}

/// Begins a long write, and asserts that a write behind it is answered at its timeout. Returns that answer.
///
/// A write that joins the group of the long one is answered with the group, so several attempts are made.
fn answer_behind_a_long_write(server: &Server, long: &str, behind: &str) -> common::Response {
    for _ in 0..4 {
        let mut busy = server.client();
        busy.write(&Request::json(long, json!([LONG])).encode()).unwrap();
        let mut answer = None;
        eventually("a write waits or joins the long one", || {
            let started = Instant::now();
            let mut client = server.client();
            client.set_patience(Duration::from_secs(60));
            let got = client.send(&Request::json(behind, json!(["INSERT INTO t VALUES(1)"]))).unwrap();
            let joined = started.elapsed() >= PROMPT;
            // A write that is not executed shows that the long write has begun.
            let waited = !got.text().contains("rows_affected");
            answer = Some(got).filter(|_| !joined);
            joined || waited
        });
        if let Some(answer) = answer {
            return answer;
        }
    }
    panic!("no write behind a long one is answered in time");
}

#[test]
fn a_write_behind_a_long_one_is_answered_when_its_timeout_is_up_on_a_node() {
    let (_dir, _node, server) = node();
    let answer = answer_behind_a_long_write(&server, "/db/execute?db_timeout=20s", "/db/execute?timeout=1s");
    let text = answer.text();
    assert!(text.contains("outcome is unknown") || answer.status == 503, "{text}");
}

#[test]
fn a_write_behind_a_long_one_is_answered_when_its_timeout_is_up_on_the_standalone_server() {
    let server = Launch::new().args(["--mem-db", "mem", "-write-timeout", "20s"]).start();
    server.send(&Request::json("/mem/db/execute", json!(["CREATE TABLE t(a)"])));
    let answer = answer_behind_a_long_write(&server, "/mem/db/execute", "/mem/db/execute?timeout=1s");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("longer than its timeout"), "{}", answer.text());
}

#[test]
fn an_endless_write_ends_by_itself_on_the_standalone_server() {
    let server = Launch::new().args(["--mem-db", "mem", "-write-timeout", "1s"]).start();
    let send = |sql: &str| server.send(&Request::json("/mem", json!({"transaction": [{"statement": sql}]})));
    assert_eq!(send("CREATE TABLE t(a)").status, 200);
    let answer = send(ENDLESS);
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(send("INSERT INTO t VALUES(7)").status, 200);
}
