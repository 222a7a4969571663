//! Time and random numbers come from the stamp, wherever SQL uses them.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{Atomicity, Batch, Database, Ending, Failure, Options, Stamp, Step, StepOutcome, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// All functions that depend on time or randomness, in all places where SQLite allows them.
const SCHEMA: &[&str] = &[
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT CURRENT_TIMESTAMP, b TEXT DEFAULT CURRENT_DATE,
        c TEXT DEFAULT CURRENT_TIME, d DEFAULT (random()), e DEFAULT (hex(randomblob(6))),
        f DEFAULT (julianday('now')), g DEFAULT (unixepoch('subsec')), h DEFAULT (strftime('%s %f')),
        i CHECK (i IS NULL OR random() IS NOT NULL))",
    "CREATE TABLE log(what, at, rnd)",
    "CREATE TRIGGER tr AFTER INSERT ON t BEGIN
        INSERT INTO log VALUES ('trigger', datetime('now', 'subsec'), random()); END",
    "CREATE TRIGGER del BEFORE DELETE ON t BEGIN
        INSERT INTO log VALUES ('gone', strftime('%Y-%m-%d %H:%M:%f', 'now'), abs(random() % 100)); END",
    "CREATE VIEW v AS SELECT datetime('now') AS at, random() AS rnd, hex(randomblob(3)) AS bytes",
];

const WRITES: &[&str] = &[
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO t(i) VALUES (1), (2), (3)",
    "INSERT INTO t(a) VALUES (CURRENT_TIMESTAMP || random())",
    "INSERT INTO log SELECT * FROM v",
    "INSERT INTO log SELECT 'chosen', id, e FROM t ORDER BY random() LIMIT 2",
    "UPDATE t SET d = random() + 0.5, c = time('now', 'subsec') WHERE id % 2",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50)
        INSERT INTO t(a, b) SELECT random(), julianday() FROM c",
    "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY random() LIMIT 5)",
    "INSERT INTO log SELECT date(), time(), unixepoch() UNION ALL SELECT timediff('now', '2000-01-01'), strftime('%J'), 1",
    "CREATE TABLE made AS SELECT random() AS r, datetime() AS d FROM t",
    "BEGIN; INSERT INTO t DEFAULT VALUES; INSERT INTO log VALUES (random(), CURRENT_TIME, random()); COMMIT",
    "INSERT OR ROLLBACK INTO t(id) SELECT id FROM t",
];

fn stamp(n: u64) -> Stamp {
    Stamp {
        unix_ms: 1_700_000_000_123 + i64::try_from(n).expect("small") * 86_461_001,
        seed: n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

fn stamped(sql: &str, stamp: Stamp) -> Batch {
    Batch { stamp: Some(stamp), ..Batch::one(Step::query(sql, ())) }
}

fn run_all(db: &Database, offset: u64) -> Vec<String> {
    let all = SCHEMA.iter().chain(WRITES).enumerate();
    all.map(|(n, sql)| {
        let batch = stamped(sql, stamp(n as u64 + offset));
        format!("{:?}", db.blocking().run(batch).expect("an outcome"))
    })
    .collect()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

#[test]
fn the_same_batches_with_the_same_stamps_make_the_same_database() {
    let test_dir = TestDir::new();
    let first = test_dir.open(Options::default());
    let found = run_all(&first, 0);
    // A database of another kind, at a later time.
    let started = now_ms();
    wait_until("the clock has advanced", || now_ms() > started + 5);
    let second = memory();
    assert_eq!(run_all(&second, 0), found);
    assert_eq!(dump(&first), dump(&second));
    let third = memory();
    run_all(&third, 1);
    assert_ne!(dump(&third), dump(&second));
}

#[test]
fn every_member_of_a_group_sees_its_own_stamp() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(n, at DEFAULT (unixepoch('subsec')), rnd DEFAULT (random()))");
    let busy_writer = BusyWriter::start(&db);
    let waiting: Vec<PendingOutcome<'_>> =
        (0..20).map(|n| start(&db, stamped(&format!("INSERT INTO t(n) VALUES ({n})"), stamp(n)))).collect();
    drop(busy_writer);
    for waiting in waiting {
        assert_eq!(block_on(waiting).expect("an outcome").ending, Ending::Done);
    }
    let alone = memory();
    exec(&alone, "CREATE TABLE t(n, at DEFAULT (unixepoch('subsec')), rnd DEFAULT (random()))");
    for n in 0..20 {
        let batch = stamped(&format!("INSERT INTO t(n) VALUES ({n})"), stamp(n));
        alone.blocking().run(batch).expect("an outcome").into_result().unwrap();
    }
    assert_eq!(dump(&db), dump(&alone));
    assert_eq!(integer(&db, "SELECT count(DISTINCT at) FROM t"), 20);
    assert_eq!(integer(&db, "SELECT count(DISTINCT rnd) FROM t"), 20);
}

#[test]
fn all_functions_return_the_time_of_the_stamp() {
    let db = memory();
    let at = Stamp { unix_ms: 1_700_000_000_123, seed: 1 };
    let sql = "SELECT datetime('now', 'subsec'), CURRENT_TIMESTAMP, unixepoch(), julianday('now') = julianday('2023-11-14 22:13:20.123'),
        strftime('%s'), date(), (SELECT CURRENT_TIME), timediff('now', '2023-11-14 22:13:20.123')";
    for kind in [Atomicity::All, Atomicity::Each] {
        let mut outcome = db.blocking().run(Batch { atomicity: kind, ..stamped(sql, at) }).expect("an outcome");
        let StepOutcome::Rows(found) = outcome.steps.remove(0) else { panic!("no rows") };
        let want = [
            text("2023-11-14 22:13:20.123"),
            text("2023-11-14 22:13:20"),
            Value::Integer(1_700_000_000),
            Value::Integer(1),
            text("1700000000"),
            text("2023-11-14"),
            text("22:13:20"),
            text("+0000-00-00 00:00:00.000"),
        ];
        assert_eq!(values(&found), [want]);
    }
}

#[test]
fn the_stamp_may_be_before_1970_or_in_the_far_future() {
    let db = memory();
    for (unix_ms, want) in [
        (-1, "1969-12-31 23:59:59.999"),
        (0, "1970-01-01 00:00:00.000"),
        (4_102_444_800_000, "2100-01-01 00:00:00.000"),
    ] {
        let batch = stamped("SELECT datetime('now', 'subsec')", Stamp { unix_ms, seed: 0 });
        let mut outcome = db.blocking().run(batch).expect("an outcome");
        let StepOutcome::Rows(found) = outcome.steps.remove(0) else { panic!("no rows") };
        assert_eq!(values(&found), [[text(want)]]);
    }
}

#[test]
fn the_time_does_not_change_within_a_batch() {
    let db = memory();
    exec(&db, "CREATE TABLE t(at)");
    let busy = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
        INSERT INTO t SELECT unixepoch('subsec') FROM c";
    db.blocking().run(transaction(&[busy, busy, busy])).expect("an outcome").into_result().unwrap();
    assert_eq!(integer(&db, "SELECT count(DISTINCT at) FROM t"), 1);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 60_000);
}

#[test]
fn a_batch_without_a_stamp_uses_the_current_time_and_new_random_numbers() {
    let db = memory();
    exec(&db, "CREATE TABLE t(at DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)), rnd DEFAULT (random()))");
    let before = now_ms();
    for _ in 0..50 {
        exec(&db, "INSERT INTO t DEFAULT VALUES");
    }
    let read = integer(&db, "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)");
    let after = now_ms();
    // Seconds as a REAL have an error of less than a millisecond.
    assert!(integer(&db, "SELECT min(at) FROM t") >= before - 1);
    assert!(integer(&db, "SELECT max(at) FROM t") <= after);
    assert!((before - 1..=after).contains(&read));
    assert_eq!(integer(&db, "SELECT count(DISTINCT rnd) FROM t"), 50);
    let (one, other) = (scalar(&db, "SELECT random()"), scalar(&db, "SELECT random()"));
    assert_ne!(one, other);
}

#[test]
fn the_owners_script_uses_the_current_time() {
    let db = memory();
    let before = now_ms() / 1000;
    script(&db, "CREATE TABLE t AS SELECT unixepoch() AS at");
    assert!((before..=now_ms() / 1000).contains(&integer(&db, "SELECT at FROM t")));
}

#[test]
fn random_numbers_are_distinct_and_balanced() {
    let db = memory();
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10000)";
    assert_eq!(integer(&db, &format!("{many} SELECT count(DISTINCT random()) FROM c")), 10_000);
    let negative = integer(&db, &format!("{many} SELECT sum(random() < 0) FROM c"));
    assert!((4_500..5_500).contains(&negative), "{negative} of 10000 are negative");
    assert_eq!(integer(&db, &format!("{many} SELECT count(DISTINCT randomblob(8)) FROM c")), 10_000);
    // SQLite documents a length of at least one byte (<https://sqlite.org/lang_corefunc.html#randomblob>).
    for (argument, len) in [("0", 1), ("-5", 1), ("1", 1), ("7", 7), ("NULL", 1), ("'9'", 9), ("100", 100), ("2.9", 2)]
    {
        assert_eq!(integer(&db, &format!("SELECT length(randomblob({argument}))")), len, "{argument}");
    }
    assert_eq!(scalar(&db, "SELECT typeof(random()) || typeof(randomblob(3))"), text("integerblob"));
    assert!(matches!(failure(&db, "SELECT randomblob(2000000000)"), Failure::Sql(error) if error.code == 18));
    assert!(matches!(failure(&db, "SELECT random(1)"), Failure::Sql(_)));
}

#[test]
fn non_deterministic_functions_are_refused_where_sqlite_refuses_them() {
    let db = memory();
    for sql in [
        "CREATE TABLE a(x, y AS (random()))",
        "CREATE TABLE a(x, y AS (hex(randomblob(2))) STORED)",
        "CREATE TABLE a(x); CREATE INDEX i ON a(random())",
        "CREATE TABLE a(x); CREATE INDEX i ON a(x) WHERE random() > 0",
        "CREATE TABLE a(x, y AS (datetime('now'))); INSERT INTO a VALUES (1)",
        "CREATE TABLE a(x CHECK (x < datetime('now'))); INSERT INTO a VALUES (1)",
        "CREATE TABLE a(x, y AS (changes()))",
    ] {
        let Failure::Sql(error) = failure(&db, sql) else { panic!("{sql}: not an error of SQLite") };
        assert!(error.message.contains("non-deterministic"), "{sql}: {error}");
    }
}

#[test]
fn a_rolled_back_step_does_not_change_the_random_numbers_of_later_steps() {
    let batch = |db: &Database| {
        exec(db, "CREATE TABLE t(a UNIQUE, r DEFAULT (random()))");
        let steps = ["INSERT INTO t(a) VALUES (1)", "INSERT INTO t(a) VALUES (2), (1)", "INSERT INTO t(a) VALUES (3)"];
        for atomicity in [Atomicity::All, Atomicity::Each] {
            let batch = Batch {
                steps: steps.map(|sql| Step::execute(sql, ()).or_continue()).to_vec(),
                atomicity,
                stamp: Some(stamp(5)),
                ..Batch::default()
            };
            let results = db.blocking().run(batch).expect("an outcome").into_result().expect("a commit");
            assert!(matches!(&results[1], StepOutcome::Failed(failure) if failure.is_unique()));
        }
        dump(db)
    };
    assert_eq!(batch(&memory()), batch(&TestDir::new().open(Options::default())));
}
