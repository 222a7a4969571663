//! The API of a node beyond the recorded conversations: its own endpoints, the order of checks, levels of reads,
//! ws4sqlite's protocol, and the effects of flags. Whole databases are in `cluster_data.rs`, users and HTTPS in
//! `cluster_security.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;

use serde_json::{Value, json};

use common::{Launch, Request, Response, Server, eventually, temp_dir};

fn method(server: &Server, method: &str, target: &str) -> Response {
    server.send(&Request::new(method, target))
}

fn assert_text(response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, text));
}

#[test]
fn a_snapshot_without_new_entries_is_not_taken() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]));
    let index = server.applied_index();
    assert_text(&method(&server, "POST", "/snapshot?trailing_logs=1"), 200, "");
    let status = |key: &str| server.get(&format!("/status?key=store.raft.{key}")).json().as_u64().unwrap();
    assert!(status("last_snapshot_index") >= index);
    assert_text(&method(&server, "POST", "/snapshot"), 204, "");
    server.db_query("SELECT * FROM t");
    assert_text(&method(&server, "POST", "/snapshot"), 204, "");
    server.db_execute(json!(["INSERT INTO t VALUES(2)"]));
    assert_text(&method(&server, "POST", "/snapshot"), 200, "");
    assert_text(&method(&server, "POST", "/snapshot?trailing_logs=x"), 400, "trailing_logs is not a valid integer\n");
    let reap = method(&server, "POST", "/reap");
    assert_eq!((reap.status, reap.header("Content-Type")), (200, Some("application/json; charset=utf-8")));
    let keys: Vec<String> = reap.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["snapshots_reaped", "wals_checkpointed"]);
    assert!(reap.text().ends_with("}\n"));
    let snapshots = server.get("/debug/vars?key=http").json()["http"]["user_snapshots"].as_u64();
    assert_eq!(snapshots, Some(4), "each valid request counts");
}

#[test]
fn snapshots_are_taken_automatically_and_truncate_the_log() {
    let server = Server::node(&["-raft-snap", "16", "-raft-snap-int", "50ms"]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    for i in 0..40 {
        server.db_execute(json!([format!("INSERT INTO t VALUES({i})")]));
    }
    eventually("a snapshot is taken", || {
        server.get("/status?key=store.raft.last_snapshot_index").json().as_u64().unwrap() > 16
    });
    eventually("the log is cut", || server.metric("sqlhttp_raft_first_index") > 1.0);
}

#[test]
fn nodes_and_leader_describe_the_only_node() {
    let server = Server::node(&[]);
    let address = format!("127.0.0.1:{}", server.raft_port().unwrap());
    let api = format!("http://127.0.0.1:{}", server.port());
    let nodes = server.get("/nodes").json();
    let node = &nodes["n1"];
    assert_eq!((&node["id"], &node["addr"], &node["api_addr"]), (&json!("n1"), &json!(address), &json!(api)));
    assert_eq!((&node["voter"], &node["reachable"], &node["leader"]), (&json!(true), &json!(true), &json!(true)));
    assert!(node["version"].is_string() && node.get("error").is_none());
    let known = ["id", "api_addr", "addr", "version", "voter", "reachable", "leader", "time", "time_s"];
    assert!(node.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{node}");
    let list = server.get("/nodes?ver=2&nonvoters&timeout=5s&retries=1").json();
    assert_eq!(list["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(list["nodes"][0]["id"], "n1");
    assert!(server.get("/nodes?pretty").text().starts_with("{\n    \"n1\": {\n        \"id\": \"n1\""));
    let leader = server.get("/leader").json();
    assert_eq!((&leader["id"], &leader["leader"]), (&json!("n1"), &json!(true)));
    assert_text(&server.get("/nodes?timeout=5"), 400, "timeout is not a valid duration\n");
}

#[test]
fn the_only_node_can_neither_be_removed_nor_step_down() {
    let server = Server::node(&[]);
    let stepped_down = method(&server, "POST", "/leader");
    assert_text(&stepped_down, 200, "");
    assert_eq!(stepped_down.header("Content-Type"), Some("application/json; charset=utf-8"));
    assert_text(&method(&server, "POST", "/leader?wait"), 500, "stepdown: cannot find peer\n");
    let target = |body: &str| server.send(&Request::json("/leader?wait", body));
    assert_text(&target("{\"id\":\"n1\"}"), 500, "stepdown: cannot step down to the current Leader\n");
    assert_text(&target("{\"id\":\"n9\"}"), 500, "stepdown: node not found in cluster\n");
    let malformed = target("{\"id\"");
    assert_eq!(malformed.status, 400);
    assert!(malformed.text().starts_with("invalid JSON: "), "{}", malformed.text());
    let remove = |body: &str| server.send(&Request::new("DELETE", "/remove").body(body));
    assert_text(&remove("{\"id\":\"nobody\"}"), 200, "");
    assert_text(&remove("{\"id\":\"\"}"), 200, "");
    assert_text(&remove("{\"id\":1}"), 400, "");
    assert_text(&remove(""), 400, "");
    let last = remove("{\"id\":\"n1\"}");
    assert_eq!(last.status, 500);
    assert!(last.text().contains("need at least one voter in configuration"), "{}", last.text());
    server.db_execute(json!(["CREATE TABLE t(a)"]));
}

#[test]
fn licenses_are_served_and_unknown_paths_are_not_found() {
    let server = Server::node(&[]);
    let licenses = server.get("/licenses");
    assert_eq!((licenses.status, licenses.header("Content-Type")), (200, Some("text/plain; charset=utf-8")));
    assert!(licenses.text().contains("MIT License"));
    for target in ["/nope", "/leader/x", "/DB/query", "//db/query", "/db/queryfoo", "/join", "/notify"] {
        let response = server.get(target);
        assert_text(&response, 404, "");
        assert_eq!(response.header("Content-Type"), None, "{target}");
    }
}

#[test]
fn options_and_parameters_are_checked_before_paths_and_methods() {
    let server = Server::node(&["-http-allow-origin", "https://example.com"]);
    for target in ["/db/query", "/nope", "/status?timeout=x", "/boot"] {
        let response = method(&server, "OPTIONS", target);
        assert_text(&response, 200, "");
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://example.com"));
        assert_eq!(response.header("Access-Control-Allow-Methods"), Some("OPTIONS, GET, POST"));
        assert_eq!(response.header("Access-Control-Allow-Headers"), Some("Content-Type"));
        assert!(response.header("X-Rqlite-Version").is_some());
    }
    assert_text(&server.get("/nope?timeout=x"), 400, "timeout is not a valid duration\n");
    for (name, target) in [
        ("GET", "/db/execute"),
        ("PUT", "/db/query"),
        ("GET", "/db/request"),
        ("POST", "/db/backup"),
        ("GET", "/db/load"),
        ("GET", "/boot"),
        ("GET", "/snapshot"),
        ("GET", "/reap"),
        ("POST", "/remove"),
        ("POST", "/status"),
        ("POST", "/nodes"),
        ("DELETE", "/leader"),
        ("POST", "/readyz"),
        ("POST", "/licenses"),
    ] {
        let response = method(&server, name, target);
        assert_text(&response, 405, "");
        assert_eq!(response.header("Allow"), None);
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://example.com"), "{name} {target}");
    }
    for target in ["/readyz", "/status", "/nodes"] {
        let head = method(&server, "HEAD", target);
        assert_text(&head, 200, "");
        assert_eq!(head.header("Content-Type"), server.get(target).header("Content-Type"), "{target}");
    }
}

#[test]
fn every_read_level_is_accepted() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]));
    for path in ["/db/query", "/db/request"] {
        for level in ["none", "weak", "strong", "linearizable", "auto", "STRONG", "", "nonsense"] {
            let target = format!("{path}?level={level}&raft_index");
            let response = server.post_json(&target, json!(["SELECT a FROM t"]));
            assert_eq!(response.results()[0]["values"], json!([[1]]), "{target}");
            let index = response.json().get("raft_index").and_then(Value::as_u64);
            if level.eq_ignore_ascii_case("strong") {
                assert!(index.is_some(), "{target}: {}", response.text());
            }
            if ["none", "weak"].contains(&level) {
                assert_eq!(index, None, "{target}");
            }
        }
    }
    let write = |statement: &str| {
        let response = server.post_json("/db/execute?raft_index", json!([statement]));
        response.json()["raft_index"].as_u64().unwrap_or_else(|| panic!("{}", response.text()))
    };
    let first = write("INSERT INTO t VALUES(2)");
    assert!(write("INSERT INTO t VALUES(3)") > first);
    let target = "/db/query?level=none&freshness=1ns&freshness_strict";
    assert_eq!(server.db_query_at(target, "SELECT count(*) FROM t"), json!([[3]]), "the leader is never stale");
}

#[test]
fn metrics() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let text = server.get("/metrics").text();
    for part in ["sync_duration_seconds_bucket", "apply_duration_seconds_bucket", "log_size_bytes", "wal", "queue"] {
        assert!(text.lines().any(|line| !line.starts_with('#') && line.contains(part)), "no {part} in {text}");
    }
    assert!(server.metric("sqlhttp_raft_log_size_bytes") > 0.0);
    let before = server.metric("sqlhttp_raft_entries_total");
    server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
    assert!(server.metric("sqlhttp_raft_entries_total") > before);
    let syncs: Vec<&str> = text.lines().filter(|line| line.contains("raft_sync_duration_seconds_count")).collect();
    assert_eq!(syncs.len(), 1);
    assert!(!syncs[0].ends_with(" 0"), "{syncs:?}");
}

#[test]
fn ws4sqlites_protocol_is_answered_as_by_the_standalone_server() {
    let node = Server::node(&[]);
    let dir = temp_dir();
    let standalone = Launch::new().dir(dir.path()).args(["--db", "main.db"]).start();
    for body in [
        json!({"transaction": [{"statement": "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)"}]}),
        json!({"transaction": [{"statement": "INSERT INTO t VALUES(:id, :v)", "values": {"id": 1, "v": "one"}}]}),
        json!({"transaction": [{"statement": "INSERT INTO t VALUES(?, ?)", "valuesBatch": [[2, "two"], [3, null]]}]}),
        json!({"transaction": [{"query": "SELECT * FROM t"}, {"statement": "DELETE FROM t WHERE id = 3"}]}),
        json!({"resultFormat": "list", "transaction": [{"query": "SELECT id, v, 1.0, x'00' FROM t"}]}),
        json!({"transaction": [{"statement": "INSERT INTO t VALUES(4, 'x')"}, {"query": "SELECT nope"}]}),
        json!({"transaction": [{"statement": "INSERT INTO t VALUES(1, 'x')", "noFail": true}, {"query": "SELECT 1"}]}),
        json!({"transaction": [{"query": "SELECT count(*) AS n FROM t"}]}),
        json!({"transaction": []}),
        json!({"nonsense": 1}),
        json!([]),
    ] {
        let (a, b) = (node.post("main", &body), standalone.post("main", &body));
        assert_eq!((a.status, a.text()), (b.status, b.text()), "{body}");
        assert_eq!(a.header("Content-Type"), b.header("Content-Type"), "{body}");
    }
    assert_eq!(
        node.db_query("SELECT id, v FROM t"),
        json!([[1, "one"], [2, "two"]]),
        "both protocols read one database"
    );
    assert_eq!(node.post("other", json!({"transaction": [{"query": "SELECT 1"}]})).status, 404);
    let named = Server::node(&["-db-name", "orders"]);
    assert_eq!(named.query("orders", "SELECT 1"), json!([[1]]));
    assert_eq!(named.post("main", json!({"transaction": [{"query": "SELECT 1"}]})).status, 404);
}

#[test]
fn clients_can_neither_read_nor_change_the_table_of_progress() {
    let server = Server::node(&[]);
    let statements = [
        "SELECT * FROM sqlite_sqlhttp",
        "SELECT * FROM main.\"SQLITE_SQLHTTP\"",
        "INSERT INTO sqlite_sqlhttp(id) VALUES(7)",
        "UPDATE sqlite_sqlhttp SET position = 0",
        "DELETE FROM sqlite_sqlhttp",
        "ALTER TABLE sqlite_sqlhttp RENAME TO x",
        "CREATE INDEX i ON sqlite_sqlhttp(id)",
        "CREATE TRIGGER g AFTER UPDATE ON sqlite_sqlhttp BEGIN SELECT 1; END",
        "CREATE TABLE c AS SELECT * FROM sqlite_sqlhttp",
    ];
    for target in ["/db/query", "/db/execute", "/db/request", "/db/query?level=strong"] {
        for statement in statements {
            let response = server.post_json(target, json!([statement]));
            assert!(response.text().contains("\"error\""), "{target} {statement}: {}", response.text());
        }
    }
    for statement in statements {
        assert_ne!(server.transaction("main", json!([{ "statement": statement }])).status, 200, "{statement}");
    }
    // A view of the table can be created, but not read.
    server.post_json("/db/execute", json!(["CREATE VIEW v AS SELECT * FROM sqlite_sqlhttp"]));
    assert!(server.post_json("/db/query", json!(["SELECT * FROM v"])).text().contains("\"error\""));
    assert!(!server.get("/db/backup?fmt=sql").text().contains("INSERT INTO \"sqlite_sqlhttp\""));
    server.db_execute(json!(["CREATE TABLE t(a)"]));
}

#[test]
fn concurrent_writes_run_once_and_in_the_order_of_the_log() {
    let server = Server::node(&[]);
    server.db_execute(json!([
        "CREATE TABLE t(id INTEGER PRIMARY KEY, w)",
        "CREATE TABLE n(n)",
        "INSERT INTO n VALUES(0)"
    ]));
    let indexes: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|w| {
                let mut client = server.client();
                scope.spawn(move || {
                    let mut indexes = Vec::new();
                    for i in 1..=50 {
                        let id = w * 1000 + i;
                        let body = json!([format!("INSERT INTO t VALUES({id}, {w})"), "UPDATE n SET n = n + 1"]);
                        let response = client.send(&Request::json("/db/execute?transaction&raft_index", body)).unwrap();
                        assert_eq!(response.results()[0], json!({"last_insert_id": id, "rows_affected": 1}));
                        indexes.push(response.json()["raft_index"].as_u64().unwrap());
                        let query = format!("SELECT w FROM t WHERE id = {id}");
                        let read = client.send(&Request::json("/db/query", json!([query]))).unwrap();
                        assert_eq!(read.results()[0]["values"], json!([[w]]), "a client reads its own writes");
                    }
                    assert!(indexes.is_sorted(), "a later write has a larger index");
                    indexes
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.db_query("SELECT count(*), (SELECT n FROM n) FROM t"), json!([[800, 800]]));
    let distinct: HashSet<u64> = indexes.iter().copied().collect();
    assert!(server.applied_index() >= *distinct.iter().max().unwrap());
}

#[test]
fn foreign_keys_are_enforced_if_the_flag_is_given() {
    let tables = json!(["CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE c(p REFERENCES p(id))"]);
    for (flags, failure) in [(&[][..], Value::Null), (&["-fk"][..], json!("FOREIGN KEY constraint failed"))] {
        let server = Server::node(flags);
        server.db_execute(tables.clone());
        let results = server.post_json("/db/execute", json!(["INSERT INTO c VALUES(7)"])).results();
        assert_eq!(results[0].get("error").cloned().unwrap_or_default(), failure, "{flags:?}");
        assert_eq!(server.db_query("PRAGMA foreign_keys"), json!([[i32::from(!flags.is_empty())]]));
    }
}

#[test]
fn the_database_is_vacuumed_at_the_interval_of_the_flag() {
    let server = Server::node(&["-auto-vacuum-int", "200ms", "-raft-snap-int", "100ms"]);
    let fill = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 2000) \
                INSERT INTO t SELECT hex(randomblob(500)) FROM c";
    server.db_execute(json!(["CREATE TABLE t(a)", fill]));
    let pages = || server.db_query("PRAGMA page_count")[0][0].as_u64().unwrap();
    let full = pages();
    server.db_execute(json!(["DELETE FROM t"]));
    eventually("the file has shrunk", || pages() * 4 < full);
    let next = server.get("/status?key=store.auto_vacuum.next_vacuum_after").json();
    assert!(next.as_str().unwrap() > server.get("/status?key=node.start_time").json().as_str().unwrap(), "{next}");
    server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
    assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
}

#[test]
fn vacuum_runs_as_a_statement() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(zeroblob(100000))", "DELETE FROM t"]));
    server.db_execute(json!(["VACUUM"]));
    assert_eq!(server.db_query("PRAGMA freelist_count"), json!([[0]]));
}

#[test]
fn statistics_are_gathered_at_the_interval_of_the_flag() {
    let server = Server::node(&["-auto-optimize-int", "200ms", "-raft-snap-int", "100ms"]);
    let fill =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 500) INSERT INTO t SELECT x FROM c";
    server.db_execute(json!(["CREATE TABLE t(a)", "CREATE INDEX i ON t(a)", fill, "SELECT * FROM t WHERE a = 1"]));
    eventually("the index is analysed", || {
        let tables = server.db_query("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'");
        tables == json!([[1]]) && server.db_query("SELECT count(*) FROM sqlite_stat1") != json!([[0]])
    });
}

#[test]
fn running_requests_are_finished_before_the_process_ends() {
    let server = Server::node(&[]);
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let mut client = server.begin(&Request::json("/db/execute", json!([
        "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 300000) SELECT x FROM c"
    ])));
    eventually("it runs", || server.metric("sqlhttp_raft_last_index") > server.metric("sqlhttp_raft_applied_index"));
    server.signal("TERM");
    assert_eq!(client.receive(false).unwrap().results()[0]["rows_affected"], 300_000);
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn logins_and_queued_writes_are_counted() {
    for (flags, counted, other) in [
        (["-write-queue-timeout", "50ms"], "num_timeout", "num_flush"),
        (["-write-queue-timeout", "0s"], "num_flush", "num_timeout"),
    ] {
        let server = Server::node(&flags);
        let vars = |group: &str| server.get(&format!("/debug/vars?key={group}")).json()[group].clone();
        let before = vars("http")["auth_ok"].as_u64().unwrap();
        assert_eq!(server.get("/status?key=os.pid").status, 200);
        // The console needs no permission, so these requests are not counted.
        let root = server.get("/");
        assert_eq!((root.status, root.header("Location")), (302, Some("/console/")));
        let page = server.get("/console/");
        assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
        let http = vars("http");
        assert_eq!((http["auth_ok"].as_u64(), http["auth_fail"].as_u64()), (Some(before + 2), Some(0)));
        assert_eq!(server.post_json("/db/execute?queue", json!(["CREATE TABLE t(a)"])).status, 200);
        let queue = vars("queue");
        assert_eq!((&queue[counted], &queue[other]), (&json!(1), &json!(0)), "{queue}");
    }
    let server = Server::node(&["-write-queue-batch-size", "1"]);
    assert_eq!(server.post_json("/db/execute?queue", json!(["CREATE TABLE t(a)"])).status, 200);
    assert_eq!(server.get("/debug/vars?key=queue").json()["queue"]["num_timeout"], 0, "the batch was full");
}
