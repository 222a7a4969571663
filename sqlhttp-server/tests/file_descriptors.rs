//! Servers with a low limit of open files: connections leave enough of them to the databases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(unix)]

mod common;

use std::net::TcpStream;

use common::{Launch, Node, Request, Server, temp_dir};
use serde_json::json;

const FILES_MAX: u32 = 100;

/// Opens more connections than the limit of files, and runs `work` while they are open.
fn under_silent_connections(server: &Server, flag: &str, work: impl Fn()) {
    let line = server.wait_stderr("files open");
    assert!(line.contains(&format!("-{flag} is ")) && line.contains("ulimit -n"), "{line}");
    for _ in 0..2 {
        let silent: Vec<_> = (0..130).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
        // A new client takes the place of a silent one.
        work();
        drop(silent);
    }
    work();
    assert!(!server.has_ended());
}

#[test]
fn the_standalone_server_serves_with_few_files() {
    let dir = temp_dir();
    let server = Launch::new().dir(dir.path()).open_files(FILES_MAX).args(["--db", "t.db"]).start();
    server.execute("t", "CREATE TABLE t(a)");
    under_silent_connections(&server, "max-connections", || {
        // A temporary table makes the server replace the SQLite connection, which opens files.
        server.execute("t", "CREATE TEMPORARY TABLE x(a)");
        assert_eq!(server.execute("t", "INSERT INTO t VALUES(1)"), 1);
    });
    assert_eq!(server.query("t", "SELECT count(*) FROM t"), json!([[3]]));
}

#[test]
fn a_node_serves_with_few_files() {
    let dir = temp_dir();
    let server = Node::new(&dir.path().join("data")).open_files(FILES_MAX).start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    under_silent_connections(&server, "http-max-conns", || {
        server.db_execute(json!(["INSERT INTO t VALUES(1)"]));
        assert_eq!(server.send(&Request::new("POST", "/snapshot")).status, 200);
    });
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[3]]));
}
