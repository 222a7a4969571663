//! Opening and closing, async runtimes, read-only databases, journal modes, files that cannot be opened.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{
    Atomicity, Backend, Batch, Database, Deadline, Ending, Error, JournalMode, Options, ReadLevel, Step, StepOutcome,
};
use std::path::Path;

fn insert(n: i64) -> Batch {
    Batch::one(Step::execute("INSERT INTO t VALUES (?)", [n]))
}

fn read_only() -> Options {
    Options::default().read_only(true)
}

#[test]
fn close_finishes_queued_writes_and_leaves_a_single_file() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    let busy_writer = BusyWriter::start(&db);
    let waiting: Vec<PendingOutcome<'_>> = (0..20).map(|n| start(&db, insert(n))).collect();
    let mut closing = Box::pin(db.close());
    assert!(poll_once(closing.as_mut()).is_pending());
    wait_until("new writes are refused", || {
        let mut late: PendingOutcome<'_> = Box::pin(db.run(insert(99)));
        matches!(poll_once(late.as_mut()), std::task::Poll::Ready(Err(Error::Closed)))
    });
    drop(busy_writer);
    block_on(closing).expect("close");
    for waiting in waiting {
        assert_eq!(block_on(waiting).expect("an outcome").ending, Ending::Done);
    }
    let wal = std::fs::metadata(test_dir.path("test.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0, "the write-ahead log still contains data");
    let again = test_dir.open(Options::default());
    assert_eq!(integer(&again, "SELECT count(*) FROM t"), 20);
}

#[test]
fn nothing_runs_after_close() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        exec(&db, "CREATE TABLE t(a)");
        block_on(db.close()).expect("close");
        block_on(db.close()).expect("close again");
        assert!(matches!(db.blocking().run(insert(1)), Err(Error::Closed)));
        assert!(matches!(db.blocking().run(transaction(&["SELECT 1"])), Err(Error::Closed)));
        let query = block_on(db.read_batch(transaction(&["SELECT 1"]), ReadLevel::None, Deadline::NEVER));
        assert!(matches!(query, Err(Error::Closed)));
        assert!(matches!(block_on(db.run_script("SELECT 1")), Err(Error::Closed)));
        assert!(matches!(block_on(db.vacuum()), Err(Error::Closed)));
        assert!(matches!(block_on(db.checkpoint()), Err(Error::Closed)));
        let backup = block_on(db.backup(&test_dir.path("backup.db")));
        assert!(matches!(backup, Err(Error::Closed)), "{backup:?}");
        assert!(!test_dir.path("backup.db").exists());
    }
}

#[test]
fn dropping_the_last_clone_closes_the_database() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    let clone = db.clone();
    drop(db);
    exec(&clone, "CREATE TABLE t(a)");
    drop(clone);
    assert_eq!(test_dir.listing(), ["test.db"]);
}

#[test]
fn close_returns_while_a_stream_is_open() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default().stall_timeout(std::time::Duration::from_millis(200)));
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
    let answer =
        block_on(db.request(transaction(&[endless]), ReadLevel::default(), Deadline::NEVER)).expect("an answer");
    block_on(db.close()).expect("close");
    drop(answer);
}

async fn work(db: &Database) {
    let made = db.run(transaction(&["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"])).await;
    assert_eq!(made.expect("an outcome").ending, Ending::Done);
    let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT n FROM c";
    let answer = db.read_batch(transaction(&[long]), ReadLevel::None, Deadline::NEVER).await;
    let outcome = answer.expect("an answer").whole().await.expect("an outcome");
    assert!(matches!(&outcome.steps[..], [StepOutcome::Rows(rows)] if rows.len() == 300_000));
    db.run_script("INSERT INTO t VALUES (2)").await.expect("it ran").expect("it succeeded");
    db.vacuum().await.expect("vacuum");
    db.checkpoint().await.expect("checkpoint");
    db.close().await.expect("close");
}

#[test]
fn the_api_works_in_a_runtime_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let test_dir = TestDir::new();
    runtime.block_on(work(&test_dir.open(Options::default())));
    runtime.block_on(work(&memory()));
}

#[test]
fn the_api_works_in_a_runtime_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let test_dir = TestDir::new();
    runtime.block_on(work(&test_dir.open(Options::default())));
    runtime.block_on(work(&memory()));
}

#[test]
fn the_api_works_without_a_runtime() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT n FROM c";
    exec(&db, "CREATE TABLE t(a)");
    db.blocking().run(insert(1)).expect("an outcome").into_result().unwrap();
    assert_eq!(rows(&db, long).len(), 300_000);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let db = &db;
            scope.spawn(move || db.blocking().run(insert(n)).expect("an outcome"));
        }
    });
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 9);
}

// --- read-only databases ---

#[test]
fn a_read_only_database_refuses_everything_but_reads() {
    let test_dir = TestDir::new();
    let writer = test_dir.open(Options::default());
    exec(&writer, "CREATE TABLE t(a)");
    exec(&writer, "INSERT INTO t VALUES (1)");
    let db = test_dir.open(read_only());
    for round in 1..=2 {
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), round);
        for sql in [
            "INSERT INTO t VALUES (9)",
            "CREATE TABLE u(a)",
            "DROP TABLE t",
            "PRAGMA user_version = 9",
            "DELETE FROM t RETURNING a",
        ] {
            for atomicity in [Atomicity::All, Atomicity::Each] {
                let batch = Batch { atomicity, ..transaction(&[sql]) };
                let outcome = db.blocking().run(batch).expect("an outcome");
                let [StepOutcome::Failed(failure)] = &outcome.steps[..] else { panic!("{sql}: {outcome:?}") };
                assert_eq!(failure.to_string(), "attempt to write a readonly database", "{sql}");
            }
        }
        // The read-only database sees the writes of other connections.
        exec(&writer, "INSERT INTO t VALUES (2)");
    }
    assert!(matches!(block_on(db.run_script("SELECT 1")), Err(Error::ReadOnly)));
    assert!(matches!(block_on(db.vacuum()), Err(Error::ReadOnly)));
    block_on(db.close()).expect("close");
}

#[test]
fn a_read_only_database_can_be_opened_without_a_writer() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete, JournalMode::Truncate, JournalMode::Persist] {
        let test_dir = TestDir::new();
        let options = Options::default().journal_mode(journal_mode);
        exec(&test_dir.open(options.clone()), "CREATE TABLE t AS SELECT 5 AS a");
        let options = options.read_only(true);
        for _ in 0..2 {
            let db = test_dir.open(options.clone());
            assert_eq!(integer(&db, "SELECT a FROM t"), 5, "{journal_mode:?}");
        }
        let keep = options.journal_mode(JournalMode::Keep);
        assert_eq!(integer(&test_dir.open(keep), "SELECT a FROM t"), 5, "{journal_mode:?}");
    }
}

#[test]
fn a_missing_read_only_database_is_empty_or_refused() {
    let test_dir = TestDir::new();
    let never = read_only().create(false);
    assert_cannot_open(&test_dir.path("absent.db"), never);
    assert!(!test_dir.path("absent.db").exists());
    let db = Database::open(test_dir.path("empty.db"), read_only()).expect("an empty database");
    assert_eq!(integer(&db, "SELECT count(*) FROM sqlite_schema"), 0);
    assert!(matches!(step(&db, Step::execute("CREATE TABLE t(a)", ())), StepOutcome::Failed(_)));
    let db = Database::open(":memory:", read_only()).expect("an empty database in memory");
    assert_eq!(integer(&db, "SELECT 1"), 1);
    assert!(matches!(step(&db, Step::execute("CREATE TABLE t(a)", ())), StepOutcome::Failed(_)));
}

// --- journal modes ---

#[test]
fn every_journal_mode_is_set() {
    // If COMMIT deletes the journal, only synchronous=EXTRA (3) makes the deletion durable
    // (<https://sqlite.org/pragma.html#pragma_synchronous>).
    for (journal_mode, want, synchronous_level) in [
        (JournalMode::Wal, "wal", 2),
        (JournalMode::Delete, "delete", 3),
        (JournalMode::Truncate, "truncate", 2),
        (JournalMode::Persist, "persist", 2),
        (JournalMode::Keep, "delete", 3),
    ] {
        let test_dir = TestDir::new();
        let db = test_dir.open(Options::default().journal_mode(journal_mode));
        let batch = transaction(&["CREATE TABLE t(a)", "PRAGMA journal_mode", "PRAGMA synchronous"]);
        let outcome = db.blocking().run(batch).expect("an outcome");
        let [_, StepOutcome::Rows(mode), StepOutcome::Rows(synchronous)] = &outcome.steps[..] else {
            panic!("{outcome:?}")
        };
        assert_eq!(values(mode), [[text(want)]]);
        assert_eq!(values(synchronous), [[sqlhttp_core::Value::Integer(synchronous_level)]]);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let db = &db;
                scope.spawn(move || {
                    for i in 0..10 {
                        db.blocking().run(insert(n * 100 + i)).expect("an outcome").into_result().unwrap();
                        assert!(integer(db, "SELECT count(*) FROM t") > 0);
                    }
                });
            }
        });
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 40);
    }
}

// --- files that cannot be opened ---

fn assert_cannot_open(path: &Path, options: Options) {
    let error = Database::open(path, options).expect_err("the database could be opened");
    let Error::Sqlite { action, source } = &error else { panic!("{error:?}") };
    assert_eq!((*action, source.primary_code()), ("open database", 14), "{error}");
    assert_eq!(error.to_string(), "open database: unable to open database file");
}

#[test]
fn the_error_says_why_a_file_cannot_be_opened() {
    let test_dir = TestDir::new();
    assert_cannot_open(test_dir.dir.path(), Options::default());
    assert_cannot_open(&test_dir.path("no/such/directory/x.db"), Options::default());
    let never = Options::default().create(false);
    assert_cannot_open(&test_dir.path("absent.db"), never);
    assert_eq!(test_dir.listing(), Vec::<String>::new());
    std::fs::write(test_dir.path("garbage.db"), vec![b'x'; 8192]).expect("write");
    for options in [Options::default(), read_only()] {
        let error = Database::open(test_dir.path("garbage.db"), options).expect_err("the file is not a database");
        assert!(matches!(&error, Error::Sqlite { source, .. } if source.code == 26), "{error:?}");
        assert_eq!(error.to_string(), "open database: file is not a database");
    }
    assert_eq!(
        std::fs::read(test_dir.path("garbage.db")).expect("read"),
        vec![b'x'; 8192],
        "the file has been changed"
    );
    assert_eq!(test_dir.listing(), ["garbage.db"]);
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let test_dir = TestDir::new();
    std::fs::write(test_dir.path("test.db"), "").expect("write");
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
}

#[test]
fn a_path_with_special_characters_of_uris_is_a_path() {
    let test_dir = TestDir::new();
    for name in ["what?.db", "a#b.db", "100%.db", "file:x.db", "ein ä.db", "a?mode=memory&cache=shared"] {
        let db = Database::open(test_dir.path(name), Options::default()).expect(name);
        exec(&db, "CREATE TABLE t(a)");
        assert!(test_dir.path(name).exists(), "{name}");
    }
}

#[test]
fn a_damaged_page_fails_only_the_statements_that_read_it() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE good(a)");
    exec(&db, "CREATE TABLE bad(a)");
    exec(
        &db,
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO bad SELECT zeroblob(100) FROM c",
    );
    let page = integer(&db, "SELECT rootpage FROM sqlite_schema WHERE name = 'bad'") as usize;
    block_on(db.close()).expect("close");
    let mut bytes = std::fs::read(test_dir.path("test.db")).expect("read");
    bytes[(page - 1) * 4096..page * 4096].fill(0xEE);
    std::fs::write(test_dir.path("test.db"), bytes).expect("write");
    let db = test_dir.open(Options::default());
    let StepOutcome::Failed(failure) = step(&db, Step::query("SELECT * FROM bad", ())) else {
        panic!("the query did not fail")
    };
    assert_eq!(failure.to_string(), "database disk image is malformed");
    assert_eq!(integer(&db, "SELECT count(*) FROM good"), 0);
    let write = db.blocking().run(transaction(&["INSERT INTO good VALUES (1)", "DELETE FROM bad WHERE a IS NULL"]));
    assert!(!matches!(&write, Ok(outcome) if outcome.ending == Ending::Done), "{write:?}");
    assert_eq!(integer(&db, "SELECT count(*) FROM good"), 0);
}
