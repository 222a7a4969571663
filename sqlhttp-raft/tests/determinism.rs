//! A database that is rebuilt from its log is identical, row for row, at any time, in any time zone, and however the
//! entries of the log are grouped.
//!
//! Two functions are not tested, because they are known to depend on more than the log: `'localtime'`, and the rowid
//! that SQLite chooses when the largest one is taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sqlhttp_core::{Atomicity, Backend as _, Batch, Deadline, Step};
use sqlhttp_raft::{Node, NodeOptions};

/// The environment variable with the directory in which the child process rebuilds a database.
const REPLAY: &str = "SQLHTTP_TEST_REPLAY";

const SCHEMA: &[&str] = &[
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT DEFAULT CURRENT_TIMESTAMP, \
     day TEXT DEFAULT CURRENT_DATE, chance INTEGER DEFAULT (random()), bytes BLOB DEFAULT (randomblob(9)), n)",
    "CREATE TABLE log(what TEXT, at REAL DEFAULT (julianday('now')), seen TEXT)",
    "CREATE TABLE u(k TEXT UNIQUE, v, at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))",
    "CREATE TABLE g(n, twice AS (n * 2) STORED, t TEXT DEFAULT (time('now', 'subsec')))",
    "CREATE TRIGGER a_insert AFTER INSERT ON a BEGIN \
     INSERT INTO log(what, seen) VALUES (hex(randomblob(4)), datetime('now', 'subsec')); END",
    "CREATE VIEW now AS SELECT unixepoch('now', 'subsec') AS t, random() AS r",
];

/// Statements to choose from; `?` is replaced by a number.
const STATEMENTS: &[&str] = &[
    "INSERT INTO a(n) VALUES (?)",
    "INSERT INTO a(n) SELECT r FROM now",
    "INSERT INTO a(n, chance) VALUES (?, abs(random()) % 100) RETURNING *",
    "INSERT INTO u(k, v) VALUES ('k' || (? % 20), random()) ON CONFLICT(k) DO UPDATE SET v = excluded.v, at = datetime('now')",
    "INSERT OR ROLLBACK INTO u(k, v) VALUES ('k1', ?)",
    "INSERT OR REPLACE INTO u(k, v) VALUES ('k' || (? % 7), hex(randomblob(5)))",
    "INSERT INTO g(n) VALUES (?), (random() % 1000)",
    "UPDATE a SET n = (SELECT t FROM now), chance = random() WHERE id % 5 = ? % 5",
    "DELETE FROM a WHERE id IN (SELECT id FROM a ORDER BY random() LIMIT 2)",
    "INSERT INTO log(what) SELECT k FROM u ORDER BY random() LIMIT 3",
    "INSERT INTO log(what, seen) VALUES (strftime('%s', 'now'), date('now', '+1 month'))",
    "CREATE TEMP TABLE IF NOT EXISTS scratch AS SELECT ? AS n; INSERT INTO log(what) SELECT n FROM scratch",
    "INSERT INTO nowhere VALUES (?)",
    "VACUUM",
    "INSERT INTO a(n) VALUES (?); INSERT INTO log(what) VALUES (last_insert_rowid() || ' ' || changes())",
    "DELETE FROM log WHERE rowid % 11 = ? % 11",
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn batch(&mut self) -> Batch {
        let count = 1 + self.below(5);
        let steps = (0..count).map(|_| {
            let number = self.below(1000).to_string();
            Step::execute(STATEMENTS[self.below(STATEMENTS.len())].replace('?', &number), ())
        });
        let steps: Vec<Step> = steps.collect();
        let atomicity = if self.below(3) == 0 { Atomicity::All } else { Atomicity::Each };
        Batch { steps, atomicity, ..Batch::default() }
    }
}

/// Disables snapshots, so that the log can be replayed from its beginning.
fn options(directory: &Path) -> NodeOptions {
    let mut options = NodeOptions::new(directory, "n1", "localhost:4002");
    options.snapshots.interval = std::time::Duration::ZERO;
    options.optimize_interval = std::time::Duration::ZERO;
    options
}

async fn build(directory: &Path, seed: u64) {
    let node = Node::start(options(directory)).await.unwrap();
    let schema = SCHEMA.iter().map(|sql| Step::execute(*sql, ())).collect();
    node.execute(Batch::transaction(schema), Deadline::NEVER).await.unwrap();
    let mut rng = Rng(seed);
    for round in 0..60 {
        // Some batches run alone, others share an entry and a transaction.
        let together = if round % 3 == 0 { 1 } else { 8 };
        let batches: Vec<Batch> = (0..together).map(|_| rng.batch()).collect();
        let running: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let node = node.clone();
                tokio::spawn(async move { node.execute(batch, Deadline::NEVER).await.unwrap().whole().await.unwrap() })
            })
            .collect();
        for outcome in running {
            outcome.await.unwrap();
        }
    }
    node.close().await.unwrap();
}

/// All rows of all tables, as text.
fn content(directory: &Path) -> Vec<String> {
    let connection = Connection::open(directory.join("db.sqlite")).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut lines = Vec::new();
    for sql in [
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
        "SELECT * FROM sqlite_sequence",
        "SELECT rowid, * FROM a ORDER BY rowid",
        "SELECT rowid, * FROM log ORDER BY rowid",
        "SELECT rowid, * FROM u ORDER BY rowid",
        "SELECT rowid, * FROM g ORDER BY rowid",
        "SELECT position, batches, steps, command_position, write_position FROM sqlite_sqlhttp",
    ] {
        let mut statement = connection.prepare(sql).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..width).map(|column| text(row.get_ref(column).unwrap()));
            lines.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Real(real) => format!("{:016x}", real.to_bits()),
        other => format!("{other:?}"),
    }
}

fn copy_log(from: &Path, to: &Path) {
    let (from, to) = (from.join("raft/log"), to.join("raft/log"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// In the child process: starts a node on the log alone, which applies all entries.
async fn replay(directory: &Path) {
    let node = Node::start(options(directory)).await.unwrap();
    node.barrier(Deadline::NEVER).await.unwrap();
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_replay_makes_the_same_database() {
    if let Some(directory) = std::env::var_os(REPLAY) {
        return replay(Path::new(&directory)).await;
    }
    for seed in [1, 2] {
        let (original, replayed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        build(original.path(), seed).await;
        copy_log(original.path(), replayed.path());
        // The child process runs at a later second (`a_second_passes`) and in another time zone.
        a_second_passes().await;
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_replay_makes_the_same_database"])
            .env(REPLAY, replayed.path())
            .env("TZ", "Pacific/Kiritimati")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        let (before, after) = (content(original.path()), content(replayed.path()));
        assert!(before.len() > 300, "only {} rows", before.len());
        // The last line contains the last applied index, which differs because the replay has written a barrier.
        let rows = before.len() - 1;
        for (before, after) in before[..rows].iter().zip(&after) {
            assert_eq!(before, after, "seed {seed}");
        }
        assert_eq!(before.len(), after.len(), "seed {seed}");
    }
}

/// Waits until the clock shows another second.
async fn a_second_passes() {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    while now() == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
