//! Backups are consistent, complete or absent, and stop nobody.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{Batch, Database, Ending, Error, JournalMode, Options, Step, Value};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Two accounts between which money moves; the sum stays.
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

/// Opens a backup as a single file and looks whether all is well.
fn check(path: &Path) -> Database {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut companion = path.as_os_str().to_owned();
        companion.push(suffix);
        assert!(!Path::new(&companion).exists(), "{companion:?}");
    }
    let db = Database::open(path, Options { journal_mode: JournalMode::Keep, ..Options::default() });
    let db = db.expect("open the backup");
    assert_eq!(scalar(&db, "PRAGMA journal_mode"), text("delete"), "one file is enough");
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
    let place = Place::new();
    for journal_mode in [Some(JournalMode::Wal), Some(JournalMode::Delete), None] {
        let options = Options { journal_mode: journal_mode.unwrap_or_default(), ..Options::default() };
        let db = match journal_mode {
            Some(mode) => Database::open(place.path(&format!("{mode:?}.db")), options),
            None => Database::open(":memory:", options),
        };
        let db = db.expect("open");
        bank(&db);
        let done = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0;
                while !done.load(Ordering::Relaxed) {
                    let outcome = db.execute_blocking(transfer()).expect("an outcome");
                    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
                    written += 1;
                }
                written
            });
            for n in 0..5 {
                let path = place.path(&format!("backup-{n}-{journal_mode:?}.db"));
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
fn a_backup_holds_what_was_acknowledged_before_it_began() {
    let place = Place::new();
    let db = place.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    for n in 1..=10 {
        exec(&db, &format!("INSERT INTO t VALUES ({n})"));
        let path = place.path(&format!("{n}.db"));
        block_on(db.backup(&path)).expect("a backup");
        assert_eq!(integer(&check(&path), "SELECT count(*) FROM t"), n);
    }
}

#[test]
fn an_existing_file_is_refused_and_left_alone() {
    let place = Place::new();
    let db = place.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    std::fs::write(place.path("there.db"), "precious").expect("write");
    std::fs::create_dir(place.path("directory")).expect("create");
    let before = place.listing();
    for name in ["there.db", "directory", "test.db"] {
        let error = block_on(db.backup(&place.path(name))).expect_err("it is there");
        assert_eq!(kind(&error), Some(ErrorKind::AlreadyExists), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(std::fs::read(place.path("there.db")).expect("read"), b"precious");
    assert_eq!(place.listing(), before);
    exec(&db, "INSERT INTO t VALUES (1)");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let place = Place::new();
    for db in [place.open(Options::default()), memory()] {
        let before = place.listing();
        let error = block_on(db.backup(&place.path("no/where/x.db"))).expect_err("no directory");
        assert!(matches!(error, Error::Io { .. } | Error::Sqlite { .. }), "{error:?}");
        assert_eq!(place.listing(), before);
        std::fs::write(place.path("file"), "").expect("write");
        let error = block_on(db.backup(&place.path("file/x.db"))).expect_err("a file is no directory");
        assert!(matches!(error, Error::Io { .. } | Error::Sqlite { .. }), "{error:?}");
        std::fs::remove_file(place.path("file")).expect("remove");
        assert_eq!(place.listing(), before);
    }
}

#[test]
fn a_backup_that_is_given_up_leaves_nothing() {
    let place = Place::new();
    let db = place.open(Options::default());
    bank(&db);
    let mut given_up = 0;
    for round in 0..10 {
        // A backup that had nearly ended gets its name, and no other may have that.
        let path = place.path(&format!("given-up-{round}.db"));
        let mut backup = Box::pin(db.backup(&path));
        given_up += usize::from(poll_once(backup.as_mut()).is_pending());
        drop(backup);
        wait_until("nothing unfinished is left", || !place.listing().iter().any(|name| name.contains('~')));
        if path.exists() {
            check(&path);
        }
    }
    assert!(given_up > 0, "every backup had ended before it could be given up");
}

#[test]
fn leftovers_of_an_earlier_crash_are_in_nobodys_way() {
    let place = Place::new();
    let db = place.open(Options::default());
    bank(&db);
    std::fs::write(place.path("x.db~"), vec![7; 100_000]).expect("write");
    std::fs::write(place.path("x.db~-journal"), vec![7; 10_000]).expect("write");
    block_on(db.backup(&place.path("x.db"))).expect("a backup");
    check(&place.path("x.db"));
    assert!(!place.path("x.db~").exists());
}

#[test]
fn several_backups_at_once() {
    let place = Place::new();
    let db = place.open(Options::default());
    bank(&db);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (db, place) = (&db, &place);
            scope.spawn(move || block_on(db.backup(&place.path(&format!("{n}.db")))).expect("a backup"));
        }
    });
    (0..4).for_each(|n| drop(check(&place.path(&format!("{n}.db")))));
    // To the same name: one wins, and what is there is whole.
    let same = place.path("same.db");
    let results: Vec<Result<(), Error>> = std::thread::scope(|scope| {
        let (db, path) = (&db, &same);
        let running: Vec<_> = (0..4).map(|_| scope.spawn(move || block_on(db.backup(path)))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    check(&same);
}

#[test]
fn backups_of_databases_in_memory_and_of_those_only_read() {
    let place = Place::new();
    let db = memory();
    bank(&db);
    block_on(db.backup(&place.path("memory.db"))).expect("a backup");
    assert_eq!(integer(&check(&place.path("memory.db")), "SELECT count(*) FROM ballast"), 5000);

    let empty = memory();
    block_on(empty.backup(&place.path("empty.db"))).expect("a backup of nothing");
    check(&place.path("empty.db"));

    bank(&place.open(Options::default()));
    let read_only = place.open(Options { read_only: true, ..Options::default() });
    block_on(read_only.backup(&place.path("read-only.db"))).expect("a backup");
    assert_eq!(integer(&check(&place.path("read-only.db")), "SELECT count(*) FROM ballast"), 5000);
}

#[test]
fn a_backup_does_not_wait_for_a_write_nor_for_readers() {
    let place = Place::new();
    let db = place.open(Options { read_threads: 1, ..Options::default() });
    exec(&db, "CREATE TABLE t AS SELECT 1 AS a");
    let plug = Plug::hold(&db);
    let reading = start(&db, Batch::one(Step::query(ENDLESS_READ, ())));
    block_on(db.backup(&place.path("backup.db"))).expect("a backup");
    drop((plug, reading));
    assert_eq!(rows(&check(&place.path("backup.db")), "SELECT a FROM t"), [[Value::Integer(1)]]);
}

#[test]
fn vacuum_makes_the_file_smaller_and_keeps_everything() {
    let place = Place::new();
    for db in [place.open(Options::default()), memory()] {
        bank(&db);
        exec(&db, "DELETE FROM ballast WHERE rowid > 100");
        let before = dump(&db);
        let pages = integer(&db, "PRAGMA page_count");
        block_on(db.vacuum()).expect("vacuum");
        assert!(integer(&db, "PRAGMA page_count") < pages / 10);
        assert_eq!(dump(&db), before);
        assert_eq!(rows(&db, "PRAGMA integrity_check"), [[text("ok")]]);
    }
    let db = place.open(Options::default());
    block_on(db.checkpoint()).expect("checkpoint");
    assert!(db.status().file_bytes < 1 << 20, "{:?}", db.status());
}
