//! Concurrent reads and writes, dropped requests, deadlines, full queues.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{
    Answer, Atomicity, Backend, Batch, Database, Deadline, Ending, Error, JournalMode, Options, ReadLevel, Step,
    StepOutcome, Value,
};
use std::time::{Duration, Instant};

fn soon() -> Deadline {
    Deadline::after(Instant::now(), Duration::from_millis(50))
}

fn insert(n: i64) -> Batch {
    Batch::one(Step::execute("INSERT INTO t VALUES (?)", [n]))
}

fn with_table(options: Options) -> (TestDir, Database) {
    let test_dir = TestDir::new();
    let db = test_dir.open(options);
    exec(&db, "CREATE TABLE t(a)");
    (test_dir, db)
}

/// Sends a batch with a deadline and waits for the complete outcome.
fn request<'a>(db: &'a Database, batch: Batch, deadline: Deadline) -> PendingOutcome<'a> {
    Box::pin(async move { db.request(batch, ReadLevel::default(), deadline).await?.whole().await })
}

#[test]
fn readers_do_not_wait_for_a_write_and_see_only_committed_data() {
    let (_place, db) = with_table(Options::default());
    exec(&db, "INSERT INTO t VALUES (1)");
    let busy_writer = BusyWriter::start(&db);
    let waiting = start(&db, insert(2));
    for _ in 0..100 {
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 1);
    }
    // A query that takes long enough to run on a thread of the pool.
    let long =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c, t";
    assert_eq!(integer(&db, long), 300_000);
    drop(busy_writer);
    block_on(waiting).expect("an outcome").into_result().unwrap();
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
}

#[test]
fn writes_do_not_wait_for_long_reads() {
    let (_place, db) = with_table(Options::default().read_threads(2));
    // More reads than threads, so that some of them wait.
    let endless: Vec<PendingOutcome<'_>> =
        (0..4).map(|_| start(&db, Batch::one(Step::query(ENDLESS_READ, ())))).collect();
    // The pool adds threads while reads are waiting.
    wait_until("all threads read", || db.status().read_queue_len <= 2);
    for n in 0..10 {
        let written = block_on(request(&db, insert(n), Deadline::after(Instant::now(), Duration::from_secs(10))));
        assert_eq!(written.expect("an outcome").ending, Ending::Done);
    }
    drop(endless);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 10);
}

#[test]
fn a_transaction_of_reads_sees_one_state() {
    let (_place, db) = with_table(Options::default());
    exec(&db, "INSERT INTO t VALUES (0)");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..200).for_each(|_| drop(exec(&db, "UPDATE t SET a = a + 1"))));
        while !writer.is_finished() {
            for batch in [
                transaction(&["SELECT a FROM t", "SELECT a FROM t"]),
                transaction(&["SELECT a FROM t; SELECT a FROM t", "SELECT a FROM t"]),
            ] {
                let outcome = db.blocking().run(batch).expect("an outcome");
                assert_eq!(outcome.steps[0], outcome.steps[1]);
            }
        }
    });
    assert_eq!(integer(&db, "SELECT a FROM t"), 200);
}

#[test]
fn a_read_sees_the_earlier_writes_of_its_thread() {
    for db in [memory(), with_table_kept(Options::default())] {
        exec(&db, "CREATE TABLE IF NOT EXISTS t(a)");
        std::thread::scope(|scope| {
            for thread in 0..8_i64 {
                let db = &db;
                scope.spawn(move || {
                    for n in 0..25 {
                        let value = thread * 1000 + n;
                        db.blocking().run(insert(value)).expect("an outcome").into_result().unwrap();
                        let found = rows_with(db, "SELECT count(*) FROM t WHERE a = ?", [value]);
                        assert_eq!(found, [[Value::Integer(1)]]);
                    }
                });
            }
        });
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 200);
    }
}

/// Opens a database in a directory that is not removed.
fn with_table_kept(options: Options) -> Database {
    let (test_dir, db) = with_table(options);
    std::mem::forget(test_dir);
    db
}

#[test]
fn writes_that_arrive_together_share_a_transaction() {
    let (_place, db) = with_table(Options::default().group_time_max(Duration::from_secs(60)));
    let before = db.status();
    let busy_writer = BusyWriter::start(&db);
    let waiting: Vec<PendingOutcome<'_>> = (0..50).map(|n| start(&db, insert(n))).collect();
    assert_eq!(db.status().write_queue_len, 50);
    drop(busy_writer);
    for waiting in waiting {
        block_on(waiting).expect("an outcome").into_result().unwrap();
    }
    let after = db.status();
    assert_eq!(after.batches_written - before.batches_written, 50);
    assert_eq!(after.groups_committed - before.groups_committed, 1);
}

#[test]
fn dropping_the_future_of_a_queued_write_cancels_it() {
    let (_place, db) = with_table(Options::default());
    let busy_writer = BusyWriter::start(&db);
    let kept = start(&db, insert(1));
    drop(start(&db, insert(2)));
    let each = Batch { atomicity: Atomicity::Each, ..transaction(&["INSERT INTO t VALUES (3)", "VACUUM"]) };
    drop(start(&db, each));
    let marking = transaction(&["CREATE TEMP TABLE x(a)", "INSERT INTO t VALUES (4)"]);
    drop(start(&db, marking));
    let also_kept = start(&db, insert(5));
    drop(busy_writer);
    block_on(kept).expect("an outcome").into_result().unwrap();
    block_on(also_kept).expect("an outcome").into_result().unwrap();
    assert_eq!(rows(&db, "SELECT a FROM t ORDER BY a"), [[Value::Integer(1)], [Value::Integer(5)]]);
}

#[test]
fn dropping_the_future_of_a_read_interrupts_it() {
    for db in [memory(), with_table_kept(Options::default().read_threads(1))] {
        let mut endless: PendingOutcome<'_> = Box::pin(db.run(Batch::one(Step::query(ENDLESS_READ, ()))));
        assert!(poll_once(endless.as_mut()).is_pending());
        drop(endless);
        // The endless read has ended, because the only thread of the pool is available again.
        let long =
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c";
        assert_eq!(integer(&db, long), 300_000);
        exec(&db, "CREATE TABLE IF NOT EXISTS after(a)");
    }
}

#[test]
fn a_deadline_ends_reads_and_writes_and_other_batches_succeed() {
    for db in [memory(), with_table_kept(Options::default())] {
        exec(&db, "CREATE TABLE IF NOT EXISTS t(a)");
        let read = block_on(request(&db, Batch::one(Step::query(ENDLESS_READ, ())), soon()));
        assert!(matches!(read, Err(Error::Timeout)), "{read:?}");
        let neighbours = [
            Batch::one(Step::execute(ENDLESS_WRITE, ())),
            transaction(&["INSERT INTO t VALUES (7)", ENDLESS_WRITE]),
            transaction(&["INSERT INTO t VALUES (8)", ENDLESS_READ]),
            transaction(&["CREATE TEMP TABLE x(a)", "INSERT INTO t VALUES (9)", ENDLESS_READ]),
        ];
        let mut timing_out: Vec<PendingOutcome<'_>> = Vec::new();
        let mut staying: Vec<PendingOutcome<'_>> = Vec::new();
        for (n, endless) in neighbours.into_iter().enumerate() {
            let mut waiting = request(&db, endless, soon());
            assert!(poll_once(waiting.as_mut()).is_pending());
            timing_out.push(waiting);
            let mut waiting: PendingOutcome<'_> = Box::pin(db.run(insert(n as i64)));
            assert!(poll_once(waiting.as_mut()).is_pending());
            staying.push(waiting);
        }
        for waiting in timing_out {
            let answer = block_on(waiting);
            assert!(matches!(answer, Err(Error::Timeout)), "{answer:?}");
        }
        for waiting in staying {
            assert_eq!(block_on(waiting).expect("an outcome").ending, Ending::Done);
        }
        assert_eq!(integer(&db, "SELECT count(*) FROM t WHERE a < 7"), 4);
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 4);
    }
}

#[test]
fn a_long_write_delays_only_later_writes() {
    let (_place, db) = with_table(Options::default());
    let busy_writer = BusyWriter::start(&db);
    let mut first = request(&db, insert(1), Deadline::after(Instant::now(), Duration::from_secs(20)));
    assert!(poll_once(first.as_mut()).is_pending());
    let endless = start(&db, Batch::one(Step::execute(ENDLESS_WRITE, ())));
    let mut behind = request(&db, insert(2), Deadline::after(Instant::now(), Duration::from_millis(500)));
    assert!(poll_once(behind.as_mut()).is_pending());
    drop(busy_writer);
    assert_eq!(block_on(first).expect("an outcome").ending, Ending::Done);
    assert!(matches!(block_on(behind), Err(Error::Timeout)));
    drop(endless);
    exec(&db, "INSERT INTO t VALUES (3)");
    assert_eq!(integer(&db, "SELECT sum(a) FROM t"), 4);
}

#[test]
fn a_queued_write_whose_deadline_has_passed_does_not_run() {
    let (_place, db) = with_table(Options::default());
    let busy_writer = BusyWriter::start(&db);
    let mut waiting = request(&db, insert(1), Deadline::at(Instant::now()));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let each = Batch { atomicity: Atomicity::Each, ..transaction(&["INSERT INTO t VALUES (3)", "VACUUM"]) };
    let mut alone = request(&db, each, Deadline::at(Instant::now()));
    assert!(poll_once(alone.as_mut()).is_pending());
    drop(busy_writer);
    assert!(matches!(block_on(waiting), Err(Error::Timeout)));
    assert!(matches!(block_on(alone), Err(Error::Timeout)));
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
}

#[test]
fn full_queues_refuse_further_batches() {
    let (_place, db) = with_table(Options::default().write_queue_len_max(2).read_queue_len_max(1).read_threads(1));
    let busy_writer = BusyWriter::start(&db);
    let waiting = [start(&db, insert(1)), start(&db, insert(2))];
    let refused = db.blocking().run(insert(3));
    assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
    assert!(refused.is_err_and(|error| error.retry()));
    drop(busy_writer);
    for waiting in waiting {
        block_on(waiting).expect("an outcome").into_result().unwrap();
    }
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);

    let endless = || start(&db, Batch::one(Step::query(ENDLESS_READ, ())));
    let running = endless();
    wait_until("the first read runs", || db.status().read_queue_len == 0);
    let queued = endless();
    let refused = db.blocking().run(Batch::one(Step::query(ENDLESS_READ, ())));
    assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
    drop((running, queued));
    wait_until("the reads have ended", || db.status().read_queue_len == 0);
    db.blocking().run(insert(4)).expect("an outcome").into_result().unwrap();
}

#[test]
fn readers_share_a_database_in_memory_and_no_other_sees_it() {
    let (one, other) = (memory(), memory());
    exec(&one, "CREATE TABLE t(a)");
    exec(&one, "INSERT INTO t VALUES (1)");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) SELECT count(*) FROM c, t";
                assert_eq!(integer(&one, long), 200_000);
            });
        }
    });
    assert_eq!(integer(&other, "SELECT count(*) FROM sqlite_schema"), 0);
    // A session whose state was changed is replaced; the database remains.
    exec(&one, "CREATE TEMP TABLE x(a)");
    assert_eq!(integer(&one, "SELECT count(*) FROM t"), 1);
}

#[test]
fn two_databases_on_one_file_see_each_others_commits() {
    let (test_dir, one) = with_table(Options::default());
    let other = test_dir.open(Options::default());
    std::thread::scope(|scope| {
        for db in [&one, &other] {
            scope.spawn(move || (0..50).for_each(|n| drop(db.blocking().run(insert(n)).expect("an outcome"))));
        }
    });
    for db in [&one, &other] {
        assert_eq!(integer(db, "SELECT count(*) FROM t"), 100);
    }
    exec(&one, "ALTER TABLE t ADD COLUMN b DEFAULT 5");
    assert_eq!(integer(&other, "SELECT min(b) FROM t"), 5);
}

/// SQLite does not check for a newer schema if ALTER TABLE does not find a column.
#[test]
fn a_new_column_can_be_renamed_and_dropped() {
    let (_place, db) = with_table(Options::default());
    let request = |sql: &str| {
        let outcome = block_on(request(&db, Batch::one(Step::execute(sql, ())), Deadline::NEVER)).expect("an outcome");
        assert_eq!(outcome.ending, Ending::Done, "{sql}: {outcome:?}");
    };
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
    for sql in ["ADD COLUMN b", "RENAME b TO c", "ADD COLUMN d", "DROP COLUMN d", "RENAME COLUMN c TO e"] {
        request(&format!("ALTER TABLE t {sql}"));
    }
    request("INSERT INTO t(e) VALUES (1)");
}

/// On a connection whose schema is empty, both statements are reads without an effect.
#[test]
fn reindex_and_analyze_of_new_tables_are_writes() {
    for sql in ["REINDEX", "ANALYZE"] {
        let (_place, db) = with_table(Options::default());
        exec(&db, "CREATE INDEX by_a ON t(a)");
        assert!(db.classify_blocking(Batch::one(Step::execute(sql, ()))).expect("an answer").writes, "{sql}");
    }
}

#[test]
fn a_lock_of_another_connection_is_reported_as_busy() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let options = Options::default().busy_timeout(Duration::from_millis(50)).journal_mode(journal_mode);
        let (test_dir, db) = with_table(options.clone());
        let other = test_dir.open(options);
        let busy_writer = BusyWriter::start(&other);
        // The other writer has taken the statement from its queue, but may not have acquired the lock yet.
        let nothing = || Batch::one(Step::execute("DELETE FROM t WHERE false", ()));
        wait_until("the lock is taken", || db.blocking().run(nothing()).is_err());
        let mut waiting = start(&db, insert(1));
        let busy = block_on(waiting.as_mut());
        assert!(matches!(&busy, Err(Error::Busy(error)) if error.primary_code() == 5), "{busy:?}");
        assert!(busy.is_err_and(|error| error.retry()));
        let alone = db.blocking().run(transaction(&["CREATE TEMP TABLE x(a)", "INSERT INTO t VALUES (2)"]));
        assert!(matches!(alone, Err(Error::Busy(_))), "{alone:?}");
        if journal_mode == JournalMode::Wal {
            assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
        }
        drop(busy_writer);
        wait_until("the lock is free", || db.blocking().run(insert(3)).is_ok());
        assert_eq!(integer(&db, "SELECT a FROM t"), 3);
        assert_eq!(db.status().poisoned, None);
    }
}

#[test]
fn the_owners_pragmas_hold_on_every_connection() {
    for db in [memory(), with_table_kept(Options::default())] {
        exec(&db, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
        exec(&db, "CREATE TABLE c(p REFERENCES p(id))");
        exec(&db, "INSERT INTO c VALUES (1)");
        script(&db, "DELETE FROM c; PRAGMA foreign_keys = ON; PRAGMA case_sensitive_like = ON");
        for _ in 0..3 {
            assert_eq!(integer(&db, "PRAGMA foreign_keys"), 1);
            assert_eq!(integer(&db, "SELECT 'a' LIKE 'A'"), 0);
            let outcome = step(&db, Step::execute("INSERT INTO c VALUES (1)", ()));
            assert!(matches!(outcome, StepOutcome::Failed(_)), "{outcome:?}");
            // This replaces the writer's connection.
            exec(&db, "CREATE TEMP TABLE x(a); PRAGMA foreign_keys = OFF; DROP TABLE x");
        }
        script(&db, "PRAGMA foreign_keys = OFF");
        assert_eq!(integer(&db, "PRAGMA foreign_keys"), 0);
        exec(&db, "INSERT INTO c VALUES (1)");
        let failed =
            block_on(db.run_script("INSERT INTO p VALUES (9); SELECT * FROM nowhere; INSERT INTO p VALUES (10)"));
        assert!(failed.expect("it ran").is_err());
        assert_eq!(rows(&db, "SELECT id FROM p"), [[Value::Integer(9)]], "each statement of a script is a transaction");
    }
}

#[test]
fn a_query_cannot_write() {
    for db in [memory(), with_table_kept(Options::default())] {
        exec(&db, "CREATE TABLE IF NOT EXISTS t(a)");
        for sql in [
            "INSERT INTO t VALUES (1)",
            "CREATE TABLE u(a)",
            "INSERT INTO t VALUES (1) RETURNING a",
            "PRAGMA user_version = 5",
            "WITH x AS (SELECT 1) DELETE FROM t",
            "SELECT 1; DELETE FROM t",
        ] {
            let answer = block_on(db.read_batch(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER));
            let Ok(Answer::Whole(outcome)) = answer else { panic!("{sql}: {answer:?}") };
            let [StepOutcome::Failed(failure)] = &outcome.steps[..] else { panic!("{sql}: {outcome:?}") };
            assert_eq!(failure.to_string(), "attempt to write a readonly database", "{sql}");
        }
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
        assert_eq!(integer(&db, "PRAGMA user_version"), 0);
    }
}

/// SQLite runs an EXPLAIN without checking whether its connection has loaded the schema again, and the instructions
/// that it shows can point to tables that no longer exist.
#[test]
fn an_explain_shows_the_current_schema() {
    let (_place, db) = with_table(Options::default().read_threads(1));
    exec(&db, "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = a + 1; END");
    let explained = || {
        // An ordinary statement makes the reader load the schema again.
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
        rows(&db, "EXPLAIN INSERT INTO t VALUES (1)")
    };
    let before = explained();
    for number in 0..50 {
        exec(&db, &format!("CREATE TABLE other{number}(a)"));
        assert_eq!(integer(&db, &format!("SELECT count(*) FROM other{number} AS \"{}\"", "x".repeat(60))), 0);
        assert_eq!(explained().len(), before.len());
    }
    exec(&db, "CREATE INDEX i ON t(a)");
    assert_ne!(explained().len(), before.len());
}
