//! Snapshots that replace the content of an open database, under reads and writes.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![cfg(feature = "replication")]
mod common;
mod snapshot_support;

use std::num::NonZeroU32;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{PendingOutcome, TestDir, block_on, integer, memory, poll_once, wait_until};
use snapshot_support::{append, apply, check, create, entry, insert, open, operation, options, snapshot};
use sqlhttp_core::{
    Answer, Backend as _, Batch, CheckOptions, Database, Deadline, Ending, Error, Part, PartStream, ReadLevel, Step,
    StepOutcome, Value,
};

/// The identity of the log of the database that receives a snapshot.
const OWN_LOG: u128 = 9;
/// The time after which an installation under a long read counts as hanging. Longer than the grace of one second,
/// shorter than the 30 seconds that a read may wait for its caller.
const INSTALL_MAX: Duration = Duration::from_secs(15);

/// Opens a database and applies the entries up to 10.
fn follower(test_dir: &TestDir) -> Database {
    let database = open(&test_dir.path("db.sqlite"));
    database.set_log(OWN_LOG);
    create(&database, 2 << 20);
    append(&database, 3, 10);
    database
}

/// A read that returns a first row, and then runs until it is interrupted.
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                       SELECT zeroblob(100000) UNION ALL SELECT n FROM c WHERE n < 0";

/// A read of several hundred rows, which are streamed in many parts.
const MANY_ROWS: &str = "SELECT n, ballast FROM t WHERE n < 0";

/// Starts a read, which runs when this function returns.
fn stream(database: &Database, sql: &str) -> Box<dyn PartStream> {
    let answer = block_on(database.read_batch(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER));
    let Ok(Answer::Parts(stream)) = answer else { panic!("the result is not streamed: {answer:?}") };
    stream
}

/// A snapshot at entry 40, in the directory of the database.
fn snapshot_at_40(test_dir: &TestDir) -> std::path::PathBuf {
    let file = test_dir.path("db.sqlite-download");
    snapshot(&file, 1 << 20, 40);
    file
}

#[test]
fn a_snapshot_replaces_the_content_and_the_log_continues() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    let expected = Database::check_snapshot(&file).unwrap();
    let progress = block_on(database.install(file)).expect("installed");
    assert_eq!(progress, sqlhttp_core::Progress { log: OWN_LOG, ..expected });
    assert_eq!(database.progress(), progress);
    check(&database, 40);
    append(&database, 41, 42);
    check(&database, 42);
    database.check_files().expect("the files are the right ones");
    assert_eq!(test_dir.listing(), ["db.sqlite", "db.sqlite-shm", "db.sqlite-wal"]);
    // A second snapshot, into a database that was replaced before.
    let file = test_dir.path("db.sqlite-download");
    snapshot(&file, 1 << 20, 50);
    block_on(database.install(file)).expect("installed");
    check(&database, 50);
    drop(database);
    let database = open(&test_dir.path("db.sqlite"));
    check(&database, 50);
    assert_eq!(database.progress().log, OWN_LOG);
}

#[test]
fn entries_that_arrive_during_an_installation_are_applied_after_it() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    // The read delays the installation.
    let _long = stream(&database, ENDLESS);
    let mut install = Box::pin(database.install(file));
    let mut entries = Box::pin(database.apply(vec![entry(41, vec![operation(&insert(41), false)])]));
    assert!(poll_once(install.as_mut()).is_pending());
    assert!(poll_once(entries.as_mut()).is_pending());
    assert_eq!(block_on(entries).expect("entry 41 follows the snapshot").len(), 1);
    assert_eq!(block_on(install).expect("installed").index, 40);
    check(&database, 41);
}

/// The entries that a read finds, or the error. Panics if a part of an entry is missing.
fn read(database: &Database) -> Result<(i64, i64), Error> {
    // Two statements in one read: both must see the same content.
    let sql = "SELECT count(*), max(n) FROM t WHERE n > 0";
    let batch = Batch::transaction(vec![Step::query(sql, ()), Step::query(sql, ())]);
    let outcome = database.blocking().run(batch)?;
    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
    let found: Vec<Vec<Vec<Value>>> = outcome
        .steps
        .iter()
        .map(|step| match step {
            StepOutcome::Rows(rows) => common::values(rows),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found[0], found[1], "a mix of two states");
    match found[0][0][..] {
        [Value::Integer(count), Value::Integer(max)] => Ok((count, max)),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn reads_see_the_old_content_or_the_new() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let (mut reads, mut last) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                match read(&database) {
                    Ok((count, max)) => {
                        // Entry `n` has the rows 2n and 2n+1, and the first one is entry 3.
                        assert_eq!(count, max - 5);
                        assert!(max >= last, "the content went back from {last} to {max}");
                        (reads, last) = (reads + 1, max);
                    }
                    Err(Error::Unavailable(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            (reads, last)
        };
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(reader)).collect();
        for last in [40, 60, 80] {
            let file = test_dir.path("db.sqlite-download");
            snapshot(&file, 1 << 20, last);
            block_on(database.install(file)).expect("installed");
            append(&database, last + 1, last + 10);
        }
        let expected = 2 * 90 + 1;
        wait_until("a read sees the end", || read(&database).is_ok_and(|(_, max)| max == expected));
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            let (reads, _) = reader.join().expect("a reader");
            assert!(reads > 0);
        }
    });
    check(&database, 90);
}

#[test]
fn snapshots_are_exported_while_others_are_installed() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    for (round, last) in [40, 50, 60, 70].into_iter().enumerate() {
        let copies: Vec<_> = (0..3).map(|number| test_dir.path(&format!("copy-{round}-{number}"))).collect();
        let mut exports: Vec<_> = copies.iter().map(|copy| Box::pin(database.export(copy.clone()))).collect();
        exports.iter_mut().for_each(|export| drop(poll_once(export.as_mut())));
        let file = test_dir.path("db.sqlite-download");
        snapshot(&file, 1 << 20, last);
        let begun = Instant::now();
        block_on(database.install(file)).expect("installed");
        assert!(begun.elapsed() < INSTALL_MAX, "{:?}", begun.elapsed());
        for (export, copy) in exports.into_iter().zip(&copies) {
            match block_on(export) {
                Ok(progress) => check(&open(copy), progress.index),
                Err(Error::Unavailable(_) | Error::Busy(_)) => assert!(!copy.exists()),
                Err(error) => panic!("{error:?}"),
            }
        }
        check(&database, last);
    }
}

/// Starts reads until one has to wait, because a snapshot is being installed.
fn waiting_read(database: &Database) -> PendingOutcome<'_> {
    let mut waiting: Option<PendingOutcome<'_>> = None;
    wait_until("a read has to wait", || {
        let mut read: PendingOutcome<'_> = Box::pin(database.run(Batch::one(Step::query("SELECT max(n) FROM t", ()))));
        waiting = poll_once(read.as_mut()).is_pending().then_some(read);
        waiting.is_some()
    });
    waiting.expect("a read")
}

#[test]
fn a_long_read_is_interrupted_and_a_read_that_arrives_meanwhile_waits() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    let long = stream(&database, ENDLESS);
    let begun = Instant::now();
    let mut install = Box::pin(database.install(file));
    assert!(poll_once(install.as_mut()).is_pending());
    let waiting = waiting_read(&database);
    block_on(install).expect("installed");
    assert!(begun.elapsed() < INSTALL_MAX, "{:?}", begun.elapsed());
    let (_, interrupted) = rest(long);
    assert!(matches!(interrupted, Err(Error::Unavailable(_))), "{interrupted:?}");
    let outcome = block_on(waiting).expect("the read has waited");
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else { panic!("{outcome:?}") };
    let found = common::values(rows);
    assert!([[[Value::Integer(21)]], [[Value::Integer(81)]]].iter().any(|state| found == *state), "{found:?}");
    check(&database, 40);
}

/// Takes the rest of a stream. Returns the number of rows, and how the stream ended.
fn rest(mut stream: Box<dyn PartStream>) -> (usize, Result<Ending, Error>) {
    let mut count = 0;
    loop {
        match block_on(stream.next()).expect("an end") {
            Ok(Part::Rows(block)) => count += block.len(),
            Ok(Part::Step(StepOutcome::Rows(rows), _)) => count += rows.len(),
            Ok(Part::End(ending)) => return (count, Ok(ending)),
            Ok(_) => {}
            Err(error) => return (count, Err(error)),
        }
    }
}

#[test]
fn a_read_that_ends_in_time_is_complete_and_a_stalled_one_fails() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    let ballast = integer(&database, "SELECT count(*) FROM t WHERE n < 0");
    let (quick, stalled) = (stream(&database, MANY_ROWS), stream(&database, MANY_ROWS));
    let begun = Instant::now();
    let mut install: Pin<Box<dyn Future<Output = _>>> = Box::pin(database.install(file));
    assert!(poll_once(install.as_mut()).is_pending());
    wait_until("the writer installs the snapshot", || database.status().write_queue_len == 0);
    let (count, ended) = rest(quick);
    assert_eq!((count as i64, ended.expect("a complete result")), (ballast, Ending::Done));
    block_on(install).expect("installed");
    assert!(begun.elapsed() < INSTALL_MAX, "{:?}", begun.elapsed());
    let (count, ended) = rest(stalled);
    assert!((count as i64) < ballast);
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    check(&database, 40);
}

#[test]
fn an_integrity_check_is_ended() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    // The check takes longer than the installation may take.
    let slowly = CheckOptions::with_rate(NonZeroU32::new(25));
    let mut checking = Box::pin(database.check_integrity(slowly));
    assert!(poll_once(checking.as_mut()).is_pending());
    let begun = Instant::now();
    block_on(database.install(file)).expect("installed");
    assert!(begun.elapsed() < INSTALL_MAX, "{:?}", begun.elapsed());
    let ended = block_on(checking);
    // The check may have begun after the installation.
    assert!(matches!(ended, Err(Error::Closed | Error::Busy(_)) | Ok(_)), "{ended:?}");
    check(&database, 40);
}

#[test]
fn the_database_may_be_closed_while_a_snapshot_is_installed() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    let long = stream(&database, ENDLESS);
    let mut install = Box::pin(database.install(file));
    assert!(poll_once(install.as_mut()).is_pending());
    let waiting = waiting_read(&database);
    block_on(database.close()).expect("closed");
    block_on(install).expect("installed");
    assert!(rest(long).1.is_err());
    // It waited for the new content, which came too late or just in time.
    match block_on(waiting) {
        Ok(_) | Err(Error::Closed | Error::Unsupported(_)) => {}
        other => panic!("{other:?}"),
    }
    drop(database);
    check(&open(&test_dir.path("db.sqlite")), 40);
}

/// Checks that the old content is still in use.
fn goes_on(database: &Database) {
    let next = database.progress().index + 1;
    append(database, next, next);
    check(database, next);
    database.check_files().expect("the files are the right ones");
}

#[test]
fn a_file_that_cannot_be_installed_changes_nothing() {
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let file = snapshot_at_40(&test_dir);
    let refused = |file: &Path| {
        let error = block_on(database.install(file.to_owned())).expect_err("refused");
        goes_on(&database);
        error
    };
    let other = TestDir::new();
    let elsewhere = other.path("snapshot.db");
    std::fs::copy(&file, &elsewhere).unwrap();
    assert!(matches!(refused(&elsewhere), Error::Io { .. }));
    assert!(matches!(refused(&test_dir.path("missing")), Error::Sqlite { .. }));
    let text = test_dir.path("text");
    std::fs::write(&text, "not a database, but long enough to have a header of its own, one would think. ".repeat(10))
        .unwrap();
    assert!(matches!(refused(&text), Error::Sqlite { .. }));
    // The identity of another log, as a plain copy of its files would have.
    let foreign = test_dir.path("foreign.db");
    let source = open(&foreign);
    source.set_log(OWN_LOG + 1);
    apply(&source, 1, "CREATE TABLE t(a)");
    drop(source);
    assert!(matches!(refused(&foreign), Error::Unsupported(_)), "in WAL mode");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    let error = refused(&foreign);
    assert!(error.to_string().contains("log of another node"), "{error}");

    let in_memory = block_on(memory().install(file.clone()));
    assert!(matches!(in_memory, Err(Error::Unsupported(_))), "{in_memory:?}");
    block_on(database.install(file)).expect("installed");
    check(&database, 40);
}

#[test]
fn another_user_of_the_file_prevents_an_installation() {
    let test_dir = TestDir::new();
    let options = options().busy_timeout(Duration::from_millis(50));
    let database = Database::open(test_dir.path("db.sqlite"), options).unwrap();
    database.set_log(OWN_LOG);
    create(&database, 1 << 20);
    append(&database, 3, 10);
    let file = snapshot_at_40(&test_dir);
    let other = rusqlite::Connection::open(test_dir.path("db.sqlite")).unwrap();
    let count = || other.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
    count();
    for reads in [false, true] {
        if reads {
            other.execute_batch("BEGIN").unwrap();
            count();
        }
        let error = block_on(database.install(file.clone())).expect_err("the file is in use");
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("another process")), "{error:?}");
        goes_on(&database);
    }
    drop(other);
    block_on(database.install(file)).expect("installed");
    check(&database, 40);
}

/// Copies the files of an open database to another directory, as a killed process would leave them.
fn killed(from: &TestDir, to: &TestDir) {
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("db.sqlite{suffix}");
        std::fs::copy(from.path(&name), to.path(&name)).unwrap();
    }
    assert!(std::fs::metadata(to.path("db.sqlite-wal")).unwrap().len() > 0, "the log would have no effect");
}

fn finish(test_dir: &TestDir) -> bool {
    Database::finish_install(&test_dir.path("db.sqlite"), &test_dir.path("db.sqlite-download")).expect("finished")
}

/// The process is killed after each step before the rename.
#[test]
fn a_write_ahead_log_of_the_old_content_is_never_replayed_into_a_snapshot() {
    let old_dir = TestDir::new();
    let old = follower(&old_dir);
    for removed in [&[] as &[&str], &["-wal"], &["-wal", "-shm"], &["-shm"], &["", "-wal", "-shm"]] {
        let test_dir = TestDir::new();
        killed(&old_dir, &test_dir);
        snapshot_at_40(&test_dir);
        for suffix in removed {
            std::fs::remove_file(test_dir.path(&format!("db.sqlite{suffix}"))).unwrap();
        }
        assert!(finish(&test_dir), "{removed:?}");
        assert_eq!(test_dir.listing(), ["db.sqlite"]);
        assert!(!finish(&test_dir), "the snapshot was renamed before");
        let database = open(&test_dir.path("db.sqlite"));
        assert_eq!(database.progress().log, 0, "the database takes any log");
        check(&database, 40);
    }
    check(&old, 10);
}

/// The process is killed after the rename. The write-ahead log belongs to the new content.
#[test]
fn the_write_ahead_log_of_the_new_content_is_kept() {
    let installed = TestDir::new();
    let database = follower(&installed);
    block_on(database.install(snapshot_at_40(&installed))).expect("installed");
    // The identity of the log is recorded when the installation returns.
    let test_dir = TestDir::new();
    killed(&installed, &test_dir);
    assert!(!finish(&test_dir));
    let found = open(&test_dir.path("db.sqlite"));
    check(&found, 40);
    assert_eq!(found.progress().log, OWN_LOG);
    drop(found);

    append(&database, 41, 45);
    let test_dir = TestDir::new();
    killed(&installed, &test_dir);
    for _ in 0..2 {
        assert!(!finish(&test_dir));
        let found = open(&test_dir.path("db.sqlite"));
        check(&found, 45);
        assert_eq!(found.progress().log, OWN_LOG);
    }
}

#[test]
fn an_installation_is_finished_only_within_a_directory() {
    let (one, other) = (TestDir::new(), TestDir::new());
    snapshot_at_40(&other);
    let error = Database::finish_install(&one.path("db.sqlite"), &other.path("db.sqlite-download")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    // Without an old database, the snapshot becomes the database too.
    assert!(finish(&other));
    check(&open(&other.path("db.sqlite")), 40);
}

#[cfg(unix)]
#[test]
fn the_database_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let test_dir = TestDir::new();
    let database = follower(&test_dir);
    let path = test_dir.path("db.sqlite");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    block_on(database.install(snapshot_at_40(&test_dir))).expect("installed");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
