//! Runs nodes and the shell.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The environment variable with the arguments of a node, separated by line feeds.
const NODE_ARGUMENTS: &str = "NODE_ARGUMENTS";

/// A node that runs in a process of its own, until this value is dropped or this process ends.
pub(crate) struct Node {
    pub(crate) port: u16,
    /// The node ends when its standard input is closed.
    process: Child,
    _directory: tempfile::TempDir,
}

impl Node {
    /// Starts a node with an empty database.
    pub(crate) fn new() -> Node {
        Node::with_flags(&[])
    }

    /// Starts a node with further flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Node {
        let [http, raft] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_string_lossy();
        let arguments = ["-node-id", "n1", "-http-addr", &http, "-raft-addr", &raft];
        let arguments = [&arguments[..], flags, &[&path]].concat().join("\n");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "support::process_of_a_node", "--ignored"]).env(NODE_ARGUMENTS, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let port = http.rsplit(':').next().unwrap().parse().unwrap();
        let node = Node { port, process: command.spawn().unwrap(), _directory: directory };
        let until = Instant::now() + Duration::from_secs(20);
        while run(port, &[], ".ready\n").out != "ready\n" {
            assert!(Instant::now() < until, "the node is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Not a test: the process of a [`Node`].
#[test]
#[ignore = "the process of a node, which other tests start"]
fn process_of_a_node() {
    let arguments: Vec<OsString> = std::env::var(NODE_ARGUMENTS).unwrap().split('\n').map(OsString::from).collect();
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(sqlhttp_server::cluster::serve::main(&arguments));
}

/// The HTTP port of a node that many tests use. Each test uses tables of its own.
pub(crate) fn node() -> u16 {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(Node::new).port
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How the shell has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i32,
}

pub(crate) fn shell(port: u16, arguments: &[&str]) -> Command {
    with_arguments(Command::new(env!("CARGO_BIN_EXE_sqlhttp")), port, arguments)
}

fn with_arguments(mut command: Command, port: u16, arguments: &[&str]) -> Command {
    command.args(["-p", &port.to_string()]).args(arguments).env_remove("RQLITE_HOST").env_remove("SQLHTTP_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the shell with this standard input.
pub(crate) fn run(port: u16, arguments: &[&str], input: &str) -> Exit {
    ended(shell(port, arguments), input)
}

/// Runs the shell by the name of rqlite's shell.
#[cfg(unix)]
pub(crate) fn run_as_rqlite(port: u16, input: &str) -> Exit {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqlhttp"));
    command.arg0("/usr/bin/rqlite");
    ended(with_arguments(command, port, &[]), input)
}

fn ended(mut command: Command, input: &str) -> Exit {
    let mut child = command.spawn().unwrap();
    // The shell may end without reading its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Exit { out: text(ended.stdout), err: text(ended.stderr), status: ended.status.code().unwrap() }
}

/// Compares a text with a file of this crate. With the environment variable `UPDATE_GOLDENFILES`, writes the file.
pub(crate) fn assert_golden(file: &std::path::Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    if expected != text {
        let diff = similar::TextDiff::from_lines(expected.as_str(), text).unified_diff().to_string();
        panic!("{} differs; UPDATE_GOLDENFILES=1 updates it:\n{diff}", file.display());
    }
}

/// Replaces the durations, the address and the indexes of Raft, and the numbers of snapshots in the documents of a
/// node.
pub(crate) fn without_times(text: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((name, _)) if name.ends_with("snapshots reaped") => format!("{name}: ...\n"),
        Some((name @ ("  time" | "  time_s" | "  addr"), _)) => format!("{name}: ...\n"),
        _ => match line.split_once(" at index ") {
            Some((result, _)) => format!("{result} at index ...\n"),
            None => format!("{line}\n"),
        },
    };
    text.lines().map(line).collect()
}
