//! Nodes of a cluster as processes (`sqlhttp-cluster`), started with rqlited's flags, and a few calls to their API.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Client, Request, Response};
use super::server::{Exit, Process, Server, limited};
use super::temp_dir;

/// The time limit of a start and of a stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command line of a node.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    flags: Vec<String>,
    directory: PathBuf,
    ports: (u16, u16),
    open_files: Option<u32>,
    variables: Vec<(&'static str, String)>,
}

/// A port that is free now. It is below the ports that systems use for outgoing connections, so that no client takes it
/// while the node is not running.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 97 % 20_000).expect("below 20000");
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A command with this program, without the settings in the environment of the tests.
fn command(open_files: Option<u32>) -> Command {
    let mut command = limited(env!("CARGO_BIN_EXE_sqlhttp-cluster"), open_files);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SQLHTTP_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program with exactly these words and waits until it ends by itself.
pub fn run<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Exit {
    let words: Vec<String> = words.into_iter().map(Into::into).collect();
    let mut command = command(None);
    command.args(&words);
    ended(Process::spawn(command), &words)
}

fn ended(mut process: Process, words: &[String]) -> Exit {
    assert!(process.wait(PATIENCE).is_some(), "{words:?} does not end: {:#?}", process.stderr());
    process.exit()
}

impl Node {
    /// A node with its data in this directory and with ports of its own, the same at each start.
    pub fn new(directory: &Path) -> Node {
        let (name, flags, ports) = ("n1".to_owned(), Vec::new(), (free_port(), free_port()));
        Node { name, flags, directory: directory.to_owned(), ports, open_files: None, variables: Vec::new() }
    }

    /// Sets the name, which is `n1` otherwise.
    pub fn named(mut self, name: &str) -> Node {
        self.name = name.to_owned();
        self
    }

    /// The address where other nodes reach this one.
    pub fn raft_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.1)
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The URL of the HTTP API.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// Adds words before the directory.
    pub fn flags<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Node {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Lets the process have only this many files open.
    pub fn open_files(mut self, max: u32) -> Node {
        self.open_files = Some(max);
        self
    }

    /// Sets a variable in the environment of the process.
    pub fn variable(mut self, name: &'static str, value: &str) -> Node {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The command line.
    pub fn words(&self) -> Vec<String> {
        let (http, raft) = (format!("127.0.0.1:{}", self.ports.0), self.raft_address());
        let words = ["-node-id", &self.name, "-http-addr", &http, "-raft-addr", &raft].map(str::to_owned);
        let directory = self.directory.to_string_lossy().into_owned();
        words.into_iter().chain(self.flags.iter().cloned()).chain([directory]).collect()
    }

    fn spawn(&self) -> Process {
        let mut command = command(self.open_files);
        command.args(self.words()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::spawn(command)
    }

    /// Starts the node and waits until `/readyz` answers 200 or requires credentials.
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(exit) => panic!("{:?} did not start: {exit:#?}", self.words()),
        }
    }

    /// Starts the node and waits until it is ready or ends.
    pub fn try_start(&self) -> Result<Server, Exit> {
        let server = self.spawn_server();
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready(&server) {
            if server.has_ended() {
                return Err(server.wait());
            }
            assert!(Instant::now() < deadline, "{:?} is not ready: {:#?}", self.words(), server.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Starts the node without waiting.
    pub fn spawn_server(&self) -> Server {
        Server::of_node(self.spawn(), self.ports.0, self.ports.1)
    }

    /// Starts the node and waits until it listens, but not until it is ready.
    pub fn spawn_listening(&self) -> Server {
        let server = self.spawn_server();
        server.wait_stderr("service listening on");
        server
    }

    /// Whether `/readyz` answers 200. If it requires credentials, whether the log says that the node serves requests.
    fn is_ready(&self, server: &Server) -> bool {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.ports.0));
        let answer = Client::connect(address).and_then(|mut client| client.send(&Request::new("GET", "/readyz")));
        let serves = || server.stderr().iter().any(|line| line.contains("node HTTP API available at"));
        answer.is_ok_and(|answer| answer.status == 200 || answer.status == 401 && serves())
    }

    /// Starts the node and waits until it ends by itself.
    pub fn run(&self) -> Exit {
        ended(self.spawn(), &self.words())
    }
}

impl Server {
    /// A node with these flags and a data directory of its own.
    pub fn node(flags: &[&str]) -> Server {
        let dir = temp_dir();
        Node::new(&dir.path().join("data")).flags(flags.iter().copied()).start().keeping(dir)
    }
}

/// Calls to rqlite's API that are expected to succeed.
impl Server {
    /// Executes statements and returns their results; panics if one fails.
    pub fn db_execute(&self, statements: Value) -> Vec<Value> {
        let response = self.post_json("/db/execute", statements);
        let results = response.results();
        let failed = results.is_empty() || results.iter().any(|result| result.get("error").is_some());
        assert!(!failed, "{}", response.text());
        results
    }

    /// The rows of a query.
    pub fn db_query(&self, sql: &str) -> Value {
        self.db_query_at("/db/query", sql)
    }

    /// The rows of a query that is sent to this path with its parameters; an empty list if there are none.
    pub fn db_query_at(&self, target: &str, sql: &str) -> Value {
        let response = self.post_json(target, json!([sql]));
        let results = response.results();
        assert!(results[0].get("error").is_none(), "{sql}: {}", response.text());
        results[0].get("values").cloned().unwrap_or(json!([]))
    }

    /// The applied index in the status of the node.
    pub fn applied_index(&self) -> u64 {
        let index = self.get("/status?key=store.raft.applied_index").json();
        index.as_u64().unwrap_or_else(|| panic!("no index: {index}"))
    }
}

/// The nodes of a cluster on this machine, `n1`, `n2` and so on. The first one has created the cluster; the others have
/// joined it through the first one.
pub struct Cluster {
    nodes: Vec<Node>,
    /// The processes of the nodes; `None` for a node that does not run.
    servers: Vec<Option<Server>>,
    /// The credentials for the status of the nodes and for the transfer of the leadership, as `user:password`.
    credentials: Option<String>,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts this number of voters, each with these flags, and waits until all are ready and vote. A node that joins
    /// is ready before it votes.
    pub fn start(count: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::empty(None);
        for _ in 0..count {
            cluster.add_voter(flags);
        }
        cluster
    }

    /// A cluster without nodes. If they have users, the credentials are those of one with all permissions.
    pub fn empty(credentials: Option<&str>) -> Cluster {
        let credentials = credentials.map(str::to_owned);
        Cluster { nodes: Vec::new(), servers: Vec::new(), credentials, dir: temp_dir() }
    }

    /// Starts a further voter with these flags, and waits until it is ready and votes. Returns its index.
    pub fn add_voter(&mut self, flags: &[&str]) -> usize {
        let index = self.add(flags);
        super::eventually("the node votes", || {
            let status = self.ask(index, Request::new("GET", "/status?key=store.raft"));
            // With an auth file, the status may need credentials.
            status.status == 401 || status.json()["voter"] == true
        });
        index
    }

    /// Sends a request to a node with the credentials of the cluster.
    pub fn ask(&self, index: usize, request: Request) -> Response {
        let request = match &self.credentials {
            Some(credentials) => request.basic(credentials),
            None => request,
        };
        self.server(index).send(&request)
    }

    /// The applied index in the status of a node.
    fn applied_index(&self, index: usize) -> u64 {
        let applied = self.ask(index, Request::new("GET", "/status?key=store.raft.applied_index")).json();
        applied.as_u64().unwrap_or_else(|| panic!("no index: {applied}"))
    }

    /// Starts a further node with these flags, and waits until it is ready. Returns its index.
    pub fn add(&mut self, flags: &[&str]) -> usize {
        self.add_in(flags, &[])
    }

    /// Starts a further node with these flags and these variables in its environment, and waits until it is ready.
    /// Returns its index.
    pub fn add_in(&mut self, flags: &[&str], environment: &[(&'static str, &str)]) -> usize {
        let index = self.nodes.len();
        let name = format!("n{}", index + 1);
        let node = Node::new(&self.dir.path().join(&name)).named(&name).flags(flags.iter().copied());
        let node = match self.nodes.first() {
            Some(first) => node.flags(["-join", &first.raft_address(), "-join-interval", "250ms"]),
            None => node,
        };
        let node = environment.iter().fold(node, |node, (name, value)| node.variable(name, value));
        self.servers.push(Some(node.start()));
        self.nodes.push(node);
        index
    }

    /// The command line of a node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The process of a node; panics if it does not run.
    pub fn server(&self, index: usize) -> &Server {
        self.servers[index].as_ref().unwrap_or_else(|| panic!("node {index} does not run"))
    }

    /// The indexes of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.servers[*index].is_some()).collect()
    }

    /// Takes the process of a node out of the cluster, which then counts as not running.
    pub fn take(&mut self, index: usize) -> Server {
        self.servers[index].take().unwrap_or_else(|| panic!("node {index} does not run"))
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.take(index).crash();
    }

    /// Stops a node with SIGTERM, and returns its end.
    pub fn stop(&mut self, index: usize) -> Exit {
        self.take(index).stop()
    }

    /// Starts a node again with its data and its addresses, without `-join`, and waits until it is ready.
    pub fn restart(&mut self, index: usize) {
        self.servers[index] = Some(self.without_join(index).start());
    }

    /// Like [`Cluster::restart`], but waits only until the node listens.
    pub fn respawn(&mut self, index: usize) {
        self.servers[index] = Some(self.without_join(index).spawn_listening());
    }

    /// Starts a node again with the same command line, and waits until it is ready.
    pub fn rejoin(&mut self, index: usize) {
        self.servers[index] = Some(self.nodes[index].start());
    }

    /// Starts all nodes again, which have been killed, and waits until they are ready.
    pub fn restart_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.servers[index] = Some(self.without_join(index).spawn_server());
        }
        for (node, server) in self.nodes.iter().zip(&self.servers) {
            super::eventually("the node is ready", || server.as_ref().is_some_and(|server| node.is_ready(server)));
        }
    }

    fn without_join(&self, index: usize) -> Node {
        let mut node = self.nodes[index].clone();
        if let Some(at) = node.flags.iter().position(|flag| flag == "-join") {
            node.flags.drain(at..at + 2);
        }
        node
    }

    /// A cluster with a read replica, `n3`: the leader is `n1`, and `n2` the other voter.
    pub fn with_replica(flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::start(2, flags);
        cluster.add(&[flags, &["-raft-non-voter"]].concat());
        cluster
    }

    /// Makes a voter the leader, and waits until all nodes that run name it.
    pub fn lead_by(&self, index: usize) {
        super::eventually("the leadership is transferred", || {
            let leader = self.leader();
            if leader != index {
                let body = json!({ "id": self.nodes[index].name });
                self.ask(leader, Request::json("/leader?wait", body));
            }
            leader == index
        });
    }

    /// Waits until a node has applied what the leader has applied.
    pub fn await_applied(&self, index: usize, leader: usize) {
        let applied = self.applied_index(leader);
        super::eventually("the node has applied it", || self.applied_index(index) >= applied);
    }

    /// Waits until all nodes that run name the same leader, which runs, and are ready. Returns its index.
    pub fn leader(&self) -> usize {
        let (deadline, running) = (Instant::now() + PATIENCE, self.running());
        loop {
            let named: Vec<String> = running.iter().map(|index| self.leader_named_by(*index)).collect();
            let leader =
                running.iter().copied().find(|index| named.iter().all(|name| *name == self.nodes[*index].name));
            let ready = || running.iter().all(|index| self.ask(*index, Request::new("GET", "/readyz")).status == 200);
            match leader {
                Some(leader) if ready() => return leader,
                _ => {}
            }
            if Instant::now() > deadline {
                let logs: Vec<_> = running.iter().map(|index| self.server(*index).stderr()).collect();
                panic!("the nodes {running:?} name the leaders {named:?}: {logs:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The name of the leader in the status of a node; empty if the node knows of none.
    pub fn leader_named_by(&self, index: usize) -> String {
        let id = self.ask(index, Request::new("GET", "/status?key=store.leader.node_id")).json();
        id.as_str().unwrap_or_default().to_owned()
    }

    /// A running node that is not the leader.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        self.running().into_iter().find(|index| *index != leader).expect("a follower")
    }

    /// The number of members, as a node reports it.
    pub fn members_named_by(&self, index: usize) -> usize {
        self.server(index).get("/nodes?nonvoters").json().as_object().map_or(0, serde_json::Map::len)
    }
}
