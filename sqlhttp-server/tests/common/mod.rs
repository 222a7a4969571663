//! Helpers of the black-box tests: server processes, an HTTP/1.1 client, recorded conversations, and crashes.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cluster;
pub mod crash;
pub mod dns;
pub mod faketime;
pub mod http;
pub mod json;
pub mod random;
pub mod replay;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Node};
pub use http::{Client, Request, Response};
pub use random::Random;
pub use server::{Exit, Launch, Server, series};

/// A query that never ends by itself.
pub const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";

/// A query that counts to `n`. A few million take about a second.
pub fn counting_to(n: u64) -> String {
    format!("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < {n}) SELECT count(*) FROM c")
}

/// Waits until `condition` holds; panics with `what` if it does not within 30 seconds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A fresh directory that is removed on drop.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sqlhttp-test-").tempdir().expect("a temporary directory")
}

/// Writes a file into a directory, and creates the directories of its name.
pub fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("a folder");
    }
    std::fs::write(&path, content).expect("a file");
    path
}

/// A file or folder of `tests/fixtures`.
pub fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The names in a directory, sorted; empty if it does not exist.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Compresses with a content coding (`gzip`, `deflate` or `br`).
pub fn compressed(coding: &str, plain: &[u8]) -> Vec<u8> {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder};
    match coding {
        "gzip" => read_to_end(GzipEncoder::new(plain)),
        "deflate" => read_to_end(ZlibEncoder::new(plain)),
        _ => read_to_end(BrotliEncoder::new(plain)),
    }
}

/// Decompresses a content coding (`gzip`, `deflate` or `br`).
pub fn decompressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
    match coding {
        "gzip" => read_to_end(GzipDecoder::new(bytes)),
        "deflate" => read_to_end(ZlibDecoder::new(bytes)),
        _ => read_to_end(BrotliDecoder::new(bytes)),
    }
}

/// All bytes of a reader that never waits.
fn read_to_end(mut reader: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes);
    futures_util::FutureExt::now_or_never(reading).expect("no waiting").expect("valid input");
    bytes
}

/// Asserts that a file is a sound SQLite database in which `sql` returns `rows`.
pub fn assert_backup(file: &Path, sql: &str, rows: serde_json::Value) {
    let content = std::fs::read(file).expect("the backup can be read");
    assert!(content.starts_with(b"SQLite format 3\0"), "{} is not a database", file.display());
    let dir = temp_dir();
    write(dir.path(), "t.db", content);
    let server = Server::file(dir.path());
    assert_eq!(server.query("t", "PRAGMA integrity_check"), serde_json::json!([["ok"]]));
    assert_eq!(server.query("t", sql), rows, "in {}", file.display());
}
