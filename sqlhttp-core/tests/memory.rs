//! A database in memory provides the same snapshots as one in a file: reads and writes do not block each other.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::*;
use sqlhttp_core::{
    Answer, Backend, Batch, Database, Deadline, Ending, Options, Part, PartStream, ReadLevel, Step, StepOutcome, Value,
};

/// Runs `work` on a thread of its own. Fails if it does not end within [`PATIENCE`].
fn promptly<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Inserts rows. Fails if a write has to wait for a read.
fn write_promptly(db: &Database, rows: i64) {
    let writing = db.clone();
    promptly("a write waits for a read", move || {
        (0..rows).for_each(|n| drop(exec(&writing, &format!("INSERT INTO t VALUES ({n})"))));
    });
}

fn stream(db: &Database, sql: &str) -> Box<dyn PartStream> {
    let batch = Batch::one(Step::query(sql, ()));
    match block_on(db.read_batch(batch, ReadLevel::None, Deadline::NEVER)).expect("an answer") {
        Answer::Parts(stream) => stream,
        Answer::Whole(outcome) => panic!("the result is not streamed: {outcome:?}"),
    }
}

fn next(stream: &mut Box<dyn PartStream>) -> Option<Part> {
    block_on(stream.next()).map(|part| part.expect("the stream continues"))
}

/// A database with a table `t` of `most` rows.
fn with_rows(most: u64) -> Database {
    let db = memory();
    exec(&db, "CREATE TABLE t(a)");
    exec(&db, &numbers(most));
    db
}

fn numbers(most: u64) -> String {
    format!(
        "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {most}) SELECT n FROM c"
    )
}

fn assert_sound(db: &Database) {
    assert_eq!(rows(db, "PRAGMA integrity_check"), [[text("ok")]]);
}

#[test]
fn a_database_in_memory_has_a_write_ahead_log() {
    let db = memory();
    assert_eq!(scalar(&db, "PRAGMA journal_mode"), text("wal"));
    assert_eq!(scalar(&db, "PRAGMA synchronous"), Value::Integer(2), "the setting of a reader, which has no effect");
}

#[test]
fn a_long_read_does_not_stop_writes() {
    let db = with_rows(1000);
    let endless = "SELECT count(*) FROM t AS a, t AS b, t AS c, t AS d, t AS e WHERE a.a + b.a + c.a + d.a + e.a < 0";
    let reading = start(&db, Batch::one(Step::query(endless, ())));
    wait_until("the read runs", || db.status().read_queue_len == 0);
    write_promptly(&db, 50);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 1050);
    drop(reading);
}

#[test]
fn a_slow_consumer_does_not_stop_writes_and_sees_its_snapshot() {
    let db = with_rows(200_000);
    let mut slow = stream(&db, "SELECT a FROM t");
    assert!(matches!(next(&mut slow), Some(Part::Columns(_))));
    write_promptly(&db, 50);
    let clearing = db.clone();
    promptly("a write waits for a consumer", move || exec(&clearing, "DELETE FROM t"));
    // The rows that the consumer has not read yet are in the database file, which the checkpoint must not change, or in
    // the log.
    block_on(db.checkpoint()).expect("checkpoint");
    write_promptly(&db, 20);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 20);
    let mut sum = 0;
    let mut count = 0;
    while let Some(part) = next(&mut slow) {
        let block: Vec<i64> = match part {
            Part::Rows(block) => block.rows().filter_map(|row| row.get(0)?.as_integer()).collect(),
            Part::Step(StepOutcome::Rows(last), _) => last.iter().filter_map(|row| row.get(0)?.as_integer()).collect(),
            _ => Vec::new(),
        };
        count += block.len();
        sum += block.iter().sum::<i64>();
    }
    assert_eq!((count, sum), (200_000, 200_000 * 200_001 / 2));
    assert_sound(&db);
}

#[test]
fn a_read_neither_sees_nor_waits_for_uncommitted_changes() {
    let db = with_rows(10);
    let reading = db.clone();
    let count = move || integer(&reading, "SELECT count(*) FROM t");
    // A transaction that spills into the log and then does not end.
    let writing = start(&db, transaction(&[&numbers(1_000_000), ENDLESS_WRITE]));
    wait_until("the write runs", || db.status().write_queue_len == 0);
    let seen = promptly("a read waits for a write", move || (0..200).map(|_| count()).collect::<Vec<_>>());
    assert_eq!(seen, [10; 200]);
    drop(writing);
    exec(&db, "INSERT INTO t VALUES (11)");
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 11);
    assert_sound(&db);
}

/// The integer results of a batch of queries, one for each step.
fn integers(db: &Database, sql: &[&str]) -> Vec<i64> {
    let outcome = db.blocking().run(transaction(sql)).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done);
    let one = |step: &StepOutcome| match step {
        StepOutcome::Rows(rows) => match values(rows)[..] {
            [ref row] => match row[..] {
                [Value::Integer(i)] => i,
                _ => panic!("{row:?}"),
            },
            _ => panic!("{rows:?}"),
        },
        other => panic!("{other:?}"),
    };
    outcome.steps.iter().map(one).collect()
}

#[test]
fn sixty_four_threads_read_consistent_snapshots_while_they_write() {
    const WRITERS: i64 = 32;
    const READERS: i64 = 32;
    const EACH: i64 = 50;
    let db = memory();
    exec(&db, "CREATE TABLE account(id INTEGER PRIMARY KEY, money)");
    exec(&db, "CREATE TABLE log(id INTEGER PRIMARY KEY, note)");
    exec(&db, "INSERT INTO account VALUES (1, 1000), (2, 1000)");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let outcome = db.blocking().run(transaction(&[
                            "UPDATE account SET money = money - 1 WHERE id = 1",
                            "INSERT INTO log(note) VALUES (hex(randomblob(2000)))",
                            "UPDATE account SET money = money + 1 WHERE id = 2",
                        ]));
                        assert_eq!(outcome.expect("an outcome").ending, Ending::Done);
                    }
                })
            })
            .collect();
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    let sql = [
                        "SELECT sum(money) FROM account",
                        "SELECT count(*) FROM log",
                        "SELECT money - 1000 FROM account WHERE id = 2",
                        "SELECT count(note) FROM log",
                    ];
                    let seen = integers(&db, &sql);
                    assert_eq!(seen[0], 2000);
                    assert!(seen[1] == seen[2] && seen[1] == seen[3], "the counts are not of one snapshot: {seen:?}");
                    assert!(seen[1] >= most, "a later read saw an older snapshot");
                    most = seen[1];
                }
            });
        }
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(integer(&db, "SELECT count(*) FROM log"), WRITERS * EACH);
    assert_eq!(integer(&db, "SELECT money FROM account WHERE id = 2"), 1000 + WRITERS * EACH);
    assert_sound(&db);
}

#[test]
fn copies_contain_one_snapshot_and_do_not_wait_for_a_write() {
    let test_dir = TestDir::new();
    let db = with_rows(100_000);
    let busy_writer = start(&db, transaction(&["DELETE FROM t", ENDLESS_WRITE]));
    wait_until("the write runs", || db.status().write_queue_len == 0);
    let (backup, copy) = (test_dir.path("backup.db"), test_dir.path("copy.db"));
    let (copying, to) = (db.clone(), backup.clone());
    promptly("a backup waits for a write", move || block_on(copying.backup(&to))).expect("a backup");
    let (copying, sql) = (db.clone(), format!("VACUUM INTO '{}'", copy.display()));
    promptly("VACUUM INTO waits for a write", move || script(&copying, &sql));
    drop(busy_writer);
    for path in [backup, copy] {
        let copy = Database::open(path.as_path(), Options::default()).expect("open the copy");
        assert_eq!(integer(&copy, "SELECT count(*) FROM t"), 100_000, "{path:?}");
        assert_sound(&copy);
    }
}

#[test]
fn vacuum_runs_during_a_read() {
    let db = with_rows(200_000);
    let mut slow = stream(&db, "SELECT a FROM t");
    assert!(matches!(next(&mut slow), Some(Part::Columns(_))));
    exec(&db, "DELETE FROM t WHERE a > 100");
    let pages = integer(&db, "PRAGMA page_count");
    let vacuuming = db.clone();
    promptly("VACUUM waits for a read", move || block_on(vacuuming.vacuum())).expect("vacuum");
    assert!(integer(&db, "PRAGMA page_count") < pages / 10);
    assert_eq!(integer(&db, "SELECT sum(a) FROM t"), 5050);
    drop(slow);
    block_on(db.checkpoint()).expect("checkpoint");
    assert_sound(&db);
}

#[test]
fn files_can_be_attached_and_databases_in_memory_cannot() {
    let test_dir = TestDir::new();
    let options = Options::default().allow_attach(true);
    exec(&test_dir.open(Options::default()), "CREATE TABLE there AS SELECT 42 AS a");
    let db = Database::open(":memory:", options).expect("open");
    exec(&db, "CREATE TABLE here(a)");
    let attach = format!("ATTACH '{}' AS other", test_dir.path("test.db").display());
    let copying =
        [attach.as_str(), "INSERT INTO here SELECT a FROM other.there", "INSERT INTO other.there VALUES (43)"];
    let batch = transaction(&copying);
    let outcome = db.blocking().run(batch).expect("an outcome");
    assert!(!outcome.steps.iter().any(|step| matches!(step, StepOutcome::Failed(_))), "{outcome:?}");
    assert_eq!(integer(&db, "SELECT a FROM here"), 42);
    assert_eq!(rows(&test_dir.open(Options::default()), "SELECT a FROM there").len(), 2);

    let (own, another) = ("sqlhttp-memory:0000000000000001".to_owned(), memory());
    let guess = own.replace(':', ":0");
    for name in [format!("{own}-wal"), format!("{own}-x"), guess, "sqlhttp-memory:".into()] {
        let refused = step(&db, Step::execute(format!("ATTACH '{name}' AS x"), ()));
        assert!(matches!(refused, StepOutcome::Failed(_)), "{name}: {refused:?}");
        let uri = format!("ATTACH 'file:{name}?vfs=sqlhttp-memory' AS x");
        assert!(matches!(step(&db, Step::execute(uri, ())), StepOutcome::Failed(_)), "{name}");
    }
    assert_sound(&another);
    assert_sound(&db);
}

/// The number of temporary files of SQLite that this process has open. They have been unlinked already.
#[cfg(target_os = "linux")]
fn temporary_files() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("the open files");
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    // Linux shows a file that never had a name like this.
    let temporary = |path: &str| path.contains("/etilqs_") || (path.contains("/#") && path.ends_with(" (deleted)"));
    open.filter_map(target).filter(|path| temporary(&path.to_string_lossy())).count()
}

#[cfg(target_os = "linux")]
#[test]
fn temporary_data_is_in_memory_too() {
    let test_dir = TestDir::new();
    let sorted = "SELECT a, hex(zeroblob(50)) AS pad FROM t ORDER BY pad, -a";
    for (db, on_disk) in [(memory(), false), (test_dir.open(Options::default()), true)] {
        exec(&db, "CREATE TABLE t(a)");
        exec(&db, &numbers(300_000));
        let mut sorting = stream(&db, sorted);
        assert!(matches!(next(&mut sorting), Some(Part::Columns(_))));
        assert_eq!(temporary_files() > 0, on_disk, "{db:?}");
    }
    let db = with_rows(300_000);
    let own = ["CREATE TEMP TABLE own AS SELECT a, zeroblob(100) FROM t", "SELECT count(*) FROM own"];
    let outcome = db.blocking().run(transaction(&own)).expect("an outcome");
    assert!(matches!(&outcome.steps[1], StepOutcome::Rows(rows) if values(rows) == [[Value::Integer(300_000)]]));
    assert_eq!(integer(&db, "SELECT count(*) FROM temp.sqlite_schema"), 0);
}

#[test]
fn many_databases_can_be_opened_and_closed() {
    let kept: Vec<Database> = (0..20).map(|n| with_rows(n + 1)).collect();
    for n in 0..200 {
        let db = memory();
        exec(&db, "CREATE TABLE t(a)");
        exec(&db, &format!("INSERT INTO t VALUES ({n})"));
        assert_eq!(integer(&db, "SELECT a FROM t"), n);
        if n % 2 == 0 {
            block_on(db.close()).expect("close");
        }
    }
    for (n, db) in (1..).zip(&kept) {
        assert_eq!(integer(db, "SELECT count(*) FROM t"), n);
    }
}

#[test]
fn a_read_only_database_in_memory_stays_empty() {
    let db = Database::open(":memory:", Options::default().read_only(true)).expect("open");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(integer(&db, "SELECT count(*) FROM sqlite_schema"), 0)));
        }
    });
    assert!(matches!(step(&db, Step::execute("CREATE TABLE t(a)", ())), StepOutcome::Failed(_)));
}
