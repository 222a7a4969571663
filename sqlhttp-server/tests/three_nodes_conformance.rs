//! Replays the recorded conversations of rqlite and of ws4sqlite (`fixtures/rqlite`, `fixtures/ws4sqlite`; see
//! `common::replay`) against each kind of node of a cluster: the leader, another voter, and a read replica.
//!
//! Exchanges with another answer on a cluster are listed in `fixtures/three-nodes/conversations.txt`, below the reason.
//! A listed exchange whose answer is the recorded one fails the test, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::replay::{Conversation, Exchange, Ports, conversations};
use common::{Cluster, Request, Response, fixtures, names, temp_dir};

/// The servers that the conversations were recorded from, which are the names of the folders.
const SERVERS: [&str; 2] = ["rqlite", "ws4sqlite"];

/// The database of ws4sqlite's conversations.
const DATABASE: &str = "t";

/// The node that created the cluster, and leads it.
const LEADER: usize = 0;

#[test]
fn the_leader_answers_as_recorded() {
    assert_all_replayed("leader", LEADER);
}

#[test]
fn a_follower_answers_as_recorded() {
    assert_all_replayed("follower", 1);
}

#[test]
fn a_read_replica_answers_as_recorded() {
    assert_all_replayed("read replica", 2);
}

/// Replays all conversations against the node with this index in a cluster. Each conversation begins with an empty
/// database.
fn assert_all_replayed(role: &str, index: usize) {
    let (listed, cluster) = (Listed::read(), EmptyCluster::start());
    let mut problems = Vec::new();
    for server in SERVERS {
        for file in names(&fixtures(server)) {
            let path = format!("{server}/{file}");
            let is_listed = |exchange: &Exchange| listed.0.contains(&(path.clone(), exchange.line));
            for conversation in conversations(&fixtures(server), &file, server) {
                let wrong = match server == "rqlite" && !conversation.flags.is_empty() {
                    true => replay_with_flags(&conversation, index, is_listed),
                    false => replay(cluster.emptied(), &conversation, index, is_listed),
                };
                problems.extend(wrong.into_iter().map(|wrong| format!("{path} {wrong}")));
            }
        }
    }
    assert!(problems.is_empty(), "{} differences on the {role}:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn each_listed_exchange_exists() {
    for (path, line) in Listed::read().0 {
        let (server, file) = path.split_once('/').expect("a folder and a file");
        let lines = conversations(&fixtures(server), file, server).into_iter().flat_map(|it| it.exchanges);
        assert!(lines.into_iter().any(|exchange| exchange.line == line), "no exchange begins at {path}:{line}");
    }
}

/// Sends a conversation to a node of a cluster with an empty database. A request is sent when the node has applied the
/// writes of the ones before, because the conversations contain reads with `level=none`.
fn replay(
    cluster: &Cluster,
    conversation: &Conversation,
    index: usize,
    is_listed: impl Fn(&Exchange) -> bool,
) -> Vec<String> {
    let (node, leader) = (cluster.server(index), cluster.server(LEADER));
    let ports = Ports { http: node.port(), raft: leader.raft_port() };
    let send = |request: &Request| -> std::io::Result<Response> {
        let response = node.client().send(request);
        if request.method == "POST" {
            cluster.await_applied(index, LEADER);
        }
        response
    };
    conversation.replay(ports, send, is_listed)
}

/// Sends a conversation to a node of a cluster of its own, whose nodes have the flags of the conversation. Its auth
/// file has a user with the permission to join.
fn replay_with_flags(conversation: &Conversation, index: usize, is_listed: impl Fn(&Exchange) -> bool) -> Vec<String> {
    let dir = temp_dir();
    conversation.write_files(dir.path());
    let flags = conversation.flags_in(dir.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-join-as", "mary"]).collect();
    replay(&Cluster::with_replica(&flags), conversation, index, is_listed)
}

/// A cluster whose database can be emptied.
struct EmptyCluster {
    cluster: Cluster,
    /// The file of a database without tables.
    empty: Vec<u8>,
}

impl EmptyCluster {
    fn start() -> EmptyCluster {
        let cluster = Cluster::with_replica(&["-db-name", DATABASE]);
        let empty = cluster.server(LEADER).get("/db/backup").body;
        EmptyCluster { cluster, empty }
    }

    /// The cluster, when its database is empty on all nodes.
    fn emptied(&self) -> &Cluster {
        self.cluster.lead_by(LEADER);
        let loaded = self.cluster.server(LEADER).post_bytes("/db/load", self.empty.clone());
        assert_eq!(loaded.results(), Vec::<serde_json::Value>::new(), "{}", loaded.text());
        for index in self.cluster.running() {
            self.cluster.await_applied(index, LEADER);
        }
        &self.cluster
    }
}

/// The exchanges that have another answer on each node of a cluster: the file with its folder, and the line where the
/// exchange begins.
struct Listed(Vec<(String, usize)>);

impl Listed {
    /// Reads lines such as `rqlite/admin.case:12`. The lines with `#` above them are the reason.
    fn read() -> Listed {
        let text = std::fs::read_to_string(fixtures("three-nodes/conversations.txt")).expect("the fixture");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let exchanges = lines.map(|line| {
            let (path, number) = line.split_once(':').expect("a line number");
            (path.to_owned(), number.parse().expect("a line number"))
        });
        Listed(exchanges.collect())
    }
}
