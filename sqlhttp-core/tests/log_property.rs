//! The result of applying a log does not depend on how it is divided into entries and calls. Random batches, divided at
//! random, give the same outcomes and the same tables as when they are applied one at a time, and as on a database that
//! is written directly; applying old entries again has no effect. `SQLHTTP_LOG_CASES` sets the number of random cases.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::{TestDir, block_on, rows, text};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sqlhttp_core::{
    Action, Atomicity, Batch, Bindings, Database, Expect, Failure, LogEntry, LogWork, OnError, Options, Outcome,
    Settings, Stamp, Step, Value, Writes,
};

const SCHEMA: &str = "
    CREATE TABLE item(id INTEGER PRIMARY KEY AUTOINCREMENT, v INTEGER UNIQUE, s TEXT DEFAULT (datetime('now', 'subsec')),
        r INTEGER DEFAULT (random()));
    CREATE TABLE parent(id INTEGER PRIMARY KEY);
    CREATE TABLE late(p INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE prompt(p INTEGER REFERENCES parent(id) ON DELETE CASCADE);
    CREATE TABLE picky(k TEXT PRIMARY KEY ON CONFLICT ROLLBACK, x INTEGER CHECK (x > 0)) WITHOUT ROWID;
    CREATE TABLE log(a, b, c, d);
    CREATE TRIGGER item_rollback BEFORE INSERT ON item WHEN new.v = 100 BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END;
    CREATE TRIGGER item_abort BEFORE INSERT ON item WHEN new.v = 101 BEGIN SELECT RAISE(ABORT, 'this one'); END;
    CREATE TRIGGER item_fail BEFORE INSERT ON item WHEN new.v = 102 BEGIN SELECT RAISE(FAIL, 'from here'); END;
    CREATE TRIGGER item_log AFTER INSERT ON item BEGIN
        INSERT INTO log VALUES ('trigger', new.id, datetime('now', 'subsec'), random()); END;
    INSERT INTO parent VALUES (1), (2);
    INSERT INTO item(v) VALUES (0), (1), (2);
";

/// Statements whose parameter `?1`, if they have one, is an integer. Depending on the statements before it, each may
/// succeed or fail.
const TEXTS: &[&str] = &[
    "INSERT INTO item(v) VALUES (?1) RETURNING id, v, r, s",
    "INSERT INTO item(v) VALUES (?1), (?1 + 1)",
    "INSERT OR IGNORE INTO item(v) VALUES (?1), (?1 + 1)",
    "INSERT OR REPLACE INTO item(v) VALUES (?1)",
    "INSERT OR ROLLBACK INTO item(v) VALUES (?1)",
    "INSERT OR ROLLBACK INTO item(v) SELECT v FROM item",
    "INSERT OR FAIL INTO item(v) VALUES (?1 + 1), (?1)",
    "INSERT INTO item(v) VALUES (?1) ON CONFLICT(v) DO UPDATE SET v = v + 10000",
    "INSERT INTO item(v) VALUES (100)",
    "INSERT INTO item(v) VALUES (70), (101)",
    "INSERT INTO item(v) VALUES (80), (102)",
    "UPDATE item SET v = v + 1 WHERE id = (SELECT max(id) FROM item) RETURNING v",
    "UPDATE item SET v = 1",
    "UPDATE OR ROLLBACK item SET v = ?1 WHERE id = 1",
    "DELETE FROM item WHERE v = ?1 RETURNING *",
    "DELETE FROM item WHERE id % 3 = 0",
    "INSERT INTO picky VALUES ('p' || ?1, ?1)",
    "INSERT INTO picky VALUES ('k', 1)",
    "INSERT INTO late(p) VALUES (?1)",
    "INSERT INTO late(p) VALUES (99)",
    "INSERT INTO prompt(p) VALUES (?1)",
    "INSERT INTO parent VALUES (?1)",
    "INSERT INTO parent VALUES (99)",
    "DELETE FROM parent WHERE id = ?1",
    "DELETE FROM late",
    "INSERT INTO log VALUES (changes(), total_changes(), last_insert_rowid(), 'counts')",
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "INSERT INTO log SELECT 'now', datetime('now', 'subsec'), random(), hex(randomblob(4))",
    "INSERT INTO log SELECT 'order', id, v, s FROM item ORDER BY random() LIMIT 2",
    "SELECT id, v FROM item ORDER BY random() LIMIT 3",
    "CREATE TEMP TABLE item AS SELECT 5 AS v",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON main.item BEGIN INSERT INTO log VALUES ('spy', new.v, 0, 0); END",
    "INSERT INTO log SELECT 'temp', name, 0, 0 FROM temp.sqlite_schema",
    "CREATE TABLE other(a); INSERT INTO other VALUES (1); CREATE TEMP TABLE log AS SELECT a FROM other",
    "PRAGMA case_sensitive_like = ON",
    "INSERT INTO log VALUES ('like', 'a' LIKE 'A', 0, 0)",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA user_version = ?1",
    "PRAGMA user_version = 7",
    "CREATE TABLE extra(a PRIMARY KEY, b)",
    "ALTER TABLE extra ADD COLUMN c DEFAULT 3",
    "DROP TABLE extra",
    "CREATE INDEX by_s ON item(s)",
    "VACUUM",
    "REINDEX",
    "ANALYZE",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "SAVEPOINT mine",
    "SAVEPOINT sqlhttp_member",
    "RELEASE sqlhttp_step",
    "ROLLBACK TO sqlhttp_member",
    "BEGIN; INSERT INTO item(v) VALUES (200); COMMIT",
    "INSERT INTO log VALUES (1, 2, 3, 4); INSERT INTO item(v) VALUES (1); SELECT 1",
    "DELETE FROM sqlite_sequence",
    "SELECT * FROM nowhere",
    "not SQL",
    "",
];

fn a_step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![0..6_i64, 98..104_i64];
    let bind = |sql: &str, v: i64| if sql.contains("?1") { Bindings::positional([v]) } else { Bindings::none() };
    let run = (0..TEXTS.len(), value.clone())
        .prop_map(move |(i, v)| Action::Run { sql: TEXTS[i].into(), bindings: bind(TEXTS[i], v) });
    let each = (0..8_usize, prop::collection::vec(value, 0..4)).prop_map(move |(i, values)| Action::RunEach {
        sql: TEXTS[i].into(),
        bindings: values.into_iter().map(|v| Ok(bind(TEXTS[i], v))).collect(),
    });
    let failing = Just(Action::Fail(Failure::MissingPositional(1)));
    let action = prop_oneof![60 => run, 8 => each, 1 => failing];
    let expect = prop_oneof![Just(Expect::Rows), Just(Expect::Count), Just(Expect::Either)];
    let on_error = prop_oneof![2 => Just(OnError::Abort), 1 => Just(OnError::Continue)];
    (action, expect, on_error).prop_map(|(action, expect, on_error)| Step { action, expect, on_error })
}

/// A batch with at least one write, because a batch without writes is not appended to the log.
fn a_batch() -> impl Strategy<Value = Batch> {
    let atomicity = prop_oneof![3 => Just(Atomicity::All), 2 => Just(Atomicity::Each)];
    let steps = prop::collection::vec(a_step(), 0..5);
    let stamp = (any::<u64>(), 0..4_000_000_000_000_i64).prop_map(|(seed, unix_ms)| Stamp { unix_ms, seed });
    (steps, any::<prop::sample::Index>(), atomicity, stamp).prop_map(|(mut steps, index, atomicity, stamp)| {
        let mark = Step::execute("INSERT INTO log VALUES ('mark', changes(), last_insert_rowid(), random())", ());
        steps.insert(index.index(steps.len() + 1), mark);
        Batch { steps, atomicity, stamp: Some(stamp), settings: Settings::Ignore, ..Batch::default() }
    })
}

/// A piece of work before classification.
#[derive(Debug, Clone)]
enum WorkItem {
    /// A batch and its `alone` flag: `None` if it is classified, `Some` for an arbitrary value.
    Batch(Batch, Option<bool>),
    Barrier,
    Membership(u8),
}

fn a_work_item() -> impl Strategy<Value = WorkItem> {
    let guess = prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)];
    prop_oneof![
        16 => (a_batch(), guess).prop_map(|(batch, guess)| WorkItem::Batch(batch, guess)),
        1 => Just(WorkItem::Barrier),
        1 => any::<u8>().prop_map(WorkItem::Membership),
    ]
}

/// The division of the log into entries and calls.
#[derive(Debug, Clone)]
struct Division {
    /// The number of pieces of work of each entry, repeated cyclically.
    entries: Vec<usize>,
    /// For each call, the number of new entries and the number of old ones before them, repeated cyclically.
    calls: Vec<(usize, usize)>,
    /// For each call, whether the database is closed and opened again after it, repeated cyclically.
    restarts: Vec<bool>,
}

fn division() -> impl Strategy<Value = Division> {
    // There may be entries without work, but not only such entries.
    let entries = prop::collection::vec(0..5_usize, 0..5).prop_map(|mut sizes| {
        sizes.push(3);
        sizes
    });
    let calls = prop::collection::vec((1..6_usize, 0..4_usize), 1..5);
    let restarts = prop::collection::vec(prop::bool::weighted(0.2), 1..8);
    (entries, calls, restarts).prop_map(|(entries, calls, restarts)| Division { entries, calls, restarts })
}

fn entry(index: u64, work: Vec<LogWork>) -> LogEntry {
    LogEntry { term: 1 + index / 4, index, conditions: None, work }
}

/// The first entry of every log, which creates the schema.
fn schema() -> LogEntry {
    let batch = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 0 }), ..Batch::one(Step::execute(SCHEMA, ())) };
    entry(1, vec![LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 0 }])
}

fn open(file: &Path, options: Options) -> Database {
    Database::open(file, options.writes(Writes::Log)).expect("open the database")
}

fn apply(database: &Database, entries: Vec<LogEntry>) -> Vec<Vec<Outcome>> {
    block_on(database.apply(entries)).expect("outcomes")
}

/// Formats outcomes for comparison.
fn describe(outcomes: impl IntoIterator<Item = Outcome>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| format!("{outcome:#?}")).collect()
}

fn without_facts(outcome: Outcome) -> Outcome {
    Outcome { info: Vec::new(), ..outcome }
}

/// The content of tables and other objects, by name.
type Dump = Vec<(String, Vec<Vec<Value>>)>;

/// Removes the order in which ANALYZE visited the tables. On a database that is written directly it may differ, because
/// the connection may have loaded the tables in another order.
fn without_order_of_statistics(mut dump: Dump) -> Dump {
    for (_, rows) in dump.iter_mut().filter(|(name, _)| name == "sqlite_stat1") {
        rows.iter_mut().for_each(|row| drop(row.remove(0)));
        rows.sort_by_key(|row| format!("{row:?}"));
    }
    dump
}

/// The whole content of a database, including rowids.
fn dump(database: &Database) -> Dump {
    let hidden = "'sqlite_sqlhttp'";
    let schema = format!("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name <> {hidden} ORDER BY rowid");
    let tables = format!(
        "SELECT name, sql LIKE '%WITHOUT ROWID' FROM sqlite_schema \
         WHERE type = 'table' AND name <> {hidden} ORDER BY rowid"
    );
    let mut all = vec![("schema".to_owned(), rows(database, &schema))];
    for table in rows(database, &tables) {
        let [Value::Text(name), Value::Integer(keyed)] = table.as_slice() else { panic!("{table:?}") };
        let columns = if *keyed == 0 { "rowid, *" } else { "*" };
        all.push((name.clone(), rows(database, &format!("SELECT {columns} FROM main.\"{name}\""))));
    }
    all.push(("user_version".to_owned(), rows(database, "PRAGMA user_version")));
    all
}

/// Applies the pieces of work one at a time, each in an entry of its own. Returns the log and its outcomes.
fn one_at_a_time(database: &Database, items: &[WorkItem]) -> (Vec<LogWork>, Vec<Outcome>) {
    let (mut log_work, mut all) = (Vec::new(), Vec::new());
    for (item, index) in items.iter().zip(2..) {
        let work = match item {
            WorkItem::Batch(batch, guess) => {
                let asked = || database.classify_blocking(batch.clone()).expect("an answer").exclusive;
                LogWork::Batch { batch: Arc::new(batch.clone()), exclusive: guess.unwrap_or_else(asked), steps_max: 0 }
            }
            WorkItem::Barrier => LogWork::Barrier,
            WorkItem::Membership(who) => LogWork::Membership(vec![*who]),
        };
        log_work.push(work.clone());
        all.extend(apply(database, vec![entry(index, vec![work])]).into_iter().flatten());
    }
    (log_work, all)
}

/// Divides the same work into other entries.
fn divide(log_work: &[LogWork], division: &Division) -> Vec<LogEntry> {
    let mut entries = vec![schema()];
    let (mut rest, mut sizes) = (log_work, division.entries.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| (*size).min(rest.len()));
        let (work, others) = rest.split_at(size);
        entries.push(entry(entries.len() as u64 + 1, work.to_vec()));
        rest = others;
    }
    entries
}

/// Applies the entries in the given calls, some of them more than once. Returns the database, which may have been
/// reopened, and the outcomes.
fn apply_divided(file: &Path, options: &Options, entries: &[LogEntry], division: &Division) -> (Database, Vec<String>) {
    let mut database = open(file, options.clone());
    let (mut done, mut all) = (0, Vec::new());
    let mut plan = division.calls.iter().cycle().zip(division.restarts.iter().cycle());
    while done < entries.len() {
        let Some(((new, old), restart)) = plan.next() else { panic!("the plan ended") };
        let (from, to) = (done.saturating_sub(*old), (done + new).min(entries.len()));
        let outcomes = apply(&database, entries[from..to].to_vec());
        assert_eq!(outcomes.len(), to - from);
        for (index, outcomes) in (from..).zip(outcomes) {
            assert!(index >= done || outcomes.is_empty(), "an old entry has outcomes: {outcomes:?}");
            all.extend(describe(outcomes));
        }
        done = to;
        if *restart {
            block_on(database.close()).expect("close the database");
            drop(database);
            database = open(file, options.clone());
        }
    }
    (database, all)
}

fn same_tables(one: &Database, other: &Database) -> Result<(), TestCaseError> {
    same(dump(one), dump(other))
}

fn same(one: Dump, other: Dump) -> Result<(), TestCaseError> {
    for (one, other) in one.iter().zip(&other) {
        prop_assert_eq!(one, other);
    }
    prop_assert_eq!(one.len(), other.len());
    Ok(())
}

/// Applies the old entries from the first up to some entry again, which must have no effect.
fn apply_again(database: &Database, entries: &[LogEntry], upto: usize) -> Result<(), TestCaseError> {
    let (before, progress) = (dump(database), database.progress());
    let commits = database.status().groups_committed;
    let outcomes = apply(database, entries[..upto].to_vec());
    prop_assert!(outcomes.iter().all(Vec::is_empty), "{:?}", outcomes);
    prop_assert_eq!(dump(database), before);
    prop_assert_eq!(database.progress(), progress);
    prop_assert_eq!(database.status().groups_committed, commits, "applying old entries has committed something");
    Ok(())
}

fn compare(
    items: &[WorkItem],
    division: &Division,
    foreign_keys: bool,
    upto: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let options = Options::default().foreign_keys(foreign_keys).read_threads(1);
    let test_dir = TestDir::new();
    let single = open(&test_dir.path("single"), options.clone());
    let mut want = describe(apply(&single, vec![schema()]).into_iter().flatten());
    let (log_work, others) = one_at_a_time(&single, items);
    want.extend(describe(others));
    let entries = divide(&log_work, division);
    let (database, got) = apply_divided(&test_dir.path("cut"), &options, &entries, division);
    for (index, (want, got)) in want.iter().zip(&got).enumerate() {
        prop_assert_eq!(want, got, "outcome {} differs", index);
    }
    prop_assert_eq!(want.len(), got.len());
    same_tables(&single, &database)?;
    prop_assert_eq!(rows(&database, "PRAGMA integrity_check"), [[text("ok")]]);
    let progress = database.progress();
    let last = entries.last().map(|entry| (entry.term, entry.index));
    prop_assert_eq!(Some((progress.term, progress.index)), last);
    prop_assert_eq!((progress.operations, progress.steps), (0, 0));
    prop_assert_eq!(progress.membership, single.progress().membership);
    apply_again(&database, &entries, upto.index(entries.len()) + 1)
}

/// Compares with a database that is written directly, if all batches are classified. Only whole transactions are
/// compared: with [`Atomicity::Each`], after a step that ended its transaction, `changes()` returns the count of the
/// step before it if a log is applied.
fn compare_with_direct(batches: &[Batch], foreign_keys: bool) -> Result<(), TestCaseError> {
    let whole = |batch: &Batch| Batch { atomicity: Atomicity::All, ..batch.clone() };
    let batches: Vec<Batch> = batches.iter().map(whole).collect();
    let options = Options::default().foreign_keys(foreign_keys).read_threads(1);
    let test_dir = TestDir::new();
    let log = open(&test_dir.path("log"), options.clone());
    let direct = Database::open(":memory:", options).expect("open a database in memory");
    apply(&log, vec![schema()]);
    for work in schema().work {
        let LogWork::Batch { batch, .. } = work else { panic!("the schema is a batch") };
        drop(direct.blocking().run(Batch::clone(&batch)).expect("an outcome"));
    }
    let items: Vec<WorkItem> = batches.iter().map(|batch| WorkItem::Batch(batch.clone(), None)).collect();
    let (_, got) = one_at_a_time(&log, &items);
    let want: Vec<Outcome> =
        batches.iter().map(|batch| direct.blocking().run(batch.clone()).expect("an outcome")).collect();
    // The facts of a step that ended its transaction are lost when the transaction is run again.
    let (want, got) = (describe(want.into_iter().map(without_facts)), describe(got.into_iter().map(without_facts)));
    for (index, (want, got)) in want.iter().zip(&got).enumerate() {
        prop_assert_eq!(want, got, "outcome {} differs", index);
    }
    same(without_order_of_statistics(dump(&direct)), without_order_of_statistics(dump(&log)))
}

fn cases() -> u32 {
    let wanted = std::env::var("SQLHTTP_LOG_CASES").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_division_of_the_log_does_not_change_the_result(
        items in prop::collection::vec(a_work_item(), 1..24),
        division in division(),
        foreign_keys: bool,
        upto: prop::sample::Index,
    ) {
        compare(&items, &division, foreign_keys, upto)?;
    }

    #[test]
    fn a_log_has_the_same_result_as_direct_writes(
        batches in prop::collection::vec(a_batch(), 1..24),
        foreign_keys: bool,
    ) {
        compare_with_direct(&batches, foreign_keys)?;
    }
}
