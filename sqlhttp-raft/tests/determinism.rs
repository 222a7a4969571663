//! A database that is rebuilt from its log is identical, row for row, at any time, with any clock, in any time zone and
//! language, however the entries of the log are grouped, with restarts between them, and from a copy of the database
//! that was taken in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sqlhttp_core::{Atomicity, Backend as _, Batch, Deadline, Step};
use sqlhttp_raft::{Node, NodeOptions};

/// The environment variable with the directory in which the child process rebuilds a database.
const REPLAY: &str = "SQLHTTP_TEST_REPLAY";
/// The environment variable with the time of the parent process, in seconds after 1970. It is set if the child process
/// has another clock.
const PARENT_TIME: &str = "SQLHTTP_TEST_PARENT_TIME";
/// The places where Debian installs libfaketime.
const FAKETIME: [&str; 2] = ["/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1"];

/// How a database is rebuilt.
struct Replay {
    from_copy: bool,
    time_zone: &'static str,
    language: &'static str,
    /// The clock, in the words of libfaketime: far ahead, far behind, and with another speed.
    clock: &'static str,
}

const REPLAYS: [Replay; 3] = [
    Replay { from_copy: false, time_zone: "Pacific/Kiritimati", language: "C", clock: "+400d" },
    Replay { from_copy: true, time_zone: "America/New_York", language: "de_DE.UTF-8", clock: "-400d" },
    Replay { from_copy: false, time_zone: "Asia/Kathmandu", language: "tr_TR.UTF-8", clock: "+900d x3" },
];

const SCHEMA: &[&str] = &[
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT DEFAULT CURRENT_TIMESTAMP, \
     day TEXT DEFAULT CURRENT_DATE, chance INTEGER DEFAULT (random()), bytes BLOB DEFAULT (randomblob(9)), n)",
    "CREATE TABLE log(what TEXT, at REAL DEFAULT (julianday('now')), seen TEXT)",
    "CREATE TABLE u(k TEXT UNIQUE, v, at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))",
    "CREATE TABLE g(n, twice AS (n * 2) STORED, t TEXT DEFAULT (time('now', 'subsec')))",
    "CREATE TRIGGER a_insert AFTER INSERT ON a BEGIN \
     INSERT INTO log(what, seen) VALUES (hex(randomblob(4)), datetime('now', 'subsec')); END",
    "CREATE VIEW now AS SELECT unixepoch('now', 'subsec') AS t, random() AS r",
    "CREATE TABLE wide(id INTEGER PRIMARY KEY, local TEXT DEFAULT (datetime('now', 'localtime')), v)",
    "CREATE INDEX u_v ON u(v)",
    "CREATE VIRTUAL TABLE words USING fts5(t)",
    "CREATE VIRTUAL TABLE old USING fts4(t); INSERT INTO old(old) VALUES ('automerge=2')",
    "CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)",
    "CREATE TABLE docs(id INTEGER PRIMARY KEY, doc DEFAULT (json_object('at', datetime('now', 'localtime'), 'r', random())))",
    "CREATE TRIGGER docs_update AFTER UPDATE ON docs BEGIN \
     INSERT INTO log(what, seen) VALUES (json_extract(new.doc, '$.at'), CURRENT_TIMESTAMP); END",
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
    "INSERT INTO wide(v) VALUES (?)",
    "INSERT INTO wide(id, v) VALUES (9223372036854775807 - ? % 2, 1)",
    "DELETE FROM wide WHERE id > 9223372036854770000",
    "INSERT INTO log(what, seen) VALUES (time('now', 'localtime'), datetime('2024-07-15 12:00', 'utc'))",
    "INSERT INTO words SELECT group_concat(what || ' w' || abs(random()) % 900, ' ') \
     FROM (SELECT what FROM log LIMIT 20)",
    "DELETE FROM words WHERE rowid % 7 = ? % 7",
    "INSERT INTO log(what, at) SELECT rowid, rank FROM words WHERE words MATCH 'w*' ORDER BY rank LIMIT 3",
    "INSERT INTO old WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 300) \
     SELECT group_concat('w' || (x * ? % 7919) || 'y' || random(), ' ') FROM c",
    "INSERT INTO boxes SELECT NULL, n % 50, n % 50 + 3 FROM a WHERE n >= 0 LIMIT 5",
    "DELETE FROM boxes WHERE id % 3 = ? % 3",
    "ANALYZE",
    "UPDATE sqlite_stat1 SET stat = '100 ' || (1 + ? % 90) WHERE tbl = 'u'",
    "INSERT INTO log(what) SELECT k FROM u WHERE v > ? LIMIT 4",
    "INSERT INTO log(what) VALUES (sqlite_version())",
    "INSERT OR FAIL INTO u(k, v) VALUES ('n' || random(), 1), ('k1', 2), ('k1', 3)",
    "INSERT INTO a(n) VALUES (sin(?) + pow(2, 0.5) * log(? + 1) - exp(1)), (acos(0.?) + sqrt(julianday('now')))",
    "INSERT INTO log(what) VALUES (timediff('now', '2020-02-29') || strftime('%W %j %f', 'now', '+? days', 'localtime'))",
    "INSERT INTO docs DEFAULT VALUES",
    "UPDATE docs SET doc = json_insert(doc, '$.n', json_array(?, random(), CURRENT_TIME)) WHERE id % 3 = ? % 3",
    "INSERT INTO log(what, seen) SELECT key, value FROM docs, json_each(doc) ORDER BY random() LIMIT 3",
    "INSERT INTO log(what) SELECT sum(n) OVER (ORDER BY random()) FROM a LIMIT 2",
    "PRAGMA user_version = ?",
    "PRAGMA application_id = ?",
    "PRAGMA optimize",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA reverse_unordered_selects = ON",
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
    options.snapshots.interval = Duration::ZERO;
    options.optimize_interval = Duration::ZERO;
    options
}

/// Writes a random log, and copies the database to the file `half` in the directory after half of the batches. If
/// `restarts`, the node is restarted after each batch.
async fn build(directory: &Path, seed: u64, restarts: bool) {
    let mut node = Node::start(options(directory)).await.unwrap();
    let schema = SCHEMA.iter().map(|sql| Step::execute(*sql, ())).collect();
    node.write_batch(Batch::transaction(schema), Deadline::NEVER).await.unwrap();
    let mut rng = Rng(seed);
    for round in 0..60 {
        // Some batches run alone, others share an entry and a transaction.
        let together = if round % 3 == 0 || restarts { 1 } else { 8 };
        let batches: Vec<Batch> = (0..together).map(|_| rng.batch()).collect();
        let running: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let node = node.clone();
                let written = async move { node.write_batch(batch, Deadline::NEVER).await.unwrap().whole().await };
                tokio::spawn(async { written.await.unwrap() })
            })
            .collect();
        for outcome in running {
            // Some batches fail, on each replica in the same way.
            drop(outcome.await.unwrap());
        }
        if round == 30 {
            node.database().backup(&directory.join("half")).await.unwrap();
        }
        if restarts {
            node.close().await.unwrap();
            drop(node);
            node = Node::start(options(directory)).await.unwrap();
        }
    }
    node.close().await.unwrap();
}

/// All rows of all tables, as text.
fn content(directory: &Path) -> Vec<String> {
    let connection = Connection::open(directory.join("db.sqlite")).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let tables = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') \
                  AND name NOT IN ('sqlite_schema', 'sqlite_sqlhttp') ORDER BY name";
    let mut tables = connection.prepare(tables).unwrap();
    let query = |row: &rusqlite::Row<'_>| {
        let (name, has_no_rowid): (String, bool) = (row.get(0)?, row.get(1)?);
        Ok(format!("SELECT {} * FROM main.\"{name}\"", if has_no_rowid { "" } else { "rowid," }))
    };
    let mut queries: Vec<String> = tables.query_map([], query).unwrap().map(Result::unwrap).collect();
    queries.push("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name".to_owned());
    queries.push("SELECT position, batches, steps, command_position, write_position FROM sqlite_sqlhttp".to_owned());
    let mut lines = Vec::new();
    for sql in queries {
        let mut statement = connection.prepare(&sql).unwrap();
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
    fs::copy(from.join("node.json"), to.join("node.json")).unwrap();
    let (from, to) = (from.join("raft/log"), to.join("raft/log"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// In the child process: starts a node on the log alone, which applies all entries.
async fn replay(directory: &Path) {
    if let Ok(parent) = std::env::var(PARENT_TIME) {
        let ahead = unix_seconds().abs_diff(parent.parse().unwrap());
        assert!(ahead > 366 * 86_400, "the clock differs only by {ahead} seconds");
    }
    let node = Node::start(options(directory)).await.unwrap();
    node.barrier(Deadline::NEVER).await.unwrap();
    node.close().await.unwrap();
}

/// Rebuilds the database of a log in a child process. Returns its content.
fn replayed(original: &Path, replay: &Replay) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    copy_log(original, directory.path());
    if replay.from_copy {
        fs::copy(original.join("half"), directory.path().join("db.sqlite")).unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_replay_makes_the_same_database"]).env(REPLAY, directory.path());
    child.env("TZ", replay.time_zone).env("LC_ALL", replay.language);
    if let Some(library) = faketime_library() {
        child.env("LD_PRELOAD", library).env("FAKETIME", replay.clock).env("FAKETIME_DISABLE_SHM", "1");
        // No operating system lets the monotonic clock jump.
        child.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        child.env(PARENT_TIME, unix_seconds().to_string());
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    content(directory.path())
}

/// The path of the library that changes the clock, if it is installed.
fn faketime_library() -> Option<PathBuf> {
    let listed = Command::new("sh").args(["-c", &format!("ls {} 2>/dev/null", FAKETIME.join(" "))]).output().ok()?;
    String::from_utf8_lossy(&listed.stdout).lines().next().map(PathBuf::from)
}

#[tokio::test]
async fn a_replay_makes_the_same_database() {
    if let Some(directory) = std::env::var_os(REPLAY) {
        return replay(Path::new(&directory)).await;
    }
    if faketime_library().is_none() {
        // Written directly, because the output of a test that passes is captured otherwise.
        std::io::stderr().write_all(b"libfaketime is not installed: the clocks of the replays are equal\n").unwrap();
    }
    for (seed, restarts) in [(1, false), (2, false), (3, true)] {
        let original = tempfile::tempdir().unwrap();
        build(original.path(), seed, restarts).await;
        // Without libfaketime, the replays run at a later second.
        a_second_passes().await;
        for replay in &REPLAYS {
            assert_same(&content(original.path()), &replayed(original.path(), replay), seed);
        }
    }
}

fn assert_same(before: &[String], after: &[String], seed: u64) {
    assert!(before.len() > 150, "only {} rows", before.len());
    // The last line contains the last applied index, which differs because the replay has written a barrier.
    for (before, after) in before[..before.len() - 1].iter().zip(after) {
        assert_eq!(before, after, "seed {seed}");
    }
    assert_eq!(before.len(), after.len(), "seed {seed}");
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until the clock shows another second.
async fn a_second_passes() {
    let before = unix_seconds();
    while unix_seconds() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
