//! Rowids of a database that applies a log: SQLite must not choose them at random, because they would differ between
//! replicas.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;
mod replicas;

use std::path::PathBuf;
use std::sync::Arc;

use common::{TestDir, block_on, rows, text};
use replicas::{apply, assert_accepted, assert_each_refused, assert_refused, bound, each, failures, open, replicate};
use rusqlite::Connection;
use sqlhttp_core::{Batch, Bindings, Database, Failure, LogEntry, LogWork, Progress, Stamp, Value};

/// The largest rowid, after which SQLite chooses rowids at random (<https://sqlite.org/autoinc.html>).
const LARGEST: &str = "9223372036854775807";

fn largest_in(table: &str) -> Batch {
    each(&[&format!("INSERT INTO {table}(id) VALUES ({LARGEST})")])
}

#[test]
fn a_rowid_that_sqlite_chooses_after_the_largest_one_is_refused() {
    for (create, insert) in [
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT INTO t(v) VALUES (1)"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (NULL, 1)"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT OR REPLACE INTO t(v) SELECT 1 UNION SELECT 2"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT OR IGNORE INTO t(v) VALUES (1) RETURNING id"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, rowid)", "INSERT INTO t(rowid) VALUES (1)"),
        ("CREATE TABLE t(v)", "INSERT INTO t VALUES (1)"),
        ("CREATE TABLE t(v, rowid)", "INSERT INTO t VALUES (1, 2)"),
    ] {
        let id = if create.contains("id INTEGER") { "id" } else { "_rowid_" };
        let largest = format!("INSERT INTO t({id}) VALUES ({LARGEST})");
        let before = format!("INSERT INTO t({id}) VALUES (9223372036854775806)");
        let refused = refused_rowid("t");
        assert_refused(&[each(&[create]), each(&[&largest]), each(&[insert])], &refused);
        assert_refused(&[each(&[create]), each(&[&largest, insert])], &refused);
        // The first insert gets the largest rowid.
        assert_refused(&[each(&[create]), each(&[&before]), each(&[insert, insert])], &refused);
        let both = format!("{largest}; {insert}");
        assert_refused(&[each(&[create]), each(&[&both])], &refused);
        let view = "CREATE VIEW w AS SELECT 1 AS a";
        let trigger =
            format!("CREATE TRIGGER r INSTEAD OF INSERT ON w BEGIN {}; END", insert.replace(" RETURNING id", ""));
        let setup = each(&[create, &largest, view, &trigger]);
        assert_refused(&[setup, each(&["INSERT INTO w VALUES (1)"])], &refused);
    }
}

/// A statement that fails keeps its rows up to the failure (<https://sqlite.org/lang_conflict.html>).
#[test]
fn rows_that_a_failed_statement_keeps_are_checked() {
    let create = each(&["CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)"]);
    let trigger = each(&["CREATE TRIGGER r AFTER INSERT ON t WHEN new.v = 3 BEGIN SELECT RAISE(FAIL, 'three'); END"]);
    for insert in ["INSERT OR FAIL INTO t(v) VALUES (1), (2), (1)", "INSERT INTO t(v) VALUES (1), (2), (3)"] {
        let batches = [create.clone(), trigger.clone(), largest_in("t"), each(&[insert, "SELECT count(*) FROM t"])];
        assert_refused(&batches, &refused_rowid("t"));
    }
}

/// SQLite does not restore the value of `last_insert_rowid()` when a statement is undone.
#[test]
fn the_rowid_of_a_refused_row_cannot_be_read() {
    let create = each(&["CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); CREATE TABLE log(a)"]);
    let inserts = [
        "INSERT INTO t(v) VALUES (1)",
        "INSERT INTO t(v) VALUES (1), (last_insert_rowid())",
        "INSERT INTO t(v) VALUES (1), (1)",
        "INSERT INTO t(v) SELECT 1 UNION ALL SELECT hex(zeroblob(90000000))",
    ];
    let mut texts = vec!["INSERT INTO log VALUES (77)"];
    texts.extend(inserts.iter().flat_map(|insert| [insert, "INSERT INTO log VALUES (last_insert_rowid())"]));
    let (outcomes, database, _dir) = replicate(&[create, largest_in("t"), each(&texts)]);
    let found = outcomes.last().map(failures).expect("an outcome");
    assert!(inserts.iter().enumerate().all(|(index, _)| found[1 + 2 * index].is_some()), "{found:?}");
    let rows = rows(&database, "SELECT a FROM log");
    assert_eq!(rows[1..], [1, 2, 3, 4].map(|rowid| vec![Value::Integer(rowid)]));
}

fn refused_rowid(table: &str) -> String {
    format!("a new row of {table} without a given rowid, while the largest rowid ({LARGEST}) is used,")
}

#[test]
fn the_largest_rowid_may_be_used() {
    let (database, _dir) = assert_accepted(&[
        each(&["CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT)"]),
        each(&["CREATE TABLE k(id PRIMARY KEY) WITHOUT ROWID; CREATE TABLE other(id INTEGER PRIMARY KEY, v)"]),
        largest_in("t"),
        each(&["INSERT INTO t VALUES (5, 1), (0x7fff, 2), (4_000_000, 3), (-1, 4)"]),
        bound("INSERT INTO t VALUES (?, ?)", Bindings::positional([6000_i64, 1])),
        bound("INSERT INTO t VALUES (?, ?)", Bindings::positional(["7000", "x"])),
        bound("INSERT INTO t VALUES (:id, 8)", Bindings::named([("id", 8000.0)])),
        each(&["INSERT INTO other(v) VALUES (1), (2)"]),
        each(&["UPDATE t SET id = id + 100 WHERE id < 100"]),
        each(&["UPDATE other SET id = 9223372036854775807 WHERE id = 2", "INSERT INTO other VALUES (9, 9)"]),
        largest_in("k"),
        largest_in("a"),
        each(&["DELETE FROM t WHERE id = 9223372036854775807", "INSERT INTO t(v) VALUES ('next')"]),
        each(&["DELETE FROM other", "INSERT INTO other(v) VALUES ('first')"]),
    ]);
    let ids = rows(&database, "SELECT id FROM t ORDER BY id");
    let ids: Vec<_> = ids.into_iter().flatten().collect();
    assert_eq!(ids, [99, 105, 6000, 7000, 8000, 32767, 4_000_000, 4_000_001].map(Value::Integer));
    assert_eq!(rows(&database, "SELECT id, v FROM other"), [[Value::Integer(1), text("first")]]);
}

#[test]
fn a_table_with_the_largest_rowid_stays_known() {
    let create = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
    let insert = "INSERT INTO t(v) VALUES (1)";
    let renamed = [
        each(&["CREATE TABLE s(id INTEGER PRIMARY KEY, v)"]),
        largest_in("s"),
        each(&["ALTER TABLE s RENAME TO t", "ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t RENAME COLUMN w TO v"]),
        each(&[insert]),
    ];
    assert_refused(&renamed, &refused_rowid("t"));
    // The row with the largest rowid is deleted, and the deletion is undone.
    let undone = each(&["DELETE FROM t; INSERT INTO t(v) VALUES (1); INSERT INTO t VALUES (1, 1)", insert]);
    let (outcomes, ..) = replicate(&[each(&[create]), largest_in("t"), undone]);
    let refused = Failure::NotAllowed(refused_rowid("t")).to_string();
    let last = outcomes.last().map(failures).expect("an outcome");
    assert_eq!(last, [Some("UNIQUE constraint failed: t.id".to_owned()), Some(refused)]);
    let temporary = create.replace("TABLE", "TEMP TABLE");
    let largest = format!("INSERT INTO t(id) VALUES ({LARGEST})");
    assert_refused(&[each(&[&temporary, &largest, insert])], &refused_rowid("t"));
    let batches = [
        each(&["CREATE VIRTUAL TABLE f USING fts5(a); CREATE VIRTUAL TABLE r USING rtree(id, low, high)"]),
        each(&[
            &format!("INSERT INTO f(rowid, a) VALUES ({LARGEST}, 'last')"),
            "INSERT INTO f(rowid, a) VALUES (7, 'a')",
        ]),
        each(&["INSERT INTO f(a) VALUES ('next')"]),
    ];
    assert_refused(&batches, &refused_rowid("f_content"));
}

/// SQLite does not report the rows that it writes to its own tables.
#[test]
fn the_largest_rowid_is_refused_in_tables_of_sqlite() {
    let setup =
        each(&["CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO a DEFAULT VALUES", "ANALYZE"]);
    let sequence = format!("INSERT INTO sqlite_sequence(rowid, name, seq) VALUES ({LARGEST}, 'x', 1)");
    let statistics = format!("UPDATE sqlite_stat1 SET rowid = {LARGEST}");
    let own = |table: &str| format!("the rowid {LARGEST} in {table}");
    let cases = [(each(&[&sequence]), own("sqlite_sequence")), (each(&[&statistics]), own("sqlite_stat1"))];
    assert_each_refused(&[setup], &cases);
}

fn file_with(dir: &TestDir, sql: &str) -> PathBuf {
    let file = dir.path("image");
    let connection = Connection::open(&file).expect("create a file");
    connection.execute_batch(sql).expect("fill the file");
    connection.close().expect("close the file");
    file
}

#[test]
fn a_loaded_file_may_contain_the_largest_rowid() {
    let dir = TestDir::new();
    let largest = format!("INSERT INTO t(_rowid_) VALUES ({LARGEST});");
    let file = file_with(&dir, &format!("CREATE TABLE t(a); {largest}"));
    let database = open(&dir.path("db"));
    block_on(database.check_image(file.clone())).expect("a sound file");
    let batch = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 1 }), ..each(&["INSERT INTO t VALUES (1)"]) };
    let work = vec![LogWork::Replace(file), LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 0 }];
    let outcomes = apply(&database, &[LogEntry { term: 1, index: 1, conditions: None, work }]);
    let found = outcomes.last().map(failures).expect("an outcome");
    assert_eq!(found, [Some(Failure::NotAllowed(refused_rowid("t")).to_string())]);
}

#[test]
fn a_file_that_becomes_the_database_may_contain_the_largest_rowid() {
    let dir = TestDir::new();
    let largest = format!("INSERT INTO t(_rowid_) VALUES ({LARGEST});");
    let file = file_with(&dir, &format!("CREATE TABLE t(a); {largest}"));
    let database = open(&dir.path("db"));
    let write = |index: u64, sql: &str| {
        let batch = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 1 }), ..each(&[sql]) };
        let work = vec![LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 0 }];
        let outcomes = apply(&database, &[LogEntry { term: 1, index, conditions: None, work }]);
        outcomes.last().map(failures).expect("an outcome")
    };
    assert_eq!(write(1, "CREATE TABLE earlier(a)"), [None]);
    assert_eq!(write(2, "INSERT INTO earlier VALUES (1)"), [None]);
    block_on(database.check_image(file.clone())).expect("a sound file");
    let progress = Progress { index: 3, ..database.progress() };
    Database::make_snapshot(&file, &progress).expect("a snapshot");
    assert_eq!(block_on(database.install(file)).expect("installed"), progress);
    let refused = Some(Failure::NotAllowed(refused_rowid("t")).to_string());
    assert_eq!(write(4, "INSERT INTO t VALUES (1)"), [refused]);
}

/// Inserts into SQLite's own tables, and into tables whose columns have all names of the rowid, cannot be checked.
#[test]
fn a_file_is_refused_if_inserts_after_its_largest_rowid_cannot_be_checked() {
    let dir = TestDir::new();
    let database = open(&dir.path("db"));
    let largest = format!("INSERT INTO t(_rowid_) VALUES ({LARGEST});");
    let create = "CREATE TABLE t(rowid, oid, x);";
    let all_names = "PRAGMA writable_schema = ON; \
                     UPDATE sqlite_schema SET sql = 'CREATE TABLE t(rowid, oid, _rowid_)' WHERE name = 't'";
    let sequence = format!("INSERT INTO sqlite_sequence(rowid, name) VALUES ({LARGEST}, 'x')");
    for (sql, is_accepted) in [
        (format!("{create} {largest}"), true),
        (format!("{create} INSERT INTO t(_rowid_) VALUES (1); {all_names}"), true),
        (format!("{create} {largest} {all_names}"), false),
        (format!("CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); {sequence}"), false),
    ] {
        let file = file_with(&dir, &sql);
        let checked = block_on(database.check_image(file.clone()));
        assert_eq!(checked.is_ok(), is_accepted, "{sql}: {checked:?}");
        std::fs::remove_file(file).expect("remove the file");
    }
}
