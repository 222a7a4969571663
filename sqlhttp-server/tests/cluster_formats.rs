//! Data directories of earlier formats are opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::{Node, temp_dir};
use serde_json::{Value, json};

/// Unpacks a file of `tests/data` into a directory.
fn unpack(format: &str, name: &str, to: &Path) {
    let packed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format).join(format!("{name}.gz"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(packed).unwrap()).read_to_end(&mut bytes).unwrap();
    std::fs::create_dir_all(to).unwrap();
    std::fs::write(to.join(name), bytes).unwrap();
}

/// The rows of the recorded node when it was killed. It ran with `-fk`, so that the deletion of a parent deleted its
/// child.
fn content() -> Value {
    json!([
        [1, "2026-11-29 02:41:00", -4482797185867784188_i64, "2DCCA5"],
        [2, "2026-11-29 02:41:00", 492997080686756592_i64, "1E8F3E"],
        [3, "2026-11-29 02:41:00", 6199577249774201182_i64, "FED265"],
        [4, "2026-11-29 02:41:00", -2071390685226438400_i64, "819F45"]
    ])
}

const ROWS: &str = "SELECT p.id, at, r, hex(b) FROM p JOIN c ON c.p = p.id ORDER BY p.id";

/// Asserts that the directory can be opened, written to, and opened again.
fn assert_opens(data: &Path) {
    let node = Node::new(data).flags(["-fk"]);
    let server = node.start();
    assert_eq!(server.db_query(ROWS), content());
    assert_eq!(server.db_query("SELECT count(*) FROM c"), json!([[4]]));
    server.db_execute(json!(["INSERT INTO p(id) VALUES(9)"]));
    let times = server.db_query("SELECT id FROM p WHERE at >= '2026-11-29 02:41:00' AND id = 9");
    assert_eq!(times, json!([[9]]), "the time of entries is not decreasing");
    server.crash();
    let server = node.start();
    assert_eq!(server.db_query("SELECT max(id) FROM p"), json!([[9]]));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_directory_of_format_1_is_opened() {
    let dir = temp_dir();
    let data = dir.path().join("data");
    unpack("format-1", "db.sqlite", &data);
    unpack("format-1", "db.sqlite-wal", &data);
    unpack("format-1", "0000000001.log", &data.join("raft/log"));
    assert_opens(&data);
}

/// The node applies the whole log again, with its own flags.
#[test]
fn a_log_of_format_1_rebuilds_its_database() {
    let dir = temp_dir();
    let data = dir.path().join("data");
    unpack("format-1", "0000000001.log", &data.join("raft/log"));
    assert_opens(&data);
}

/// Copies the database of one node into the directory of another.
#[test]
fn a_log_and_a_database_of_different_nodes_are_refused() {
    let dir = temp_dir();
    let directories = ["one", "other"].map(|name| dir.path().join(name));
    for directory in &directories {
        let server = Node::new(directory).start();
        server.db_execute(json!(["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]));
        assert_eq!(server.stop().code, Some(0));
    }
    for name in ["db.sqlite", "db.sqlite-wal"] {
        let (from, to) = (directories[0].join(name), directories[1].join(name));
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
    let exit = Node::new(&directories[1]).run();
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.stderr.iter().any(|line| line.contains("do not belong together")), "{exit:#?}");
}
