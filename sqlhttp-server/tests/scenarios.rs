//! Behaviour that one request cannot show: logins, slow queries, locks and transactions beside each other, start-up
//! statements, and large or compressed requests. (Differences from ws4sqlite at the start are in
//! `differences_start.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use common::{ENDLESS, Launch, Request, Server, compressed, counting_to, names, temp_dir, write};
use serde_json::{Value, json};

fn select_one(credentials: Option<(&str, &str)>) -> Value {
    let mut body = json!({"transaction": [{"query": "SELECT 1"}]});
    if let Some((user, password)) = credentials {
        body["credentials"] = json!({"user": user, "password": password});
    }
    body
}

const INLINE: &str = "auth: {mode: INLINE, byCredentials: [{user: u, password: p}]}\n";

/// Sends wrong logins on connections of their own, then a valid one. Returns how many of the wrong ones were answered
/// before the valid one.
fn wrong_logins_answered_before_a_valid_one(server: &Server, number: usize) -> usize {
    let answered = AtomicUsize::new(0);
    let (sent, all_sent) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..number {
            let (sent, answered) = (sent.clone(), &answered);
            scope.spawn(move || {
                let mut client = server.client();
                client.write(&Request::json("/t", select_one(Some(("u", "wrong")))).encode()).expect("sent");
                sent.send(()).expect("the receiver lives");
                let response = client.receive(false).expect("an answer");
                answered.fetch_add(1, Ordering::SeqCst);
                assert_eq!((response.status, response.error().as_str()), (401, "wrong credentials"));
            });
        }
        all_sent.iter().take(number).for_each(drop);
        assert_eq!(server.post("t", select_one(Some(("u", "p")))).status, 200);
        answered.load(Ordering::SeqCst)
    })
}

#[test]
fn wrong_logins_do_not_delay_valid_ones() {
    let server = Server::configured(INLINE);
    // The valid request must overtake all of them. On a busy machine that may fail in some of the attempts, but not in
    // all.
    let overtaken = (0..5).any(|_| wrong_logins_answered_before_a_valid_one(&server, 3) == 0);
    assert!(overtaken, "a valid request always waits for wrong logins");
}

#[test]
fn wrong_logins_on_different_databases_are_independent() {
    let dir = temp_dir();
    write(dir.path(), "c.yaml", INLINE);
    let server = Launch::new().dir(dir.path()).args(["--mem-db", "a:c.yaml", "--mem-db", "b:c.yaml"]).start();
    std::thread::scope(|scope| {
        for database in ["a", "b"] {
            let server = &server;
            scope.spawn(move || {
                assert_eq!(server.post(database, select_one(Some(("u", "wrong")))).status, 401);
                assert_eq!(server.post(database, select_one(None)).error(), "missing auth credentials");
                assert_eq!(server.post(database, select_one(Some(("u", "p")))).status, 200);
            });
        }
    });
}

/// Asserts that reads and writes are answered while a query runs.
fn assert_slow_query_does_not_delay_others(server: &Server) {
    // The slow query never ends by itself, so a request that waited for it would not be answered.
    let _slow = server.begin_endless_query("t");
    server.assert_alive("t");
    server.execute("t", "CREATE TABLE T(a)");
    server.assert_alive("t");
}

#[test]
fn a_slow_query_does_not_delay_others() {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).with_metrics().args(["--db", "t.db"]).start();
    assert_slow_query_does_not_delay_others(&server);
}

#[test]
fn a_slow_query_in_memory_does_not_delay_others() {
    let server = Launch::new().with_metrics().args(["--mem-db", "t"]).start();
    assert_slow_query_does_not_delay_others(&server);
}

/// More queries than the pool of readers may have threads (64 and those of `--read-threads`) are begun and left.
#[test]
fn a_query_ends_when_its_client_goes_away() {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).with_metrics().args(["--read-threads", "1", "--db", "t.db"]).start();
    for kind in ["query", "statement"] {
        let endless = Request::json("/t", json!({"transaction": [{kind: ENDLESS}]}));
        let clients: Vec<common::Client> = (0..70).map(|_| server.begin(&endless)).collect();
        server.await_requests_in_flight(70);
        drop(clients);
        // This query is too long for the thread of its connection, so it needs a thread of the pool.
        assert_eq!(server.query("t", &counting_to(3_000_000)), json!([[3_000_000]]));
        server.execute("t", "CREATE TABLE IF NOT EXISTS T(a)");
    }
}

#[test]
fn parallel_requests_each_see_their_own_consistent_state() {
    let dir = temp_dir();
    let server = Server::file(dir.path());
    server.execute("t", "CREATE TABLE T(id INT PRIMARY KEY, v TEXT)");
    let items = json!([
        {"statement": "DELETE FROM T"},
        {"statement": "INSERT INTO T VALUES(1, 'ONE')"},
        {"statement": "INSERT INTO T VALUES(1, 'ONE')", "noFail": true},
        {"query": "SELECT * FROM T WHERE id = 1"},
        {"statement": "INSERT INTO T VALUES(:id, :v)", "valuesBatch": [{"id": 2, "v": "TWO"}, {"id": 3, "v": "THREE"}]},
        {"query": "SELECT count(*) AS n FROM T"}
    ]);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let results = server.transaction("t", items.clone()).results();
                assert_eq!(results[1], json!({"success": true, "rowsUpdated": 1}));
                assert_eq!(results[2]["error"], "Constraint failed: UNIQUE constraint failed: T.id (1555)");
                assert_eq!(results[3]["resultSet"], json!([{"id": 1, "v": "ONE"}]));
                assert_eq!(results[4]["rowsUpdatedBatch"], json!([1, 1]));
                assert_eq!(results[5]["resultSet"], json!([{"n": 3}]));
            });
        }
    });
}

#[test]
fn two_databases_on_one_file_do_not_block_each_other() {
    let dir = temp_dir();
    write(dir.path(), "ro.yaml", "readOnly: true\n");
    std::fs::create_dir(dir.path().join("d")).expect("a folder");
    let create = Launch::new().dir(dir.path()).args(["--db", "rw.db"]).start();
    create.execute("rw", "CREATE TABLE T(a)");
    assert_eq!(create.stop().code, Some(0));
    std::os::unix::fs::symlink(dir.path().join("rw.db"), dir.path().join("ro.db")).expect("a link");
    let server = Launch::new().dir(dir.path()).args(["--db", "rw.db", "--db", "ro.db:ro.yaml"]).start();
    std::thread::scope(|scope| {
        for n in 0..64 {
            let server = &server;
            scope.spawn(move || assert_eq!(server.execute("rw", &format!("INSERT INTO T VALUES({n})")), 1));
            scope.spawn(move || assert!(server.query("ro", "SELECT count(*) FROM T")[0][0].is_u64()));
        }
    });
    assert_eq!(server.query("ro", "SELECT count(*) FROM T"), json!([[64]]));
}

/// A second process that serves this database and waits for locks on its file for 50 ms.
fn impatient_server(dir: &Path, database: &str) -> Server {
    Launch::new().dir(dir).args(["--busy-timeout", "50ms", "--db", database]).start()
}

/// Waits until another process holds the write lock, so that this write fails.
fn await_write_lock(server: &Server, write: &Value) {
    let mut refusal = None;
    common::eventually("another process holds the write lock", || {
        let response = server.transaction("t", write.clone());
        refusal = (response.status != 200).then_some(response);
        refusal.is_some()
    });
    let refusal = refusal.expect("a refusal");
    assert_eq!((refusal.status, refusal.error().as_str()), (500, "database is locked (5) (SQLITE_BUSY)"));
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_reported() {
    let dir = temp_dir();
    let impatient = impatient_server(dir.path(), "t.db");
    impatient.execute("t", "CREATE TABLE T(a)");
    let patient = Launch::new().dir(dir.path()).with_metrics().args(["--busy-timeout", "60s", "--db", "t.db"]).start();
    let holder = Server::file(dir.path());
    let items = json!([{"statement": "INSERT INTO T VALUES(0)"}, {"query": ENDLESS}]);
    let connection = holder.begin(&Request::json("/t", json!({ "transaction": items })));
    let insert = json!([{"statement": "INSERT INTO T VALUES(1)"}]);
    await_write_lock(&impatient, &insert);
    impatient.assert_alive("t");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.transaction("t", insert.clone()));
        patient.await_requests_in_flight(1);
        // The impatient server has meanwhile waited and given up. The patient one still waits.
        await_write_lock(&impatient, &insert);
        patient.await_requests_in_flight(1);
        holder.crash();
        assert_eq!(waiting.join().expect("a thread").status, 200, "the write did not wait for the lock");
    });
    drop(connection);
    assert_eq!(impatient.transaction("t", insert).status, 200);
    assert_eq!(
        impatient.query("t", "SELECT count(*) FROM T WHERE a = 0"),
        json!([[0]]),
        "a part of a request survived"
    );
}

#[test]
fn init_statements_run_once_for_a_file() {
    let dir = temp_dir();
    write(
        dir.path(),
        "t.yaml",
        "initStatements: [\"CREATE TABLE T(a); INSERT INTO T VALUES(1)\", \"INSERT INTO T VALUES(2)\"]\n",
    );
    for start in 1..=2 {
        let server = Server::file(dir.path());
        let performed = server.stdout().contains(&"  + 2 init statements performed".to_owned());
        assert_eq!(performed, start == 1, "{:?}", server.stdout());
        assert_eq!(server.query("t", "SELECT a FROM T"), json!([[1], [2]]));
    }
}

#[test]
fn a_failing_init_statement_leaves_no_file_behind() {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "initStatements: [\"CREATE TABLE T(a)\", \"NONSENSE\"]\n");
    let exit = Launch::new().dir(dir.path()).args(["--db", "t.db"]).run();
    assert_eq!(exit.code, Some(1));
    let message = "in init statement #2 for database 't': SQL logic error: near \"NONSENSE\": syntax error (1)";
    assert!(exit.stderr[0].ends_with(message), "{:?}", exit.stderr);
    assert_eq!(names(dir.path()), ["t.yaml"]);
}

#[test]
fn a_login_never_sees_uncommitted_rows() {
    let dir = temp_dir();
    write(
        dir.path(),
        "t.yaml",
        "auth: {mode: HTTP, byQuery: \"SELECT 1 FROM U WHERE name = :user AND pass = :password\"}\n\
         initStatements: [\"CREATE TABLE U(name, pass)\", \"INSERT INTO U VALUES('admin', 'x')\"]\n",
    );
    let server = Launch::new().dir(dir.path()).with_metrics().args(["--db", "t.db"]).start();
    let items = json!([{"statement": "INSERT INTO U VALUES('ghost', 'boo')"}, {"query": ENDLESS}]);
    let running = server.begin(&Request::json("/t", json!({ "transaction": items })).basic("admin:x"));
    write(dir.path(), "open.yaml", "{}\n");
    let other = impatient_server(dir.path(), "t.db:open.yaml");
    await_write_lock(&other, &json!([{"statement": "DELETE FROM U WHERE 0"}]));
    let login = |credentials| server.send(&Request::json("/t", select_one(None)).basic(credentials)).status;
    assert_eq!(login("ghost:boo"), 401, "a user who is not committed can log in");
    assert_eq!(login("admin:x"), 200);
    // The transaction never ends by itself, so it ran during these logins.
    assert_eq!(server.metric("sqlhttp_requests_in_flight"), 1.0);
    drop(running);
    server.await_requests_in_flight(0);
    assert_eq!(login("ghost:boo"), 401, "a user who was rolled back can log in");
    server.wait_stderr("credentials not valid for user 'ghost'");
}

#[test]
fn a_connection_pragma_of_a_start_up_task_holds_on_every_connection() {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", "scheduledTasks: [{atStartup: true, statements: [\"PRAGMA foreign_keys=ON\"]}]\n");
    let server = Launch::new().dir(dir.path()).args(["--read-threads", "4", "--db", "t.db"]).start();
    server.execute("t", "CREATE TABLE P(id INTEGER PRIMARY KEY); CREATE TABLE C(p REFERENCES P(id))");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let items = json!([{"query": counting_to(100_000)}, {"query": "PRAGMA foreign_keys"}]);
                let results = server.transaction("t", items).results();
                assert_eq!(results[1]["resultSet"], json!([{"foreign_keys": 1}]));
            });
        }
    });
    let response = server.transaction("t", json!([{"statement": "INSERT INTO C VALUES(1)"}]));
    assert_eq!(response.error(), "constraint failed: FOREIGN KEY constraint failed (787)");
    // Foreign keys are off without such a task.
    assert_eq!(Server::memory().query("t", "PRAGMA foreign_keys"), json!([[0]]));
}

#[test]
fn compressed_request_bodies_are_decoded() {
    let server = Server::memory();
    let body = json!({"transaction": [{"query": "SELECT 'compressed' AS a"}]}).to_string();
    for encoding in ["gzip", "deflate", "br", "GZIP"] {
        let sent = compressed(&encoding.to_lowercase(), body.as_bytes());
        let request = Request::json("/t", "").header("Content-Encoding", encoding).body(sent);
        let response = server.send(&request);
        assert_eq!(response.results()[0]["resultSet"], json!([{"a": "compressed"}]), "{encoding}");
    }
    let unknown = Request::json("/t", &body).header("Content-Encoding", "rot13");
    assert_eq!(server.send(&unknown).status, 200, "an unknown encoding is treated as none");
    let broken = Request::json("/t", "this is not gzip").header("Content-Encoding", "gzip");
    assert_eq!(server.send(&broken).status, 400);
    let mut bomb = Vec::new();
    write!(bomb, "{}{}", body, " ".repeat(80 << 20)).expect("written");
    let bomb = Request::json("/t", "").header("Content-Encoding", "gzip").body(compressed("gzip", &bomb));
    assert_eq!(server.send(&bomb).status, 413, "the limit applies to the decompressed body");
    server.assert_alive("t");
}

#[test]
fn a_large_batch_is_one_request() {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE T(a INT, b TEXT)");
    let batch: Vec<Value> = (0..20_000).map(|n| json!({"a": n, "b": format!("row {n}")})).collect();
    let items = json!([{"statement": "INSERT INTO T VALUES(:a, :b)", "valuesBatch": batch}]);
    let results = server.transaction("t", items).results();
    assert_eq!(results[0]["rowsUpdatedBatch"], json!(vec![1; 20_000]));
    assert_eq!(server.query("t", "SELECT count(*), sum(a) FROM T"), json!([[20_000, 199_990_000]]));
}
