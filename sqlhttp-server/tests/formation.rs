//! How nodes find each other and form a cluster, as processes: discovery with DNS, refused joins, the log lines of both
//! sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::dns::{NameServer, Record};
use common::{Cluster, Node, Server, eventually, temp_dir};
use serde_json::{Value, json};

/// The command lines of three nodes that form a cluster together.
fn three(directory: &std::path::Path, flags: &[&str]) -> Vec<Node> {
    let node = |name: &str| Node::new(&directory.join(name)).named(name).flags(["-bootstrap-expect", "3"]);
    ["n1", "n2", "n3"].map(|name| node(name).flags(flags.iter().copied())).into()
}

fn port(node: &Node) -> u16 {
    node.raft_address().rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Waits until each node reports three voters.
fn await_three_voters(servers: &[Server]) {
    for server in servers {
        eventually("the nodes form a cluster", || {
            let nodes = server.get("/nodes");
            nodes.status == 200 && nodes.json().as_object().is_some_and(|nodes| nodes.len() == 3)
        });
    }
}

fn disco(server: &Server) -> Value {
    server.get("/status?key=disco").json()
}

#[test]
fn srv_records_name_the_nodes_of_a_new_cluster() {
    let (dir, dns) = (temp_dir(), NameServer::start());
    let config = json!({"name": "db.test", "service": "raft", "name_server": dns.address().to_string()}).to_string();
    let nodes = three(dir.path(), &["-disco-mode", "dns-srv", "-disco-config", &config]);
    let servers: Vec<Server> = nodes.iter().map(Node::spawn_listening).collect();
    // No node is found as long as the records do not exist.
    eventually("the lookup has failed", || disco(&servers[0])["last_error"].is_string());
    assert_eq!(servers[0].get("/readyz").status, 503);
    // One target has no address, as that of a node that was removed. It does not hide the others.
    dns.set("host.test", [Record::Address([127, 0, 0, 1].into())]);
    let targets = nodes.iter().map(|node| Record::Service { port: port(node), target: "host.test" });
    dns.set("_raft._tcp.db.test", targets.chain([Record::Service { port: 1, target: "gone.test" }]));
    await_three_voters(&servers);
    let found = disco(&servers[0]);
    assert_eq!((&found["mode"], &found["dns_name:"]), (&json!("dns-srv"), &json!("_raft._tcp.db.test.")), "{found}");
    let mut addresses: Vec<String> = nodes.iter().map(Node::raft_address).collect();
    addresses.sort();
    assert_eq!(found["last_addresses"], json!(addresses), "{found}");
    assert!(found["last_error"].as_str().unwrap().contains("gone.test"), "{found}");
    // A node that is started later finds the cluster in the same way.
    let replica = Node::new(&dir.path().join("n4")).named("n4").flags(["-disco-mode", "dns-srv", "-raft-non-voter"]);
    let replica = replica.flags(["-disco-config", &config]).start();
    eventually("the replica is a member", || replica.get("/nodes?nonvoters").json().as_object().unwrap().len() == 4);
}

#[test]
fn a_variable_replaces_the_lookup() {
    for mode in ["dns", "dns-srv"] {
        let dir = temp_dir();
        let nodes = three(dir.path(), &["-disco-mode", mode]);
        let addresses: Vec<String> = nodes.iter().map(Node::raft_address).collect();
        let variable = addresses.join(",");
        let nodes = nodes.into_iter().map(|node| node.variable("RQLITE_DISCO_DNS_HOSTS", &variable));
        let servers: Vec<Server> = nodes.map(|node| node.spawn_listening()).collect();
        await_three_voters(&servers);
    }
}

#[test]
fn a_lookup_that_never_succeeds_ends_the_start() {
    let (dir, dns) = (temp_dir(), NameServer::start());
    let config = json!({"name": "db.test", "name_server": dns.address().to_string()}).to_string();
    let flags = ["-disco-mode", "dns-srv", "-disco-config", &config, "-bootstrap-expect-timeout", "3s"];
    let exit = three(dir.path(), &flags)[0].run();
    assert_eq!(exit.code, Some(1));
    let log = exit.stderr.join("\n");
    assert!(log.contains("[disco-dnssrv]") && log.contains("failed to resolve _rqlite._tcp.db.test: "), "{log}");
    assert!(log.contains("clustering failure: boot timeout"), "{log}");
}

#[test]
fn a_node_with_other_settings_than_the_cluster_cannot_join() {
    for (first, joining, message) in [
        (
            "-fk",
            "-fk=false",
            "-fk is off on this node and on in the cluster, and must be the same: start this node with -fk",
        ),
        (
            "-fk=false",
            "-fk",
            "-fk is on on this node and off in the cluster, and must be the same: start this node without -fk",
        ),
        (
            "-time-zone=Europe/Rome",
            "-time-zone=UTC",
            "-time-zone is UTC on this node and Europe/Rome in the cluster, and must be the same: start this node with \
             -time-zone Europe/Rome",
        ),
    ] {
        let dir = temp_dir();
        let first = Node::new(&dir.path().join("1")).flags([first]);
        let _server = first.start();
        let second = Node::new(&dir.path().join("2")).named("n2").flags([joining, "-join", &first.raft_address()]);
        let exit = second.flags(["-join-attempts", "1"]).run();
        let text = format!("failed to join via node at {}: {message}", first.raft_address());
        assert!(exit.code == Some(1) && exit.stderr.iter().any(|line| line.ends_with(&text)), "{exit:#?}");
    }
}

#[test]
fn forming_a_cluster_logs_no_warning() {
    let cluster = Cluster::start(3, &[]);
    for index in 0..3 {
        let log = cluster.server(index).stderr();
        assert!(log.iter().all(|line| !line.contains("refused")), "{log:#?}");
    }
    // The health check of a load balancer closes its connection without a byte.
    let port = cluster.server(0).raft_port().unwrap();
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    // Another program on this port is worth a warning.
    let mut other = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut other, b"GET /status HTTP/1.1\r\n\r\n").unwrap();
    cluster.server(0).wait_stderr("an HTTP request was sent to the Raft port");
    let refused = cluster.server(0).stderr().iter().filter(|line| line.contains("refused")).count();
    assert_eq!(refused, 1, "{:#?}", cluster.server(0).stderr());
}
