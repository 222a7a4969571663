//! Database files that are much larger than a request body are loaded into a cluster of three nodes, while clients
//! write and nodes are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Client, Cluster, Launch, Request, Response, Server, eventually, temp_dir};
use serde_json::{Value, json};

/// The number of rows of a megabyte in the file.
const MEGABYTES: u64 = 40;
/// The time limit of a load.
const PATIENCE: Duration = Duration::from_secs(300);

/// A database file with the tables `big`, of this number of megabytes, and `w`, which is empty. Its bytes cannot be
/// compressed.
fn large_file(megabytes: u64) -> Vec<u8> {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).args(["--db", "o.db"]).start();
    server.execute("o", "CREATE TABLE w(a)");
    server.execute("o", "CREATE TABLE big(id INTEGER PRIMARY KEY, b BLOB)");
    let insert = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) \
                  INSERT INTO big SELECT x, randomblob(1 << 20) FROM c";
    server.transaction("o", json!([{ "statement": insert, "values": [megabytes] }])).results();
    assert_eq!(server.stop().code, Some(0));
    std::fs::read(dir.path().join("o.db")).unwrap()
}

/// A cluster of three voters with a table `w` that has one row, and with a limit of request bodies that is much below
/// the length of the file.
fn three() -> Cluster {
    let cluster = Cluster::start(3, &["-max-body", "1MiB"]);
    cluster.server(cluster.leader()).db_execute(json!(["CREATE TABLE w(a)", "INSERT INTO w VALUES('before')"]));
    cluster
}

/// Sends the file to a node. Returns the connection, on which the response will arrive.
fn begin_load(server: &Server, file: &[u8]) -> Client {
    let mut client = server.client();
    client.set_patience(PATIENCE);
    client.write(&Request::new("POST", "/db/load").body(file).encode()).expect("the file is sent");
    client
}

fn end_load(mut client: Client) -> std::io::Result<Response> {
    client.receive(false)
}

/// Waits until a node has applied this number of entries since it had applied `index`.
fn await_entries(server: &Server, index: u64, entries: u64) {
    eventually("some parts of the file have been applied", || server.applied_index() >= index + entries);
}

/// A description of the whole content of a node's database.
fn content(server: &Server) -> Value {
    let mut queries = vec!["SELECT name FROM sqlite_schema ORDER BY name", "SELECT a FROM w ORDER BY rowid"];
    if server.db_query_at("/db/query?level=none", queries[0]).to_string().contains("big") {
        queries.push("SELECT count(*), sum(length(b)), hex(substr(max(b), 1, 8)), hex(substr(min(b), 1, 8)) FROM big");
    }
    queries.iter().map(|sql| server.db_query_at("/db/query?level=none", sql)).collect()
}

/// Waits until all nodes that run have the same content, and returns it.
fn await_equal(cluster: &Cluster) -> Value {
    let contents = || cluster.running().into_iter().map(|index| content(cluster.server(index))).collect::<Vec<_>>();
    eventually("all nodes have the same content", || contents().windows(2).all(|pair| pair[0] == pair[1]));
    contents().swap_remove(0)
}

fn has_loaded(content: &Value) -> bool {
    content[2][0][0] == json!(MEGABYTES) && !content[1].to_string().contains("before")
}

#[test]
fn a_large_file_is_loaded_through_a_follower_while_a_client_writes() {
    let cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let file = large_file(MEGABYTES);
    let index = cluster.server(leader).applied_index();
    let done = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = cluster.server(follower).client();
            client.set_patience(PATIENCE);
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                let insert = Request::json("/db/execute", json!([["INSERT INTO w VALUES(?)", written]]));
                let response = client.send(&insert).unwrap();
                assert_eq!(response.results()[0]["rows_affected"], 1, "{}", response.text());
                written += 1;
            }
            written
        });
        let loaded = end_load(begin_load(cluster.server(follower), &file)).unwrap();
        assert_eq!((loaded.status, loaded.text().as_str()), (200, "{\"results\":[]}"));
        cluster.server(follower).db_execute(json!(["INSERT INTO w VALUES('after')"]));
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let content = await_equal(&cluster);
    assert!(has_loaded(&content), "{content}");
    assert!(content[1].to_string().contains("after"), "{content}");
    // Writes were appended between the parts, and the log contains the file in parts.
    assert!(written > MEGABYTES / 4, "{written} writes");
    assert!(cluster.server(leader).applied_index() > index + MEGABYTES);
    for index in 0..3 {
        assert_eq!(cluster.server(index).db_query("PRAGMA integrity_check"), json!([["ok"]]));
        let files = common::names(cluster.node(index).directory());
        assert!(files.iter().all(|name| !name.starts_with("restore-") && !name.starts_with("load-")), "{files:?}");
    }
}

#[test]
fn a_follower_that_is_killed_during_a_load_has_the_content_after_its_restart() {
    let mut cluster = three();
    let (leader, killed) = (cluster.leader(), cluster.follower());
    let file = large_file(MEGABYTES);
    let index = cluster.server(leader).applied_index();
    let load = begin_load(cluster.server(leader), &file);
    await_entries(cluster.server(killed), index, MEGABYTES / 4);
    cluster.kill(killed);
    assert_eq!(end_load(load).unwrap().status, 200);
    cluster.restart(killed);
    let content = await_equal(&cluster);
    assert!(has_loaded(&content), "{content}");
    // It is killed again while it applies the load, or after that.
    cluster.kill(killed);
    cluster.restart(killed);
    assert_eq!(await_equal(&cluster), content);
}

#[test]
fn a_load_whose_leader_is_killed_has_its_whole_effect_or_none() {
    let mut cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let file = large_file(MEGABYTES);
    let index = cluster.server(leader).applied_index();
    let load = begin_load(cluster.server(follower), &file);
    await_entries(cluster.server(follower), index, MEGABYTES / 4);
    cluster.kill(leader);
    let response = end_load(load).unwrap();
    cluster.leader();
    cluster.restart(leader);
    let content = await_equal(&cluster);
    let none = json!([["before"]]);
    assert!(has_loaded(&content) || content[1] == none && content[2].is_null(), "{content}");
    if response.status == 200 {
        assert!(has_loaded(&content), "{content}");
    }
    // The next leader ends the load, so that another file can be loaded.
    let small = large_file(1);
    let loaded = end_load(begin_load(cluster.server(follower), &small)).unwrap();
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(await_equal(&cluster)[2][0][0], 1);
}

#[test]
fn a_whole_cluster_that_is_killed_during_a_load_continues() {
    let mut cluster = three();
    let leader = cluster.leader();
    let file = large_file(MEGABYTES);
    let index = cluster.server(leader).applied_index();
    let load = begin_load(cluster.server(leader), &file);
    await_entries(cluster.server(leader), index, MEGABYTES / 4);
    (0..3).for_each(|index| cluster.kill(index));
    assert!(end_load(load).is_err());
    cluster.restart_all();
    let leader = cluster.leader();
    cluster.server(leader).db_execute(json!(["INSERT INTO w VALUES('after')"]));
    assert_eq!(await_equal(&cluster)[1], json!([["before"], ["after"]]));
}

/// The most memory that a process has used so far, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_the_nodes_does_not_depend_on_the_length_of_the_file() {
    let cluster = three();
    let follower = cluster.follower();
    let load = |megabytes| {
        let loaded = end_load(begin_load(cluster.server(follower), &large_file(megabytes))).unwrap();
        assert_eq!(loaded.status, 200, "{}", loaded.text());
        await_equal(&cluster);
        (0..3).map(|index| peak_memory(cluster.server(index))).collect::<Vec<_>>()
    };
    // The first load fills the caches and buffers.
    let before = load(MEGABYTES);
    let after = load(4 * MEGABYTES);
    for (before, after) in before.iter().zip(&after) {
        assert!(
            after.saturating_sub(*before) < MEGABYTES << 20,
            "before: {} MiB, after: {} MiB",
            before >> 20,
            after >> 20
        );
    }
}
