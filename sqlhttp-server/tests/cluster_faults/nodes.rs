//! The processes of a cluster, each in the network namespace of its node.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::common::faketime;
use super::network::{self, Network};
use super::proxy::{self, Proxy};
use super::sandbox;

/// The flags of all nodes. The heartbeat timeout is long enough for two cores that other processes use, too.
const FLAGS: [&str; 6] = ["-raft-heartbeat-timeout", "1s", "-raft-election-timeout", "1s", "-join-interval", "500ms"];

/// How the cluster is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formation {
    /// All nodes start at once.
    Together,
    /// The first node creates the cluster from a database file; the others join it.
    Boot,
}

/// A process.
#[derive(Debug)]
struct Process {
    child: Child,
    stopped: bool,
}

/// A machine with a node.
#[derive(Debug, Default)]
struct Host {
    process: Option<Process>,
    /// Whether the member was removed from the cluster, or may have been.
    removed: bool,
}

/// The nodes of a cluster. Their processes are killed on drop.
#[derive(Debug)]
pub struct Nodes {
    hosts: Vec<Host>,
    formation: Formation,
    directory: PathBuf,
    pub network: Network,
    pub proxy: Option<Proxy>,
    /// Processes that have ended without a signal of this test, with their status.
    pub unexpected_ends: Vec<String>,
}

impl Nodes {
    /// Creates the network. No node runs.
    pub fn new(count: usize, proxied: bool, formation: Formation, directory: &Path) -> Nodes {
        let network = Network::create(count);
        let proxy = proxied.then(|| Proxy::start(count));
        let mut nodes = Nodes {
            hosts: (0..count).map(|_| Host::default()).collect(),
            formation,
            directory: directory.to_owned(),
            network,
            proxy,
            unexpected_ends: Vec::new(),
        };
        for node in nodes.all() {
            nodes.set_sync(node, 0, false);
            nodes.set_clock(node, 0);
        }
        nodes
    }

    /// The indexes of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (0..self.hosts.len()).collect()
    }

    pub fn formation(&self) -> Formation {
        self.formation
    }

    /// The number of nodes.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A file of a node.
    fn file(&self, node: usize, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", network::name(node)))
    }

    /// The data directory of a node.
    fn data(&self, node: usize) -> PathBuf {
        self.file(node, "data")
    }

    /// The output of a node since the beginning.
    pub fn log(&self, node: usize) -> String {
        std::fs::read(self.file(node, "log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The address where other nodes reach a node.
    fn advertised(&self, node: usize) -> String {
        if self.proxy.is_some() { proxy::address(node).to_string() } else { network::raft(node).to_string() }
    }

    fn words(&self, node: usize) -> Vec<String> {
        let program = std::env::var("SQLHTTP_FAULTS_PROGRAM");
        let mut words = vec![program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_sqlhttp-cluster").to_owned())];
        words.extend(FLAGS.map(str::to_owned));
        let (http, raft) = (network::http(node).to_string(), network::raft(node).to_string());
        let advertised = self.advertised(node);
        let name = network::name(node);
        for (flag, value) in
            [("-node-id", &name), ("-http-addr", &http), ("-raft-addr", &raft), ("-raft-adv-addr", &advertised)]
        {
            words.extend([flag.to_owned(), value.clone()]);
        }
        match self.formation {
            Formation::Together => {
                let all: Vec<String> = self.all().into_iter().map(|node| self.advertised(node)).collect();
                let count = self.count().to_string();
                words.extend(["-bootstrap-expect", &count, "-join", &all.join(",")].map(str::to_owned));
            }
            Formation::Boot if node > 0 => words.extend(["-join".to_owned(), self.advertised(0)]),
            Formation::Boot => {}
        }
        words.push(self.data(node).to_string_lossy().into_owned());
        words
    }

    /// Starts a node, and does not wait.
    pub fn start(&mut self, node: usize) {
        let log = OpenOptions::new().create(true).append(true).open(self.file(node, "log")).expect("a log");
        let library = faketime::library().expect("libfaketime");
        let preload = format!("{}:{}", sandbox::sync_library().display(), library.display());
        let variables = [
            format!("LD_PRELOAD={preload}"),
            format!("SQLHTTP_SYNC_CONTROL={}", self.file(node, "sync").display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file(node, "clock").display()),
            // Read the file at each call.
            "FAKETIME_NO_CACHE=1".to_owned(),
            "RUST_BACKTRACE=1".to_owned(),
        ];
        let mut command = network::inside(node, &["env", "-i"]);
        command.args(variables).args(faketime::VARIABLES.map(|(name, value)| format!("{name}={value}")));
        command.args(self.words(node));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let child = command.spawn().expect("a node can be started");
        self.hosts[node].process = Some(Process { child, stopped: false });
        self.hosts[node].removed = false;
    }

    /// Notes the nodes whose process has ended by itself. Returns whether one has.
    pub fn note_ends(&mut self) -> bool {
        let mut any = false;
        for node in self.all() {
            if let Some(status) = self.end(node) {
                any = true;
                self.unexpected_ends.push(format!("{}: {status}", network::name(node)));
            }
        }
        any
    }

    /// The status of a node whose process has ended by itself, which then counts as not running.
    pub fn end(&mut self, node: usize) -> Option<ExitStatus> {
        let status = self.hosts[node].process.as_mut()?.child.try_wait().expect("the process can be waited for")?;
        self.hosts[node].process = None;
        Some(status)
    }

    /// Whether a node can respond.
    pub fn responds(&self, node: usize) -> bool {
        self.hosts[node].process.as_ref().is_some_and(|process| !process.stopped)
    }

    /// Whether a node runs, or is stopped.
    pub fn runs(&self, node: usize) -> bool {
        self.hosts[node].process.is_some()
    }

    fn signal(&self, node: usize, signal: rustix::process::Signal) {
        if let Some(process) = &self.hosts[node].process {
            let pid = rustix::process::Pid::from_child(&process.child);
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.note_ends();
        if let Some(mut process) = self.hosts[node].process.take() {
            process.child.kill().expect("the process can be killed");
            process.child.wait().expect("the process can be waited for");
        }
    }

    /// Stops a node with SIGTERM, and waits until its process has ended.
    pub fn stop(&mut self, node: usize) {
        self.note_ends();
        self.signal(node, rustix::process::Signal::TERM);
        // A stopped process receives the other signal when it continues.
        self.signal(node, rustix::process::Signal::CONT);
        let Some(mut process) = self.hosts[node].process.take() else { return };
        let deadline = Instant::now() + Duration::from_secs(60);
        while process.child.try_wait().expect("the process can be waited for").is_none() {
            if Instant::now() > deadline {
                let _ = process.child.kill();
                let _ = process.child.wait();
                self.unexpected_ends.push(format!("{}: does not end after SIGTERM", network::name(node)));
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the process of a node with SIGSTOP.
    pub fn pause(&mut self, node: usize) {
        self.signal(node, rustix::process::Signal::STOP);
        if let Some(process) = &mut self.hosts[node].process {
            process.stopped = true;
        }
    }

    /// Lets all stopped processes continue.
    pub fn resume(&mut self) {
        for node in self.all() {
            if self.hosts[node].process.as_ref().is_some_and(|process| process.stopped) {
                self.signal(node, rustix::process::Signal::CONT);
            }
            if let Some(process) = &mut self.hosts[node].process {
                process.stopped = false;
            }
        }
    }

    /// Removes the data of a node that does not run.
    pub fn wipe(&mut self, node: usize) {
        assert!(!self.runs(node), "the node runs");
        let _ = std::fs::remove_dir_all(self.data(node));
    }

    /// Sets the delay of each fsync of a node, and whether it fails.
    pub fn set_sync(&mut self, node: usize, milliseconds: u64, fails: bool) {
        let text = format!("{milliseconds} {}\n", if fails { "fail" } else { "" });
        replace(&self.file(node, "sync"), &text);
    }

    /// Sets how many seconds the clock of a node is ahead.
    pub fn set_clock(&mut self, node: usize, seconds: i64) {
        replace(&self.file(node, "clock"), &format!("{seconds:+}\n"));
    }

    /// Notes that a member was removed, or may have been.
    pub fn note_removed(&mut self, node: usize) {
        self.hosts[node].removed = true;
    }

    /// Ends all faults, and starts the nodes that do not run.
    pub fn heal(&mut self) {
        self.resume();
        self.network.heal();
        if let Some(proxy) = &self.proxy {
            proxy.heal();
        }
        for node in self.all() {
            self.set_sync(node, 0, false);
            self.set_clock(node, 0);
            if self.hosts[node].removed {
                self.kill(node);
            }
        }
        self.note_ends();
        for node in self.all() {
            if !self.runs(node) {
                self.start(node);
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(process) = &mut host.process {
                let _ = process.child.kill();
                let _ = process.child.wait();
            }
        }
    }
}

/// Replaces the content of a file at once, so that no reader sees a part of it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    let written = File::create(&new).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.and_then(|()| std::fs::rename(&new, file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}
