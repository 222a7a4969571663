//! Damage is noticed: by a backup, by the check in the background, and when the files of a database go away.
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

const UNLIMITED: CheckOptions = CheckOptions { pages_per_second: None };
/// So slow that a check does not end during a test.
const SLOW: CheckOptions = CheckOptions { pages_per_second: NonZeroU32::new(1) };

/// Tables of all kinds with indexes, and free pages.
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

/// A closed database in one file, with the numbers of a table's page, an index's and a free one.
fn closed(place: &Place) -> (PathBuf, [(&'static str, u32); 3]) {
    let db = place.open(Options::default());
    fill(&db);
    let root = |name: &str| {
        let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
        u32::try_from(integer(&db, &sql)).expect("a page number")
    };
    let (table, index) = (root("it''s"), root("words"));
    block_on(db.close()).expect("close");
    let path = place.path("test.db");
    let header = std::fs::read(&path).expect("read the file");
    let free = u32::from_be_bytes(header[32..36].try_into().expect("four bytes"));
    assert_ne!(free, 0, "there are free pages");
    (path, [("table", table), ("index", index), ("freelist", free)])
}

fn overwrite(path: &Path, page: u32) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open the file");
    file.write_all_at(&[0xA5; 4096], u64::from(page - 1) * 4096).expect("overwrite a page");
}

fn options(journal_mode: JournalMode) -> Options {
    Options { journal_mode, ..Options::default() }
}

#[test]
fn a_sound_database_is_found_sound_and_the_report_is_kept() {
    // With a rollback journal the tables are checked one by one, as those of a large database are.
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        let place = Place::new();
        let db = place.open(options(mode));
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
fn an_overwritten_page_is_noticed_by_the_check() {
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        for which in 0..3 {
            let place = Place::new();
            let (path, pages) = closed(&place);
            let (what, page) = pages[which];
            overwrite(&path, page);
            let db = place.open(options(mode));
            let report = block_on(db.check_integrity(CheckOptions::default())).expect("a report");
            assert!(!report.is_sound(), "{mode:?} {what}");
            assert!(report.damages.len() <= 20, "{mode:?} {what}: {report:?}");
            assert_eq!(db.status().last_check.as_deref(), Some(&report));
        }
    }
}

#[test]
fn a_backup_of_a_damaged_database_is_an_error_and_no_file() {
    for which in 0..3 {
        let place = Place::new();
        let (path, pages) = closed(&place);
        let (what, page) = pages[which];
        overwrite(&path, page);
        let db = place.open(Options::default());
        let error = block_on(db.backup(&place.path("copy.db"))).expect_err(what);
        let text = error.to_string();
        assert!(text.starts_with("back up: database disk image is malformed"), "{what}: {text}");
        drop(db);
        assert_eq!(place.listing(), ["test.db"], "{what}");
    }
}

#[test]
fn a_sound_database_of_all_kinds_of_tables_is_backed_up() {
    let place = Place::new();
    let db = place.open(Options::default());
    fill(&db);
    let copy = place.path("copy.db");
    block_on(db.backup(&copy)).expect("a backup");
    block_on(db.check_image(copy)).expect("a file that can be loaded");
}

#[test]
fn what_is_damaged_so_that_it_cannot_be_read_at_all_is_reported() {
    let place = Place::new();
    let (path, _) = closed(&place);
    let db = place.open(Options::default());
    // The first page holds the schema; new connections cannot read it.
    overwrite(&path, 1);
    let report = block_on(db.check_integrity(UNLIMITED)).expect("a report");
    assert!(!report.is_sound());
}

/// Polls a future once, so that its work begins.
fn start<F: Future>(future: std::pin::Pin<&mut F>) {
    assert!(matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending), "it ends later");
}

/// Enough pages for some looks at the rate.
fn fill_pages(db: &Database) {
    exec(db, "CREATE TABLE ballast(a)");
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)";
    exec(db, &format!("INSERT INTO ballast {many} SELECT zeroblob(3000) FROM c"));
}

#[test]
fn writes_and_reads_go_on_during_a_check_and_closing_ends_it() {
    let place = Place::new();
    let db = place.open(Options::default());
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
    let place = Place::new();
    let db = place.open(Options::default());
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

/// Writes until a write is refused, and gives the reason.
fn until_refused(db: &Database) -> String {
    let start = Instant::now();
    loop {
        match db.execute_blocking(transaction(&["INSERT INTO pairs VALUES (random(), 1)"])) {
            Err(Error::Poisoned(why)) => return why.to_string(),
            outcome => assert!(start.elapsed() < PATIENCE, "{outcome:?}"),
        }
    }
}

#[test]
fn a_removed_data_directory_stops_writes() {
    let place = Place::new();
    let directory = place.path("data");
    std::fs::create_dir(&directory).expect("a directory");
    let db = Database::open(directory.join("test.db"), Options::default()).expect("open");
    fill(&db);
    db.check_files().expect("all is well");
    std::fs::remove_dir_all(&directory).expect("remove the directory");
    let why = until_refused(&db);
    assert!(why.contains("test.db' was removed or renamed while the database was open"), "{why}");
    assert_eq!(db.status().poisoned.as_deref(), Some(why.as_str()));
    assert!(matches!(db.check_files(), Err(Error::Poisoned(_))));
}

#[test]
fn a_replaced_data_directory_stops_writes() {
    let place = Place::new();
    let directory = place.path("data");
    std::fs::create_dir(&directory).expect("a directory");
    let db = Database::open(directory.join("test.db"), Options::default()).expect("open");
    fill(&db);
    block_on(db.backup(&place.path("copy.db"))).expect("a backup");
    std::fs::rename(&directory, place.path("old")).expect("rename the directory");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::rename(place.path("copy.db"), directory.join("test.db")).expect("put another file in place");
    let error = db.check_files().expect_err("another file").to_string();
    assert!(error.contains("test.db' was replaced by another file while the database was open"), "{error}");
    assert_eq!(until_refused(&db), error.trim_start_matches("the database takes no more writes: "));
}

#[test]
fn a_removed_write_ahead_log_stops_writes() {
    let place = Place::new();
    let db = place.open(Options::default());
    fill(&db);
    std::fs::remove_file(place.path("test.db-wal")).expect("remove the log");
    let error = db.check_files().expect_err("no log").to_string();
    assert!(error.contains("test.db-wal' was removed"), "{error}");
}

#[test]
fn what_the_database_does_to_its_own_files_is_no_replacement() {
    let place = Place::new();
    let db = place.open(Options::default());
    fill(&db);
    block_on(db.vacuum()).expect("vacuum");
    block_on(db.checkpoint()).expect("checkpoint");
    let copy = place.path("copy.db");
    block_on(db.backup(&copy)).expect("a backup");
    block_on(db.check_image(copy.clone())).expect("a sound file");
    block_on(db.replace(copy)).expect("replace all content");
    for mode in ["DELETE", "WAL"] {
        // Refused while a reader has the file open, or obeyed.
        let _ = block_on(db.run_script(&format!("PRAGMA journal_mode={mode}"))).expect("the writer answers");
        db.check_files().expect("the same files");
    }
    exec(&db, "CREATE TABLE after_all(a)");
    block_on(db.close()).expect("close");
    assert!(matches!(db.check_files(), Ok(()) | Err(Error::Closed)));
}
