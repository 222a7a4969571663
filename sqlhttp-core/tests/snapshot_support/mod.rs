//! Helpers that the tests of snapshots share: a database that applies a log, and the entries of the log.
#![allow(dead_code, reason = "each test binary uses only some of these helpers")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

use std::path::Path;
use std::sync::Arc;

use sqlhttp_core::{Batch, Database, LogEntry, LogWork, Options, Stamp, Step, StepOutcome, Value, Writes};

use crate::common::{block_on, rows};

pub(crate) fn open(file: &Path) -> Database {
    Database::open(file, options()).expect("open the database")
}

pub(crate) fn options() -> Options {
    Options::default().writes(Writes::Log)
}

/// An operation of an entry: a batch of one statement.
pub(crate) fn operation(sql: &str, exclusive: bool) -> LogWork {
    let stamp = Some(Stamp { unix_ms: 1_700_000_000_000, seed: 7 });
    let batch = Batch { stamp, ..Batch::one(Step::execute(sql, ())) };
    LogWork::Batch { batch: Arc::new(batch), exclusive, steps_max: 0 }
}

pub(crate) fn entry(index: u64, work: Vec<LogWork>) -> LogEntry {
    LogEntry { term: 1, index, conditions: None, work }
}

/// Applies an entry that consists of one statement, which must succeed.
pub(crate) fn apply(database: &Database, index: u64, sql: &str) {
    let entry = entry(index, vec![operation(sql, false)]);
    let outcomes = block_on(database.apply(vec![entry])).expect("the entry is applied");
    let failed = outcomes.iter().flatten().flat_map(|outcome| &outcome.steps);
    for step in failed {
        assert!(!matches!(step, StepOutcome::Failed(_)), "{sql}: {step:?}");
    }
}

/// Creates the table `t` with entry 1. It contains about `bytes` bytes of ballast.
pub(crate) fn create(database: &Database, bytes: usize) {
    apply(database, 1, "CREATE TABLE t(n INTEGER PRIMARY KEY, half INTEGER NOT NULL, ballast BLOB)");
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ";
    let rows = (bytes / 1000).max(1);
    apply(database, 2, &format!("INSERT INTO t {many}{rows}) SELECT -n, 0, zeroblob(1000) FROM c"));
}

/// The statement of the entry at this index: two rows, so that a mix of two states is noticed.
pub(crate) fn insert(index: u64) -> String {
    format!("INSERT INTO t VALUES ({}, 1, NULL), ({}, 2, NULL)", 2 * index, 2 * index + 1)
}

/// Applies the entries from `first` to `last`.
pub(crate) fn append(database: &Database, first: u64, last: u64) {
    (first..=last).for_each(|index| apply(database, index, &insert(index)));
}

/// The indexes of the applied entries of [`insert`], each of which must be there as a whole.
pub(crate) fn applied(database: &Database) -> Vec<u64> {
    let found = rows(database, "SELECT n, half FROM t WHERE n > 0 ORDER BY n");
    let integers: Vec<i64> = found
        .iter()
        .flatten()
        .map(|value| match value {
            Value::Integer(integer) => *integer,
            other => panic!("{other:?}"),
        })
        .collect();
    let entries = integers.chunks_exact(4).map(|rows| match *rows {
        [first, 1, second, 2] if first % 2 == 0 && second == first + 1 => (first / 2) as u64,
        _ => panic!("an entry is incomplete: {rows:?}"),
    });
    assert_eq!(integers.len() % 4, 0, "an entry is incomplete");
    entries.collect()
}

/// Writes a snapshot of a database to which the entries up to `last` have been applied.
pub(crate) fn snapshot(file: &Path, ballast_bytes: usize, last: u64) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = open(&directory.path().join("source.db"));
    source.set_log(1);
    create(&source, ballast_bytes);
    append(&source, 3, last);
    block_on(source.export(file.to_owned())).expect("a snapshot");
}

/// Checks that the database is undamaged and contains exactly the entries up to `last`.
pub(crate) fn check(database: &Database, last: u64) {
    assert_eq!(rows(database, "PRAGMA integrity_check"), [[Value::Text("ok".into())]]);
    assert_eq!(applied(database), (3..=last).collect::<Vec<_>>());
    let progress = database.progress();
    assert_eq!((progress.index, progress.operations, progress.steps), (last, 0, 0));
}
