//! Failures that only one node has (its clock, its disk, the caches of its virtual tables) while a database applies a
//! log. If there are other nodes, such a failure is never the result of a statement.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![cfg(feature = "replication")]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{TestDir, block_on, poll_once, rows, wait_until};
use sqlhttp_core::{
    Batch, Conditions, Database, Failure, LogEntry, LogWork, Options, Outcome, Stamp, Step, StepOutcome, Value, Writes,
};

/// The number of virtual-machine steps that the statements of these tests may take. It does not limit any of them.
const STEPS_MAX: u64 = 10_000_000;

fn open(file: &Path) -> Database {
    Database::open(file, Options::default().writes(Writes::Log)).expect("open")
}

fn operation(texts: &[&str], steps_max: u64, exclusive: bool) -> LogWork {
    let stamp = Some(Stamp { unix_ms: 0, seed: 1 });
    let steps = texts.iter().map(|text| Step::execute(*text, ())).collect();
    let batch = Batch { stamp, ..Batch::transaction(steps) };
    LogWork::Batch { batch: Arc::new(batch), exclusive, steps_max }
}

fn entry(index: u64, work: Vec<LogWork>) -> Vec<LogEntry> {
    let conditions = Some(Conditions { unix_ms: 5, foreign_keys: true, value_bytes_max: 64 << 20, time_zone: None });
    vec![LogEntry { term: 1, index, conditions, work }]
}

fn apply(database: &Database, index: u64, texts: &[&str], steps_max: u64) -> Outcome {
    let applied = block_on(database.apply(entry(index, vec![operation(texts, steps_max, false)])));
    applied.expect("applied").remove(0).remove(0)
}

fn timeouts(outcome: &Outcome) -> usize {
    outcome.steps.iter().filter(|step| matches!(step, StepOutcome::Failed(Failure::Timeout))).count()
}

fn integers(database: &Database, sql: &str) -> Vec<i64> {
    let integer = |value: &Value| if let Value::Integer(integer) = value { *integer } else { panic!("{value:?}") };
    rows(database, sql).iter().flatten().map(integer).collect()
}

/// A statement of few virtual-machine steps, of which a virtual table takes many.
fn rebuild(database: &Database) -> Outcome {
    let fill = "INSERT INTO f WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5000) \
                SELECT 'word' || x FROM c";
    apply(database, 1, &["CREATE TABLE t(a)", "CREATE VIRTUAL TABLE f USING fts5(w)", fill], 0).into_result().unwrap();
    apply(database, 2, &["INSERT INTO f(f) VALUES ('rebuild')"], 1000)
}

#[test]
fn the_work_of_virtual_tables_is_limited_only_on_a_node_without_others() {
    let test_dir = TestDir::new();
    let sole = open(&test_dir.path("sole.db"));
    sole.set_sole(true);
    assert_eq!(timeouts(&rebuild(&sole)), 1);
    assert_eq!(sole.status().decision_index, 2);

    let follower = open(&test_dir.path("follower.db"));
    let outcome = rebuild(&follower);
    assert!(matches!(outcome.steps[..], [StepOutcome::Changed(_)]), "{outcome:?}");
    assert_eq!((follower.status().poisoned, follower.status().decision_index), (None, 0));
}

/// A statement that takes some tenths of a second, and almost no virtual-machine steps.
fn heavy() -> String {
    let terms: Vec<_> = (0..25).map(|n| format!("length(printf('%.*c', {}, 'x'))", 15_000_000 + n)).collect();
    format!("INSERT INTO t VALUES ({})", terms.join(" + "))
}

/// The time limit may pass while a statement runs that ends before SQLite notices. Then the next statement fails.
#[test]
fn a_step_that_begins_after_the_time_limit_fails_by_a_durable_decision() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db"));
    database.set_sole(true);
    apply(&database, 1, &["CREATE TABLE t(a)"], STEPS_MAX).into_result().unwrap();
    let (mut index, mut repeats) = (1, 4);
    loop {
        let heavy = heavy();
        let texts: Vec<&str> = std::iter::repeat_n(heavy.as_str(), repeats).collect();
        index += 1;
        let outcome = apply(&database, index, &texts, 1_000);
        let expected = if timeouts(&outcome) > 0 { index } else { 0 };
        assert_eq!(database.status().decision_index, expected);
        if expected > 0 {
            return;
        }
        repeats *= 2;
    }
}

/// Views inside views, which take longer than the time limit to prepare.
fn nested_views(database: &Database) -> Outcome {
    let columns: Vec<_> = (0..60).map(|n| format!("1 AS c{n}")).collect();
    let mut views = vec!["CREATE TABLE t(a)".to_owned(), format!("CREATE VIEW v0 AS SELECT {}", columns.join(", "))];
    views.extend((1..=13).map(|n| {
        let inner = n - 1;
        format!("CREATE VIEW v{n} AS SELECT * FROM v{inner} UNION SELECT * FROM v{inner}")
    }));
    apply(database, 1, &views.iter().map(String::as_str).collect::<Vec<_>>(), 0).into_result().unwrap();
    apply(database, 2, &["INSERT INTO t SELECT count(*) FROM v13"], 1_000)
}

#[test]
fn preparing_a_statement_is_limited_in_time_on_a_node_without_others() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db"));
    database.set_sole(true);
    let outcome = nested_views(&database);
    assert_eq!(timeouts(&outcome), 1, "{outcome:?}");
    assert_eq!((database.status().poisoned, database.status().decision_index), (None, 2));
    apply(&database, 3, &["INSERT INTO t VALUES (7)"], 1_000).into_result().unwrap();
    assert_eq!(integers(&database, "SELECT a FROM t"), [7]);
}

/// A statement that takes longer than the time limit, and ends.
const SLOW: &str = "INSERT INTO t WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 5000) \
                    SELECT sum(length(printf('%.*c', 1000000 + x, 'x'))) > 0 FROM c";

/// Another node joins while a statement runs. The time limit of the running statement is no longer valid.
#[test]
fn a_write_that_runs_when_another_node_joins_has_no_time_limit() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db"));
    database.set_sole(true);
    apply(&database, 1, &["CREATE TABLE t(a)"], STEPS_MAX).into_result().unwrap();
    let mut applying = Box::pin(database.apply(entry(2, vec![operation(&[SLOW], 1_000_000, false)])));
    assert!(poll_once(applying.as_mut()).is_pending());
    wait_until("the entry is being applied", || database.status().write_queue_len == 0);
    database.set_sole(false);
    let outcome = block_on(applying).expect("applied").remove(0).remove(0);
    assert!(matches!(outcome.steps[..], [StepOutcome::Changed(_)]), "{outcome:?}");
    assert_eq!((database.status().poisoned, database.status().decision_index), (None, 0));
    assert_eq!(integers(&database, "SELECT a FROM t"), [1]);
}

/// Calls a function when the writer logs that it decides alone about the entry at this index, before the decision is
/// committed.
struct OnDecision(u64, Box<dyn Fn() + Send + Sync>);

/// The field `index` of an event.
struct Index(Option<u64>);

impl tracing::field::Visit for Index {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if field.name() == "index" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

impl tracing::Subscriber for OnDecision {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut index = Index(None);
        event.record(&mut index);
        if event.metadata().target().ends_with("node_failure") && index.0 == Some(self.0) {
            (self.1)();
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Another node joins between the decision that a statement fails and its commit. The other node will apply the entry
/// too, so the decision is not made.
#[test]
fn a_decision_is_dropped_if_another_node_joins_before_it_is_committed() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db"));
    database.set_sole(true);
    apply(&database, 1, &["CREATE TABLE t(a)"], STEPS_MAX).into_result().unwrap();
    // An index that no other test of this program uses.
    let last = 50;
    (2..last).for_each(|index| drop(apply(&database, index, &["DELETE FROM t"], STEPS_MAX)));
    let joined = Arc::new(AtomicBool::new(false));
    let (joins, shared) = (joined.clone(), database.clone());
    let join = move || {
        shared.set_sole(false);
        joins.store(true, Ordering::SeqCst);
    };
    tracing::subscriber::set_global_default(OnDecision(last, Box::new(join))).expect("the only subscriber");
    let outcome = apply(&database, last, &[SLOW], 1_000_000);
    assert!(joined.load(Ordering::SeqCst), "the statement was not limited");
    assert!(matches!(outcome.steps[..], [StepOutcome::Changed(_)]), "{outcome:?}");
    assert_eq!(database.status().decision_index, 0);
    assert_eq!(integers(&database, "SELECT a FROM t"), [1]);
}

/// The entry that contains a decision must not be sent to another node, even if the rest of it has not been applied
/// when the process ends.
#[test]
fn a_decision_is_known_after_a_restart() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db"));
    database.set_sole(true);
    apply(&database, 1, &["CREATE TABLE t(a)"], STEPS_MAX).into_result().unwrap();
    let work = || vec![operation(&[SLOW], 1_000_000, true), operation(&["INSERT INTO t VALUES (7)"], 0, true)];
    block_on(database.apply(entry(2, work()))).expect("applied");
    assert_eq!(database.status().decision_index, 2);
    assert_eq!(integers(&database, "SELECT a FROM t"), [7]);
    apply(&database, 3, &["INSERT INTO t VALUES (8)"], 0).into_result().unwrap();
    drop(database);
    let database = open(&test_dir.path("db"));
    assert_eq!(database.status().decision_index, 2);
    // A snapshot contains the result, so the decision does not concern the node that receives it.
    let snapshot = test_dir.path("snapshot.db");
    block_on(database.export(snapshot.clone())).expect("a snapshot");
    assert_eq!(open(&snapshot).status().decision_index, 0);
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_follower_with_a_full_disk_waits() {
    use sqlhttp_core::FaultyDisk;
    let disk = FaultyDisk::new(1).expect("a disk");
    disk.set_capacity(6 << 20);
    let options = Options::default().vfs(Some(disk.name().to_owned())).writes(Writes::Log);
    let database = Database::open("/full.db", options).expect("open");
    block_on(database.run_script("PRAGMA cache_size=20")).unwrap().unwrap();
    apply(&database, 1, &["CREATE TABLE t(a)"], 0).into_result().unwrap();
    let large = "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10000) \
                 SELECT zeroblob(1000) FROM c";
    let work = vec![operation(&["INSERT INTO t VALUES (1)"], 0, false), operation(&[large], 0, false)];
    let mut applying = Box::pin(database.apply(entry(2, work)));
    assert!(poll_once(applying.as_mut()).is_pending());
    let waits = || database.waits_for().is_some_and(|why| why.contains("full"));
    wait_until("the writer waits for space", waits);
    assert_eq!(database.progress().index, 1);
    disk.set_capacity(60 << 20);
    let outcomes = block_on(applying).expect("applied when there is space").remove(0);
    for outcome in &outcomes {
        assert!(matches!(outcome.steps[..], [StepOutcome::Changed(_)]), "{outcome:?}");
    }
    assert_eq!(integers(&database, "SELECT count(*) FROM t"), [10_001]);
    assert_eq!((database.waits_for(), database.status().decision_index), (None, 0));
}
