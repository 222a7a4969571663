//! rqlite's client libraries, unchanged, against one node. A program in the language of the library calls all its
//! functions and exits with an error if a result is wrong. The programs need Python, Node and Go, and the libraries
//! that `.ci/clients` installs, so these tests run on request only: `cargo test -p sqlhttp-server --test
//! client_libraries -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Client, Request, eventually, temp_dir};

/// A node, or a standalone server in its place. The process is killed on drop.
struct Node {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Node {
    fn start() -> Node {
        let (address, raft) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqlhttp-cluster"));
        command.args(["-http-addr", &address.to_string(), "-raft-addr", &raft.to_string(), "data"]);
        Node::spawn(command, address)
    }

    /// Starts a standalone server with a database in memory.
    fn start_standalone() -> Node {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqlhttp-standalone"));
        let port = address.port().to_string();
        command.args(["--bind-host", "127.0.0.1", "--port", &port, "--mem-db", "t"]);
        Node::spawn(command, address)
    }

    fn spawn(mut command: Command, address: SocketAddr) -> Node {
        let dir = temp_dir();
        let log = std::fs::File::create(dir.path().join("log")).expect("a file for the log");
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the file for the log"))
            .stderr(log)
            .spawn()
            .expect("the server binary can be started");
        let mut node = Node { child, address, dir };
        eventually("the node is ready", || {
            assert!(node.child.try_wait().expect("a process").is_none(), "the node has ended: {}", node.log());
            node.is_ready()
        });
        node
    }

    fn is_ready(&self) -> bool {
        let answer = Client::connect(self.address).and_then(|mut client| client.send(&Request::new("GET", "/readyz")));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address with a free port.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number")
}

/// The path of a library that `.ci/clients` installs.
fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients").join(name)
}

/// The path of a program of these tests.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a program against a fresh node and asserts that it succeeds.
fn passes(program: Command, library: &Path) {
    passes_against(Node::start, program, library);
}

fn passes_against(start: fn() -> Node, mut program: Command, library: &Path) {
    assert!(library.exists(), "{} is missing: run .ci/clients first", library.display());
    let node = start();
    program.arg(node.address.to_string()).stdin(Stdio::null());
    let output = program.output().unwrap_or_else(|e| panic!("{program:?} ({e}): run .ci/clients first"));
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(output.status.success(), "{program:?}: {}\n{printed}\nthe node's log:\n{}", output.status, node.log());
}

fn python(program: &str, library: &str) {
    let mut command = Command::new(installed("python/bin/python"));
    command.arg("-B").arg(source("python").join(program));
    // The name of the directory of libraries contains the version of Python.
    let libraries = std::fs::read_dir(installed("python/lib")).into_iter().flatten().flatten();
    let found = libraries.map(|folder| folder.path().join("site-packages").join(library)).find(|path| path.exists());
    passes(command, &found.unwrap_or_else(|| installed("python/lib").join(library)));
}

#[test]
#[ignore = "needs Python and its libraries: run .ci/clients first"]
fn pyrqlite() {
    python("with_pyrqlite.py", "pyrqlite");
}

#[test]
#[ignore = "needs Python and its libraries: run .ci/clients first"]
fn sqlalchemy_rqlite() {
    python("with_sqlalchemy.py", "sqlalchemy_rqlite");
}

#[test]
#[ignore = "needs Node and its libraries: run .ci/clients first"]
fn rqlite_js() {
    let interpreter = std::env::var_os("SQLHTTP_NODE").unwrap_or_else(|| "node".into());
    let mut command = Command::new(interpreter);
    command.arg(source("node/with_rqlite_js.js")).env("NODE_PATH", installed("node/node_modules"));
    passes(command, &installed("node/node_modules/rqlite-js"));
}

#[test]
#[ignore = "needs a program built by Go: run .ci/clients first"]
fn gorqlite() {
    let program = installed("go/client");
    passes(Command::new(&program), &program);
}

#[test]
#[ignore = "needs a program built by Go: run .ci/clients first"]
fn gorqlite_against_a_single_database() {
    let program = installed("go/client");
    passes_against(Node::start_standalone, Command::new(&program), &program);
}
