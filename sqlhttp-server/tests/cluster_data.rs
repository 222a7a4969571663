//! Whole databases are loaded into a node and backed up: `/boot`, `/db/load` and `/db/backup`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use serde_json::{Value, json};

use common::{Launch, Node, Random, Request, Response, Server, assert_backup, decompressed, names, temp_dir, write};

fn node_in(dir: &Path) -> Node {
    Node::new(&dir.join("data"))
}

/// The bytes of a database file with a table `other`, made by a standalone server in either journal mode.
fn database_file(wal: bool, rows: u32) -> Vec<u8> {
    let dir = temp_dir();
    write(dir.path(), "o.yaml", format!("disableWALMode: {}\n", !wal));
    let server = Launch::new().dir(dir.path()).args(["--db", "o.db"]).start();
    server.execute("o", "CREATE TABLE other(id INTEGER PRIMARY KEY, v)");
    let insert = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < ?) \
                  INSERT INTO other SELECT x, hex(randomblob(100)) FROM c";
    server.transaction("o", json!([{ "statement": insert, "values": [rows] }])).results();
    assert_eq!(server.stop().code, Some(0));
    let bytes = std::fs::read(dir.path().join("o.db")).unwrap();
    assert_eq!(bytes[18..20], if wal { [2, 2] } else { [1, 1] });
    bytes
}

/// Starts a node and creates a table `mine` with one row.
fn with_a_row(node: &Node) -> Server {
    let server = node.start();
    server.db_execute(json!(["CREATE TABLE mine(v)", "INSERT INTO mine VALUES(1)"]));
    server
}

fn tables(server: &Server) -> Value {
    server.db_query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
    )
}

/// Asserts that the database of the node has only the table `other`, with this number of rows, and is sound.
fn assert_other(server: &Server, rows: u32) {
    assert_eq!(tables(server), json!([["other"]]));
    assert_eq!(server.db_query("SELECT count(*) FROM other"), json!([[rows]]));
    assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
}

/// Asserts that a loaded database survives a write, a crash and a stop, and that the log continues.
fn assert_survives(server: Server, node: &Node, rows: u32) {
    server.db_execute(json!(["INSERT INTO other(v) VALUES('new')"]));
    let index = server.applied_index();
    server.crash();
    let server = node.start();
    assert_other(&server, rows + 1);
    assert!(server.applied_index() >= index);
    assert_eq!(server.stop().code, Some(0));
    let server = node.start();
    server.db_execute(json!(["INSERT INTO other(v) VALUES('newer')"]));
    assert_other(&server, rows + 2);
    assert!(server.applied_index() > index);
}

#[test]
fn boot_replaces_the_database() {
    for wal in [true, false] {
        let dir = temp_dir();
        let node = node_in(dir.path());
        let server = with_a_row(&node);
        let index = server.applied_index();
        let response = server.post_bytes("/boot", database_file(wal, 3000));
        assert_eq!((response.status, response.text().as_str()), (200, ""));
        assert_eq!(response.header("Content-Type"), None);
        assert_other(&server, 3000);
        assert!(server.applied_index() >= index);
        assert_survives(server, &node, 3000);
    }
}

#[test]
fn a_second_boot_survives_a_crash() {
    let dir = temp_dir();
    let node = node_in(dir.path());
    let server = with_a_row(&node);
    assert_eq!(server.post_bytes("/boot", database_file(true, 10)).status, 200);
    assert_eq!(server.post_bytes("/boot", database_file(false, 20)).status, 200);
    server.crash();
    let server = node.start();
    assert_other(&server, 20);
    assert_survives(server, &node, 20);
}

#[test]
fn boot_refuses_files_that_are_no_database() {
    let dir = temp_dir();
    let server = with_a_row(&node_in(dir.path()));
    for (body, status, message) in
        [("", 503, "EOF\n"), ("SQLite format 3\0", 503, "EOF\n"), (&"garbage ".repeat(8), 400, "invalid SQLite data\n")]
    {
        let response = server.post_bytes("/boot", body);
        assert_eq!((response.status, response.text().as_str()), (status, message), "{body:?}");
        assert_eq!(response.header("Retry-After"), None, "{body:?}");
    }
    let mut damaged = database_file(false, 1000);
    damaged.truncate(5000);
    let response = server.post_bytes("/boot", damaged);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(tables(&server), json!([["mine"]]));
    server.db_execute(json!(["INSERT INTO mine VALUES(2)"]));
}

#[test]
fn load_replaces_the_database_through_the_log() {
    for wal in [true, false] {
        let dir = temp_dir();
        let node = node_in(dir.path());
        let server = with_a_row(&node);
        let index = server.applied_index();
        let response = server.post_bytes("/db/load", database_file(wal, 3000));
        assert_eq!((response.status, response.text().as_str()), (200, "{\"results\":[]}"));
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_other(&server, 3000);
        assert!(server.applied_index() > index, "a load goes through the log");
        assert_survives(server, &node, 3000);
    }
}

#[test]
fn a_load_and_later_writes_survive_a_crash() {
    let dir = temp_dir();
    let node = node_in(dir.path());
    let server = with_a_row(&node);
    assert_eq!(server.post_bytes("/db/load", database_file(true, 10)).status, 200);
    server.db_execute(json!(["INSERT INTO other(v) VALUES('between')"]));
    assert_eq!(server.post_bytes("/db/load", database_file(false, 20)).status, 200);
    server.db_execute(json!(["INSERT INTO other(v) VALUES('after')"]));
    server.crash();
    assert_other(&node.start(), 21);
}

#[test]
fn load_refuses_damaged_files() {
    let dir = temp_dir();
    let node = node_in(dir.path());
    let server = with_a_row(&node);
    let good = database_file(false, 2000);
    let mut header_only = b"SQLite format 3\0".to_vec();
    header_only.resize(100, 0xff);
    let mut page = good.clone();
    page[4096..8192].fill(0xa5);
    for bad in [good[..5000].to_vec(), header_only, page, b"SQLite format 3".to_vec()] {
        let response = server.post_bytes("/db/load", bad);
        assert_eq!(response.status, 500, "{}", response.text());
        assert!(response.text().ends_with('\n'));
        assert_eq!(server.db_query("SELECT v FROM mine"), json!([[1]]));
    }
    server.db_execute(json!(["INSERT INTO mine VALUES(2)"]));
    server.crash();
    let server = node.start();
    assert_eq!(server.db_query("SELECT v FROM mine"), json!([[1], [2]]));
    assert_eq!(tables(&server), json!([["mine"]]));
}

#[test]
fn load_of_text_is_all_or_nothing() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(id INTEGER PRIMARY KEY, v);\n\
                INSERT INTO \"t\" VALUES(1,'a');\nINSERT INTO \"t\" VALUES(2,'b');\nCOMMIT;\n";
    let response = server.post_bytes("/db/load", dump);
    assert_eq!(response.results(), [json!({"last_insert_id": 2, "rows_affected": 1})]);
    let response =
        server.post_bytes("/db/load", "BEGIN; INSERT INTO t VALUES(3,'c'); INSERT INTO nope VALUES(1); COMMIT;");
    assert_eq!(response.results()[0]["error"], "no such table: nope");
    assert_eq!(server.db_query("SELECT count(*) FROM t"), json!([[2]]));
    assert_eq!(server.post_bytes("/db/load", "").text(), "{\"results\":[]}");
}

/// Decodes a varint of SQLite: its value and its length in bytes.
fn varint(bytes: &[u8]) -> (usize, usize) {
    let length = bytes.iter().take(8).take_while(|byte| **byte >= 0x80).count() + 1;
    (bytes[..length].iter().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), length)
}

/// The records of the first page, which must be a leaf: the schema as it is in the file, where a server hides nothing.
fn schema_records(file: &[u8]) -> Vec<String> {
    let number = |at: usize| usize::from(file[at]) << 8 | usize::from(file[at + 1]);
    assert_eq!(file[100], 13, "the schema fits a page");
    let record = |cell: usize| {
        let (payload, a) = varint(&file[cell..]);
        let (_, b) = varint(&file[cell + a..]);
        String::from_utf8_lossy(&file[cell + a + b..cell + a + b + payload]).into_owned()
    };
    (0..number(103)).map(|i| record(number(108 + 2 * i))).collect()
}

fn backup(server: &Server, target: &str) -> Response {
    let response = server.get(target);
    assert_eq!(response.status, 200, "{target}: {}", response.text());
    assert_eq!((response.header("Content-Encoding"), response.header("X-Rqlite-Served-By")), (None, None));
    response
}

#[test]
fn backups_in_every_form() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    let fill = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 2000) \
                INSERT INTO t(v) SELECT hex(randomblob(500)) FROM c";
    server.db_execute(json!(["CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "CREATE INDEX i ON t(v)", fill]));
    for (target, version) in [
        ("/db/backup", 2),
        ("/db/backup?fmt=nonsense&compress", 2),
        ("/db/backup?noleader", 2),
        ("/db/backup?fmt=delete", 1),
        ("/db/backup?fmt=DELETE&compress", 1),
        ("/db/backup?vacuum", 1),
        ("/db/backup?vacuum&compress", 1),
    ] {
        let response = backup(&server, target);
        assert_eq!(response.header("Content-Type"), Some("application/octet-stream"), "{target}");
        let bytes = if target.contains("compress") { decompressed("gzip", &response.body) } else { response.body };
        assert_eq!(bytes[18..20], [version, version], "{target}");
        let schema = schema_records(&bytes);
        assert_eq!(schema.len(), 2, "{target}: {schema:?}");
        assert!(!schema.iter().any(|record| record.contains("sqlite_sqlhttp")), "{target}: {schema:?}");
        let free = u32::from_be_bytes(bytes[36..40].try_into().unwrap());
        assert!(free == 0 || !target.contains("vacuum"), "{target}: {free} free pages");
        let copy = write(dir.path(), "copy", bytes);
        assert_backup(&copy, "SELECT count(*), sum(length(v)) FROM t", json!([[2000, 2_000_000]]));
    }
    for target in ["/db/backup?vacuum&fmt=sql", "/db/backup?vacuum&fmt=delete"] {
        let response = server.get(target);
        assert_eq!((response.status, response.text().as_str()), (500, "invalid backup format\n"));
    }
    common::eventually("the copies are removed", || {
        let is_permanent =
            |name: &String| ["raft", "node.json"].contains(&name.as_str()) || name.starts_with("db.sqlite");
        names(&dir.path().join("data")).iter().all(is_permanent)
    });
    assert!(server.get("/status?key=last_backup_time").json().is_string());
}

#[test]
fn a_vacuumed_backup_has_no_free_page() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    let fill = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 2000) \
                INSERT INTO t SELECT hex(randomblob(500)) FROM c";
    server.db_execute(json!(["CREATE TABLE t(v)", fill, "DELETE FROM t WHERE rowid > 10"]));
    // The number of pages is at offset 28 of the header, that of free pages at 36.
    let pages = |file: &[u8], at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let whole = backup(&server, "/db/backup").body;
    assert!(pages(&whole, 36) > 100);
    let vacuumed = backup(&server, "/db/backup?vacuum").body;
    assert_eq!(pages(&vacuumed, 36), 0);
    assert!(pages(&vacuumed, 28) < 10);
    assert_backup(&write(dir.path(), "copy", vacuumed), "SELECT count(*) FROM t", json!([[10]]));
}

#[test]
fn a_backup_of_a_damaged_database_is_an_error() {
    let dir = temp_dir();
    let node = node_in(dir.path());
    let server = with_a_row(&node);
    let root = server.db_query("SELECT rootpage FROM sqlite_schema WHERE name = 'mine'")[0][0].as_u64().unwrap();
    assert_eq!(server.stop().code, Some(0));
    let path = dir.path().join("data").join("db.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = (root as usize - 1) * 4096;
    bytes[start..start + 4096].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let server = node.start();
    for target in ["/db/backup", "/db/backup?vacuum", "/db/backup?fmt=delete&compress"] {
        let response = server.get(target);
        assert_eq!(response.status, 500, "{target}");
        let text = response.text();
        assert!(text.contains("database disk image is malformed"), "{target}: {text}");
    }
    common::eventually("the copies are removed", || {
        names(&dir.path().join("data")).iter().all(|name| !name.contains("download"))
    });
}

#[test]
fn a_removed_data_directory_stops_writes() {
    let dir = temp_dir();
    // Without this flag the process may end before it answers the next write.
    let server = with_a_row(&node_in(dir.path()).flags(["-exit-on-failure=false"]));
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    let write = || server.send(&Request::json("/db/execute", json!(["INSERT INTO mine VALUES(2)"])));
    common::eventually("writes are refused", || write().text().contains("db.sqlite' was removed or renamed"));
    assert_ne!(server.get("/readyz").status, 200);
}

#[test]
fn a_backup_as_text_rebuilds_the_database() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    server.db_execute(json!([
        "CREATE TABLE b (id INTEGER PRIMARY KEY, v)",
        "CREATE TABLE a (v)",
        "INSERT INTO a VALUES('fio''na'),(x'00ff'),(1.5),(NULL)",
        "INSERT INTO b(v) VALUES(1)",
        "CREATE INDEX bi ON b(v)"
    ]));
    let text = backup(&server, "/db/backup?fmt=sql");
    assert_eq!(text.header("Content-Type"), Some("application/sql"));
    let want = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a (v);\n\
                INSERT INTO \"a\" VALUES('fio''na');\nINSERT INTO \"a\" VALUES(X'00FF');\n\
                INSERT INTO \"a\" VALUES(1.5);\nINSERT INTO \"a\" VALUES(NULL);\n\
                CREATE TABLE b (id INTEGER PRIMARY KEY, v);\nINSERT INTO \"b\" VALUES(1,1);\n\
                CREATE INDEX bi ON b(v);\nCOMMIT;\n";
    assert_eq!(text.text(), want);
    assert_eq!(decompressed("gzip", &backup(&server, "/db/backup?fmt=sql&compress").body), want.as_bytes());
    let only_b = backup(&server, "/db/backup?fmt=sql&tables=%20b,,nope").text();
    assert!(only_b.contains("CREATE TABLE b") && !only_b.contains("CREATE TABLE a"), "{only_b}");
    let other = temp_dir();
    let other = node_in(other.path()).start();
    assert_eq!(other.post_bytes("/db/load", want).results()[0].get("error"), None);
    assert_eq!(backup(&other, "/db/backup?fmt=sql").text(), want);
}

#[test]
fn a_backup_boots_another_node() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    server.db_execute(json!(["CREATE TABLE other(id INTEGER PRIMARY KEY, v)", "INSERT INTO other(v) VALUES(1),(2)"]));
    for path in ["/boot", "/db/load"] {
        let second = temp_dir();
        let node = node_in(second.path());
        let booted = node.start();
        assert_eq!(booted.post_bytes(path, backup(&server, "/db/backup").body).status, 200);
        assert_other(&booted, 2);
        assert_survives(booted, &node, 2);
    }
}

#[test]
fn backups_during_writes_are_consistent() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    server.db_execute(json!(["CREATE TABLE t(a, b)"]));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                server.db_execute(json!([
                    "INSERT INTO t VALUES(1, hex(randomblob(2000)))",
                    "INSERT INTO t VALUES(-1, 0)"
                ]));
            }
        });
        for round in 0..5 {
            let bytes = backup(&server, "/db/backup").body;
            let copy = write(dir.path(), &format!("copy{round}"), bytes);
            assert_backup(&copy, "SELECT total(a) = 0 FROM t", json!([[1]]));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn several_loads_at_once_leave_one_of_them() {
    let dir = temp_dir();
    let server = node_in(dir.path()).start();
    let files: Vec<Vec<u8>> = (1..=4).map(|n| database_file(n % 2 == 0, 100 * n)).collect();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| {
                let request = Request::new("POST", "/db/load").body(file.clone());
                assert_eq!(server.send(&request).status, 200);
            });
        }
    });
    let rows = server.db_query("SELECT count(*) FROM other")[0][0].as_u64().unwrap();
    assert!([100, 200, 300, 400].contains(&rows), "{rows}");
    assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
}

/// Sends one database after the other until the server is gone. Returns the index of the one that was acknowledged
/// last; if none was, that is the last of the list, which the server has from before.
fn send_until_gone(mut client: common::Client, path: &str, files: &[Vec<u8>]) -> usize {
    for round in 0.. {
        let request = Request::new("POST", path).body(files[round % files.len()].clone());
        let Ok(response) = client.send(&request) else { return (round + files.len() - 1) % files.len() };
        assert_eq!(response.status, 200, "{}", response.text());
    }
    unreachable!("the loop ends with the server")
}

fn crash_while_sending(path: &str) {
    let dir = temp_dir();
    let node = node_in(dir.path());
    let files: Vec<Vec<u8>> = (0..4).map(|n| database_file(n % 2 == 0, 1000 + n)).collect();
    let server = node.start();
    assert_eq!(server.post_bytes(path, files[files.len() - 1].clone()).status, 200);
    server.crash();
    let mut random = Random::from_environment();
    for _ in 0..6 {
        let server = node.start();
        let client = server.client();
        let last = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send_until_gone(client, path, &files));
            // The moment of the crash is the input: it may be anywhere in a request or between two.
            std::thread::sleep(std::time::Duration::from_millis(random.below(150)));
            server.crash();
            sender.join().unwrap()
        });
        let server = node.start();
        assert_eq!(server.db_query("PRAGMA integrity_check"), json!([["ok"]]));
        assert_eq!(tables(&server), json!([["other"]]));
        let rows = server.db_query("SELECT count(*) FROM other")[0][0].as_u64().unwrap();
        // The one that was acknowledged last, or the one that was being sent.
        let allowed = [last, (last + 1) % files.len()].map(|at| 1000 + at as u64);
        assert!(allowed.contains(&rows), "{rows} rows, expected one of {allowed:?}");
        server.post_bytes(path, files[files.len() - 1].clone());
        server.crash();
    }
}

#[test]
fn a_crash_during_a_load_leaves_a_whole_database() {
    crash_while_sending("/db/load");
}

#[test]
fn a_crash_during_a_boot_leaves_a_whole_database() {
    crash_while_sending("/boot");
}
