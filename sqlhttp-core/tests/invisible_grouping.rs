//! Grouping does not change results: random batches, grouped at random, give the same outcomes and the same database as
//! one at a time. `SQLHTTP_GROUPING_CASES` sets the number of random cases.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sqlhttp_core::{
    Action, Atomicity, Backend, Batch, Bindings, Database, Deadline, Ending, Error, Expect, Failure, OnError, Options,
    Outcome, ReadLevel, Settings, Stamp, Step, StepOutcome, Value,
};
use std::time::{Duration, Instant};

const SCHEMA: &str = "
    CREATE TABLE item(id INTEGER PRIMARY KEY, v INTEGER UNIQUE, s TEXT DEFAULT (datetime('now', 'subsec')),
        r INTEGER DEFAULT (random()));
    CREATE TABLE parent(id INTEGER PRIMARY KEY);
    CREATE TABLE late(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE prompt(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE);
    CREATE TABLE picky(k TEXT PRIMARY KEY ON CONFLICT ROLLBACK, x INTEGER CHECK (x > 0), y NOT NULL) WITHOUT ROWID;
    CREATE TABLE log(a, b, c, d);
    CREATE VIEW clock AS SELECT datetime('now', 'subsec') AS now, random() AS rnd;
    CREATE TRIGGER item_rollback BEFORE INSERT ON item WHEN new.v = 100 BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END;
    CREATE TRIGGER item_abort BEFORE INSERT ON item WHEN new.v = 101 BEGIN SELECT RAISE(ABORT, 'this one'); END;
    CREATE TRIGGER item_fail BEFORE INSERT ON item WHEN new.v = 102 BEGIN SELECT RAISE(FAIL, 'from here'); END;
    CREATE TRIGGER item_ignore BEFORE INSERT ON item WHEN new.v = 103 BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER item_log AFTER INSERT ON item BEGIN
        INSERT INTO log VALUES ('trigger', new.id, datetime('now', 'subsec'), random()); END;
    INSERT INTO parent VALUES (1), (2);
    INSERT INTO item(v) VALUES (0), (1), (2);
";

/// Statements without parameters. Depending on the statements before it, each may succeed or fail.
const FIXED: &[&str] = &[
    "UPDATE item SET v = v + 1 WHERE id = (SELECT max(id) FROM item)",
    "UPDATE item SET v = 1",
    "UPDATE OR IGNORE item SET v = 3",
    "DELETE FROM item WHERE id % 3 = 0",
    "INSERT OR FAIL INTO item(v) VALUES (50), (1), (51)",
    "INSERT OR ROLLBACK INTO item(v) SELECT v FROM item",
    "INSERT OR ABORT INTO item(v) VALUES (60), (1)",
    "INSERT OR REPLACE INTO item(v) VALUES (1), (2) RETURNING id, v, r",
    "INSERT INTO item(v) VALUES (100)",
    "INSERT INTO item(v) VALUES (70), (101)",
    "INSERT INTO item(v) VALUES (80), (102)",
    "INSERT INTO item(v) VALUES (103), (90)",
    "INSERT INTO picky VALUES ('k', 1, 1)",
    "INSERT INTO picky VALUES ('l', 0, 1)",
    "INSERT INTO picky VALUES ('m', 1, NULL)",
    "INSERT INTO late(p) VALUES (99)",
    "INSERT INTO late(p) VALUES (1)",
    "INSERT INTO prompt(p) VALUES (98)",
    "INSERT INTO prompt(p) VALUES (2)",
    "INSERT INTO parent VALUES (99)",
    "DELETE FROM parent WHERE id = 1",
    "DELETE FROM parent WHERE id = 2",
    "DELETE FROM late",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA user_version = 7",
    "INSERT INTO log VALUES (changes(), total_changes(), last_insert_rowid(), 'counts')",
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "INSERT INTO log SELECT 'clock', now, rnd, hex(randomblob(4)) FROM clock",
    "INSERT INTO log SELECT 'order', id, v, s FROM item ORDER BY random() LIMIT 2",
    "SELECT id, v FROM item ORDER BY random() LIMIT 3",
    "SELECT count(*), sum(v) FROM item",
    "CREATE TEMP TABLE item AS SELECT 5 AS v",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON main.item BEGIN INSERT INTO log VALUES ('spy', new.v, 0, 0); END",
    "INSERT INTO log SELECT 'temp', name, 0, 0 FROM temp.sqlite_schema",
    "INSERT INTO log VALUES ('like', 'a' LIKE 'A', 0, 0)",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA ignore_check_constraints = ON",
    "CREATE TABLE extra(a PRIMARY KEY, b)",
    "ALTER TABLE extra ADD COLUMN c DEFAULT 3",
    "INSERT INTO extra(a) VALUES (1)",
    "DROP TABLE extra",
    "CREATE INDEX by_s ON item(s)",
    "VACUUM",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "SAVEPOINT sqlhttp_member",
    "RELEASE sqlhttp_step",
    "ROLLBACK TO sqlhttp_member",
    "BEGIN; INSERT INTO item(v) VALUES (200); UPDATE item SET v = v + 1000 WHERE v = 200; COMMIT",
    "BEGIN IMMEDIATE; INSERT INTO item(v) VALUES (300); INSERT INTO item(v) VALUES (300); END",
    "INSERT INTO log VALUES (1, 2, 3, 4); INSERT INTO item(v) VALUES (1); SELECT 1",
    "CREATE TABLE fresh(a); INSERT INTO fresh VALUES (1); PRAGMA case_sensitive_like = ON; SELECT 'a' LIKE 'A'",
    "CREATE TABLE other(a); INSERT INTO other VALUES (1); CREATE TEMP TABLE log AS SELECT a FROM other",
    "CREATE TABLE third(a); INSERT INTO third VALUES (1); PRAGMA defer_foreign_keys = ON",
    "SELECT * FROM nowhere",
    "not SQL",
    "SELECT 1; SELECT v FROM item WHERE id = 1",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300) INSERT INTO log SELECT 'c', n, 0, 0 FROM c",
    "",
];

/// Statements with one integer parameter.
const WITH_VALUE: &[&str] = &[
    "INSERT INTO item(v) VALUES (?)",
    "INSERT OR IGNORE INTO item(v) VALUES (?1), (?1 + 1)",
    "INSERT OR REPLACE INTO item(v) VALUES (?)",
    "INSERT OR ROLLBACK INTO item(v) VALUES (?)",
    "INSERT OR FAIL INTO item(v) VALUES (?1 + 1), (?1)",
    "INSERT INTO item(v) VALUES (?) ON CONFLICT(v) DO UPDATE SET v = v + 10000",
    "UPDATE OR ROLLBACK item SET v = ?1 WHERE id = 1",
    "DELETE FROM item WHERE v = ?",
    "INSERT INTO picky(k, x, y) VALUES ('p' || ?1, ?1, 1)",
    "INSERT INTO prompt(p) VALUES (?)",
    "INSERT INTO late(p) VALUES (?)",
    "INSERT INTO parent VALUES (?)",
    "DELETE FROM parent WHERE id = ?",
    "INSERT INTO log VALUES (?, changes(), last_insert_rowid(), random())",
    "SELECT * FROM item WHERE v = ?",
];

fn a_step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![0..6_i64, 98..104_i64];
    let fixed = (0..FIXED.len()).prop_map(|i| Action::Run { sql: FIXED[i].into(), bindings: Bindings::none() });
    let with_value = (0..WITH_VALUE.len(), value.clone())
        .prop_map(|(i, v)| Action::Run { sql: WITH_VALUE[i].into(), bindings: Bindings::positional([v]) });
    let each = (0..WITH_VALUE.len(), prop::collection::vec(value, 0..4)).prop_map(|(i, values)| Action::RunEach {
        sql: WITH_VALUE[i].into(),
        bindings: values.into_iter().map(|v| Ok(Bindings::positional([v]))).collect(),
    });
    let failing = Just(Action::Fail(Failure::MissingPositional(1)));
    let action = prop_oneof![40 => fixed, 40 => with_value, 10 => each, 1 => failing];
    let expect = prop_oneof![Just(Expect::Rows), Just(Expect::Count), Just(Expect::Either)];
    let on_error = prop_oneof![2 => Just(OnError::Abort), 1 => Just(OnError::Continue)];
    (action, expect, on_error).prop_map(|(action, expect, on_error)| Step { action, expect, on_error })
}

/// A batch with at least one write, because a batch that only reads does not run on the writer thread.
fn a_batch() -> impl Strategy<Value = Batch> {
    let atomicity = prop_oneof![4 => Just(Atomicity::All), 1 => Just(Atomicity::Each)];
    let steps = prop::collection::vec(a_step(), 0..5);
    let stamp = (any::<u64>(), 0..4_000_000_000_000_i64).prop_map(|(seed, unix_ms)| Stamp { unix_ms, seed });
    (steps, any::<prop::sample::Index>(), atomicity, stamp).prop_map(|(mut steps, index, atomicity, stamp)| {
        let mark = Step::execute("INSERT INTO log VALUES ('mark', changes(), last_insert_rowid(), random())", ());
        steps.insert(index.index(steps.len() + 1), mark);
        Batch { steps, atomicity, stamp: Some(stamp), settings: Settings::Ignore, ..Batch::default() }
    })
}

/// A batch, or one that is cancelled and must leave no changes behind.
#[derive(Debug, Clone)]
enum Member {
    Completes(Batch),
    /// The caller drops its future before the batch runs.
    Dropped(Batch),
    /// The deadline passes before the batch runs or while it runs.
    TimesOut,
}

fn a_member() -> impl Strategy<Value = Member> {
    prop_oneof![
        30 => a_batch().prop_map(Member::Completes),
        2 => a_batch().prop_map(Member::Dropped),
        1 => Just(Member::TimesOut),
    ]
}

/// Formats an answer for comparison.
fn describe(answer: Result<Outcome, Error>) -> String {
    match answer {
        Ok(outcome) => format!("{outcome:#?}"),
        Err(error) => format!("no outcome: {error:?}"),
    }
}

fn one_at_a_time(db: &Database, members: &[Member]) -> Vec<String> {
    let completing = members.iter().filter_map(|member| match member {
        Member::Completes(batch) => Some(batch.clone()),
        Member::Dropped(_) | Member::TimesOut => None,
    });
    completing.map(|batch| describe(db.blocking().run(batch))).collect()
}

/// Runs the members as groups: all are queued in order before the first of them runs.
fn run_grouped(db: &Database, members: &[Member]) -> Vec<String> {
    let busy_writer = BusyWriter::start(db);
    let (mut completing, mut dropped, mut timing_out) = (Vec::new(), Vec::new(), Vec::new());
    for (index, member) in members.iter().enumerate() {
        match member {
            Member::Completes(batch) => completing.push(start(db, batch.clone())),
            Member::Dropped(batch) => dropped.push(start(db, batch.clone())),
            Member::TimesOut => timing_out.push(start_endless(db, Duration::from_millis(30))),
        }
        wait_until("the batch is in the queue", || db.status().write_queue_len > index);
    }
    drop(dropped);
    drop(busy_writer);
    block_on(async {
        let mut answers = Vec::new();
        for waiting in completing {
            answers.push(describe(waiting.await));
        }
        for waiting in timing_out {
            assert!(matches!(waiting.await, Err(Error::Timeout)));
        }
        answers
    })
}

fn start_endless(db: &Database, limit: Duration) -> PendingOutcome<'_> {
    let batch = Batch::one(Step::execute(ENDLESS_WRITE, ()));
    let deadline = Deadline::after(Instant::now(), limit);
    let mut waiting: PendingOutcome<'_> =
        Box::pin(async move { db.request(batch, ReadLevel::default(), deadline).await?.whole().await });
    assert!(poll_once(waiting.as_mut()).is_pending());
    waiting
}

fn compare(members: &[Member], group_len_max: usize) -> Result<(), TestCaseError> {
    let open = |test_dir: &TestDir, group_len_max| {
        let db = test_dir.open(
            Options::default()
                .group_len_max(group_len_max)
                // Long enough for all members to share one transaction.
                .group_time_max(Duration::from_secs(60)),
        );
        let set_up = Batch { stamp: Some(Stamp { unix_ms: 0, seed: 0 }), ..Batch::one(Step::execute(SCHEMA, ())) };
        describe(db.blocking().run(set_up));
        script(&db, "PRAGMA foreign_keys = ON");
        db
    };
    let (alone, grouped) = (TestDir::new(), TestDir::new());
    let (alone, grouped) = (open(&alone, 1), open(&grouped, group_len_max));
    prop_assert_eq!(dump(&alone), dump(&grouped));
    let want = one_at_a_time(&alone, members);
    let got = run_grouped(&grouped, members);
    for (index, (want, got)) in want.iter().zip(&got).enumerate() {
        prop_assert_eq!(want, got, "the outcome of batch {} differs", index);
    }
    prop_assert_eq!(want.len(), got.len());
    prop_assert_eq!(dump(&alone), dump(&grouped));
    prop_assert_eq!(rows(&grouped, "PRAGMA integrity_check"), [[text("ok")]]);
    Ok(())
}

fn cases() -> u32 {
    let wanted = std::env::var("SQLHTTP_GROUPING_CASES").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn grouping_does_not_change_outcomes_or_content(
        members in prop::collection::vec(a_member(), 1..24),
        group_len_max in 2..32_usize,
    ) {
        compare(&members, group_len_max)?;
    }
}

/// Runs batches as one group and returns their outcomes.
fn grouped(db: &Database, batches: &[Batch]) -> Vec<Outcome> {
    let busy_writer = BusyWriter::start(db);
    let waiting: Vec<PendingOutcome<'_>> = batches.iter().map(|batch| start(db, batch.clone())).collect();
    wait_until("all are in the queue", || db.status().write_queue_len == batches.len());
    drop(busy_writer);
    waiting.into_iter().map(|waiting| block_on(waiting).expect("an outcome")).collect()
}

fn with_schema(options: Options) -> (TestDir, Database) {
    let test_dir = TestDir::new();
    let db = test_dir.open(options.group_time_max(Duration::from_secs(60)));
    exec(&db, SCHEMA);
    script(&db, "PRAGMA foreign_keys = ON");
    (test_dir, db)
}

#[test]
fn connection_state_that_one_member_changes_does_not_reach_the_next() {
    for change in [
        "PRAGMA recursive_triggers = ON",
        "CREATE TABLE n(a); INSERT INTO n VALUES (1); CREATE TEMP TABLE log AS SELECT a FROM n",
        "CREATE TABLE n(a); CREATE TABLE temp.log AS SELECT a FROM n",
        "CREATE TABLE n(a); CREATE TEMP TRIGGER tr AFTER INSERT ON n BEGIN SELECT 1; END; INSERT INTO n VALUES (1)",
        "CREATE TABLE n(a); INSERT INTO n VALUES (1); PRAGMA defer_foreign_keys = ON",
    ] {
        let (_place, db) = with_schema(Options::default());
        let batches = [
            Batch::one(Step::execute("INSERT INTO item(v) VALUES (71)", ())),
            Batch::one(Step::execute(change, ())),
            Batch::one(Step::query("INSERT INTO log VALUES (1, 222, 3, 4) RETURNING a", ())),
            Batch::one(Step::execute("INSERT INTO prompt(p) VALUES (98)", ())),
        ];
        let outcomes = grouped(&db, &batches);
        assert_eq!(outcomes[1].ending, Ending::Done, "{change}: {outcomes:?}");
        assert_eq!(outcomes[2].ending, Ending::Done, "{change}: {outcomes:?}");
        assert_eq!(outcomes[3].ending, Ending::Aborted(0), "{change}: the constraint was deferred");
        assert_eq!(rows(&db, "SELECT a FROM main.log WHERE b = 222"), [[Value::Integer(1)]], "{change}");
    }
}

#[test]
fn a_violated_deferred_foreign_key_fails_only_its_own_batch() {
    let (_place, db) = with_schema(Options::default());
    let batches = [
        transaction(&["INSERT INTO item(v) VALUES (70)"]),
        transaction(&["INSERT INTO late(p) VALUES (77)", "INSERT INTO item(v) VALUES (71)"]),
        transaction(&["INSERT INTO parent VALUES (77)"]),
        transaction(&["INSERT INTO late(p) VALUES (78)", "INSERT INTO parent VALUES (78)"]),
    ];
    let outcomes = grouped(&db, &batches);
    let Ending::NotCommitted(Failure::Sql(error)) = &outcomes[1].ending else { panic!("{outcomes:?}") };
    assert_eq!((error.code, error.message.as_str()), (787, "FOREIGN KEY constraint failed"));
    for n in [0, 2, 3] {
        assert_eq!(outcomes[n].ending, Ending::Done, "{outcomes:?}");
    }
    assert_eq!(integer(&db, "SELECT count(*) FROM item WHERE v IN (70, 71)"), 1);
    assert_eq!(rows(&db, "SELECT p FROM late"), [[Value::Integer(78)]]);
    assert_eq!(db.status().groups_committed, 2, "one for the schema, one for the group");
}

#[test]
fn a_violated_deferred_foreign_key_fails_only_its_own_step_with_atomicity_each() {
    let (_place, db) = with_schema(Options::default());
    let each = Batch {
        atomicity: Atomicity::Each,
        ..transaction(&[
            "INSERT INTO item(v) VALUES (70)",
            "INSERT INTO late(p) VALUES (77)",
            "INSERT INTO parent VALUES (77)",
            "INSERT INTO late(p) VALUES (77)",
        ])
    };
    let outcome = db.blocking().run(each).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
    let failed: Vec<bool> = outcome.steps.iter().map(|step| matches!(step, StepOutcome::Failed(_))).collect();
    assert_eq!(failed, [false, true, false, false]);
    assert_eq!(integer(&db, "SELECT count(*) FROM item WHERE v = 70"), 1);
    assert_eq!(integer(&db, "SELECT count(*) FROM late"), 1);
}

#[test]
fn a_statement_that_ends_the_transaction_affects_only_its_own_batch() {
    for culprit in [
        "INSERT INTO item(v) VALUES (100)",
        "INSERT OR ROLLBACK INTO item(v) VALUES (71), (0)",
        "INSERT INTO picky VALUES ('a', 1, 1), ('a', 1, 1)",
        "UPDATE OR ROLLBACK item SET v = 1",
    ] {
        for step in [Step::execute(culprit, ()), Step::execute(culprit, ()).or_continue()] {
            let (_place, db) = with_schema(Options::default());
            let batches = [
                transaction(&["INSERT INTO item(v) VALUES (72)"]),
                Batch::transaction(vec![
                    Step::execute("INSERT INTO item(v) VALUES (73)", ()),
                    step,
                    Step::execute("INSERT INTO item(v) VALUES (74)", ()),
                ]),
                transaction(&["INSERT INTO item(v) VALUES (75)"]),
            ];
            let outcomes = grouped(&db, &batches);
            assert_eq!(outcomes[0].ending, Ending::Done, "{culprit}");
            assert_eq!(outcomes[1].ending, Ending::Aborted(1), "{culprit}: the whole request fails");
            assert_eq!(outcomes[2].ending, Ending::Done, "{culprit}");
            let left = rows(&db, "SELECT v FROM item WHERE v > 70 ORDER BY v");
            assert_eq!(left, [[Value::Integer(72)], [Value::Integer(75)]], "{culprit}");
        }
    }
}

#[test]
fn steps_with_atomicity_each_have_the_same_results_in_a_group_and_alone() {
    let seen = |last: &str| {
        let (_place, db) = with_schema(Options::default());
        let each = Batch {
            atomicity: Atomicity::Each,
            stamp: Some(Stamp { unix_ms: 0, seed: 7 }),
            ..transaction(&[
                "INSERT INTO item(v) VALUES (70), (71)",
                "INSERT INTO log VALUES (changes(), total_changes(), last_insert_rowid(), random())",
                last,
            ])
        };
        assert_eq!(db.blocking().run(each).expect("an outcome").ending, Ending::Done);
        rows(&db, "SELECT a, b, c, d FROM log WHERE a <> 'trigger'")
    };
    assert_eq!(seen("SELECT 1"), seen("VACUUM"));
}
