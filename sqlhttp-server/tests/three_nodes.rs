//! A cluster of three nodes as processes: how it forms, what each node answers, and what happens when nodes are killed,
//! stopped and removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Cluster, Node, Request, Response, eventually, temp_dir};
use serde_json::{Value, json};

const LEVELS: [&str; 5] = ["none", "weak", "linearizable", "strong", "auto"];

/// A cluster of three voters with an empty table `t`.
fn three() -> Cluster {
    let cluster = Cluster::start(3, &[]);
    cluster.server(cluster.leader()).db_execute(json!(["CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"]));
    cluster
}

/// Waits until a node has applied this number of rows of `t`.
fn await_rows(cluster: &Cluster, index: usize, rows: u64) {
    eventually("the node has applied the rows", || {
        let response = cluster.server(index).get("/db/query?level=none&q=SELECT%20count(*)%20FROM%20t");
        response.json()["results"][0]["values"] == json!([[rows]])
    });
}

fn counter(cluster: &Cluster, index: usize, group: &str, name: &str) -> u64 {
    let vars = cluster.server(index).get(&format!("/debug/vars?key={group}")).json();
    vars[group][name].as_u64().unwrap_or_else(|| panic!("no {name} in {vars}"))
}

#[test]
fn each_node_writes_and_reads_at_every_level() {
    let cluster = three();
    let leader = cluster.leader();
    let leader_address = cluster.node(leader).raft_address();
    for index in 0..3 {
        let response = cluster.server(index).post_json("/db/execute", json!([["INSERT INTO t(b) VALUES(?)", index]]));
        assert_eq!(response.results()[0]["rows_affected"], 1, "{}", response.text());
        let own = cluster.node(index).api_url().trim_start_matches("http://").to_owned();
        let by = if index == leader { own.clone() } else { leader_address.clone() };
        assert_eq!(response.header("X-RQLITE-SERVED-BY"), Some(by.as_str()), "node {index}");
        for level in LEVELS {
            let target = format!("/db/query?level={level}");
            if level == "none" {
                await_rows(&cluster, index, index as u64 + 1);
            }
            let response = cluster.server(index).post_json(&target, json!(["SELECT count(*) FROM t"]));
            assert_eq!(response.results()[0]["values"], json!([[index + 1]]), "node {index}: {level}");
            assert_eq!(response.header("X-RQLITE-SERVED-BY"), Some(own.as_str()), "node {index}: {level}");
        }
        let mixed = json!([["UPDATE t SET b = ? WHERE a = 1", index], "SELECT b FROM t WHERE a = 1"]);
        let results = cluster.server(index).post_json("/db/request", mixed).results();
        assert_eq!(results[1]["values"], json!([[index.to_string()]]), "node {index}");
    }
}

#[test]
fn the_members_are_described_by_each_node() {
    let mut cluster = three();
    let replica = cluster.add(&["-raft-non-voter"]);
    let leader = cluster.leader();
    for index in 0..4 {
        let server = cluster.server(index);
        let nodes = server.get("/nodes?nonvoters").json();
        assert_eq!(nodes.as_object().unwrap().len(), 4, "{nodes}");
        for member in 0..4 {
            let node = &nodes[format!("n{}", member + 1)];
            assert_eq!(node["addr"], json!(cluster.node(member).raft_address()));
            assert_eq!(node["api_addr"], json!(cluster.node(member).api_url()));
            assert_eq!((&node["reachable"], &node["leader"]), (&json!(true), &json!(member == leader)), "{nodes}");
            assert_eq!(node["voter"], json!(member != replica));
            assert!(node["time"].is_number() && node["error"].is_null(), "{node}");
        }
        assert_eq!(server.get("/nodes").json().as_object().unwrap().len(), 3);
        let list = server.get("/nodes?nonvoters&ver=2").json();
        assert_eq!(list["nodes"].as_array().unwrap().len(), 4);
        assert_eq!(server.get("/leader").json()["id"], json!(format!("n{}", leader + 1)));
        let status = server.get("/status").json();
        let store = &status["store"];
        let address = cluster.node(leader).raft_address();
        assert_eq!(store["leader"], json!({ "addr": address, "node_id": format!("n{}", leader + 1) }));
        assert_eq!(store["nodes"].as_array().unwrap().len(), 4);
        assert_eq!(store["raft"]["state"], if index == leader { "Leader" } else { "Follower" });
        assert_eq!(store["raft"]["voter"], json!(index != replica));
        assert_eq!(store["ready"], true);
        assert_eq!(store["raft"]["last_contact"].is_number(), index == leader, "{}", store["raft"]);
        assert_eq!(server.get("/readyz?sync").status, 200);
    }
    let killed = cluster.follower();
    cluster.kill(killed);
    let nodes = cluster.server(leader).get("/nodes?nonvoters").json();
    let node = &nodes[format!("n{}", killed + 1)];
    assert_eq!((&node["reachable"], &node["version"]), (&json!(false), &json!("")), "{node}");
    let error = format!("dial tcp {}: connect: connection refused", cluster.node(killed).raft_address());
    assert_eq!(node["error"], json!(error));
    assert!(node["api_addr"].is_null() && node["time"].is_null(), "{node}");
}

#[test]
fn a_request_is_redirected_to_the_leader_if_the_client_asks() {
    let cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let url = cluster.node(leader).api_url();
    let redirected = |response: &Response, target: &str| {
        assert_eq!((response.status, response.text().as_str()), (301, ""), "{target}");
        assert_eq!(response.header("Location"), Some(format!("{url}{target}").as_str()));
        assert_eq!(response.header("X-RQLITE-SERVED-BY"), None, "{target}");
    };
    let server = cluster.server(follower);
    for target in ["/db/execute?redirect", "/db/query?redirect&level=strong", "/db/request?redirect&pretty"] {
        let response = server.post_json(target, json!(["nonsense"]));
        redirected(&response, target);
        assert_eq!(response.header("Content-Type"), Some("application/json; charset=utf-8"), "{target}");
    }
    redirected(&server.get("/db/query?redirect&q=SELECT%201"), "/db/query?redirect&q=SELECT%201");
    let backup = server.get("/db/backup?redirect&fmt=sql");
    redirected(&backup, "/db/backup?redirect&fmt=sql");
    assert_eq!(backup.header("Content-Type"), Some("application/sql"));
    redirected(&server.post_bytes("/db/load?redirect", "SELECT 1"), "/db/load?redirect");
    let remove = Request::new("DELETE", "/remove?redirect").body(r#"{"id":"none"}"#);
    redirected(&server.send(&remove), "/remove?redirect");
    redirected(&server.send(&Request::new("POST", "/leader?wait&redirect")), "/leader?wait&redirect");
    let ws4sqlite = json!({ "transaction": [{ "query": "SELECT 1" }] });
    redirected(&server.post_json("/main?redirect", &ws4sqlite), "/main?redirect");
    // A read that needs no leader is answered here.
    assert_eq!(server.post_json("/db/query?redirect&level=none", json!(["SELECT 1"])).status, 200);
    assert_eq!(server.post_json("/db/execute?redirect", "{").status, 400);
    assert_eq!(cluster.server(leader).post_json("/db/execute?redirect", json!(["SELECT 1"])).status, 200);
}

#[test]
fn writes_survive_the_death_of_the_leader() {
    let mut cluster = three();
    for round in 0..3_u64 {
        let leader = cluster.leader();
        cluster.server(leader).db_execute(json!([["INSERT INTO t(b) VALUES(?)", round]]));
        cluster.kill(leader);
        let next = cluster.leader();
        assert_ne!(next, leader);
        let strong = "/db/query?level=strong";
        assert_eq!(cluster.server(next).db_query_at(strong, "SELECT count(*) FROM t"), json!([[round + 1]]));
        let follower = cluster.follower();
        assert_eq!(cluster.server(follower).db_query_at(strong, "SELECT count(*) FROM t"), json!([[round + 1]]));
        cluster.restart(leader);
        await_rows(&cluster, leader, round + 1);
    }
}

#[test]
fn a_write_during_a_failover_waits_for_the_next_leader() {
    let mut cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    cluster.kill(leader);
    cluster.server(follower).db_execute(json!(["INSERT INTO t(b) VALUES('x')"]));
    assert_eq!(cluster.server(follower).db_query("SELECT b FROM t"), json!([["x"]]));
    assert_eq!(counter(&cluster, follower, "http", "leader_not_found"), 0);
}

#[test]
fn without_a_quorum_nothing_is_acknowledged() {
    let mut cluster = Cluster::start(2, &[]);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    cluster.server(leader).db_execute(json!(["CREATE TABLE t(a)"]));
    await_rows(&cluster, follower, 0);
    cluster.kill(follower);
    let server = cluster.server(leader);
    eventually("the leader steps down", || server.get("/readyz").status == 503);
    for level in ["weak", "linearizable", "strong"] {
        let response = server.post_json(&format!("/db/query?level={level}&timeout=1s"), json!(["SELECT 1"]));
        assert_eq!((response.status, response.text().as_str()), (503, "leader not found\n"), "{level}");
    }
    let write = server.post_json("/db/execute?timeout=1s", json!(["INSERT INTO t VALUES(1)"]));
    assert!(write.status == 503 || write.json()["error"].is_string(), "{}", write.text());
    assert_eq!(server.post_json("/db/execute?redirect", json!(["SELECT 1"])).status, 500);
    assert_eq!(server.get("/leader").status, 503);
    assert_eq!(server.get("/nodes").status, 200);
    assert_eq!(server.get("/status?key=store.leader").json(), json!({ "addr": "", "node_id": "" }));
    assert_eq!(server.db_query_at("/db/query?level=none", "SELECT count(*) FROM t"), json!([[0]]));
    assert_ne!(server.get("/status?key=store.raft.state").json(), "Leader");
    let stale = server.post_json("/db/query?level=none&freshness=1ms", json!(["SELECT 1"]));
    assert_eq!(stale.json(), json!({ "results": [], "error": "stale read" }));
    cluster.restart(follower);
    cluster.leader();
    cluster.server(follower).db_execute(json!(["INSERT INTO t VALUES(1)"]));
}

#[test]
fn members_are_removed_through_any_node() {
    let mut cluster = three();
    let remove = |cluster: &Cluster, through: usize, id: usize| {
        let body = format!("{{\"id\":\"n{}\"}}", id + 1);
        cluster.server(through).send(&Request::new("DELETE", "/remove").body(body))
    };
    let (leader, through) = (cluster.leader(), cluster.follower());
    let other = 3 - leader - through;
    let removed = remove(&cluster, through, other);
    assert_eq!((removed.status, removed.text().as_str()), (200, ""));
    assert_eq!(removed.header("X-RQLITE-SERVED-BY"), Some(cluster.node(leader).raft_address().as_str()));
    assert_eq!((cluster.members_named_by(leader), cluster.members_named_by(through)), (2, 2));
    cluster.kill(other);
    let removed = remove(&cluster, leader, leader);
    assert_eq!((removed.status, removed.text().as_str()), (200, ""));
    cluster.kill(leader);
    assert_eq!(cluster.leader(), through);
    assert_eq!(cluster.members_named_by(through), 1);
    let last = remove(&cluster, through, through);
    assert_eq!(last.status, 500);
    assert!(last.text().contains("need at least one voter in configuration"), "{}", last.text());
    cluster.server(through).db_execute(json!(["INSERT INTO t(b) VALUES('x')"]));
}

#[test]
fn the_leadership_is_transferred() {
    let cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let target = |index: usize| json!({ "id": format!("n{}", index + 1) });
    let same = cluster.server(follower).post_json("/leader?wait", target(leader));
    assert_eq!(same.text(), "stepdown: cannot step down to the current Leader\n");
    let response = cluster.server(leader).post_json("/leader?wait", target(follower));
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(cluster.leader(), follower);
    let itself = cluster.server(leader).post_json("/leader?wait", target(leader));
    assert_eq!(itself.text(), "stepdown: cannot transfer leadership to itself\n");
    let third = 3 - leader - follower;
    let back = cluster.server(third).post_json("/leader?wait", target(leader));
    assert_eq!((back.status, back.text().as_str()), (200, ""), "forwarded to the leader");
    assert_eq!(cluster.leader(), leader);
    // Without `wait`, only the leader itself transfers the leadership.
    assert_eq!(cluster.server(third).post_json("/leader", target(third)).status, 200);
    assert_eq!(cluster.server(leader).post_json("/leader", target(third)).status, 200);
    eventually("the leadership is transferred", || cluster.leader_named_by(leader) == format!("n{}", third + 1));
}

#[test]
fn a_leader_that_is_stopped_hands_over() {
    let mut cluster = three();
    let leader = cluster.leader();
    let exit = cluster.stop(leader);
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let next = cluster.leader();
    assert_eq!(cluster.members_named_by(next), 3);
    cluster.server(next).db_execute(json!(["INSERT INTO t(b) VALUES('x')"]));
    cluster.restart(leader);
    await_rows(&cluster, leader, 1);
}

#[test]
fn writes_go_on_while_the_leader_is_stopped() {
    let mut cluster = three();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let server = cluster.take(leader);
    let client = cluster.server(follower);
    server.signal("TERM");
    let (mut acknowledged, mut unknown) = (0, 0);
    while !server.has_ended() {
        let response = client.post_json("/db/execute", json!(["INSERT INTO t(b) VALUES('x')"]));
        match response.json() {
            body if body["results"][0]["rows_affected"] == 1 => acknowledged += 1,
            body if body["error"] == "leadership lost while committing log" => unknown += 1,
            body => panic!("{body}"),
        }
    }
    let rows = client.db_query("SELECT count(*) FROM t")[0][0].as_u64().unwrap();
    assert!(acknowledged > 0 && (acknowledged..=acknowledged + unknown).contains(&rows), "{acknowledged}, {unknown}");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn a_node_that_is_stopped_leaves_the_cluster_if_configured() {
    let mut cluster = Cluster::start(3, &["-raft-cluster-remove-shutdown=true"]);
    let leader = cluster.leader();
    assert_eq!(cluster.stop(leader).code, Some(0));
    let next = cluster.leader();
    assert_eq!(cluster.members_named_by(next), 2);
    let follower = cluster.follower();
    assert_eq!(cluster.stop(follower).code, Some(0));
    eventually("one member is left", || cluster.members_named_by(next) == 1);
    cluster.server(next).db_execute(json!(["CREATE TABLE t(a)"]));
    assert_eq!(cluster.stop(next).code, Some(0), "the last voter stays a member");
}

#[test]
fn a_member_that_joins_again_changes_nothing() {
    let cluster = Cluster::start(2, &[]);
    let (dir, leader) = (temp_dir(), cluster.leader());
    let third = Node::new(dir.path()).named("n3").flags(["-join", &cluster.node(leader).raft_address()]);
    let requests = || counter(&cluster, leader, "cluster", "num_join_req");
    let before = requests();
    third.start().crash();
    assert_eq!(requests(), before + 1);
    let server = third.start();
    server.wait_stderr("successfully joined cluster at");
    assert_eq!(requests(), before + 2);
    assert_eq!(counter(&cluster, leader, "store", "num_ignored_joins"), 1);
    assert_eq!(cluster.members_named_by(leader), 3);
}

#[test]
fn a_member_with_new_addresses_replaces_its_old_entry() {
    let cluster = Cluster::start(2, &[]);
    let (dir, leader) = (temp_dir(), cluster.leader());
    let join = ["-join".to_owned(), cluster.node(leader).raft_address()];
    Node::new(dir.path()).named("n3").flags(join.clone()).start().crash();
    let moved = Node::new(dir.path()).named("n3").flags(join);
    let server = moved.start();
    server.wait_stderr("successfully joined cluster at");
    assert_eq!(counter(&cluster, leader, "store", "num_removed_before_joins"), 1);
    assert_eq!(cluster.server(leader).get("/nodes").json()["n3"]["addr"], json!(moved.raft_address()));
    server.db_execute(json!(["CREATE TABLE t(a)"]));
}

#[test]
fn a_member_with_an_emptied_directory_replaces_its_old_entry() {
    let cluster = three();
    let (dir, leader) = (temp_dir(), cluster.leader());
    let data = dir.path().join("data");
    let node = Node::new(&data).named("n4").flags(["-join", &cluster.node(leader).raft_address()]);
    cluster.server(leader).db_execute(json!(["INSERT INTO t(b) VALUES('x')"]));
    node.start().crash();
    std::fs::remove_dir_all(&data).unwrap();
    let server = node.start();
    server.wait_stderr("successfully joined cluster at");
    assert_eq!(cluster.members_named_by(leader), 4);
    assert_eq!(server.db_query("SELECT b FROM t"), json!([["x"]]));
}

#[test]
fn a_node_that_cannot_join_says_why_and_ends() {
    let dir = temp_dir();
    let nowhere = format!("127.0.0.1:{}", common::cluster::free_port());
    let node = Node::new(&dir.path().join("data"));
    let exit = node.clone().flags(["-join", &nowhere, "-join-attempts", "2", "-join-interval", "100ms"]).run();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let says = |part: &str| assert!(exit.stderr.iter().any(|line| line.contains(part)), "no {part:?} in {exit:#?}");
    says("checking that supplied join addresses don't serve HTTP(S)");
    says(&format!("failed to join via node at {nowhere}: "));
    says("(did you forget to set -join-as?)");
    says(&format!("failed to join cluster at [{nowhere}], sleeping 100ms before retry"));
    says(&format!("failed to join cluster at [{nowhere}], after 2 attempt(s)"));
    says("clustering failure: failed to join cluster: failed to join cluster");
}

#[test]
fn http_is_served_while_a_node_joins() {
    let dir = temp_dir();
    let node = Node::new(&dir.path().join("data")).flags(["-join", "http://nonsense", "-join-interval", "1h"]);
    let server = node.spawn_server();
    server.wait_stderr("sleeping 1h0m0s before retry");
    let status = server.get("/status");
    assert_eq!(status.status, 200);
    assert_eq!(status.json()["store"]["leader"], json!({ "addr": "", "node_id": "" }));
    let readyz = server.get("/readyz");
    assert_eq!((readyz.status, readyz.text().as_str()), (503, "[+]node ok\n[+]leader does not exist"));
    assert_eq!(server.get("/readyz?sync").status, 503);
    assert_eq!(server.get("/readyz?noleader").status, 200);
    assert_eq!(server.get("/nodes").json(), json!({}));
    assert_eq!(server.get("/leader").status, 503);
    let exit = server.stop();
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}

#[test]
fn a_node_that_can_only_be_alone_refuses_to_join() {
    let (dir, other) = (temp_dir(), Cluster::start(1, &[]));
    let node = Node::new(dir.path());
    assert_eq!(node.start().stop().code, Some(0));
    let exit = node.clone().flags(["-join", &other.node(0).raft_address()]).run();
    let text =
        "clustering failure: node is the only node in a single-node cluster, joining other clusters not supported";
    assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.ends_with(text)), "{exit:#?}");
    let fresh = temp_dir();
    let exit = Node::new(fresh.path()).flags(["-raft-non-voter"]).run();
    let text = "clustering failure: cannot create a new non-voting node without joining it to an existing cluster";
    assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.ends_with(text)), "{exit:#?}");
}

#[test]
fn the_address_of_the_http_api_is_refused_as_a_join_address() {
    let (dir, other) = (temp_dir(), Cluster::start(1, &[]));
    let address = other.node(0).api_url().trim_start_matches("http://").to_owned();
    let exit = Node::new(dir.path()).named("n2").flags(["-join", &address]).run();
    let text = format!("join address {address} appears to be serving HTTP when it should be Raft");
    assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.contains(&text)), "{exit:#?}");
}

#[test]
fn three_nodes_form_a_cluster_together() {
    let dir = temp_dir();
    let nodes: Vec<Node> =
        (1..=3).map(|n| Node::new(&dir.path().join(n.to_string())).named(&format!("n{n}"))).collect();
    let join: Vec<String> = nodes.iter().map(Node::raft_address).collect();
    let flags = ["-bootstrap-expect".to_owned(), "3".to_owned(), "-join".to_owned(), join.join(",")];
    let nodes: Vec<Node> = nodes.into_iter().map(|node| node.flags(flags.clone())).collect();
    let start = || -> Vec<_> { nodes.iter().map(Node::spawn_server).collect() };
    let servers = start();
    let ready = |servers: &[common::Server]| {
        eventually("all nodes are ready", || servers.iter().all(|server| server.get("/readyz").status == 200));
    };
    servers.iter().for_each(|server| drop(server.wait_stderr("boot operation marked done")));
    ready(&servers);
    assert_eq!(servers[0].get("/nodes").json().as_object().unwrap().len(), 3);
    servers[2].db_execute(json!(["CREATE TABLE t(a)"]));
    servers.into_iter().for_each(common::Server::crash);
    let servers = start();
    servers.iter().for_each(|server| drop(server.wait_stderr("boot operation marked done")));
    ready(&servers);
    assert_eq!(servers[1].db_query("SELECT count(*) FROM t"), json!([[0]]));
}

#[test]
fn a_node_that_has_left_forms_the_cluster_again_with_the_same_flags() {
    let dir = temp_dir();
    let nodes: Vec<Node> =
        (1..=3).map(|n| Node::new(&dir.path().join(n.to_string())).named(&format!("n{n}"))).collect();
    let join = nodes.iter().map(Node::raft_address).collect::<Vec<_>>().join(",");
    let flags = ["-bootstrap-expect", "3", "-join", &join, "-raft-cluster-remove-shutdown=true"];
    let nodes: Vec<Node> = nodes.into_iter().map(|node| node.flags(flags)).collect();
    let start = |node: &Node| {
        let server = node.spawn_server();
        server.wait_stderr("service listening on");
        server
    };
    let mut servers: Vec<_> = nodes.iter().map(start).collect();
    let members = |server: &common::Server| server.get("/nodes").json().as_object().unwrap().len();
    let ready = |servers: &[common::Server]| servers.iter().all(|server| server.get("/readyz").status == 200);
    eventually("all nodes are ready", || ready(&servers) && members(&servers[0]) == 3);
    let exit = servers.remove(2).stop();
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!((members(&servers[0]), members(&servers[1])), (2, 2), "{exit:#?}");
    servers.push(start(&nodes[2]));
    eventually("all nodes are ready", || ready(&servers) && members(&servers[0]) == 3);
}

#[test]
fn transactions_of_ws4sqlite_run_on_each_node() {
    let cluster = three();
    for index in 0..3 {
        let items =
            json!([{ "statement": "INSERT INTO t(b) VALUES('x')" }, { "query": "SELECT count(*) AS n FROM t" }]);
        let results = cluster.server(index).transaction("main", items).results();
        assert_eq!((&results[0]["rowsUpdated"], &results[1]["resultSet"]), (&json!(1), &json!([{ "n": index + 1 }])));
        let read = json!({ "transaction": [{ "query": "SELECT count(*) AS n FROM t" }] });
        for level in ["weak", "strong"] {
            let response = cluster.server(index).post_json(&format!("/main?level={level}"), &read);
            assert_eq!(response.results()[0]["resultSet"], json!([{ "n": index + 1 }]), "node {index}: {level}");
        }
        let failed = json!([{ "statement": "INSERT INTO nowhere VALUES(1)" }]);
        let response = cluster.server(index).transaction("main", failed);
        assert_eq!(response.status, 500);
        assert!(response.json()["error"].as_str().unwrap().contains("no such table"), "{}", response.text());
    }
}

#[test]
fn queued_writes_loads_and_backups_work_on_a_follower() {
    let cluster = three();
    let follower = cluster.follower();
    let server = cluster.server(follower);
    let queued = server.post_json("/db/execute?queue&wait", json!(["INSERT INTO t(b) VALUES('q')"]));
    assert!(queued.status == 200 && queued.json()["sequence_number"].is_number(), "{}", queued.text());
    let loaded = server.post_bytes("/db/load", "INSERT INTO t(b) VALUES('l');");
    assert_eq!(loaded.results()[0]["rows_affected"], 1, "{}", loaded.text());
    let backup = server.get("/db/backup?fmt=sql");
    assert!(backup.text().contains("'q'") && backup.text().contains("'l'"), "{}", backup.text());
    let compressed = server.get("/db/backup?compress");
    assert_eq!((compressed.status, &compressed.body[..2]), (200, &[0x1f, 0x8b][..]));
    let file = server.get("/db/backup").body;
    server.db_execute(json!(["DELETE FROM t"]));
    let replaced = server.post_bytes("/db/load", file.clone());
    assert_eq!((replaced.status, replaced.text().as_str()), (200, "{\"results\":[]}"));
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[2]]));
    let boot = server.post_bytes("/boot", file.clone());
    assert_eq!((boot.status, boot.text().as_str()), (503, "not leader\n"));
    let boot = cluster.server(cluster.leader()).post_bytes("/boot", file);
    assert_eq!((boot.status, boot.text().as_str()), (503, "not single-node\n"));
}

/// Starts two nodes with auth files of their own. The user `both` may do everything on both nodes; the user `one` only
/// on the second one, which follows.
fn two_with_users() -> (tempfile::TempDir, Vec<common::Server>) {
    let dir = temp_dir();
    let user = |name: &str| json!({ "username": name, "password": "secret", "perms": ["all"] });
    let file = |name: &str, users: Value| common::write(dir.path(), name, users.to_string()).display().to_string();
    let (leaders, followers) =
        (file("1.json", json!([user("both")])), file("2.json", json!([user("both"), user("one")])));
    let first = Node::new(&dir.path().join("1")).flags(["-auth", &leaders]);
    let second = Node::new(&dir.path().join("2")).named("n2").flags([
        "-auth",
        &followers,
        "-join",
        &first.raft_address(),
        "-join-as",
        "both",
    ]);
    let servers = vec![first.start(), second.start()];
    let ready = Request::new("GET", "/readyz").basic("both:secret");
    eventually("both nodes are ready", || servers.iter().all(|server| server.send(&ready).status == 200));
    (dir, servers)
}

#[test]
fn the_leader_checks_the_credentials_of_forwarded_requests() {
    let (_dir, servers) = two_with_users();
    let send = |target: &str, body: Value, user: &str| {
        servers[1].send(&Request::json(target, body).basic(&format!("{user}:secret")))
    };
    assert_eq!(send("/db/execute", json!(["CREATE TABLE t(a)"]), "both").status, 200);
    for (target, text) in [
        ("/db/execute", "remote Execute not authorized\n"),
        ("/db/request", "remote Request not authorized\n"),
        ("/db/query?level=strong", "remote query not authorized\n"),
    ] {
        let sql = if target == "/db/query?level=strong" { "SELECT 1" } else { "INSERT INTO t VALUES(1)" };
        let refused = send(target, json!([sql]), "one");
        assert_eq!((refused.status, refused.text().as_str()), (401, text));
    }
    for target in ["/db/backup", "/db/backup?fmt=sql"] {
        let refused = servers[1].send(&Request::new("GET", target).basic("one:secret"));
        assert_eq!((refused.status, refused.text().as_str()), (401, "remote backup not authorized\n"));
        assert_eq!(servers[1].send(&Request::new("GET", target).basic("both:secret")).status, 200);
    }
    let remove = Request::new("DELETE", "/remove").body(r#"{"id":"n2"}"#).basic("one:secret");
    let refused = servers[1].send(&remove);
    assert_eq!((refused.status, refused.text().as_str()), (401, "remote remove node not authorized\n"));
    let refused = servers[1].send(&Request::new("POST", "/leader?wait").basic("one:secret"));
    assert_eq!((refused.status, refused.text().as_str()), (401, "remote stepdown not authorized\n"));
    assert_eq!(send("/db/execute?queue&wait", json!(["INSERT INTO t VALUES(2)"]), "one").status, 200);
    let rows = send("/db/query", json!(["SELECT a FROM t"]), "both");
    assert_eq!(rows.results()[0]["values"], json!([[2]]));
}

#[test]
fn a_node_without_permission_cannot_join() {
    let (dir, servers) = two_with_users();
    let join = format!("127.0.0.1:{}", servers[0].raft_port().unwrap());
    let third = Node::new(&dir.path().join("3")).named("n3");
    let exit = third.flags(["-join", &join, "-join-attempts", "1"]).run();
    let text = format!("failed to join via node at {join}: unauthorized (did you forget to set -join-as?)");
    assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.ends_with(&text)), "{exit:#?}");
}

/// Writes a certificate for 127.0.0.1, its key, and the certificate of its authority to a directory. Returns the flags
/// of nodes that use them.
fn certificates(dir: &std::path::Path) -> Vec<String> {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let files =
        [("-node-ca-cert", authority_pem), ("-node-cert", certificate.pem()), ("-node-key", key.serialize_pem())];
    let flag = |(flag, pem): &(&str, String)| {
        let file = common::write(dir, &format!("{flag}.pem"), pem);
        [(*flag).to_owned(), file.display().to_string()]
    };
    files.iter().flat_map(flag).collect()
}

#[test]
fn the_traffic_between_nodes_is_encrypted() {
    let dir = temp_dir();
    let flags = certificates(dir.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-node-verify-client"]).collect();
    let cluster = Cluster::start(2, &flags);
    let follower = cluster.follower();
    cluster.server(follower).db_execute(json!(["CREATE TABLE t(a)"]));
    cluster.server(follower).wait_stderr("TLS mux serving on");
    assert_eq!(cluster.server(follower).get("/status?key=mux.tls").json(), "enabled");
    // A node without the certificates of this cluster cannot join.
    let join = cluster.node(0).raft_address();
    let other = certificates(&dir.path().join("other"));
    for flags in [Vec::new(), other] {
        let node = Node::new(&dir.path().join("third")).named("n3").flags(flags);
        let exit = node.flags(["-join", &join, "-join-attempts", "1"]).run();
        let text = format!("failed to join via node at {join}: ");
        assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.contains(&text)), "{exit:#?}");
    }
}

#[test]
fn a_cluster_without_a_quorum_is_recovered_with_a_file() {
    let mut cluster = three();
    let leader = cluster.leader();
    cluster.server(leader).db_execute(json!(["INSERT INTO t(b) VALUES('x')"]));
    (0..3).filter(|index| *index != leader).collect::<Vec<_>>().into_iter().for_each(|index| cluster.kill(index));
    cluster.kill(leader);
    let peers = json!([{ "id": format!("n{}", leader + 1), "address": cluster.node(leader).raft_address() }]);
    let file = common::write(cluster.node(leader).directory(), "raft/peers.json", peers.to_string());
    cluster.restart(leader);
    assert_eq!(cluster.server(leader).db_query("SELECT b FROM t"), json!([["x"]]));
    assert_eq!(cluster.members_named_by(leader), 1);
    assert!(!file.exists() && file.with_extension("info").exists());
}
