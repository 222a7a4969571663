//! Nodes that were removed from their cluster, as processes: how they find it out, and what they serve.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Cluster, Request, eventually};
use serde_json::json;

const REMOVED: &str = "this node was removed from the cluster";

/// A cluster of three voters with a table of one row.
fn three(flags: &[&str]) -> Cluster {
    let cluster = Cluster::start(3, flags);
    let leader = cluster.leader();
    cluster.server(leader).db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]));
    cluster
}

/// Removes a node through another one.
fn remove(cluster: &Cluster, through: usize, id: usize) {
    let body = format!("{{\"id\":\"n{}\"}}", id + 1);
    let removed = cluster.server(through).send(&Request::new("DELETE", "/remove").body(body));
    assert_eq!(removed.status, 200, "{}", removed.text());
}

/// Waits until a node reports that it was removed, and checks its responses.
fn await_removal(cluster: &Cluster, index: usize) {
    let server = cluster.server(index);
    eventually("the node learns of its removal", || server.get("/readyz").text().contains(REMOVED));
    assert_eq!(server.get("/readyz").status, 503);
    let raft = server.get("/status?key=store.raft").json();
    assert_eq!((&raft["removed"], &raft["voter"]), (&json!(true), &json!(false)), "{raft}");
    assert!(!raft["latest_configuration"].as_str().unwrap().contains(&format!("ID:n{}", index + 1)), "{raft}");
    server.wait_stderr(REMOVED);
    // A request with an error of its own does not wait for a leader.
    let begun = std::time::Instant::now();
    for response in [
        server.post_json("/db/execute", json!(["INSERT INTO t VALUES(2)"])),
        server.post_json("/db/execute?queue&wait", json!(["INSERT INTO t VALUES(2)"])),
        server.post_json("/db/query?level=linearizable", json!(["SELECT a FROM t"])),
        server.post_json("/db/request", json!(["SELECT a FROM t"])),
    ] {
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(response.text().contains(REMOVED), "{}", response.text());
    }
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    assert_eq!(server.db_query_at("/db/query?level=none", "SELECT a FROM t"), json!([[1]]));
}

#[test]
fn a_removed_follower_learns_it_and_may_join_again() {
    let mut cluster = three(&[]);
    let leader = cluster.leader();
    let removed = cluster.follower();
    eventually("the row is applied", || {
        cluster.server(removed).db_query_at("/db/query?level=none", "SELECT a FROM t") == json!([[1]])
    });
    let term = cluster.server(leader).get("/status?key=store.raft.term").json();
    remove(&cluster, leader, removed);
    await_removal(&cluster, removed);
    // A start without `-join` does not make it a member again.
    cluster.kill(removed);
    cluster.respawn(removed);
    await_removal(&cluster, removed);
    assert_eq!(cluster.server(leader).get("/status?key=store.raft.term").json(), term, "no election was started");
    cluster.kill(removed);
    // Only a node that has joined can be restarted with the same flags; the first one has no `-join`.
    if removed != 0 {
        cluster.rejoin(removed);
        eventually("the node votes again", || {
            cluster.server(removed).get("/status?key=store.raft.voter").json() == json!(true)
        });
        assert_eq!(cluster.server(removed).get("/readyz").status, 200);
        cluster.server(removed).db_execute(json!(["INSERT INTO t VALUES(2)"]));
    }
}

#[test]
fn a_node_that_was_removed_while_it_was_down_learns_it() {
    let mut cluster = three(&[]);
    let leader = cluster.leader();
    let removed = cluster.follower();
    eventually("the row is applied", || {
        cluster.server(removed).db_query_at("/db/query?level=none", "SELECT a FROM t") == json!([[1]])
    });
    cluster.kill(removed);
    remove(&cluster, leader, removed);
    cluster.respawn(removed);
    await_removal(&cluster, removed);
}

#[test]
fn a_removed_leader_and_a_removed_replica_learn_it() {
    let mut cluster = three(&[]);
    let replica = cluster.add(&["-raft-non-voter"]);
    eventually("the row is applied", || {
        cluster.server(replica).db_query_at("/db/query?level=none", "SELECT a FROM t") == json!([[1]])
    });
    let leader = cluster.leader();
    remove(&cluster, leader, replica);
    await_removal(&cluster, replica);
    remove(&cluster, leader, leader);
    await_removal(&cluster, leader);
    // The replica does not count as running for the rest of the test.
    drop((cluster.take(replica), cluster.take(leader)));
    let next = cluster.leader();
    cluster.server(next).db_execute(json!(["INSERT INTO t VALUES(3)"]));
}

#[test]
fn raft_stops_on_a_removed_node_if_that_is_requested() {
    let mut cluster = three(&["-raft-remove-shutdown"]);
    let (leader, removed) = (cluster.leader(), cluster.follower());
    for index in [removed, leader] {
        eventually("the row is applied", || {
            cluster.server(index).db_query_at("/db/query?level=none", "SELECT a FROM t") == json!([[1]])
        });
        remove(&cluster, leader, index);
        eventually("Raft has stopped", || {
            cluster.server(index).get("/status?key=store.raft.state").json() == json!("Shutdown")
        });
        await_removal(&cluster, index);
        // The process continues, and can be stopped as usual.
        assert_eq!(cluster.stop(index).code, Some(0));
    }
    let next = cluster.leader();
    cluster.server(next).db_execute(json!(["INSERT INTO t VALUES(3)"]));
}
