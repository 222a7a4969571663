//! A node on a disk of 40 MB, with writes that are larger. These tests are skipped unless the user may mount a disk.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Node, Request, Server, eventually, temp_dir};
use serde_json::{Value, json};

const ENDLESS: &str =
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT randomblob(1000) FROM c";
/// Adds less than the size of the write-ahead log at which it is checkpointed.
const FILL: &str = "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2500) \
                    SELECT randomblob(1000) FROM c";
const FILL_ROWS: u64 = 2500;
const MEGABYTE: u64 = 1 << 20;

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts a disk; `None` if this user may not.
    fn mount() -> Option<SmallDisk> {
        let dir = temp_dir();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"]).arg(dir.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(dir));
        }
        eprintln!("skipped: no disk can be mounted");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

fn rows(server: &Server) -> Value {
    server.db_query("SELECT count(*) FROM t")[0][0].clone()
}

#[test]
fn a_write_larger_than_the_disk_fails_and_the_next_one_works() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Node::new(&disk.path().join("data")).start();
    server.db_execute(json!(["CREATE TABLE t(a)", FILL]));
    for round in 1..=2 {
        let answer = server.send(&Request::json("/db/execute", json!([ENDLESS]))).json();
        assert_eq!(answer["results"], json!([{"error": "database or disk is full"}]), "{answer}");
        server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
        assert_eq!(rows(&server), json!(FILL_ROWS + round));
    }
}

#[test]
fn a_process_that_is_killed_in_a_write_larger_than_the_disk_starts_again() {
    let Some(disk) = SmallDisk::mount() else { return };
    let node = Node::new(&disk.path().join("data"));
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE t(a)", FILL]));
    let mut client = server.client();
    client.write(&Request::json("/db/execute", json!([ENDLESS])).encode()).unwrap();
    eventually("the disk is nearly full", || disk.free() < 6 * MEGABYTE);
    server.crash();
    assert!(disk.free() >= 2 * MEGABYTE, "only {} bytes are free", disk.free());

    let server = node.start();
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    assert_eq!(rows(&server), json!(FILL_ROWS + 1));
    assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
}

/// Such an entry would never find space in the log.
#[test]
fn a_request_larger_than_the_disk_is_refused() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Node::new(&disk.path().join("data")).start();
    server.db_execute(json!(["CREATE TABLE t(a)"]));
    let sql = format!("INSERT INTO t VALUES('{}')", random_text(45_000_000));
    let answer = server.send(&Request::json("/db/execute", json!([sql])));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("the disk of the log has no space for so large a write"), "{}", answer.text());
    server.db_execute(json!(["INSERT INTO t VALUES(7)"]));
    assert_eq!(rows(&server), json!(1));
}

/// Text that is hardly compressible.
fn random_text(len: usize) -> String {
    let mut state = 7_u64;
    let characters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // One of 64 characters that need no escape in JSON or SQL.
        char::from(b'0' + (state >> 58) as u8)
    });
    characters.take(len).map(|character| if character == '\\' { '~' } else { character }).collect()
}
