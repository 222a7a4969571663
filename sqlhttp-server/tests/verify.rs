//! `/verify`: whether the nodes of a cluster have the same content.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;

use common::{Cluster, Node, Random, Request, Response, Server, eventually, faketime, temp_dir};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Sends a request to `/verify` with these parameters. Repeats it while another verification ends.
fn verify(server: &Server, method: &str, parameters: &str) -> Response {
    let mut response = None;
    eventually("no other verification runs", || {
        let sent = server.send(&Request::new(method, &format!("/verify{parameters}")));
        response = (sent.status != 409).then_some(sent);
        response.is_some()
    });
    response.unwrap()
}

fn assert_equal(server: &Server, parameters: &str, nodes: usize) -> Value {
    let response = verify(server, "GET", parameters);
    let body = response.json();
    assert_eq!((response.status, &body["equal"]), (200, &json!(true)), "{body}");
    let digests: Vec<&Value> = body["nodes"].as_object().unwrap().values().map(|node| &node["digest"]).collect();
    assert!(digests.len() == nodes && digests.iter().all(|digest| *digest == digests[0]), "{body}");
    assert_eq!(digests[0].as_str().unwrap().len(), 32);
    assert_eq!(body["differences"], json!([]));
    body
}

#[test]
fn a_node_that_differs_says_so_and_is_repaired() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.server(0).db_execute(json!([
        "CREATE TABLE t(a)",
        "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        "INSERT INTO t VALUES ('one'), ('two'), ('three')",
        "INSERT INTO w VALUES ('it''s', 1)"
    ]));
    let body = assert_equal(cluster.server(1), "", 3);
    assert!(body["index"].as_u64().unwrap() > 4);
    assert_equal(cluster.server(2), "?deep", 3);
    assert!(verify(cluster.server(0), "GET", "?pretty").text().contains("\n    \"equal\": true"));

    cluster.lead_by(0);
    cluster.await_applied(2, 0);
    cluster.stop(2);
    let file = Connection::open(cluster.node(2).directory().join("db.sqlite")).unwrap();
    file.execute_batch("UPDATE t SET a = 'TWO' WHERE rowid = 2; UPDATE w SET v = 2").unwrap();
    file.close().unwrap();
    cluster.restart(2);

    let response = verify(cluster.server(1), "GET", "");
    let body = response.json();
    assert_eq!((response.status, &body["equal"]), (200, &json!(false)), "{body}");
    let differences = json!([{"node": "n3", "table": "t", "row": 2}, {"node": "n3", "table": "w", "row": "'it''s'"}]);
    assert_eq!(body["differences"], differences);
    assert_ne!(body["nodes"]["n3"]["digest"], body["nodes"]["n1"]["digest"]);
    assert_eq!(body["nodes"]["n2"]["digest"], body["nodes"]["n1"]["digest"]);

    let ready = cluster.server(2).get("/readyz");
    assert!(
        ready.status == 503 && ready.text().contains("[+]db differs: the content of this node"),
        "{}",
        ready.text()
    );
    assert!(cluster.server(2).get("/status?key=store.raft.differs").text().contains("POST /verify?repair"));
    assert_eq!(cluster.server(2).metric("sqlhttp_raft_content_differs"), 1.0);
    assert_eq!(cluster.server(1).metric("sqlhttp_raft_content_differs"), 0.0);
    assert!(cluster.server(2).stderr().iter().any(|line| line.contains("differs from that of the majority")));
    let local = cluster.server(2).get("/db/query?level=none&q=SELECT%20a%20FROM%20t");
    assert!(local.text().contains("differs from that of the majority"), "{}", local.text());
    for level in ["weak", "linearizable", "strong"] {
        let rows = cluster.server(2).db_query_at(&format!("/db/query?level={level}"), "SELECT a FROM t");
        assert_eq!(rows, json!([["one"], ["two"], ["three"]]), "{level}");
    }
    assert_eq!(cluster.server(1).get("/readyz").status, 200);

    let refused = verify(cluster.server(0), "GET", "?repair");
    assert_eq!((refused.status, refused.text().as_str()), (400, "repair requires the method POST\n"));
    let body = verify(cluster.server(1), "POST", "?repair").json();
    assert_eq!((&body["equal"], &body["repaired"]), (&json!(true), &json!(["n3"])), "{body}");
    assert_eq!(cluster.server(2).get("/readyz").status, 200);
    assert_eq!(cluster.server(2).metric("sqlhttp_raft_content_differs"), 0.0);
    let rows = cluster.server(2).db_query_at("/db/query?level=none", "SELECT a FROM t");
    assert_eq!(rows, json!([["one"], ["two"], ["three"]]));
    assert_equal(cluster.server(0), "?deep", 3);
}

#[test]
fn a_verification_without_a_quorum_is_unavailable() {
    let mut cluster = Cluster::start(3, &["-raft-apply-timeout", "2s"]);
    cluster.server(0).db_execute(json!(["CREATE TABLE t(a)"]));
    cluster.kill(2);
    let body = verify(cluster.server(0), "GET", "").json();
    assert_eq!((&body["equal"], &body["nodes"]["n3"]["digest"]), (&json!(false), &Value::Null), "{body}");
    assert!(body["nodes"]["n3"]["error"].is_string(), "{body}");
    cluster.kill(1);
    let response = verify(cluster.server(0), "GET", "");
    assert_eq!(response.status, 503, "{}", response.text());
}

#[test]
fn a_verification_needs_permission() {
    let dir = temp_dir();
    let auth = dir.path().join("auth.json");
    let users = json!([
        {"username": "all", "password": "p", "perms": ["all"]},
        {"username": "status", "password": "p", "perms": ["status"]},
        {"username": "query", "password": "p", "perms": ["query", "execute"]},
    ]);
    std::fs::write(&auth, users.to_string()).unwrap();
    let server = Node::new(&dir.path().join("data")).flags(["-auth", auth.to_str().unwrap()]).start();
    eventually("the node leads", || server.send(&Request::new("GET", "/readyz").basic("all:p")).status == 200);
    for (user, get, post) in [("all:p", 200, 200), ("status:p", 200, 401), ("query:p", 401, 401)] {
        for (method, status) in [("GET", get), ("POST", post)] {
            let response = server.send(&Request::new(method, "/verify").basic(user));
            assert_eq!(response.status, status, "{user} {method}: {}", response.text());
        }
    }
    assert_eq!(server.send(&Request::new("DELETE", "/verify").basic("all:p")).status, 405);
}

#[test]
fn the_standalone_server_returns_the_digest_of_a_database() {
    let digest = |server: &Server, target: &str| {
        let response = server.get(target);
        let body = response.json();
        assert_eq!((response.status, &body["equal"], &body["index"]), (200, &json!(true), &json!(0)), "{body}");
        body["nodes"]["t"]["digest"].as_str().unwrap().to_owned()
    };
    let dir = temp_dir();
    let (server, memory) = (Server::file(dir.path()), Server::memory());
    let empty = digest(&server, "/t/verify");
    assert_eq!(empty, digest(&memory, "/t/verify"));
    for server in [&server, &memory] {
        server.post_json("/t/db/execute", json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"]));
    }
    let filled = digest(&server, "/verify?deep");
    assert_ne!(filled, empty);
    assert_eq!(filled, digest(&memory, "/verify"));
    assert_eq!(server.send(&Request::new("POST", "/t/verify?repair")).status, 405);
}

const SCHEMA: &[&str] = &[
    "CREATE TABLE a(id INTEGER PRIMARY KEY, at DEFAULT CURRENT_TIMESTAMP, r DEFAULT (random()), b DEFAULT (randomblob(9)), n)",
    "CREATE TABLE log(what, at DEFAULT (julianday('now')), seen DEFAULT (datetime('now', 'localtime')))",
    "CREATE TABLE u(k TEXT PRIMARY KEY, v, twice AS (v * 2) STORED, half AS (v / 2.0)) WITHOUT ROWID",
    "CREATE INDEX u_v ON u(v DESC) WHERE v > 10",
    "CREATE TRIGGER a_insert AFTER INSERT ON a BEGIN INSERT INTO log(what) VALUES (hex(randomblob(4))); END",
    "CREATE VIEW moment AS SELECT unixepoch('now', 'subsec') AS t, random() AS r",
    "CREATE TRIGGER moment_insert INSTEAD OF INSERT ON moment BEGIN INSERT INTO log(what, seen) VALUES (new.t, random()); END",
    "CREATE VIRTUAL TABLE words USING fts5(body)",
    "CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT DEFAULT CURRENT_DATE, time TEXT DEFAULT CURRENT_TIME, \
     year INTEGER AS (CAST(strftime('%Y', day) AS INTEGER)) STORED, doc BLOB, root REAL AS (sqrt(id))) STRICT",
    "CREATE INDEX s_year ON s(year, id)",
    "CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)",
    "CREATE TRIGGER s_delete AFTER DELETE ON s WHEN old.id % 2 BEGIN \
     INSERT INTO log(what, seen) VALUES (old.doc, CURRENT_TIMESTAMP); END",
];

/// Statements to choose from; `?` is replaced by a number.
const STATEMENTS: &[&str] = &[
    "INSERT INTO a(n) VALUES (?)",
    "INSERT INTO a(n) SELECT r FROM moment",
    "INSERT INTO moment VALUES (?, 1)",
    "INSERT INTO u(k, v) VALUES ('k' || (? % 40), abs(random() % 1000)) ON CONFLICT(k) DO UPDATE SET v = excluded.v + 1",
    "INSERT OR REPLACE INTO u(k, v) SELECT 'k' || id, n FROM a ORDER BY random() LIMIT 5",
    "DELETE FROM a WHERE id IN (SELECT id FROM a ORDER BY random() LIMIT 2)",
    "UPDATE a SET n = sin(?) + pow(2, 0.5) + log(? + 1) + exp(1), b = randomblob(? % 50) WHERE id % 7 = ? % 7",
    "INSERT INTO log(what, seen) VALUES (time('now', 'localtime'), datetime('2024-07-15 12:00', 'utc'))",
    "INSERT INTO log(what, seen) VALUES (strftime('%Y-%W %j', 'now', '-? days'), date('now', 'weekday 0'))",
    "INSERT INTO log(what) VALUES (json_insert('{\"a\":[1,?]}', '$.a[#]', random()))",
    "INSERT INTO log(what) SELECT json_group_array(k) FROM (SELECT k FROM u ORDER BY random() LIMIT 3)",
    "INSERT INTO words SELECT group_concat(what || ' w' || (? % 90), ' ') FROM (SELECT what FROM log LIMIT 9)",
    "DELETE FROM words WHERE rowid % 5 = ? % 5",
    "INSERT INTO log(what, at) SELECT rowid, rank FROM words WHERE words MATCH 'w*' ORDER BY rank LIMIT 3",
    "INSERT INTO log(what) SELECT printf('%.3f %s %,d', n, upper(k), ?) FROM a, u ORDER BY random() LIMIT 2",
    "DELETE FROM log WHERE rowid % 13 = ? % 13",
    "UPDATE u SET v = v + 1 WHERE v > ? AND k LIKE 'k1%'",
    "INSERT OR FAIL INTO u(k, v) VALUES ('n' || random(), 1), ('k1', 2), ('k1', 3)",
    "INSERT OR ROLLBACK INTO u(k, v) VALUES ('k1', ?), ('k1', ?)",
    "SAVEPOINT s; INSERT INTO a(n) VALUES (?); ROLLBACK TO s; RELEASE s",
    "INSERT INTO nowhere VALUES (?)",
    "ANALYZE",
    "VACUUM",
    "REINDEX",
    "PRAGMA user_version = ?",
    "PRAGMA application_id = ?",
    "PRAGMA optimize",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA reverse_unordered_selects = ON",
    "INSERT INTO s DEFAULT VALUES",
    "INSERT INTO s(doc) VALUES (jsonb(json_object('at', datetime('now', 'localtime', 'subsec'), 'n', json_array(?, random())))) \
     RETURNING *",
    "UPDATE s SET doc = jsonb_set(doc, '$.n[#]', random() % ?) WHERE id IN (SELECT id FROM s ORDER BY random() LIMIT 3)",
    "INSERT INTO log(what, seen) SELECT value, json_extract(doc, '$.at') FROM s, json_each(s.doc, '$.n') ORDER BY random() LIMIT 4",
    "DELETE FROM s WHERE id IN (SELECT id FROM s ORDER BY random() LIMIT 1)",
    "INSERT INTO a(n, at) SELECT sum(n) OVER (ORDER BY random()), unixepoch('now', 'localtime') FROM a LIMIT 3",
    "INSERT INTO a(n) VALUES (atan2(?, 3) * degrees(acos(0.?)) + ln(? + 1)), (sin(julianday('now')))",
    "INSERT INTO a(n) VALUES (sinh(? / 50.0) + tanh(0.?) * cosh(1) - log2(? + 2) + mod(?, 7.5))",
    "INSERT INTO log(what, seen) VALUES (timediff('now', '2020-02-29'), strftime('%s %f %j', 'now', '+? hours', 'utc'))",
    "INSERT INTO log(what) VALUES (changes() || ' ' || total_changes() || ' ' || last_insert_rowid())",
    "INSERT INTO boxes SELECT NULL, abs(random() % 50), 50 + abs(random() % 50) FROM s LIMIT 4",
    "DELETE FROM boxes WHERE id % 3 = ? % 3",
    "CREATE TEMP TABLE IF NOT EXISTS scratch AS SELECT random() AS n; INSERT INTO log(what) SELECT n FROM scratch",
    "CREATE TABLE IF NOT EXISTS late (x, y DEFAULT (random()))",
    "INSERT INTO late(x) VALUES (random()), (CURRENT_TIMESTAMP)",
    "ALTER TABLE late ADD COLUMN z DEFAULT 'added'",
    "DROP TABLE IF EXISTS late",
    "CREATE TABLE IF NOT EXISTS late? (x, y DEFAULT (random()))",
    "DROP TABLE IF EXISTS late?",
];

/// The statements that have succeeded.
type Succeeded = BTreeSet<&'static str>;

/// Sends requests with random statements to random nodes.
fn random_writes(cluster: &Cluster, random: &mut Random, count: usize, succeeded: &mut Succeeded) {
    let running = cluster.running();
    for _ in 0..count {
        let templates: Vec<&str> = (0..=random.below(5)).map(|_| *random.choose(STATEMENTS)).collect();
        let statements: Vec<String> =
            templates.iter().map(|sql| sql.replace('?', &random.below(100).to_string())).collect();
        let target = *random.choose(&["/db/execute", "/db/execute?transaction", "/db/request"]);
        let response = cluster.server(*random.choose(&running)).post_json(target, json!(statements));
        assert_eq!(response.status, 200, "{statements:?}: {}", response.text());
        let results = response.results();
        let done = templates.iter().zip(&results).filter(|(_, result)| result.get("error").is_none());
        succeeded.extend(done.map(|(sql, _)| sql));
    }
}

/// Asserts that all statements have succeeded, except for those that must fail.
fn assert_all_succeeded(succeeded: &Succeeded) {
    let must_fail = |sql: &str| {
        sql.contains("OR FAIL") || sql.contains("OR ROLLBACK") || sql.contains("nowhere") || sql.contains("SAVEPOINT")
    };
    let failed: Vec<_> = STATEMENTS.iter().filter(|sql| !must_fail(sql) && !succeeded.contains(*sql)).collect();
    assert!(failed.is_empty(), "have never succeeded: {failed:#?}");
}

/// Asserts that no leader has reported another outcome of a member.
fn assert_same_outcomes(cluster: &Cluster) {
    for index in cluster.running() {
        let lines = cluster.server(index).stderr();
        assert!(!lines.iter().any(|line| line.contains("has computed another outcome")), "{lines:#?}");
    }
}

/// The clocks of the nodes: more than a year ahead, more than a year behind, and three times as fast as real time.
const CLOCKS: [&str; 3] = ["+400d", "-400d", "+0 x3"];

/// The variables that give a node a clock of its own; none if libfaketime is not installed.
fn clock(time: &str) -> Vec<(&'static str, String)> {
    let Some(library) = faketime::library() else { return Vec::new() };
    let preload = ("LD_PRELOAD", library.to_string_lossy().into_owned());
    let fixed = faketime::VARIABLES.map(|(name, value)| (name, value.to_owned()));
    [preload, ("FAKETIME", time.to_owned())].into_iter().chain(fixed).collect()
}

/// Three voters with different time zones, languages, environments and clocks.
fn different_nodes() -> Cluster {
    let environments: [&[(&str, &str)]; 3] = [
        &[("TZ", "Asia/Tokyo"), ("LC_ALL", "C")],
        &[("TZ", "America/New_York"), ("LC_ALL", "de_DE.UTF-8"), ("LANG", "de_DE.UTF-8")],
        &[("TZ", "Pacific/Chatham"), ("LC_ALL", "tr_TR.UTF-8"), ("HOME", "/")],
    ];
    let mut cluster = Cluster::empty(None);
    for (environment, time) in environments.into_iter().zip(CLOCKS) {
        let clock = clock(time);
        let clock = clock.iter().map(|(name, value)| (*name, value.as_str()));
        let variables: Vec<(&str, &str)> = environment.iter().copied().chain(clock).collect();
        cluster.add_in(&["-raft-snap-int", "0s"], &variables);
    }
    eventually("all nodes vote", || {
        (0..3).all(|index| cluster.server(index).get("/status?key=store.raft.voter").json() == json!(true))
    });
    cluster
}

/// Asserts that the clocks of the nodes differ by more than a year. Without libfaketime, writes to stderr that they are
/// equal; the output of a test that passes is captured, except for such direct writes.
fn assert_clocks_differ(cluster: &Cluster) {
    if faketime::library().is_none() {
        std::io::stderr().write_all(b"libfaketime is not installed: the clocks of the nodes are equal\n").unwrap();
        return;
    }
    let clock = |index: usize| {
        let rows = cluster.server(index).db_query_at("/db/query?level=none", "SELECT unixepoch('now')");
        rows[0][0].as_i64().unwrap()
    };
    assert!(clock(0) - clock(2) > 366 * 86_400, "n1 is ahead of n3");
    assert!(clock(2) - clock(1) > 366 * 86_400, "n2 is behind n3");
}

/// Asserts that rows contain times of leaders whose clocks were ahead and behind.
fn assert_times_of_several_clocks(cluster: &Cluster) {
    if faketime::library().is_some() {
        let rows = cluster.server(0).db_query("SELECT max(at) - min(at) FROM log WHERE at > 2000000");
        assert!(rows[0][0].as_f64().unwrap() > 700.0, "{rows}");
    }
}

/// The nodes are restarted, install snapshots, and change the leader between the writes.
#[test]
fn random_statements_give_the_same_content_on_all_nodes() {
    let mut random = Random::from_environment();
    let mut succeeded = Succeeded::new();
    let mut cluster = different_nodes();
    assert_clocks_differ(&cluster);
    cluster.server(0).db_execute(json!(SCHEMA));
    for round in 0..3 {
        assert_same_outcomes(&cluster);
        random_writes(&cluster, &mut random, 60, &mut succeeded);
        assert_equal(cluster.server(round), "", 3);
        cluster.kill(round);
        cluster.leader();
        random_writes(&cluster, &mut random, 20, &mut succeeded);
        // In the first round, the node applies many entries after its start. Later, it needs a snapshot if the leader
        // has purged its log by then.
        for index in cluster.running().into_iter().filter(|_| round > 0) {
            cluster.server(index).send(&Request::new("POST", "/snapshot?trailing_logs=1"));
        }
        cluster.restart(round);
        cluster.lead_by((round + 1) % 3);
        random_writes(&cluster, &mut random, 20, &mut succeeded);
    }
    assert_equal(cluster.server(0), "?deep", 3);
    assert_same_outcomes(&cluster);
    assert_times_of_several_clocks(&cluster);
    assert_all_succeeded(&succeeded);
    let installed: f64 =
        (0..3).map(|index| cluster.server(index).metric("sqlhttp_raft_snapshots_installed_total")).sum();
    assert!(installed > 0.0, "no node has installed a snapshot");
}
