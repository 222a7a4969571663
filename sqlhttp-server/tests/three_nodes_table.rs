//! Compares what each node of a cluster answers with what rqlited's nodes answer: each request of the API, sent to the
//! leader, another voter and a read replica, with several users, and with the leader present, dead and unknown.
//!
//! Each test is one phase of the recording. The fixtures are described in `table_support`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod table_support;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::{Client, Cluster, Node, Request, Server, eventually, temp_dir, write};
use serde_json::json;
use table_support::{Answer, Exchange, Names, Table};

/// The roles of the nodes of a cluster, by their indexes.
const ROLES: [&str; 4] = ["leader", "voter", "replica", "voter2"];
const LEADER: usize = 0;
const VOTER: usize = 1;
const REPLICA: usize = 2;
const SECOND_VOTER: usize = 3;

/// The role of a node that has no cluster.
const ALONE: &str = "alone";

const ADMIN: &str = "admin:secret";

/// Flags with a long heartbeat timeout: nodes believe for some seconds in a leader that is dead.
fn patient(timeout: &str) -> Vec<String> {
    ["-raft-heartbeat-timeout", timeout, "-raft-election-timeout", timeout].map(str::to_owned).to_vec()
}

#[test]
fn with_a_leader() {
    let test = Test::new(cluster(|_| Vec::new(), 4), &["leader present"], false);
    let exchanges = test.phase("leader present");
    let removal = exchanges.iter().position(|exchange| exchange.case == "remove-voter2").expect("a removal");
    let (before, after) = exchanges.split_at(removal);
    before.iter().for_each(|exchange| test.compare_settled(exchange));
    for exchange in after {
        if exchange.case.starts_with("removed-") {
            let index = role_index(&exchange.node);
            eventually("the removed node knows no leader", || test.cluster.leader_named_by(index).is_empty());
        }
        test.compare(exchange);
    }
    test.finish();
}

#[test]
fn with_users() {
    let dir = temp_dir();
    let mut users = vec![
        json!({ "username": "admin", "password": "secret", "perms": ["all"] }),
        json!({ "username": "quin", "password": "qpass", "perms": ["query"] }),
        json!({ "username": "exe", "password": "epass", "perms": ["execute"] }),
    ];
    let of_leader = write(dir.path(), "leader.json", json!(users).to_string());
    users.push(json!({ "username": "local", "password": "lpass", "perms": ["all"] }));
    let of_others = write(dir.path(), "others.json", json!(users).to_string());
    let flags = |index| {
        let file = if index == LEADER { &of_leader } else { &of_others };
        ["-auth", &file.to_string_lossy(), "-join-as", "admin"].map(str::to_owned).to_vec()
    };
    let test = Test::new(cluster(flags, 4), &["users"], true);
    let (wrong, others): (Vec<_>, Vec<_>) =
        test.phase("users").into_iter().partition(|exchange| exchange.user == "wrong");
    // A node answers one failed login of a name per second.
    let mut logins: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for exchange in &wrong {
        logins.entry((&exchange.node, exchange.credentials)).or_default().push(exchange);
    }
    std::thread::scope(|scope| {
        for exchanges in logins.into_values() {
            scope.spawn(|| exchanges.into_iter().for_each(|exchange| test.compare(exchange)));
        }
        others.iter().for_each(|exchange| test.compare_settled(exchange));
    });
    test.finish();
}

#[test]
fn with_a_dead_leader_that_is_still_believed_in() {
    let mut test = Test::new(cluster(|_| patient("5s"), 3), &["leader just killed"], false);
    test.cluster.kill(LEADER);
    test.compare_at_once(&test.phase("leader just killed"));
    test.finish();
}

#[test]
fn without_a_leader() {
    let mut test = Test::new(cluster(|_| Vec::new(), 4), &["no leader"], false);
    test.cluster.kill(SECOND_VOTER);
    test.cluster.kill(LEADER);
    test.await_no_leader();
    test.compare_at_once(&test.phase("no leader"));
    test.finish();
}

#[test]
fn with_a_leader_that_has_lost_its_quorum() {
    // These requests wait in the Raft log, or change the leadership: each has a cluster of its own.
    let alone = ["execute", "request-write", "query-post-strong", "load-sqlite", "leader-post-wait"];
    let of_group = |exchange: &Exchange, group: Option<&str>| match group {
        Some(case) => exchange.is_of(case),
        None => !alone.iter().any(|case| exchange.is_of(case)),
    };
    // The time to wait for a leader, nine seconds, is shorter than `-raft-apply-timeout`.
    let start = || Test::new(cluster(|_| patient("3s"), 3), &QUORUM_PHASES, false);
    let groups = alone.into_iter().map(Some).chain([None]);
    let tests: Vec<(Option<&str>, Test)> = groups.map(|group| (group, start())).collect();
    std::thread::scope(|scope| {
        for (group, mut test) in tests {
            scope.spawn(move || {
                test.cluster.kill(VOTER);
                for phase in QUORUM_PHASES {
                    if phase == "quorum lost" {
                        test.await_no_leader();
                    }
                    let exchanges = test.phase(phase).into_iter().filter(|exchange| of_group(exchange, group));
                    test.compare_twice(exchanges.collect(), || {
                        // A leader that has tried to transfer the leadership does not send messages any more.
                        if group != Some("leader-post-wait") {
                            test.await_belief(REPLICA);
                        }
                    });
                }
                test.assert_same();
            });
        }
    });
}

const QUORUM_PHASES: [&str; 2] = ["quorum just lost", "quorum lost"];

#[test]
fn with_a_leader_that_hangs() {
    let mut test = Test::new(cluster(|_| Vec::new(), 4), &["leader hung"], false);
    test.cluster.kill(SECOND_VOTER);
    test.cluster.server(LEADER).hang();
    test.compare_twice(test.phase("leader hung"), || {});
    test.finish();
}

#[test]
fn on_a_node_that_has_never_joined() {
    let dir = temp_dir();
    let absent = Node::new(&dir.path().join("absent")).raft_address();
    let expecting = Node::new(&dir.path().join("expecting")).named("n5");
    let joins = format!("{},{absent},{absent}", expecting.raft_address());
    let expecting = expecting.flags(["-bootstrap-expect", "3", "-join", &joins]);
    let joining = Node::new(&dir.path().join("joining")).named("n5");
    let joining = joining.flags(["-join", &absent, "-join-attempts", "1000"]);
    for (node, phase) in [(expecting, "never joined"), (joining, "joining")] {
        let server = node.spawn_server();
        let mut names = Names::new(false);
        names.add(ALONE, "n5", node.api_url().trim_start_matches("http://"), &node.raft_address());
        eventually("the node is open", || {
            let status = Request::new("GET", "/status?key=store.open");
            let response = Client::connect(server.addr()).and_then(|mut client| client.send(&status));
            response.is_ok_and(|response| response.text().trim() == "{}")
        });
        let test = Test { names, ..Test::new(Cluster::empty(None), &[phase], false) };
        test.compare_each_at_once(&test.phase(phase), |_| &server);
        test.finish();
    }
}

#[test]
fn each_difference_names_a_row_of_the_documentation() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences-rqlite.md");
    let document = std::fs::read_to_string(path).expect("the documentation");
    for row in Table::read().rows() {
        assert!(document.lines().any(|line| line.starts_with(&format!("| {row} |"))), "no row is called {row:?}");
    }
}

fn role_index(role: &str) -> usize {
    ROLES.iter().position(|it| *it == role).expect("the role of a node")
}

/// A cluster whose nodes have the roles of [`ROLES`], with the flags of each node. All nodes have applied a table `t`.
fn cluster(flags: impl Fn(usize) -> Vec<String>, nodes: usize) -> Cluster {
    let mut cluster = Cluster::empty(Some(ADMIN));
    for (index, role) in ROLES.iter().enumerate().take(nodes) {
        let mut flags = flags(index);
        flags.extend((*role == "replica").then(|| "-raft-non-voter".to_owned()));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        match *role {
            "replica" => cluster.add(&flags),
            _ => cluster.add_voter(&flags),
        };
    }
    let created = cluster.ask(LEADER, Request::json("/db/execute", json!(TABLE)));
    assert!(!created.text().contains("error"), "{}", created.text());
    (0..nodes).for_each(|index| cluster.await_applied(index, LEADER));
    cluster
}

/// The statements that create the table of all requests.
const TABLE: [&str; 2] = ["CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", "REPLACE INTO t(id,v) VALUES(1,'x')"];

/// A database file with the table of all requests.
fn database() -> Vec<u8> {
    let server = Server::node(&[]);
    server.db_execute(json!(TABLE));
    server.get("/db/backup?fmt=delete").body
}

/// A cluster in phases of the table, and the problems that were found.
struct Test {
    table: Table,
    phases: Vec<&'static str>,
    names: Names,
    cluster: Cluster,
    database: Vec<u8>,
    problems: Mutex<Vec<String>>,
}

impl Test {
    fn new(cluster: Cluster, phases: &[&'static str], has_users: bool) -> Test {
        let mut names = Names::new(has_users);
        for index in cluster.running() {
            let (node, id) = (cluster.node(index), format!("n{}", index + 1));
            names.add(ROLES[index], &id, node.api_url().trim_start_matches("http://"), &node.raft_address());
        }
        let (table, phases, database) = (Table::read(), phases.to_vec(), database());
        Test { table, phases, names, cluster, database, problems: Mutex::default() }
    }

    fn phase(&self, phase: &str) -> Vec<Exchange> {
        self.table.phase(phase, &self.database)
    }

    /// Sends a request to its node, and compares the answer.
    fn compare(&self, exchange: &Exchange) {
        self.compare_at(exchange, self.cluster.server(role_index(&exchange.node)));
    }

    fn compare_at(&self, exchange: &Exchange, server: &Server) {
        let response = server.send(&exchange.request);
        let got = Answer::new(&response, &exchange.request, &exchange.node, &self.names);
        self.problems.lock().expect("problems").extend(self.table.problem(exchange, &got));
    }

    /// Sends a request to its node and compares the answer, in a cluster that is the same as before each request: the
    /// leader leads, and the nodes have applied the same entries.
    fn compare_settled(&self, exchange: &Exchange) {
        // A snapshot needs a new entry.
        if exchange.case.starts_with("snapshot") && !exchange.case.ends_with("-again") {
            self.cluster.ask(LEADER, Request::json("/db/execute", json!([TABLE[1]])));
            self.cluster.await_applied(role_index(&exchange.node), LEADER);
        }
        self.compare(exchange);
        if exchange.case.starts_with("leader-post") {
            self.cluster.lead_by(LEADER);
        }
        if exchange.request.method != "GET" {
            self.cluster.running().into_iter().for_each(|index| self.cluster.await_applied(index, LEADER));
        }
    }

    /// Sends the requests at the same time, because many of them wait for a leader.
    fn compare_at_once(&self, exchanges: &[Exchange]) {
        self.compare_each_at_once(exchanges, |exchange| self.cluster.server(role_index(&exchange.node)));
    }

    /// Sends the requests at the same time, and then those that are sent a second time. Waits in between.
    fn compare_twice(&self, exchanges: Vec<Exchange>, wait: impl Fn()) {
        let (second, first): (Vec<_>, Vec<_>) = exchanges.into_iter().partition(Exchange::is_second);
        self.compare_at_once(&first);
        if !second.is_empty() {
            wait();
            self.compare_at_once(&second);
        }
    }

    /// Waits until a node has just begun again to believe in the leader. A leader without a quorum sends messages only
    /// from time to time, to find out whether the quorum is back.
    fn await_belief(&self, index: usize) {
        eventually("the node knows no leader", || self.cluster.leader_named_by(index).is_empty());
        eventually("the node knows the leader", || !self.cluster.leader_named_by(index).is_empty());
    }

    fn compare_each_at_once<'a>(&self, exchanges: &[Exchange], server: impl Fn(&Exchange) -> &'a Server) {
        // Whether a snapshot is taken depends on the requests for one before it.
        let (snapshots, others): (Vec<_>, Vec<_>) =
            exchanges.iter().partition(|exchange| exchange.case.starts_with("snapshot"));
        std::thread::scope(|scope| {
            for exchange in others {
                let server = server(exchange);
                scope.spawn(move || self.compare_at(exchange, server));
            }
            snapshots.into_iter().for_each(|exchange| self.compare_at(exchange, server(exchange)));
        });
    }

    /// Waits until no node that runs knows a leader.
    fn await_no_leader(&self) {
        eventually("no node knows a leader", || {
            self.cluster.running().into_iter().all(|index| self.cluster.leader_named_by(index).is_empty())
        });
    }

    fn assert_same(&self) {
        let problems = self.problems.lock().expect("problems");
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    }

    /// Asserts that there were no problems, and that each listed difference of the phases was seen.
    fn finish(&self) {
        self.problems.lock().expect("problems").extend(self.table.unused_differences(&self.phases));
        self.assert_same();
    }
}
