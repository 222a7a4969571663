//! A server process on a free port. It is killed on drop.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::free_port;
use super::eventually;
use super::http::{Client, Request, Response};

/// The time limit of a start and of a stop.
const PATIENCE: Duration = Duration::from_secs(40);

const LISTENING: &str = "- Web Service listening on ";

/// The command line of a standalone server.
#[derive(Debug)]
pub struct Launch {
    args: Vec<String>,
    envs: Vec<(String, String)>,
    dir: Option<PathBuf>,
    listen: bool,
    metrics: Option<u16>,
    open_files: Option<u32>,
}

impl Default for Launch {
    fn default() -> Launch {
        Launch::new()
    }
}

impl Launch {
    pub fn new() -> Launch {
        Launch { args: Vec::new(), envs: Vec::new(), dir: None, listen: true, metrics: None, open_files: None }
    }

    /// The working directory.
    pub fn dir(mut self, dir: &Path) -> Launch {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Adds words to the command line.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Leaves out `-bind-host 127.0.0.1 -port 0`, which come before the other words.
    pub fn without_address(mut self) -> Launch {
        self.listen = false;
        self
    }

    /// Serves `/metrics` on a port of its own, for [`Server::metrics`].
    pub fn with_metrics(mut self) -> Launch {
        self.metrics = Some(free_port());
        self
    }

    /// Lets the process have only this many files open.
    pub fn open_files(mut self, max: u32) -> Launch {
        self.open_files = Some(max);
        self
    }

    fn spawn(&self) -> Process {
        let mut command = limited(env!("CARGO_BIN_EXE_sqlhttp-standalone"), self.open_files);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SQLHTTP_") {
                command.env_remove(name);
            }
        }
        if self.listen {
            command.args(["-bind-host", "127.0.0.1", "-port", "0"]);
        }
        if let Some(port) = self.metrics {
            command.args(["-metrics-addr", &local(port).to_string()]);
        }
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        Process::spawn(command)
    }

    /// Starts the server and waits until it listens.
    pub fn start(self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(exit) => panic!("{:?} did not start: {exit:#?}", self.args),
        }
    }

    /// Starts the server and waits until it listens or ends.
    pub fn try_start(&self) -> Result<Server, Exit> {
        let mut process = self.spawn();
        let line = process.stdout.wait_for(|line| line.starts_with(LISTENING));
        let Some(line) = line else {
            if process.wait(Duration::from_secs(5)).is_none() {
                let output = (process.stdout.lines(), process.stderr.lines());
                panic!("{:?} neither listens nor ends: {output:#?}", self.args);
            }
            return Err(process.exit());
        };
        let port = line.rsplit(':').next().and_then(|p| p.trim().parse().ok()).expect("a port in the last line");
        let metrics = self.metrics.map(local);
        Ok(Server { process, addr: local(port), metrics, raft_port: None, dir: None })
    }

    /// Runs the program and waits until it ends by itself.
    pub fn run(self) -> Exit {
        let mut process = self.spawn();
        if process.wait(PATIENCE).is_none() {
            panic!("{:?} does not end: {:#?} {:#?}", self.args, process.stdout.lines(), process.stderr.lines());
        }
        process.exit()
    }
}

/// A port on this machine's own interface.
fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A command with this program and a limit of open files.
pub(super) fn limited(program: &str, open_files: Option<u32>) -> Command {
    let Some(max) = open_files else { return Command::new(program) };
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &max.to_string(), program]);
    command
}

/// The end of a process, and its output.
#[derive(Debug)]
pub struct Exit {
    /// The exit status; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Process {
    pub(super) fn spawn(mut command: Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server binary can be started");
        let stdout = Output::of(child.stdout.take().expect("a pipe"));
        let stderr = Output::of(child.stderr.take().expect("a pipe"));
        Process { child, stdout, stderr }
    }

    pub(super) fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    pub(super) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn exit(mut self) -> Exit {
        let status = self.child.wait().expect("the process has ended");
        Exit { code: status.code(), stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a pipe has delivered so far.
#[derive(Debug, Clone, Default)]
struct Output(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Output {
        let output = Output::default();
        let shared = output.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                shared.0.0.lock().expect("lines").lines.push(text);
                shared.0.1.notify_all();
                line.clear();
            }
            shared.0.0.lock().expect("lines").ended = true;
            shared.0.1.notify_all();
        });
        output
    }

    fn lines(&self) -> Vec<String> {
        self.0.0.lock().expect("lines").lines.clone()
    }

    /// Waits for the first line that fits; `None` if the pipe or the time limit ends before.
    fn wait_for(&self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut guard = self.0.0.lock().expect("lines");
        loop {
            if let Some(line) = guard.lines.iter().find(|line| fits(line)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if guard.ended || left.is_zero() {
                return None;
            }
            guard = self.0.1.wait_timeout(guard, left).expect("lines").0;
        }
    }

    /// All lines, once the pipe has ended.
    fn finish(&self) -> Vec<String> {
        let _ = self.wait_for(|_| false);
        self.lines()
    }
}

/// The value of a series, named with its labels, in the text of `/metrics`.
pub fn series(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
}

/// A server that listens. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    addr: SocketAddr,
    metrics: Option<SocketAddr>,
    raft_port: Option<u16>,
    dir: Option<tempfile::TempDir>,
}

impl Server {
    /// A process that serves clients and other nodes on these ports.
    pub(super) fn of_node(process: Process, port: u16, raft_port: u16) -> Server {
        let addr = local(port);
        Server { process, addr, metrics: Some(addr), raft_port: Some(raft_port), dir: None }
    }

    /// A server with these words on its command line.
    pub fn start<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Server {
        Launch::new().args(args).start()
    }

    /// A server with the database `t` in the file `t.db` of this directory, and with the companion file `t.yaml` if
    /// there is one.
    pub fn file(dir: &Path) -> Server {
        Launch::new().dir(dir).args(["--db", "t.db"]).start()
    }

    /// A server with one database in memory, `t`.
    pub fn memory() -> Server {
        Server::start(["--mem-db", "t"])
    }

    /// A server with one database in memory, `t`, and this companion file.
    pub fn configured(yaml: &str) -> Server {
        let dir = super::temp_dir();
        super::write(dir.path(), "t.yaml", yaml);
        Launch::new().dir(dir.path()).args(["--mem-db", "t:t.yaml"]).start().keeping(dir)
    }

    /// Keeps a directory as long as the server.
    pub fn keeping(mut self, dir: tempfile::TempDir) -> Server {
        self.dir = Some(dir);
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The port for other nodes, if it has one.
    pub fn raft_port(&self) -> Option<u16> {
        self.raft_port
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr).expect("the server takes connections")
    }

    /// Sends a request on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        self.client().send(request).unwrap_or_else(|e| panic!("no answer: {e}; stderr: {:#?}", self.stderr()))
    }

    /// Sends a request on a connection of its own and returns that connection, without waiting for the answer.
    pub fn begin(&self, request: &Request) -> Client {
        let mut client = self.client();
        client.write(&request.encode()).expect("the request is sent");
        client
    }

    /// Begins a query on a database that never ends by itself, and waits until the server runs it. It lasts until the
    /// returned connection is dropped. Needs metrics, and that no other request runs.
    pub fn begin_endless_query(&self, database: &str) -> Client {
        let query = json!({ "transaction": [{ "query": super::ENDLESS }] });
        let client = self.begin(&Request::json(&format!("/{database}"), query));
        self.await_requests_in_flight(1);
        client
    }

    /// The address of `/metrics`.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics.expect("the server was launched with metrics")
    }

    /// The text of `/metrics`, which a node serves at its own address, and the standalone server if it was launched
    /// [`with_metrics`](Launch::with_metrics).
    pub fn metrics(&self) -> String {
        self.metrics_by(&Request::new("GET", "/metrics"))
    }

    /// The text of `/metrics`, asked for by this request.
    pub fn metrics_by(&self, request: &Request) -> String {
        let response =
            Client::connect(self.metrics_addr()).and_then(|mut client| client.send(request)).expect("metrics");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// The value of a series of `/metrics`, named with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        series(&self.metrics(), name)
    }

    /// Waits until the server works on this number of requests.
    pub fn await_requests_in_flight(&self, number: u32) {
        // A node counts the request for the metrics, too.
        let own = u32::from(self.raft_port.is_some());
        let expected = f64::from(number + own);
        eventually("the requests are in flight", || self.metric("sqlhttp_requests_in_flight") == expected);
    }

    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::new("GET", target))
    }

    /// Posts a JSON body.
    pub fn post_json(&self, target: &str, body: impl ToString) -> Response {
        self.send(&Request::json(target, body))
    }

    /// Posts bytes as they are.
    pub fn post_bytes(&self, target: &str, body: impl Into<Vec<u8>>) -> Response {
        self.send(&Request::new("POST", target).body(body))
    }

    /// Posts a JSON body to a database.
    pub fn post(&self, database: &str, body: impl ToString) -> Response {
        self.post_json(&format!("/{database}"), body)
    }

    /// Posts a list of items.
    pub fn transaction(&self, database: &str, items: Value) -> Response {
        self.post(database, json!({ "transaction": items }))
    }

    /// Runs one statement and returns the number of rows that it changed.
    pub fn execute(&self, database: &str, sql: &str) -> u64 {
        let results = self.transaction(database, json!([{ "statement": sql }])).results();
        results[0]["rowsUpdated"].as_u64().unwrap_or_else(|| panic!("no count in {results:?}"))
    }

    /// Runs one query and returns its rows as lists.
    pub fn query(&self, database: &str, sql: &str) -> Value {
        let body = json!({ "resultFormat": "list", "transaction": [{ "query": sql }] });
        self.post(database, body).results()[0]["resultSetList"].clone()
    }

    /// Asserts that the server answers a query.
    pub fn assert_alive(&self, database: &str) {
        assert_eq!(self.query(database, "SELECT 40 + 2"), json!([[42]]));
    }

    pub fn stdout(&self) -> Vec<String> {
        self.process.stdout.lines()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr.lines()
    }

    /// Waits for a line on standard error.
    pub fn wait_stderr(&self, part: &str) -> String {
        let line = self.process.stderr.wait_for(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no {part:?} on standard error: {:#?}", self.stderr()))
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let pid = self.process.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("the kill command");
        assert!(status.success(), "cannot signal {pid}");
    }

    /// Stops the process with SIGSTOP, and waits until none of its threads runs.
    pub fn hang(&self) {
        self.signal("STOP");
        super::eventually("all threads have stopped", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the threads");
            tasks.flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
            })
        });
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Kills the process with SIGKILL.
    pub fn crash(mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.process.stderr.0.0.lock().expect("lines").ended
    }

    /// Waits until the process ends.
    pub fn wait(mut self) -> Exit {
        if self.process.wait(PATIENCE).is_none() {
            panic!("the server does not end: {:#?}", self.stderr());
        }
        self.process.exit()
    }

    /// Sends SIGTERM and waits until the process ends.
    pub fn stop(self) -> Exit {
        self.signal("TERM");
        self.wait()
    }
}
