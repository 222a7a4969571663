//! What the black-box tests share: a small HTTP/1.1 client, a guard around a running server, and a JSON reader that
//! keeps the order of keys.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cluster;
pub mod http;
pub mod json;
pub mod random;
pub mod replay;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use cluster::Node;
pub use http::{Client, Request, Response};
pub use random::Random;
pub use server::{Exit, Launch, Server, series};

/// A query that never ends by itself.
pub const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";

/// A query that counts to `n`: a few million take about a second.
pub fn counting_to(n: u64) -> String {
    format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {n}) SELECT count(*) FROM c")
}

/// Waits until `condition` holds; panics with `what` if it does not within a generous time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A fresh directory that vanishes at the end of the test.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sqlhttp-test-").tempdir().expect("a temporary directory")
}

/// Writes a file into a directory, creating folders on the way.
pub fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("a folder");
    }
    std::fs::write(&path, content).expect("a file");
    path
}

/// The names in a directory, sorted; none if it does not exist.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Asserts that a file is a complete SQLite database in which `sql` yields `rows`.
pub fn assert_backup(file: &Path, sql: &str, rows: serde_json::Value) {
    let content = std::fs::read(file).expect("the backup can be read");
    assert!(content.starts_with(b"SQLite format 3\0"), "{} is not a database", file.display());
    let dir = temp_dir();
    write(dir.path(), "copy.db", content);
    let server = Launch::new().dir(dir.path()).args(["--db", "copy.db"]).start();
    assert_eq!(server.query("copy", "PRAGMA integrity_check"), serde_json::json!([["ok"]]));
    assert_eq!(server.query("copy", sql), rows, "in {}", file.display());
}
