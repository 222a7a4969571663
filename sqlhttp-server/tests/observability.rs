//! Observation of both servers by an operator: log lines of requests and slow SQL, metrics, and files that a start
//! removes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use serde_json::{Value, json};

use common::{Launch, Node, Request, Server, counting_to, eventually, names, series, temp_dir, write};

/// A standalone server with a database `t` in memory and one user.
fn standalone(flags: &[&str]) -> Server {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "auth: {mode: HTTP, byCredentials: [{user: ada, password: pa55word}]}\n");
    let launch =
        Launch::new().dir(dir.path()).with_metrics().args(["--mem-db", "t:t.yaml"]).args(flags.iter().copied());
    launch.start().keeping(dir)
}

/// A node with a database `t` and one user.
fn node(flags: &[&str]) -> Server {
    let dir = temp_dir();
    let users = "[{\"username\": \"ada\", \"password\": \"pa55word\", \"perms\": [\"all\"]}]";
    let users = write(dir.path(), "users.json", users).to_string_lossy().into_owned();
    let node = Node::new(&dir.path().join("data")).flags(["-db-name", "t", "-auth", &users]);
    node.flags(flags.iter().copied()).start().keeping(dir)
}

fn ask(sql: &str) -> Request {
    Request::json("/t", json!({"transaction": [{"query": sql}]})).basic("ada:pa55word")
}

/// The lines on standard error that are JSON with a message that begins like this.
fn lines(stderr: &[String], message: &str) -> Vec<Value> {
    let parsed = stderr.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message))).collect()
}

#[test]
fn a_line_for_each_request_names_database_user_and_time() {
    for start in [standalone, node] {
        let server = start(&["-log-requests", "-log-format", "json"]);
        let answer = server.send(&ask("SELECT 'pr1vate'").header("X-Request-Id", "abc-1"));
        assert_eq!(answer.status, 200);
        let line = server.wait_stderr("\"abc-1\"");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["message"], &line["status"]), (&json!("answered"), &json!(200)));
        assert!(line["took_us"].as_u64().is_some_and(|us| us > 0), "{line}");
        let span = &line["span"];
        assert_eq!((&span["database"], &span["user"]), (&json!("t"), &json!("ada")), "{line}");
        assert_eq!((&span["method"], &span["path"]), (&json!("POST"), &json!("/t")));
        assert!(line.get("spans").is_none(), "the span is repeated: {line}");
        let exit = server.stop();
        let all = exit.stderr.join("\n");
        assert!(!all.contains("pr1vate") && !all.contains("pa55word"), "{all}");
    }
}

#[test]
fn requests_are_not_logged_unless_asked_for() {
    for start in [standalone, node] {
        let server = start(&[]);
        server.send(&ask("SELECT 1"));
        server.send(&Request::json("/t", "{").basic("ada:pa55word"));
        let exit = server.stop();
        assert!(!exit.stderr.iter().any(|line| line.contains("answered") || line.contains("JSON")), "{exit:#?}");
    }
}

#[test]
fn refusals_are_logged_with_their_reason() {
    for start in [standalone, node] {
        let server = start(&["-log-level", "debug", "-log-requests", "-log-format", "json"]);
        let broken = Request::new("POST", "/t").basic("ada:pa55word").body("{\"transaction\": [{]}");
        assert_eq!(server.send(&broken).status, 400);
        for target in ["/t/db/query?level=wrong", "/db/query?level=wrong"] {
            server.send(&Request::json(target, json!(["SELECT 1"])).basic("ada:pa55word"));
        }
        server.send(&Request::json("/db/execute", "[\"SELECT 1\"").basic("ada:pa55word"));
        let exit = server.stop();
        let json = lines(&exit.stderr, "the body is not JSON: ");
        assert_eq!(json.len(), 2, "{:#?}", exit.stderr);
        let text = json[0]["message"].as_str().unwrap();
        assert!(text.ends_with("at line 1 column 19"), "{text}");
        let id = json[0]["span"]["id"].as_str().unwrap();
        let answered = lines(&exit.stderr, "answered");
        let refusal = answered.iter().find(|line| line["span"]["id"] == id).unwrap();
        assert!(refusal["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refusal}");
        assert_eq!(lines(&exit.stderr, "no Content-Type").len(), 1, "{:#?}", exit.stderr);
        let level = lines(&exit.stderr, "unknown read level");
        assert_eq!((level.len(), &level[0]["level"]), (2, &json!("wrong")));
    }
}

#[test]
fn slow_sql_is_logged_cut_and_without_values() {
    for start in [standalone, node] {
        let server = start(&["-log-slow", "1ms", "-log-format", "json"]);
        let comment = "x".repeat(3000);
        let slow = format!("{} WHERE :secret = :secret -- {comment}", counting_to(300_000));
        let items = json!([{"query": slow, "values": {"secret": "pr1vate"}}]);
        let body = json!({ "transaction": items });
        assert_eq!(server.send(&Request::json("/t", body).basic("ada:pa55word")).status, 200);
        server.wait_stderr("slow SQL");
        let exit = server.stop();
        let found = lines(&exit.stderr, "slow SQL");
        let line = found.iter().find(|line| line["sql"].as_str().is_some_and(|sql| sql.starts_with("WITH"))).unwrap();
        assert!(line["took_ms"].as_u64().is_some_and(|ms| ms >= 1), "{line}");
        assert_eq!(line["sql"].as_str().unwrap().len(), 1024);
        assert_eq!((&line["span"]["database"], &line["span"]["user"]), (&json!("t"), &json!("ada")), "{line}");
        let all = exit.stderr.join("\n");
        assert!(!all.contains("pr1vate") && !all.contains("answered"), "{all}");
    }
}

#[test]
fn a_slow_answer_in_parts_is_logged_at_its_end() {
    let server = standalone(&["-log-slow", "1ms", "-log-format", "json"]);
    let rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 200000) SELECT x, 'row' FROM c";
    let answer = server.send(&ask(rows));
    assert_eq!(answer.status, 200);
    let line: Value = serde_json::from_str(&server.wait_stderr("slow SQL")).unwrap();
    assert_eq!((&line["sql"], &line["span"]["user"]), (&json!(rows), &json!("ada")));
}

fn metrics(server: &Server) -> String {
    server.metrics_by(&Request::new("GET", "/metrics").basic("ada:pa55word"))
}

#[test]
fn metrics_distinguish_errors_of_clients_from_failures_of_the_server() {
    for start in [standalone, node] {
        let server = start(&["-query-timeout", "200ms"]);
        let statement =
            |sql: &str| Request::json("/t", json!({"transaction": [{"statement": sql}]})).basic("ada:pa55word");
        server.send(&statement("CREATE TABLE t(a)"));
        server.send(&statement("INSERT INTO t VALUES(1),(2),(3)"));
        server.send(&ask("SELECT * FROM t"));
        server.send(&ask("NONSENSE"));
        // The server increments its counters before it sends the answer.
        let text = metrics(&server);
        assert_eq!(series(&text, "sqlhttp_sql_errors_total{database=\"t\"}"), 1.0);
        assert_eq!(series(&text, "sqlhttp_rows_returned_total{database=\"t\"}"), 3.0);
        assert_eq!(series(&text, "sqlhttp_rows_changed_total{database=\"t\"}"), 3.0);
        assert_eq!(series(&text, "sqlhttp_server_failures_total{database=\"t\",reason=\"overloaded\"}"), 0.0);
        let interrupted = "sqlhttp_sql_interrupted_total{database=\"t\",reason=\"timeout\"}";
        assert_eq!(series(&text, interrupted), 0.0);
        let endless = server.send(&ask(common::ENDLESS));
        assert_ne!(endless.status, 200, "the time limit holds on both servers");
        let text = metrics(&server);
        assert_eq!(series(&text, interrupted), 1.0, "{text}");
        assert!(!text.contains("=\"\""), "an empty label in\n{text}");
        if cfg!(target_os = "linux") {
            assert!(series(&text, "process_resident_memory_bytes") > 1e6);
            assert!(series(&text, "process_open_fds") >= 3.0);
            assert!(series(&text, "process_max_fds") >= series(&text, "process_open_fds"));
            assert!(series(&text, "process_start_time_seconds") > 1.7e9);
            assert!(series(&text, "process_cpu_seconds_total") > 0.0);
        }
        assert!(text.contains("sqlhttp_build_info{version=\"") && text.contains("sqlite_version=\"3."), "{text}");
        if server.raft_port().is_some() {
            assert!(series(&text, "sqlhttp_disk_free_bytes{database=\"t\"}") > 0.0);
            let backup = "sqlhttp_last_backup_timestamp_seconds{database=\"t\"}";
            assert!(!text.contains(backup), "{text}");
            let copy = server.send(&Request::new("GET", "/db/backup").basic("ada:pa55word"));
            assert_eq!(copy.status, 200);
            assert!(series(&metrics(&server), backup) > 1.7e9);
        }
    }
}

#[test]
fn queued_statements_that_fail_are_counted_since_no_answer_names_them() {
    for start in [standalone, node] {
        let server = start(&[]);
        let body = json!(["INSERT INTO nowhere VALUES(1)"]);
        let queued = server.send(&Request::json("/db/execute?queue&wait", body).basic("ada:pa55word"));
        assert_eq!(queued.status, 200, "{}", queued.text());
        let text = metrics(&server);
        assert_eq!(series(&text, "sqlhttp_sql_errors_total{database=\"t\"}"), 1.0);
    }
}

#[test]
fn a_client_that_goes_away_is_counted() {
    let server = standalone(&[]);
    let client = server.begin(&ask(common::ENDLESS));
    server.await_requests_in_flight(1);
    drop(client);
    let gone = "sqlhttp_sql_interrupted_total{database=\"t\",reason=\"client_gone\"}";
    eventually("the query is given up", || server.metric(gone) == 1.0);
}

/// The time limit of reads does not end a write, since the node applies each entry of the log to its end.
#[test]
fn the_time_limit_of_a_node_is_for_reads() {
    let server = node(&["-query-timeout", "50ms"]);
    let fill =
        "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 400000) SELECT x FROM c";
    let send = |target: &str, body: Value| server.send(&Request::json(target, body).basic("ada:pa55word"));
    assert_eq!(send("/db/execute", json!(["CREATE TABLE t(a)"])).status, 200);
    let answer = send("/db/execute", json!([fill]));
    assert_eq!(answer.results(), [json!({"last_insert_id": 400_000, "rows_affected": 400_000})]);
    let answer = send("/t", json!({"transaction": [{"statement": fill}]}));
    assert_eq!(answer.results(), [json!({"success": true, "rowsUpdated": 400_000})]);
    let answer = send("/db/query", json!([common::ENDLESS]));
    assert!(answer.text().contains("error"), "{}", answer.text());
    let longer = send("/db/query?db_timeout=1h", json!([common::ENDLESS]));
    assert!(longer.text().contains("error"), "a client can exceed the limit: {}", longer.text());
}

#[test]
fn flags_without_effect_are_accepted_with_a_warning() {
    let server = node(&["-cpu-profile", "x.prof", "-node-no-verify"]);
    server.wait_stderr("-cpu-profile has no effect: this program writes no profiles");
    server.wait_stderr("-node-no-verify has no effect: ");
    server.stop();
}

#[test]
fn files_of_interrupted_loads_are_removed_at_the_start() {
    let dir = temp_dir();
    let start = || Launch::new().dir(dir.path()).args(["--db", "x.db"]).start();
    let server = start();
    server.execute("x", "CREATE TABLE t(a)");
    let dead = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    server.crash();
    let alive = std::process::id();
    for name in [format!("x.db-load-{dead}-0"), format!("x.db-load-{alive}-0"), "x.db-load-notes".to_owned()] {
        write(dir.path(), &name, "x");
    }
    let server = start();
    let left: Vec<String> = names(dir.path()).into_iter().filter(|name| name.contains("-load-")).collect();
    let mut expected = [format!("x.db-load-{alive}-0"), "x.db-load-notes".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
    server.wait_stderr(&format!("x.db-load-{dead}-0"));
    server.assert_alive("x");
}
