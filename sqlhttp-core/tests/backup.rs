//! Backups are consistent, are complete or absent, and do not block reads and writes.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{Batch, Database, Ending, Error, JournalMode, Options, Step, Value};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Two accounts between which money is transferred; the sum remains constant.
fn bank(db: &Database) {
    exec(db, "CREATE TABLE one(id INTEGER PRIMARY KEY, money)");
    exec(db, "CREATE TABLE other(id INTEGER PRIMARY KEY, money)");
    exec(db, "CREATE TABLE ballast(a)");
    exec(db, "INSERT INTO one VALUES (1, 1000)");
    exec(db, "INSERT INTO other VALUES (1, 1000)");
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000)";
    exec(db, &format!("INSERT INTO ballast {many} SELECT zeroblob(3000) FROM c"));
}

fn transfer() -> Batch {
    transaction(&[
        "UPDATE one SET money = money - 1",
        "INSERT INTO ballast VALUES (randomblob(2000))",
        "UPDATE other SET money = money + 1",
    ])
}

/// Opens a backup that must be a single file, and checks its integrity.
fn check(path: &Path) -> Database {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut companion = path.as_os_str().to_owned();
        companion.push(suffix);
        assert!(!Path::new(&companion).exists(), "{companion:?}");
    }
    let db = Database::open(path, Options::default().journal_mode(JournalMode::Keep));
    let db = db.expect("open the backup");
    assert_eq!(scalar(&db, "PRAGMA journal_mode"), text("delete"), "the backup needs a second file");
    assert_eq!(rows(&db, "PRAGMA integrity_check"), [[text("ok")]]);
    db
}

fn kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

#[test]
fn a_backup_while_writes_run_is_consistent() {
    let test_dir = TestDir::new();
    for journal_mode in [Some(JournalMode::Wal), Some(JournalMode::Delete), None] {
        let options = Options::default().journal_mode(journal_mode.unwrap_or_default());
        let db = match journal_mode {
            Some(mode) => Database::open(test_dir.path(&format!("{mode:?}.db")), options),
            None => Database::open(":memory:", options),
        };
        let db = db.expect("open");
        bank(&db);
        let done = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0;
                while !done.load(Ordering::Relaxed) {
                    let outcome = db.blocking().run(transfer()).expect("an outcome");
                    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
                    written += 1;
                }
                written
            });
            for n in 0..5 {
                let path = test_dir.path(&format!("backup-{n}-{journal_mode:?}.db"));
                block_on(db.backup(&path)).expect("a backup");
                let copy = check(&path);
                assert_eq!(integer(&copy, "SELECT (SELECT money FROM one) + (SELECT money FROM other)"), 2000);
                let moved = integer(&copy, "SELECT 1000 - money FROM one");
                assert_eq!(integer(&copy, "SELECT count(*) FROM ballast"), 5000 + moved);
            }
            done.store(true, Ordering::Relaxed);
            writer.join().expect("the writer")
        });
        assert_eq!(integer(&db, "SELECT 1000 - money FROM one"), written);
    }
}

#[test]
fn a_backup_contains_the_writes_that_were_acknowledged_before_it_began() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    for n in 1..=10 {
        exec(&db, &format!("INSERT INTO t VALUES ({n})"));
        let path = test_dir.path(&format!("{n}.db"));
        block_on(db.backup(&path)).expect("a backup");
        assert_eq!(integer(&check(&path), "SELECT count(*) FROM t"), n);
    }
}

#[test]
fn a_backup_does_not_overwrite_an_existing_file() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    std::fs::write(test_dir.path("there.db"), "precious").expect("write");
    std::fs::create_dir(test_dir.path("directory")).expect("create");
    let before = test_dir.listing();
    for name in ["there.db", "directory", "test.db"] {
        let error = block_on(db.backup(&test_dir.path(name))).expect_err("the file exists");
        assert_eq!(kind(&error), Some(ErrorKind::AlreadyExists), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(std::fs::read(test_dir.path("there.db")).expect("read"), b"precious");
    assert_eq!(test_dir.listing(), before);
    exec(&db, "INSERT INTO t VALUES (1)");
}

#[test]
fn a_backup_into_a_missing_directory_fails() {
    let test_dir = TestDir::new();
    for db in [test_dir.open(Options::default()), memory()] {
        let before = test_dir.listing();
        let error = block_on(db.backup(&test_dir.path("no/where/x.db"))).expect_err("no directory");
        assert!(matches!(error, Error::Io { .. } | Error::Sqlite { .. }), "{error:?}");
        assert_eq!(test_dir.listing(), before);
        std::fs::write(test_dir.path("file"), "").expect("write");
        let error = block_on(db.backup(&test_dir.path("file/x.db"))).expect_err("a file is not a directory");
        assert!(matches!(error, Error::Io { .. } | Error::Sqlite { .. }), "{error:?}");
        std::fs::remove_file(test_dir.path("file")).expect("remove");
        assert_eq!(test_dir.listing(), before);
    }
}

#[test]
fn a_dropped_backup_leaves_no_temporary_file() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    bank(&db);
    let mut dropped = 0;
    for round in 0..10 {
        // A backup that was almost complete may still get its final name, so each round uses another name.
        let path = test_dir.path(&format!("dropped-{round}.db"));
        let mut backup = Box::pin(db.backup(&path));
        dropped += usize::from(poll_once(backup.as_mut()).is_pending());
        drop(backup);
        wait_until("no temporary file is left", || !test_dir.listing().iter().any(|name| name.contains('~')));
        if path.exists() {
            check(&path);
        }
    }
    assert!(dropped > 0, "every backup completed before it could be dropped");
}

#[test]
fn temporary_files_of_a_crashed_backup_are_replaced() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    bank(&db);
    std::fs::write(test_dir.path("x.db~"), vec![7; 100_000]).expect("write");
    std::fs::write(test_dir.path("x.db~-journal"), vec![7; 10_000]).expect("write");
    block_on(db.backup(&test_dir.path("x.db"))).expect("a backup");
    check(&test_dir.path("x.db"));
    assert!(!test_dir.path("x.db~").exists());
}

#[test]
fn several_backups_run_at_the_same_time() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    bank(&db);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (db, test_dir) = (&db, &test_dir);
            scope.spawn(move || block_on(db.backup(&test_dir.path(&format!("{n}.db")))).expect("a backup"));
        }
    });
    (0..4).for_each(|n| drop(check(&test_dir.path(&format!("{n}.db")))));
    // With the same target, exactly one backup succeeds, and its file is complete.
    let same = test_dir.path("same.db");
    let results: Vec<Result<(), Error>> = std::thread::scope(|scope| {
        let (db, path) = (&db, &same);
        let running: Vec<_> = (0..4).map(|_| scope.spawn(move || block_on(db.backup(path)))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    check(&same);
}

#[test]
fn in_memory_and_read_only_databases_are_backed_up() {
    let test_dir = TestDir::new();
    let db = memory();
    bank(&db);
    block_on(db.backup(&test_dir.path("memory.db"))).expect("a backup");
    assert_eq!(integer(&check(&test_dir.path("memory.db")), "SELECT count(*) FROM ballast"), 5000);

    let empty = memory();
    block_on(empty.backup(&test_dir.path("empty.db"))).expect("a backup of an empty database");
    check(&test_dir.path("empty.db"));

    bank(&test_dir.open(Options::default()));
    let read_only = test_dir.open(Options::default().read_only(true));
    block_on(read_only.backup(&test_dir.path("read-only.db"))).expect("a backup");
    assert_eq!(integer(&check(&test_dir.path("read-only.db")), "SELECT count(*) FROM ballast"), 5000);
}

#[test]
fn a_backup_waits_neither_for_a_write_nor_for_reads() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default().read_threads(1));
    exec(&db, "CREATE TABLE t AS SELECT 1 AS a");
    let busy_writer = BusyWriter::start(&db);
    let reading = start(&db, Batch::one(Step::query(ENDLESS_READ, ())));
    block_on(db.backup(&test_dir.path("backup.db"))).expect("a backup");
    drop((busy_writer, reading));
    assert_eq!(rows(&check(&test_dir.path("backup.db")), "SELECT a FROM t"), [[Value::Integer(1)]]);
}

#[test]
fn vacuum_makes_the_file_smaller_and_keeps_the_content() {
    let test_dir = TestDir::new();
    for db in [test_dir.open(Options::default()), memory()] {
        bank(&db);
        exec(&db, "DELETE FROM ballast WHERE rowid > 100");
        let before = dump(&db);
        let pages = integer(&db, "PRAGMA page_count");
        block_on(db.vacuum()).expect("vacuum");
        assert!(integer(&db, "PRAGMA page_count") < pages / 10);
        assert_eq!(dump(&db), before);
        assert_eq!(rows(&db, "PRAGMA integrity_check"), [[text("ok")]]);
    }
    let db = test_dir.open(Options::default());
    block_on(db.checkpoint()).expect("checkpoint");
    assert!(db.status().file_bytes < 1 << 20, "{:?}", db.status());
}
