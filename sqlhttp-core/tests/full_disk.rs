//! Writes that are larger than the disk: each fails without affecting others, and the space it has taken becomes free.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash_support;

use std::path::Path;
use std::sync::Arc;

use crash_support::block_on;
use rusqlite::{Connection, OpenFlags, ffi};
use sqlhttp_core::{
    Atomicity, Batch, Database, Ending, Failure, FaultyDisk, LogEntry, LogWork, Options, Outcome, Stamp, Step,
    StepOutcome, Value, Writes,
};

const CAPACITY: usize = 6 << 20;
/// So small that a large transaction writes to the write-ahead log before it commits.
const SMALL_CACHE: &str = "PRAGMA cache_size=20";
const ENDLESS: &str =
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT zeroblob(1000) FROM c";
/// About the size at which the write-ahead log is checkpointed.
const FILL: &str = "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2500) \
                    SELECT zeroblob(1000) FROM c";
const FILL_ROWS: i64 = 2500;

fn open(disk: &FaultyDisk, writes: Writes) -> Database {
    let options = Options::default().vfs(Some(disk.name().to_owned())).writes(writes);
    let database = Database::open("/full.db", options).unwrap();
    block_on(database.run_script(SMALL_CACHE)).unwrap().unwrap();
    database.set_sole(true);
    database
}

fn batch(sql: &str) -> Batch {
    Batch {
        stamp: Some(Stamp { unix_ms: 1_700_000_000_000, seed: 7 }),
        atomicity: Atomicity::Each,
        ..Batch::one(Step::execute(sql, ()))
    }
}

/// Applies each statement as an entry of its own, all in one call.
fn apply(database: &Database, statements: &[&str]) -> Vec<Outcome> {
    let first = database.progress().index + 1;
    let entry = |(index, sql): (u64, &&str)| {
        let work = LogWork::Batch { batch: Arc::new(batch(sql)), exclusive: false, steps_max: 0 };
        LogEntry { term: 1, index, conditions: None, work: vec![work] }
    };
    let entries = (first..).zip(statements).map(entry).collect();
    block_on(database.apply(entries)).unwrap().into_iter().flatten().collect()
}

fn count(database: &Database) -> i64 {
    let outcome = database.blocking().run(Batch::one(Step::query("SELECT count(*) FROM t", ()))).unwrap();
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else { panic!("{outcome:?}") };
    match rows.iter().next().unwrap().get(0).unwrap().to_value() {
        Value::Integer(count) => count,
        other => panic!("{other:?}"),
    }
}

fn is_full(outcome: &Outcome) -> bool {
    matches!(&outcome.steps[..], [StepOutcome::Failed(Failure::Sql(error))] if error.primary_code() == ffi::SQLITE_FULL)
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(&outcome.steps[..], [StepOutcome::Changed(_)])
}

#[test]
fn a_load_that_is_larger_than_the_disk_fails_and_later_writes_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE u AS SELECT zeroblob(8000000)").unwrap();
    let disk = FaultyDisk::new(3).unwrap();
    disk.set_capacity(CAPACITY);
    let database = open(&disk, Writes::Log);
    apply(&database, &["CREATE TABLE t(a)"]);
    block_on(database.check_image(file.clone())).unwrap();
    let work = vec![LogWork::Replace(file)];
    let outcomes = block_on(database.apply(vec![LogEntry { term: 1, index: 2, conditions: None, work }])).unwrap();
    let Ending::NotCommitted(Failure::Sql(error)) = &outcomes[0][0].ending else { panic!("{outcomes:?}") };
    assert_eq!(error.primary_code(), ffi::SQLITE_FULL);
    assert!(is_done(&apply(&database, &["INSERT INTO t VALUES (7)"])[0]));
    assert_eq!(count(&database), 1);
}

/// A connection that holds a snapshot, so that the write-ahead log cannot be reset.
fn reader(disk: &FaultyDisk) -> Connection {
    let vfs = std::ffi::CString::new(disk.name()).unwrap();
    let connection =
        Connection::open_with_flags_and_vfs("/full.db", OpenFlags::SQLITE_OPEN_READ_WRITE, vfs.as_c_str()).unwrap();
    connection.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    connection
}

fn check_log(with_reader: bool) {
    let disk = FaultyDisk::new(1).unwrap();
    disk.set_capacity(CAPACITY);
    let database = open(&disk, Writes::Log);
    let outcomes = apply(&database, &["CREATE TABLE t(a)", FILL]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    let reader = with_reader.then(|| reader(&disk));
    let small = "INSERT INTO t VALUES (7)";
    for round in 1..=3 {
        let outcomes = apply(&database, &[small, ENDLESS, small]);
        let results: Vec<_> = outcomes.iter().map(|outcome| (is_done(outcome), is_full(outcome))).collect();
        assert_eq!(results, [(true, false), (false, true), (true, false)], "{outcomes:?}");
        assert!(disk.used() < CAPACITY - (512 << 10), "{} bytes are in use", disk.used());
        block_on(database.checkpoint()).unwrap();
        assert_eq!(count(&database), FILL_ROWS + 2 * round);
    }
    drop(reader);
}

#[test]
fn a_log_entry_that_is_larger_than_the_disk_fails_and_its_neighbours_succeed() {
    check_log(false);
}

#[test]
fn the_space_of_a_failed_write_becomes_free_despite_an_open_reader() {
    check_log(true);
}

#[test]
fn a_write_that_is_larger_than_the_disk_fails_and_later_writes_succeed() {
    let disk = FaultyDisk::new(2).unwrap();
    disk.set_capacity(CAPACITY);
    let database = open(&disk, Writes::Direct);
    for sql in ["CREATE TABLE t(a)", FILL] {
        assert!(is_done(&database.blocking().run(batch(sql)).unwrap()), "{sql}");
    }
    for round in 1..=3 {
        let outcome = database.blocking().run(batch(ENDLESS)).unwrap();
        assert!(is_full(&outcome), "{outcome:?}");
        // The failure is returned before the space is freed. The next write is answered after that.
        let outcome = database.blocking().run(batch("INSERT INTO t VALUES (7)")).unwrap();
        assert!(is_done(&outcome), "{outcome:?}");
        assert!(disk.used() < CAPACITY - (512 << 10), "{} bytes are in use", disk.used());
        block_on(database.checkpoint()).unwrap();
        assert_eq!(count(&database), FILL_ROWS + round);
    }
}

/// Copies the files of a database in the state in which a killed process would leave them.
fn copy(from: &Path, to: &Path) {
    for name in ["killed.db", "killed.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn the_uncommitted_part_of_the_write_ahead_log_is_truncated_at_the_next_start() {
    for writes in [Writes::Direct, Writes::Log] {
        let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = before.path().join("killed.db");
        let options = Options::default().writes(writes);
        let database = Database::open(path.clone(), options.clone()).unwrap();
        match writes {
            Writes::Direct => drop(database.blocking().run(batch("CREATE TABLE t(a)")).unwrap()),
            Writes::Log => drop(apply(&database, &["CREATE TABLE t(a)"])),
        }
        let killed = Connection::open(&path).unwrap();
        killed.execute_batch(&format!("{SMALL_CACHE}; BEGIN; {FILL}")).unwrap();
        copy(before.path(), after.path());

        let database = Database::open(after.path().join("killed.db"), options).unwrap();
        let log = std::fs::metadata(after.path().join("killed.db-wal")).unwrap().len();
        assert!(log < 100_000, "the log still has {log} bytes");
        assert_eq!(count(&database), 0);
        drop(killed);
    }
}
