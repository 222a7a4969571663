//! Replicas that apply the same log have the same content, although their connections differ in age: the state that a
//! batch leaves in a connection does not affect another batch.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;
mod replicas;

use std::path::Path;
use std::sync::Arc;

use common::{TestDir, rows};
use replicas::{STEPS_MAX, Way, apply, close, content, each, log_of, open, replicate, run};
use rusqlite::Connection;
use sqlhttp_core::{Batch, LogEntry, LogWork, Step, StepOutcome, Value};

/// Each step of a batch with VACUUM is committed by itself, so a copy or a restart may divide the batch.
#[test]
fn steps_around_a_vacuum_share_no_state_of_the_connection() {
    let setup =
        each(&["CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE CHECK (v < 100)); CREATE TABLE log(a, b, c); \
                        CREATE TABLE child(p REFERENCES t(id))"]);
    let counts = "INSERT INTO log VALUES (changes(), total_changes(), last_insert_rowid())";
    for steps in [
        vec!["INSERT INTO t(v) VALUES (1), (2)", "VACUUM", counts],
        vec!["INSERT INTO t(v) VALUES (1), (2)", counts, "VACUUM", counts],
        vec!["PRAGMA ignore_check_constraints = ON", "VACUUM", "INSERT INTO t(v) VALUES (200)"],
        vec!["VACUUM", "INSERT INTO t(v) VALUES (200)", "PRAGMA ignore_check_constraints = ON"],
        vec!["CREATE TEMP TABLE x AS SELECT 1 AS a", "VACUUM", "INSERT INTO t(v) SELECT a FROM x"],
        vec!["INSERT INTO t(v) VALUES (1)", "VACUUM", "INSERT OR ROLLBACK INTO t(v) VALUES (2), (1)", counts],
        vec!["PRAGMA foreign_keys = OFF", "VACUUM", "INSERT INTO child VALUES (5)", "INSERT INTO child VALUES (6)"],
        vec!["VACUUM", "INSERT INTO child VALUES (5)", "PRAGMA foreign_keys = OFF", "INSERT INTO child VALUES (6)"],
    ] {
        let batches = [setup.clone(), each(&steps), each(&[counts])];
        replicate(&batches);
        let entries = log_of(&batches);
        let dir = TestDir::new();
        let (whole, outcomes) = run(&dir, Way::AtOnce, &entries);
        for divide_at in 1..steps.len() {
            let file = dir.path(&format!("divided{divide_at}"));
            let found = run_divided(&file, &entries, divide_at);
            let last = outcomes[1].steps.len() - found.len();
            assert_eq!(format!("{:?}", &outcomes[1].steps[last..]), format!("{found:?}"), "{steps:?} at {divide_at}");
            let database = open(&file);
            apply(&database, &entries);
            assert_eq!(content(&database), content(&whole), "{steps:?} at {divide_at}");
        }
    }
}

/// Applies the first two entries, but stops the second one before one of its steps and continues on a new connection,
/// as after a crash. Returns the results of the steps after that.
fn run_divided(file: &Path, entries: &[LogEntry], divide_at: usize) -> Vec<StepOutcome> {
    let database = open(file);
    apply(&database, &entries[..1]);
    let LogWork::Batch { batch, .. } = &entries[1].work[0] else { panic!("not a batch") };
    let mut head = entries[1].clone();
    // The additional VACUUM changes nothing, but makes each step a transaction of its own.
    let steps = batch.steps[..divide_at].iter().cloned().chain([Step::execute("VACUUM", ())]).collect();
    let shortened = Batch { steps, ..Batch::clone(batch) };
    head.work =
        vec![LogWork::Batch { batch: Arc::new(shortened), exclusive: true, steps_max: STEPS_MAX }, LogWork::Barrier];
    apply(&database, &[head]);
    close(database);
    let connection = Connection::open(file).expect("open the file");
    let record = "UPDATE sqlite_sqlhttp SET position = 1, batches = 0, steps = ?, membership = x''";
    connection.execute(record, [i64::try_from(divide_at).expect("small")]).expect("set the position");
    connection.close().expect("close the file");
    let database = open(file);
    let outcomes = apply(&database, &entries[1..2]);
    close(database);
    outcomes.into_iter().next().expect("an outcome").steps
}

/// A virtual table prepares statements of its own when a connection uses it for the first time.
#[test]
fn the_first_use_of_a_virtual_table_has_the_same_result_as_later_ones() {
    let many = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 60)";
    let batches = [
        each(&["CREATE VIRTUAL TABLE r USING rtree(id, low, high); CREATE VIRTUAL TABLE f USING fts4(a, b)"]),
        each(&[&format!("{many} INSERT INTO r SELECT x, x % 10, x FROM c")]),
        each(&["DELETE FROM r WHERE id % 4 = 1", "DELETE FROM r WHERE id % 4 = 2"]),
        // A value of this size is too long for a statement of many function calls.
        each(&["INSERT INTO f SELECT hex(zeroblob(3000000)), replace(substr(hex(zeroblob(9)), 2), '0', '1')"]),
        each(&["UPDATE f SET b = upper(lower(trim(a) || substr(a, 2))) || length(a)"]),
        each(&["DELETE FROM f", "UPDATE r SET low = high / 2 WHERE id = 3"]),
    ];
    let (outcomes, ..) = replicate(&batches);
    let deleted = outcomes.get(2).map(|outcome| &outcome.steps[0]);
    let StepOutcome::Rows(rows) = deleted.expect("a step") else { panic!("{deleted:?}") };
    assert_eq!((rows.changed.rows, rows.changed.last_insert_id), (15, None));
}

/// `PRAGMA auto_vacuum` takes effect when the same connection runs VACUUM.
#[test]
fn auto_vacuum_takes_effect_in_its_own_batch_only() {
    let set = "PRAGMA auto_vacuum = FULL";
    let create = || each(&["CREATE TABLE t(a)"]);
    for (batches, mode) in [
        ([create(), each(&[set]), each(&["VACUUM"]), each(&["VACUUM"])], 0),
        ([create(), each(&[set, "INSERT INTO t VALUES (1)", "VACUUM"]), each(&["VACUUM"]), each(&["SELECT 1"])], 1),
    ] {
        let entries = log_of(&batches);
        for way in replicas::WAYS {
            let dir = TestDir::new();
            close(run(&dir, way, &entries).0);
            let file = dir.path(if way == Way::Copied { "copy" } else { way.name() });
            // A connection reads the mode when it reads the file for the first time.
            let database = open(&file);
            assert_eq!(rows(&database, "PRAGMA auto_vacuum"), [[Value::Integer(mode)]], "{way:?}");
        }
    }
}

/// Many PRAGMAs act while they are prepared, which must not be before the steps ahead of them run.
#[test]
fn a_setting_does_not_affect_earlier_steps() {
    let batches = [
        each(&["CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3); CREATE TABLE log(a)"]),
        each(&["INSERT INTO log SELECT a FROM t", "PRAGMA reverse_unordered_selects = ON"]),
        each(&["INSERT INTO log SELECT a FROM t", "PRAGMA reverse_unordered_selects = ON", "VACUUM"]),
    ];
    let (_, database, _dir) = replicate(&batches);
    let found: Vec<_> = rows(&database, "SELECT a FROM log ORDER BY rowid").into_iter().flatten().collect();
    assert_eq!(found, [1, 2, 3, 1, 2, 3].map(Value::Integer));
}
