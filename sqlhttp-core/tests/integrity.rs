//! Damage is detected by a backup, by the integrity check, and when the files of a database are removed or replaced.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use std::future::Future;
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use common::*;
use sqlhttp_core::{CheckOptions, Database, Error, JournalMode, Options};

const UNLIMITED: CheckOptions = CheckOptions::with_rate(None);
/// So slow that a check does not end during a test.
const SLOW: CheckOptions = CheckOptions::with_rate(NonZeroU32::new(1));

/// Creates ordinary, WITHOUT ROWID and virtual tables with indexes, and free pages.
fn fill(db: &Database) {
    exec(db, "CREATE TABLE \"it's\"(a INTEGER PRIMARY KEY, b TEXT, c AS (sqrt(a)) STORED)");
    exec(db, "CREATE INDEX words ON \"it's\"(b)");
    exec(db, "CREATE INDEX logs ON \"it's\"(ln(a), replace(b, 'x', 'y'))");
    exec(db, "CREATE TABLE pairs(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID");
    exec(db, "CREATE VIRTUAL TABLE texts USING fts5(t)");
    exec(db, "CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)");
    exec(db, "CREATE VIEW v AS SELECT 1 AS one");
    exec(db, "CREATE TABLE gone(a)");
    let count = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50)";
    exec(db, &format!("INSERT INTO \"it's\"(a, b) {count} SELECT n, 'word ' || n FROM c"));
    exec(db, &format!("INSERT INTO pairs {count} SELECT n, -n FROM c"));
    exec(db, &format!("INSERT INTO texts {count} SELECT 'some text ' || n FROM c"));
    exec(db, &format!("INSERT INTO boxes {count} SELECT n, n, n + 1 FROM c"));
    exec(db, &format!("INSERT INTO gone {count} SELECT zeroblob(3000) FROM c"));
    exec(db, "DROP TABLE gone");
}

/// A closed database in one file, with the page numbers of a table, of an index and of a free page.
fn closed(test_dir: &TestDir) -> (PathBuf, [(&'static str, u32); 3]) {
    let db = test_dir.open(Options::default());
    fill(&db);
    let root = |name: &str| {
        let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
        u32::try_from(integer(&db, &sql)).expect("a page number")
    };
    let (table, index) = (root("it''s"), root("words"));
    block_on(db.close()).expect("close");
    let path = test_dir.path("test.db");
    let header = std::fs::read(&path).expect("read the file");
    let free = u32::from_be_bytes(header[32..36].try_into().expect("four bytes"));
    assert_ne!(free, 0, "the database has no free pages");
    (path, [("table", table), ("index", index), ("freelist", free)])
}

fn overwrite(path: &Path, page: u32) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open the file");
    file.write_all_at(&[0xA5; 4096], u64::from(page - 1) * 4096).expect("overwrite a page");
}

fn options(journal_mode: JournalMode) -> Options {
    Options::default().journal_mode(journal_mode)
}

#[test]
fn the_check_of_a_sound_database_reports_no_damage_and_status_keeps_the_report() {
    // With a rollback journal, tables are checked one by one, as in a large database.
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        let test_dir = TestDir::new();
        let db = test_dir.open(options(mode));
        fill(&db);
        assert!(db.status().last_check.is_none());
        let report = block_on(db.check_integrity(UNLIMITED)).expect("a report");
        assert!(report.is_sound(), "{mode:?}: {report:?}");
        assert!(report.pages_read > 0 && report.unix_ms > 0, "{report:?}");
        assert_eq!(db.status().last_check.as_deref(), Some(&report));
    }
    let db = memory();
    fill(&db);
    assert!(block_on(db.check_integrity(CheckOptions::default())).expect("a report").is_sound());
}

#[test]
fn the_check_reports_an_overwritten_page() {
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        for which in 0..3 {
            let test_dir = TestDir::new();
            let (path, pages) = closed(&test_dir);
            let (what, page) = pages[which];
            overwrite(&path, page);
            let db = test_dir.open(options(mode));
            let report = block_on(db.check_integrity(CheckOptions::default())).expect("a report");
            assert!(!report.is_sound(), "{mode:?} {what}");
            assert!(report.damages.len() <= 20, "{mode:?} {what}: {report:?}");
            assert_eq!(db.status().last_check.as_deref(), Some(&report));
        }
    }
}

#[test]
fn a_backup_of_a_damaged_database_fails_and_leaves_no_file() {
    for which in 0..3 {
        let test_dir = TestDir::new();
        let (path, pages) = closed(&test_dir);
        let (what, page) = pages[which];
        overwrite(&path, page);
        let db = test_dir.open(Options::default());
        let error = block_on(db.backup(&test_dir.path("copy.db"))).expect_err(what);
        let text = error.to_string();
        assert!(text.starts_with("back up: database disk image is malformed"), "{what}: {text}");
        drop(db);
        assert_eq!(test_dir.listing(), ["test.db"], "{what}");
    }
}

#[test]
fn a_sound_database_with_all_kinds_of_tables_is_backed_up() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    fill(&db);
    let copy = test_dir.path("copy.db");
    block_on(db.backup(&copy)).expect("a backup");
    block_on(db.check_image(copy)).expect("a file that can be loaded");
}

#[test]
fn the_check_reports_a_database_whose_schema_cannot_be_read() {
    let test_dir = TestDir::new();
    let (path, _) = closed(&test_dir);
    let db = test_dir.open(Options::default());
    // The first page contains the schema, which new connections then cannot read.
    overwrite(&path, 1);
    let report = block_on(db.check_integrity(UNLIMITED)).expect("a report");
    assert!(!report.is_sound());
}

/// Polls a future once, so that its work begins.
fn start<F: Future>(future: std::pin::Pin<&mut F>) {
    assert!(
        matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending),
        "the future completed at the first poll"
    );
}

/// Adds enough pages for several checks of the rate limit.
fn fill_pages(db: &Database) {
    exec(db, "CREATE TABLE ballast(a)");
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)";
    exec(db, &format!("INSERT INTO ballast {many} SELECT zeroblob(3000) FROM c"));
}

#[test]
fn writes_and_reads_run_during_a_check_and_closing_the_database_ends_it() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    fill_pages(&db);
    let mut check = pin!(db.check_integrity(SLOW));
    start(check.as_mut());
    let second = block_on(db.check_integrity(SLOW));
    assert!(matches!(second, Err(Error::Overloaded(_))), "{second:?}");
    exec(&db, "INSERT INTO ballast VALUES (1)");
    assert_eq!(integer(&db, "SELECT count(*) FROM ballast"), 2001);
    block_on(db.close()).expect("close");
    let ended = block_on(check);
    assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
}

#[test]
fn dropping_the_future_ends_a_check() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    fill_pages(&db);
    {
        let mut check = pin!(db.check_integrity(SLOW));
        start(check.as_mut());
    }
    let start = Instant::now();
    loop {
        match block_on(db.check_integrity(UNLIMITED)) {
            Err(Error::Overloaded(_)) if start.elapsed() < PATIENCE => std::thread::yield_now(),
            report => return assert!(report.expect("a report").is_sound()),
        }
    }
}

/// Writes until a write is refused, and returns the reason.
fn until_refused(db: &Database) -> String {
    let start = Instant::now();
    loop {
        match db.blocking().run(transaction(&["INSERT INTO pairs VALUES (random(), 1)"])) {
            Err(Error::Poisoned(why)) => return why.to_string(),
            outcome => assert!(start.elapsed() < PATIENCE, "{outcome:?}"),
        }
    }
}

#[test]
fn a_removed_data_directory_stops_writes() {
    let test_dir = TestDir::new();
    let directory = test_dir.path("data");
    std::fs::create_dir(&directory).expect("a directory");
    let db = Database::open(directory.join("test.db"), Options::default()).expect("open");
    fill(&db);
    db.check_files().expect("the files are in test_dir");
    std::fs::remove_dir_all(&directory).expect("remove the directory");
    let why = until_refused(&db);
    assert!(why.contains("test.db' was removed or renamed while the database was open"), "{why}");
    assert_eq!(db.status().poisoned.as_deref(), Some(why.as_str()));
    assert!(matches!(db.check_files(), Err(Error::Poisoned(_))));
}

#[test]
fn a_replaced_data_directory_stops_writes() {
    let test_dir = TestDir::new();
    let directory = test_dir.path("data");
    std::fs::create_dir(&directory).expect("a directory");
    let db = Database::open(directory.join("test.db"), Options::default()).expect("open");
    fill(&db);
    block_on(db.backup(&test_dir.path("copy.db"))).expect("a backup");
    std::fs::rename(&directory, test_dir.path("old")).expect("rename the directory");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::rename(test_dir.path("copy.db"), directory.join("test.db")).expect("put another file in test_dir");
    let error = db.check_files().expect_err("another file").to_string();
    assert!(error.contains("test.db' was replaced by another file while the database was open"), "{error}");
    assert_eq!(until_refused(&db), error.trim_start_matches("the database takes no more writes: "));
}

#[test]
fn a_removed_write_ahead_log_stops_writes() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    fill(&db);
    std::fs::remove_file(test_dir.path("test.db-wal")).expect("remove the log");
    let error = db.check_files().expect_err("no log").to_string();
    assert!(error.contains("test.db-wal' was removed"), "{error}");
}

#[test]
fn maintenance_of_the_database_does_not_count_as_a_replaced_file() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    fill(&db);
    block_on(db.vacuum()).expect("vacuum");
    block_on(db.checkpoint()).expect("checkpoint");
    let copy = test_dir.path("copy.db");
    block_on(db.backup(&copy)).expect("a backup");
    block_on(db.check_image(copy.clone())).expect("a sound file");
    block_on(db.replace(copy)).expect("replace all content");
    for mode in ["DELETE", "WAL"] {
        // Fails while a reader has the file open; otherwise the mode changes.
        let _ = block_on(db.run_script(&format!("PRAGMA journal_mode={mode}"))).expect("the script ran");
        db.check_files().expect("the same files");
    }
    exec(&db, "CREATE TABLE after_all(a)");
    block_on(db.close()).expect("close");
    assert!(matches!(db.check_files(), Ok(()) | Err(Error::Closed)));
}
