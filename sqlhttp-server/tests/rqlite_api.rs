//! rqlite's data API of the standalone server: its paths, permissions, limits and answers. Backups and loads are in
//! `rqlite_backup.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{ENDLESS, Request, Server, counting_to, decompressed, temp_dir, write};
use serde_json::{Value, json};

#[test]
fn the_api_is_below_each_database_and_at_the_root_if_there_is_one() {
    let one = Server::memory();
    for target in ["/db/query", "/t/db/query", "/T/db/query/", "/%74/db/query"] {
        let results = one.post_json(target, json!(["SELECT 1"])).results();
        assert_eq!(results[0]["values"], json!([[1]]), "{target}");
    }
    for target in ["/db/queryfoo", "/DB/query", "//db/query", "/t/db", "/x/db/query"] {
        assert_eq!(one.post_json(target, json!(["SELECT 1"])).status, 404, "{target}");
    }
    let two = Server::start(["--mem-db", "a", "--mem-db", "b"]);
    assert_eq!(two.post_json("/db/query", json!(["SELECT 1"])).status, 404);
    assert_eq!(two.get("/readyz").status, 404);
    two.post_json("/a/db/execute", json!(["CREATE TABLE x(v)"])).results();
    assert_eq!(two.post_json("/a/db/query", json!(["SELECT * FROM x"])).results()[0].get("error"), None);
    assert_eq!(two.post_json("/b/db/query", json!(["SELECT * FROM x"])).results()[0]["error"], "no such table: x");
    assert_eq!(two.get("/b/readyz").status, 200);
}

#[test]
fn databases_named_like_paths_of_the_api_are_served() {
    for name in ["db", "status", "readyz"] {
        let server = Server::start(["--mem-db", name]);
        server.execute(name, "CREATE TABLE x(v)");
        server.assert_alive(name);
        let target = format!("/{name}/db/query");
        assert_eq!(server.post_json(&target, json!(["SELECT count(*) FROM x"])).results()[0]["values"], json!([[0]]));
        assert_eq!(server.get(&format!("/{name}/readyz")).status, 200);
    }
}

#[test]
fn both_protocols_see_the_same_data() {
    let server = Server::memory();
    let ddl = "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT, big INTEGER)";
    let insert = json!(["INSERT INTO foo(name, big) VALUES(?, ?)", "fiona", 9007199254740993_i64]);
    let results = server.post_json("/db/execute", json!([ddl, insert])).results();
    assert_eq!(results, [json!({}), json!({"last_insert_id": 1, "rows_affected": 1})]);
    assert_eq!(server.query("t", "SELECT name, big FROM foo"), json!([["fiona", 9007199254740993_i64]]));
    server.execute("t", "INSERT INTO foo(name) VALUES('declan')");
    let results = server.post_json("/db/query?associative", json!(["SELECT id, name FROM foo"])).results();
    assert_eq!(results[0]["rows"], json!([{"id": 1, "name": "fiona"}, {"id": 2, "name": "declan"}]));
}

#[test]
fn every_answer_has_its_headers() {
    let server = Server::memory();
    let here = format!("127.0.0.1:{}", server.port());
    for (request, status, served) in [
        (Request::json("/db/query", json!(["SELECT 1"])), 200, true),
        (Request::json("/db/query", json!(["nonsense"])), 200, true),
        (Request::json("/db/execute", json!(["CREATE TABLE x(v)"])), 200, true),
        (Request::json("/db/load", "SELECT 1"), 200, true),
        (Request::json("/db/query", json!(["PRAGMA synchronous=0"])), 200, false),
        (Request::json("/db/execute?queue", json!(["SELECT 1"])), 200, false),
        (Request::json("/db/sql", json!(["SELECT 1"])), 200, false),
        (Request::new("GET", "/status"), 200, false),
        (Request::new("GET", "/readyz"), 200, false),
        (Request::new("GET", "/db/execute"), 405, false),
        (Request::json("/db/query", json!({})), 400, false),
        (Request::new("OPTIONS", "/db/query?timeout=x"), 200, false),
    ] {
        let response = server.send(&request);
        let name = format!("{} {}", request.method, request.target);
        assert_eq!(response.status, status, "{name}");
        assert_eq!(response.header("X-Rqlite-Version"), Some("10"), "{name}");
        assert_eq!(response.header("Access-Control-Allow-Methods"), Some("OPTIONS, GET, POST"), "{name}");
        assert_eq!(response.header("Access-Control-Allow-Headers"), Some("Content-Type"), "{name}");
        assert_eq!(response.header("WWW-Authenticate"), None, "{name}");
        assert_eq!(response.header("X-Rqlite-Served-By"), served.then_some(here.as_str()), "{name}");
        let error = status == 400;
        assert_eq!(response.header("X-Content-Type-Options"), error.then_some("nosniff"), "{name}");
    }
}

#[test]
fn cors_settings_of_the_database_hold() {
    let server = Server::configured("corsOrigin: https://a.com\n");
    let preflight = Request::new("OPTIONS", "/db/query").header("Origin", "https://a.com");
    let preflight = preflight.header("Access-Control-Request-Method", "POST");
    for request in [preflight, Request::json("/db/query", json!(["SELECT 1"])).header("Origin", "https://a.com")] {
        let response = server.send(&request);
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://a.com"));
        assert_eq!(response.header("Access-Control-Allow-Headers"), Some("Content-Type"));
    }
    let stranger = Request::json("/db/query", json!(["SELECT 1"])).header("Origin", "https://b.com");
    assert_eq!(server.send(&stranger).header("Access-Control-Allow-Origin"), None);
}

#[test]
fn a_database_is_a_cluster_of_one_node() {
    let server = Server::memory();
    let here = format!("127.0.0.1:{}", server.port());
    for prefix in ["", "/t"] {
        let ask = |target: &str| server.get(&format!("{prefix}{target}")).json();
        let node = ask("/leader");
        // The host is that of the request.
        let url = format!("http://test{prefix}");
        assert_eq!((&node["id"], &node["api_addr"], &node["addr"]), (&json!("t"), &json!(url), &json!(here)));
        assert_eq!((&node["voter"], &node["reachable"], &node["leader"]), (&json!(true), &json!(true), &json!(true)));
        assert_eq!(ask("/nodes")["t"]["api_addr"], json!(url));
        assert_eq!(ask("/nodes?ver=2")["nodes"][0]["api_addr"], json!(url));
        // Clients find the leader with this key.
        assert_eq!(ask("/status?key=store.leader"), json!({ "addr": here, "node_id": "t" }));
    }
    assert_eq!(server.post_json("/nodes", json!({})).status, 405);
}

#[test]
fn a_dump_in_one_string_is_a_script() {
    let server = Server::memory();
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE x(v);\nINSERT INTO x VALUES(1);\nCOMMIT;\n";
    let results = server.post_json("/db/execute", json!([dump])).results();
    assert_eq!(results, [json!({ "last_insert_id": 1, "rows_affected": 1 })]);
    assert_eq!(server.post_json("/db/request", json!([dump.replace("x", "y")])).results(), results);
    let item = json!([{ "statement": dump.replace("x", "z") }]);
    assert_eq!(server.transaction("t", item).results(), [json!({ "success": true, "rowsUpdated": 1 })]);
    let broken = dump.replace("x", "w").replace("VALUES(1)", "VALUES(1, 2)");
    let item = json!([{ "statement": broken, "noFail": true }]);
    assert_eq!(server.transaction("t", item).results()[0]["success"], false);
    assert_eq!(server.query("t", "SELECT name FROM sqlite_schema ORDER BY name"), json!([["x"], ["y"], ["z"]]));
}

#[test]
fn options_never_executes_anything() {
    let server = Server::memory();
    let request = Request::new("OPTIONS", "/db/execute").body(r#"["CREATE TABLE x(v)"]"#);
    assert_eq!((server.send(&request).status, server.send(&request).body.len()), (200, 0));
    assert_eq!(server.query("t", "SELECT count(*) FROM sqlite_schema"), json!([[0]]));
}

#[test]
fn the_users_of_the_database_are_required() {
    let server = Server::configured("auth: {mode: HTTP, byCredentials: [{user: u, password: p}]}\n");
    let ask = Request::json("/db/query", json!(["SELECT 1"]));
    for request in [ask.clone(), ask.clone().basic("u:wrong"), ask.clone().basic("x:p")] {
        let response = server.send(&request);
        assert_eq!((response.status, response.text().as_str()), (401, ""));
        assert_eq!(response.header("WWW-Authenticate"), Some("Basic realm=\"rqlite\""));
        assert_eq!(response.header("Content-Type"), Some("application/json; charset=utf-8"));
    }
    let response = server.send(&ask.basic("u:p"));
    assert_eq!(response.results()[0]["values"], json!([[1]]));
    assert_eq!(response.header("Access-Control-Allow-Headers"), Some("Content-Type, Authorization"));
    assert_eq!(response.header("Access-Control-Allow-Credentials"), Some("true"));
    for target in ["/db/backup", "/status", "/readyz", "/t/db/sql?q=x"] {
        assert_eq!(server.get(target).status, 401, "{target}");
        assert_eq!(server.send(&Request::new("GET", target).basic("u:p")).status, 200, "{target}");
    }
    // The query string is checked first, then the credentials, then the method.
    assert_eq!(server.get("/db/query?timeout=x").status, 400);
    assert_eq!(server.get("/db/execute").status, 401);
    assert_eq!(server.send(&Request::new("GET", "/db/execute").basic("u:p")).status, 405);
    assert_eq!(server.send(&Request::new("OPTIONS", "/db/execute")).status, 200);
}

#[test]
fn a_database_with_credentials_in_the_body_is_closed() {
    let server = Server::configured("auth: {mode: INLINE, byCredentials: [{user: u, password: p}]}\n");
    for request in [
        Request::json("/db/query", json!(["SELECT 1"])),
        Request::json("/db/query", json!(["SELECT 1"])).basic("u:p"),
        Request::new("GET", "/db/backup").basic("u:p"),
        Request::new("GET", "/status"),
    ] {
        let response = server.send(&request);
        assert_eq!(response.status, 401, "{}", request.target);
        assert_eq!(response.text(), "this database takes credentials only in the body of its own requests\n");
    }
    let body = json!({"credentials": {"user": "u", "password": "p"}, "transaction": [{"query": "SELECT 1 AS a"}]});
    assert_eq!(server.post("t", body).results()[0]["resultSet"], json!([{"a": 1}]));
}

#[test]
fn only_stored_statements_means_only_those() {
    let server = Server::configured("useOnlyStoredStatements: true\nstoredStatements: [{id: q, sql: SELECT 1 AS a}]\n");
    for request in [
        Request::json("/db/query", json!(["SELECT 1"])),
        Request::json("/db/query", json!(["#q"])),
        Request::json("/db/execute?queue", json!(["CREATE TABLE x(v)"])),
        Request::json("/db/request", json!(["SELECT 1"])),
        Request::json("/db/load", "SELECT 1"),
        Request::new("GET", "/db/query?q=SELECT+1"),
        Request::new("GET", "/db/backup"),
        Request::new("GET", "/status"),
    ] {
        let response = server.send(&request);
        assert_eq!(response.status, 403, "{} {}", request.target, response.text());
    }
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.transaction("t", json!([{"query": "#q"}])).results()[0]["resultSet"], json!([{"a": 1}]));
}

#[test]
fn a_read_only_database_stays_as_it_is() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE x(v)");
    server.stop();
    write(dir.path(), "t.yaml", "readOnly: true\n");
    let server = Server::file(dir.path());
    for (target, error) in [
        ("/db/execute", "attempt to write a readonly database"),
        ("/db/query", "attempt to change database via query operation"),
        ("/db/request", "attempt to change database via query operation"),
    ] {
        let results = server.post_json(target, json!(["INSERT INTO x VALUES(1)"])).results();
        assert_eq!(results, [json!({"error": error})], "{target}");
    }
    let load = server.post_bytes("/db/load", "INSERT INTO x VALUES(1)");
    assert_eq!(load.results(), [json!({"error": "attempt to write a readonly database"})]);
    assert_eq!(server.post_json("/db/query", json!(["SELECT count(*) FROM x"])).results()[0]["values"], json!([[0]]));
    assert!(server.get("/db/backup?fmt=sql").text().contains("CREATE TABLE x(v);\n"));
}

#[test]
fn a_failure_touches_no_other_statement() {
    let server = Server::memory();
    let steps = json!([
        "CREATE TABLE x(v UNIQUE)",
        "INSERT INTO x VALUES(1)",
        "INSERT INTO x VALUES(2), (1)",
        "INSERT OR ROLLBACK INTO x VALUES(1)",
        "BEGIN",
        "INSERT INTO x VALUES(3)"
    ]);
    let results = server.post_json("/db/execute", steps).results();
    let failed: Vec<bool> = results.iter().map(|result| result.get("error").is_some()).collect();
    assert_eq!(failed, [false, false, true, true, true, false], "{results:?}");
    assert_eq!(server.query("t", "SELECT v FROM x"), json!([[1], [3]]));
    let all = json!(["INSERT INTO x VALUES(4)", "INSERT INTO x VALUES(1)", "INSERT INTO x VALUES(5)"]);
    assert_eq!(server.post_json("/db/execute?transaction", all).results().len(), 2);
    assert_eq!(server.query("t", "SELECT v FROM x"), json!([[1], [3]]));
    server.assert_alive("t");
}

#[test]
fn large_results_are_sent_as_they_come() {
    let server = Server::memory();
    let rows =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 200000) SELECT x, 'some text' FROM c";
    for target in ["/db/query", "/db/query?associative", "/db/request?pretty", "/db/query?timings"] {
        let response = server.post_json(target, json!([rows, "SELECT 1"]));
        assert_eq!(response.header("Transfer-Encoding"), Some("chunked"), "{target}");
        assert!(response.header("X-Rqlite-Served-By").is_some(), "{target}");
        let body = response.json();
        let result = &body["results"][0];
        let rows = result.get("values").or_else(|| result.get("rows")).and_then(Value::as_array).unwrap();
        assert_eq!(rows.len(), 200_000, "{target}");
        assert_eq!(body.get("time").is_some(), target.ends_with("timings"), "{target}");
        assert_eq!(body["results"].as_array().unwrap().len(), 2);
    }
    let zipped = Request::json("/db/query", json!([rows])).header("Accept-Encoding", "gzip");
    let zipped = server.send(&zipped);
    assert_eq!(zipped.header("Content-Encoding"), Some("gzip"));
    let plain: Value = serde_json::from_slice(&decompressed("gzip", &zipped.body)).unwrap();
    assert_eq!(plain["results"][0]["values"][199_999], json!([200_000, "some text"]));
}

#[test]
fn a_failure_in_the_middle_of_a_result_touches_no_other() {
    let server = Server::memory();
    let failing = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 1000) \
                   SELECT x, CASE x WHEN 1000 THEN abs(-9223372036854775808) END FROM c";
    let results = server.post_json("/db/query", json!([failing, "SELECT 1"])).results();
    assert_eq!(results[0], json!({"error": "integer overflow"}));
    assert_eq!(results[1]["values"], json!([[1]]));
}

#[test]
fn requests_obey_the_limits() {
    let server = Server::start(["--mem-db", "t", "-max-body", "1000", "-max-items", "3"]);
    let response = server.post_json("/db/query", json!(["x".repeat(1000)]));
    let text = "request body too large: more than 1000 bytes, see -max-body\n";
    assert_eq!((response.status, response.text().as_str()), (413, text));
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    let response = server.post_json("/db/query", json!(["SELECT 1", "SELECT 1", "SELECT 1", "SELECT 1"]));
    assert_eq!((response.status, response.text().as_str()), (400, "too many statements: 4, the limit is 3\n"));
    assert_eq!(server.post_json("/db/query", json!(["SELECT 1", "SELECT 1", "SELECT 1"])).results().len(), 3);
}

#[test]
fn the_shorter_time_limit_of_client_and_operator_holds() {
    let server = Server::start(["--mem-db", "t", "-query-timeout", "2s"]);
    let write = format!("CREATE TABLE x AS {ENDLESS}");
    for (target, sql, error) in [
        ("/db/query?db_timeout=50ms", ENDLESS, "query timeout"),
        ("/db/request?db_timeout=50ms", ENDLESS, "query timeout"),
        ("/db/execute?db_timeout=50ms", &write, "execute timeout"),
        // A client cannot exceed the limit of the operator.
        ("/db/query?db_timeout=1h", ENDLESS, "query timeout"),
    ] {
        assert_eq!(server.post_json(target, json!([sql])).results(), [json!({"error": error})], "{target}");
    }
    assert_eq!(server.post_json("/db/query?db_timeout=1m", json!(["SELECT 1"])).results()[0]["values"], json!([[1]]));
}

#[test]
fn queued_writes_are_durable_when_they_are_answered() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.post_json("/db/execute", json!(["CREATE TABLE x(v)"])).results();
    let mut last = 0;
    for value in 0..20 {
        let response = server.post_json("/db/execute?queue", json!([["INSERT INTO x VALUES(?)", value], "nonsense"]));
        assert_eq!(response.results(), [] as [Value; 0]);
        let number = response.json()["sequence_number"].as_i64().unwrap();
        assert!(number > last);
        last = number;
    }
    assert_eq!(server.get("/status?key=http.queue._default.sequence_number").json(), json!(last));
    server.crash();
    let server = Server::file(dir.path());
    assert_eq!(server.query("t", "SELECT count(*) FROM x"), json!([[20]]));
    let next = server.post_json("/db/execute?queue&wait", json!([])).json()["sequence_number"].as_i64().unwrap();
    assert!(next > last, "the sequence numbers grow over a restart");
    // rqlite's load generator sends this to wait for its queued writes.
    let flush = server.send(&Request::new("POST", "/db/execute?queue&wait"));
    assert_eq!((flush.status, flush.json()["sequence_number"].as_i64().unwrap() > next), (200, true));
    let empty = server.send(&Request::new("POST", "/db/execute?queue"));
    assert_eq!((empty.status, empty.json()["sequence_number"].as_i64().unwrap() > next + 1), (200, true));
    assert_eq!(empty.results(), [] as [Value; 0]);
    let text = Request::new("POST", "/db/execute?queue").header("Content-Type", "text/plain").body("DELETE FROM x");
    assert_eq!(server.send(&text).status, 200);
    assert_eq!(server.query("t", "SELECT count(*) FROM x"), json!([[0]]));
    for body in ["[", "{}", "[]", "null"] {
        assert_eq!(server.post_bytes("/db/execute?queue", body).status, 400, "{body}");
    }
}

#[test]
fn a_queued_write_continues_after_its_client_stops_waiting() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE x(v)");
    let slow = format!("INSERT INTO x {}", counting_to(3_000_000));
    let response = server.post_json("/db/execute?queue&wait&timeout=1ms", json!([slow]));
    assert_eq!((response.status, response.text().as_str()), (408, "queue wait timeout\n"));
    common::eventually("the write is applied", || server.query("t", "SELECT v FROM x") == json!([[3_000_000]]));
}

/// Each backup needs a copy of the database on disk until it is sent.
#[test]
fn eight_backups_are_sent_at_once_and_no_more() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    // The database is larger than the socket buffers of a client that does not read.
    server.post_json("/db/execute", json!(["CREATE TABLE x(v)", "INSERT INTO x VALUES(zeroblob(30000000))"])).results();
    let request = Request::new("GET", "/db/backup");
    let mut slow: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut slow {
        client.write(&request.encode()).unwrap();
        assert_eq!(client.receive(true).unwrap().status, 200);
    }
    let refused = server.send(&request);
    assert_eq!((refused.status, refused.text().trim()), (503, "too many backups at once"));
    drop(slow);
    common::eventually("a backup is possible again", || server.send(&request).status == 200);
}

#[test]
fn sql_is_returned_as_it_would_run() {
    let server = Server::memory();
    let results = server.get("/db/sql?q=SELECT%20random()").results();
    assert_eq!(results, [json!({"original": "SELECT random()", "rewritten": "SELECT random()"})]);
    assert_eq!(server.post_json("/db/sql", json!(["CREATE TABLE x(v)"])).status, 200);
    assert_eq!(server.query("t", "SELECT count(*) FROM sqlite_schema"), json!([[0]]));
}

#[test]
fn readyz_reports_each_part() {
    let server = Server::memory();
    let body = |target: &str| (server.get(target).status, server.get(target).text());
    assert_eq!(body("/readyz?noleader"), (200, "[+]node ok".to_owned()));
    assert_eq!(body("/t/readyz"), (200, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]db ok".to_owned()));
    let head = server.send(&Request::new("HEAD", "/readyz"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(server.send(&Request::new("POST", "/readyz")).status, 405);
}

#[test]
fn status_has_the_names_that_tools_read() {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "corsOrigin: '*'\n");
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE x(v)");
    let status = server.get("/status").json();
    let here = json!(format!("127.0.0.1:{}", server.port()));
    for (path, want) in [
        ("/store/leader", json!({"addr": here, "node_id": "t"})),
        ("/store/nodes", json!([{"addr": here, "id": "t", "suffrage": "voter"}])),
        ("/store/open", json!({})),
        ("/store/ready", json!(true)),
        ("/store/raft/state", json!("Leader")),
        ("/store/raft/voter", json!(true)),
        ("/store/snapshot_store/snapshots", json!([])),
        ("/store/sqlite3/pragmas/ro/journal_mode", json!("wal")),
        ("/store/sqlite3/pragmas/ro/foreign_keys", json!("0")),
        ("/store/sqlite3/pragmas/rw/synchronous", json!("2")),
        ("/store/sqlite3/pragmas/rw/wal_autocheckpoint", json!("1000")),
        ("/store/sqlite3/mem_stats/page_size", json!(4096)),
        ("/store/sqlite3/transaction", json!({"ro": false, "rw": false})),
        ("/http/auth", json!("disabled")),
        ("/http/allow_origin", json!("*")),
        ("/http/bind_addr", here.clone()),
        ("/http/tls/enabled", json!("false")),
        ("/http/queue/_default/sequence_number", json!(0)),
        ("/build/version", json!("10")),
    ] {
        assert_eq!(status.pointer(path), Some(&want), "{path}");
    }
    assert!(status["store"]["sqlite3"]["path"].as_str().unwrap().ends_with("t.db"));
    assert!(status["store"]["sqlite3"]["compile_options"].as_array().unwrap().len() > 5);
    assert!(status["store"]["sqlite3"]["version"].as_str().unwrap().starts_with("3."));
    assert!(status["store"]["sqlite3"]["wal_size"].as_u64().unwrap() > 0);
    assert!(status["os"]["pid"].as_u64().unwrap() > 0);
    let uptime = status["node"]["uptime"].as_str().unwrap();
    assert!(uptime.ends_with('s'), "{uptime}");
    assert!(server.get("/status?pretty").text().starts_with("{\n    \"build\": {\n        \"build_time\""));
    let keyed = server.get("/t/status?key=store.leader&pretty");
    assert_eq!(keyed.text(), format!("{{\"addr\":{here},\"node_id\":\"t\"}}"));
    assert_eq!(server.send(&Request::new("HEAD", "/status")).status, 200);
}
