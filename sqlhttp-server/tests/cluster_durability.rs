//! Crashes of a node. The process is killed at a random moment under many writers, several times with the same data
//! directory. After each restart every acknowledged write must be there exactly once, none may be there in part or
//! twice, and the file must be sound. The number of crashes is 3, or that of `SQLHTTP_CRASH_ROUNDS`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::crash::{self, Write, assert_none_lost, filling};
use common::{Client, Node, Random, Request, Response, Server, temp_dir};

/// The number of forms of a write.
const KINDS: u64 = 6;

const WRITE: Write = Write { request: write_request, assert_acknowledged };

fn rounds() -> u64 {
    crash::rounds(3)
}

/// `seen` accepts an id once, `w` would accept it again, and the counters count the writes that ran. Together they
/// distinguish a write that ran twice from one that ran once, even if a constraint has kept the second run out of one
/// table.
fn create_tables(server: &Server) {
    let fill = (0..KINDS).map(|kind| format!("INSERT INTO counters VALUES({kind}, 0)"));
    let tables = [
        "CREATE TABLE w(id INTEGER, kind INTEGER, part INTEGER, filling TEXT)",
        "CREATE INDEX w_id ON w(id)",
        "CREATE TABLE seen(id INTEGER UNIQUE, kind INTEGER)",
        "CREATE TABLE counters(kind INTEGER PRIMARY KEY, n INTEGER)",
    ];
    let statements: Vec<String> = tables.map(str::to_owned).into_iter().chain(fill).collect();
    server.db_execute(json!(statements));
}

/// The statements of one write: two rows in one table, one in another, and a count.
fn statements(id: u64) -> Vec<String> {
    let kind = id % KINDS;
    let filling = filling(id);
    vec![
        format!("INSERT INTO w VALUES({id}, {kind}, 1, '{filling}')"),
        format!("INSERT INTO seen VALUES({id}, {kind})"),
        format!("INSERT INTO w VALUES({id}, {kind}, 2, '{filling}')"),
        format!("UPDATE counters SET n = n + 1 WHERE kind = {kind}"),
    ]
}

/// The write with this id, in one of the forms.
fn write_request(id: u64) -> Request {
    let mut list = statements(id);
    match id % KINDS {
        0 => Request::json("/db/execute", json!(list)),
        1 => Request::json("/db/execute?transaction", json!(list)),
        2 => Request::json("/db/execute", json!([list.join("; ")])),
        3 => Request::json("/db/execute?queue", json!(list)),
        4 => {
            list.push(format!("SELECT count(*) FROM w WHERE id = {id}"));
            Request::json("/db/request", json!(list))
        }
        _ => {
            let items: Vec<Value> = list.into_iter().map(|statement| json!({ "statement": statement })).collect();
            Request::json("/main", json!({ "transaction": items }))
        }
    }
}

fn assert_acknowledged(response: &Response) {
    assert!(response.status == 200 && !response.text().contains("\"error\""), "{}", response.text());
}

/// Takes snapshots until the server is gone.
fn snapshot_until_gone(mut client: Client) {
    let request = Request::new("POST", "/snapshot?trailing_logs=1");
    while let Ok(response) = client.send(&request) {
        assert!([200, 204].contains(&response.status), "{} {}", response.status, response.text());
    }
}

fn assert_sound(server: &Server, acknowledged: &[u64]) {
    assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
    let uneven = "SELECT id, kind, count(*) FROM w GROUP BY id HAVING count(*) <> 2 OR sum(part) <> 3";
    assert_eq!(server.db_query(uneven), json!([]), "these writes are there in part, or twice");
    let miscounted = "SELECT kind, n, (SELECT count(*) FROM seen WHERE seen.kind = counters.kind) AS seen, \
                      (SELECT count(DISTINCT id) FROM w WHERE w.kind = counters.kind) AS written \
                      FROM counters WHERE n <> seen OR n <> written";
    assert_eq!(server.db_query(miscounted), json!([]), "these writes did not run once");
    assert_none_lost(&server.db_query("SELECT id FROM seen"), acknowledged);
}

/// Starts the node and prints how long that took.
fn restart(node: &Node, moment: &str) -> Server {
    let begin = Instant::now();
    let server = node.start();
    eprintln!("{moment}: ready after {} ms", begin.elapsed().as_millis());
    server
}

fn crash_again_and_again(dir: &Path, flags: &[&str], beside: fn(Client)) {
    let node = Node::new(&dir.join("data")).flags(flags.iter().copied());
    let server = node.start();
    create_tables(&server);
    server.crash();
    let mut random = Random::from_environment();
    let acknowledged = Mutex::new(Vec::new());
    let mut index = 0;
    for round in 0..rounds() {
        let server = restart(&node, "before the crash");
        assert!(server.applied_index() >= index, "the log has lost entries");
        WRITE.crash_under_load(server, round, 1 + random.below(3000), &acknowledged, beside);
        let server = restart(&node, "after the crash");
        assert_sound(&server, &acknowledged.lock().expect("list"));
        index = server.applied_index();
        if round % 2 == 0 {
            server.crash();
        }
    }
    let acknowledged = acknowledged.into_inner().expect("list").len();
    eprintln!("{acknowledged} acknowledged writes survived {} crashes", rounds());
    assert!(acknowledged as u64 >= rounds());
}

/// A node with one write of each form in its tables.
fn with_some_writes() -> Server {
    let server = Server::node(&[]);
    create_tables(&server);
    for id in 0..KINDS {
        assert_acknowledged(&server.send(&write_request(id)));
    }
    server
}

#[test]
fn every_form_of_a_write_runs_once() {
    let server = with_some_writes();
    assert_sound(&server, &(0..KINDS).collect::<Vec<u64>>());
}

#[test]
#[should_panic(expected = "acknowledged writes are lost: [7]")]
fn the_check_sees_a_lost_write() {
    let server = with_some_writes();
    assert_sound(&server, &[1, 7]);
}

#[test]
#[should_panic(expected = "these writes are there in part, or twice")]
fn the_check_sees_half_a_write() {
    let server = with_some_writes();
    server.db_execute(json!(["INSERT INTO w VALUES(100, 4, 1, '')"]));
    assert_sound(&server, &[1]);
}

#[test]
#[should_panic(expected = "these writes did not run once")]
fn the_check_sees_a_write_that_ran_twice() {
    let server = with_some_writes();
    server.db_execute(json!([statements(0).pop()]));
    assert_sound(&server, &[0]);
}

#[test]
fn acknowledged_writes_survive_crashes() {
    let dir = temp_dir();
    crash_again_and_again(dir.path(), &[], drop);
}

#[test]
fn acknowledged_writes_survive_crashes_during_snapshots() {
    let dir = temp_dir();
    crash_again_and_again(dir.path(), &[], snapshot_until_gone);
}

#[test]
fn acknowledged_writes_survive_crashes_while_the_log_is_truncated() {
    let dir = temp_dir();
    let flags = ["-raft-snap", "64", "-raft-snap-int", "50ms"];
    crash_again_and_again(dir.path(), &flags, drop);
    let server = Node::new(&dir.path().join("data")).start();
    let snapshot = server.get("/status?key=store.raft.last_snapshot_index").json();
    assert!(snapshot.as_u64().is_some_and(|index| index > 64), "snapshots were taken: {snapshot}");
}

#[test]
fn a_crash_during_the_start_loses_nothing() {
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data"));
    let server = node.start();
    create_tables(&server);
    let acknowledged: Vec<u64> = (0..200).collect();
    for id in &acknowledged {
        assert_acknowledged(&server.send(&write_request(*id)));
    }
    server.crash();
    let mut random = Random::from_environment();
    for _ in 0..4 * rounds() {
        let server = node.spawn_server();
        // The moment of the kill is the input: most often the node is not ready yet.
        std::thread::sleep(Duration::from_millis(random.below(80)));
        server.crash();
    }
    let server = restart(&node, "after crashes while it started");
    assert_sound(&server, &acknowledged);
    assert_acknowledged(&server.send(&write_request(1000)));
}

/// A node whose next write to `t` reads a damaged page.
fn with_a_damaged_page(data: &Path) -> Server {
    let node = Node::new(data);
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]));
    let page = server.db_query("SELECT rootpage FROM sqlite_schema WHERE name = 't'")[0][0].as_u64().unwrap();
    let size = server.db_query("PRAGMA page_size")[0][0].as_u64().unwrap();
    assert_eq!(server.stop().code, Some(0));
    let file = data.join("db.sqlite");
    let (first, size) = (usize::try_from((page - 1) * size).unwrap(), usize::try_from(size).unwrap());
    let mut content = std::fs::read(&file).unwrap();
    content[first..first + size].fill(0xA5);
    std::fs::write(file, content).unwrap();
    node.start()
}

#[test]
fn a_damaged_page_fails_its_statement_and_the_node_stays_leader() {
    let dir = temp_dir();
    let server = with_a_damaged_page(&dir.path().join("data"));
    let answer = server.send(&Request::json("/db/execute", json!(["INSERT INTO t VALUES(2)"])));
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("malformed") && !answer.text().contains("LogId"), "{}", answer.text());
    server.db_execute(json!(["CREATE TABLE sound(a)"]));
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/nodes").json()["n1"]["leader"], true);
}
