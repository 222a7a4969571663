//! Snapshots of a database that applies a log: exported while entries are applied, checked, and applied further.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![cfg(feature = "replication")]
mod common;
mod snapshot_support;

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{TestDir, block_on, integer, memory, poll_once, rows, text, wait_until};
use snapshot_support::{append, applied, apply, create, entry, insert, open, operation};
use sqlhttp_core::{Database, Error, LogWork, OnApplied, Progress};

#[test]
fn a_snapshot_contains_the_entries_up_to_its_own_position() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db.sqlite"));
    database.set_log(7);
    create(&database, 32 << 20);
    let last = AtomicU64::new(2);
    let snapshots: Vec<(std::path::PathBuf, Progress)> = std::thread::scope(|scope| {
        let stop = Arc::new(());
        let running = Arc::downgrade(&stop);
        let (database, last) = (&database, &last);
        scope.spawn(move || {
            while running.upgrade().is_some() {
                let index = last.load(Ordering::SeqCst) + 1;
                apply(database, index, &insert(index));
                last.store(index, Ordering::SeqCst);
            }
        });
        let snapshot = |number: usize| {
            let file = test_dir.path(&format!("snapshot-{number}.db"));
            let before = last.load(Ordering::SeqCst);
            let progress = block_on(database.export(file.clone())).expect("a snapshot");
            let after = last.load(Ordering::SeqCst);
            assert!(before <= progress.index, "{before} {progress:?}");
            assert!(progress.index < after, "the writer waited for the snapshot at {progress:?}");
            (file, progress)
        };
        let snapshots = (0..3).map(snapshot).collect();
        drop(stop);
        snapshots
    });
    for (file, progress) in snapshots {
        assert_eq!(progress.log, 0, "a snapshot belongs to no log");
        assert_eq!(Database::check_snapshot(&file).expect("a sound snapshot"), progress);
        let copy = open(&file);
        assert_eq!(copy.progress(), progress);
        assert_eq!(applied(&copy), (3..=progress.index).collect::<Vec<_>>());
        // The log continues from there.
        append(&copy, progress.index + 1, progress.index + 2);
        assert_eq!(applied(&copy), (3..=progress.index + 2).collect::<Vec<_>>());
    }
    assert_eq!(database.progress().log, 7);
}

#[test]
fn a_snapshot_may_be_inside_an_entry() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db.sqlite"));
    apply(&database, 1, "CREATE TABLE t(a)");
    let work = || -> Vec<LogWork> {
        (0..3).map(|number| operation(&format!("INSERT INTO t VALUES ({number})"), true)).collect()
    };
    let exported: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let (copied, exporter, file) = (exported.clone(), database.clone(), test_dir.path("snapshot.db"));
    let on_applied: OnApplied = Box::new(move |_| {
        let mut copied = copied.lock().unwrap();
        if copied.is_empty() {
            copied.push(block_on(exporter.export(file.clone())).expect("a snapshot"));
        }
    });
    block_on(database.apply_and_notify(vec![entry(2, work())], vec![Some(on_applied)])).expect("applied");
    let progress = exported.lock().unwrap().remove(0);
    assert_eq!((progress.index, progress.operations, progress.steps), (1, 1, 0));
    let copy = open(&test_dir.path("snapshot.db"));
    assert_eq!(integer(&copy, "SELECT count(*) FROM t"), 1);
    block_on(copy.apply(vec![entry(2, work())])).expect("the rest of the entry is applied");
    assert_eq!(rows(&copy, "SELECT a FROM t"), rows(&database, "SELECT a FROM t"));
    assert_eq!(copy.progress(), database.progress());
}

#[test]
fn an_export_leaves_one_file_or_none() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db.sqlite"));
    create(&database, 8 << 20);
    block_on(database.export(test_dir.path("a.db"))).expect("a snapshot");
    assert_eq!(test_dir.listing(), ["a.db", "db.sqlite", "db.sqlite-shm", "db.sqlite-wal"]);
    match block_on(database.export(test_dir.path("a.db"))) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
        other => panic!("{other:?}"),
    }
    let mut dropped = Box::pin(database.export(test_dir.path("b.db")));
    assert!(poll_once(dropped.as_mut()).is_pending(), "the copy was complete at once");
    drop(dropped);
    wait_until("no temporary file is left", || !test_dir.listing().iter().any(|name| name.contains('~')));
}

#[test]
fn a_database_without_a_log_has_no_snapshots() {
    let test_dir = TestDir::new();
    let exported = block_on(memory().export(test_dir.path("a.db")));
    assert!(matches!(exported, Err(Error::Unsupported(_))), "{exported:?}");
}

#[test]
fn only_an_undamaged_single_file_with_a_position_is_a_snapshot() {
    let test_dir = TestDir::new();
    let database = open(&test_dir.path("db.sqlite"));
    create(&database, 1 << 20);
    let snapshot = test_dir.path("snapshot.db");
    block_on(database.export(snapshot.clone())).expect("a snapshot");
    let bytes = std::fs::read(&snapshot).unwrap();

    let refused = |name: &str, bytes: &[u8]| {
        let file = test_dir.path(name);
        std::fs::write(&file, bytes).unwrap();
        match Database::check_snapshot(&file) {
            Err(Error::Sqlite { source, .. }) => source.message,
            other => panic!("{name}: {other:?}"),
        }
    };
    let mut damaged = bytes.clone();
    let page = damaged.len() / 2 / 4096 * 4096;
    damaged[page..page + 4096].fill(0xff);
    assert!(refused("damaged.db", &damaged).contains("malformed"));
    let cut = refused("cut.db", &bytes[..bytes.len() / 2]);
    assert!(cut.contains("malformed"), "{cut}");
    let text_file = refused("text.db", b"not a database, but long enough to have a header of its own, one would think");
    assert!(text_file.contains("not a database"), "{text_file}");
    let mut record = bytes.clone();
    let at = record.windows(8).rposition(|window| window == b"sqlhttp\x02").expect("the record");
    record[at + 9] ^= 1;
    let record = refused("record.db", &record);
    assert!(record.contains("record of how far"), "{record}");

    let backup = test_dir.path("backup.db");
    block_on(database.backup(&backup)).expect("a backup");
    Database::remove_progress(&backup).expect("the position is removed");
    assert!(Database::check_snapshot(&backup).unwrap_err().to_string().contains("no such table"));
    let wal = Database::check_snapshot(&test_dir.path("db.sqlite"));
    assert!(matches!(wal, Err(Error::Unsupported(_))), "{wal:?}");
    assert!(Database::check_snapshot(&test_dir.path("missing.db")).is_err());
    assert_eq!(rows(&open(&snapshot), "PRAGMA integrity_check"), [[text("ok")]]);
}
