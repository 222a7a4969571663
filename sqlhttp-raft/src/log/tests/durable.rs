//! Tests of the index of the last durable entry, and of the state machine, which waits for it.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, stream};
use openraft::storage::{EntryResponder, RaftLogStorage as _, RaftStateMachine as _};
use sqlhttp_core::{Database, JournalMode, Options, Writes};

use super::super::disk::Disk as _;
use super::super::memory::{EntryLocation, InMemoryLog};
use super::super::simulated::{Fault, Held, Loss, SimulatedDisk};
use super::super::{LogOptions, LogStore};
use super::support::{append, begin_append, blank};
use crate::machine::StateMachine;
use crate::options::NodeOptions;
use crate::skip::Skips;
use crate::snapshots::Exports;
use crate::timer::CoarseTimer;
use crate::types::{Entry, TypeConfig, log_id};
use crate::verify::DifferenceMark;
use crate::waiters::Waiters;

fn open(disk: &SimulatedDisk) -> LogStore {
    let options = LogOptions { disk: Arc::new(disk.clone()), ..LogOptions::new(Path::new("/log")) };
    LogStore::open(LogOptions { segment_bytes: 4096, ..options }).unwrap()
}

fn blanks(term: u64, indexes: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    indexes.into_iter().map(|index| blank(term, index)).collect()
}

fn open_database(directory: &Path) -> Database {
    let options = Options::default().writes(Writes::Log).journal_mode(JournalMode::Wal).allow_attach(false);
    Database::open(directory.join("db.sqlite"), options).unwrap()
}

fn machine(directory: &Path, database: &Database, log: &LogStore) -> StateMachine {
    let options = NodeOptions::new(directory, "1", "localhost:1");
    let timer = CoarseTimer::start(Duration::from_secs(1));
    let difference = Arc::new(DifferenceMark::open(directory).unwrap());
    let exports = Arc::new(Exports::new(database.clone(), &options.directory, difference));
    let skips = Skips::open(&options.directory, 0, log.clone(), options.observer.clone()).unwrap();
    let skips = Arc::new(skips);
    StateMachine::new(database.clone(), &options, skips, timer, Waiters::default(), log.clone(), exports)
}

fn to_apply(entries: &[Entry]) -> impl Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin {
    stream::iter(entries.iter().cloned().map(|entry| Ok((entry, None))))
}

/// A leader whose disk is slower than those of its followers commits entries before they are durable on its own disk.
#[tokio::test]
async fn an_entry_is_not_applied_before_it_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(directory.path());
    let disk = SimulatedDisk::new();
    let mut log = open(&disk);
    let mut machine = machine(directory.path(), &database, &log);
    let entries = blanks(1, 0..2);
    disk.hold(Held::Syncs);
    let pending = begin_append(&mut log, entries.clone()).await;
    {
        let mut applying = pin!(machine.apply(to_apply(&entries)));
        disk.wait_until_one_is_held();
        let polled = poll_fn(|cx| Poll::Ready(applying.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "{polled:?}");
        // The database carries out its tasks in order, so an entry that it had received would be applied now.
        database.sync().await.unwrap();
        assert_eq!(database.progress().index, 0);
        disk.release();
        applying.await.unwrap();
    }
    assert_eq!(database.progress().index, 2);
    pending.await.unwrap().unwrap();
    log.close();
}

/// The record of an installed snapshot is needed until then.
#[tokio::test]
async fn a_purge_counts_as_durable_when_it_is() {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk);
    append(&mut log, blanks(1, 0..3)).await.unwrap();
    log.purge(log_id(1, 1)).await.unwrap();
    assert_eq!((log.status().purged_index, log.durably_purged_index()), (2, 2));
    disk.hold(Held::Syncs);
    let mut other = log.clone();
    {
        let mut purging = pin!(other.purge(log_id(1, 2)));
        let polled = poll_fn(|cx| Poll::Ready(purging.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "{polled:?}");
        disk.wait_until_one_is_held();
        assert_eq!((log.status().purged_index, log.durably_purged_index()), (3, 2));
        disk.release();
        purging.await.unwrap();
    }
    assert_eq!(log.durably_purged_index(), 3);
    log.close();
    drop((log, other));
    assert_eq!(open(&disk).durably_purged_index(), 3);
}

/// An entry that cannot become durable is never applied, and no apply waits for it without end.
#[tokio::test]
async fn an_entry_is_not_applied_if_the_log_has_failed() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(directory.path());
    let disk = SimulatedDisk::new();
    let mut log = open(&disk);
    let mut machine = machine(directory.path(), &database, &log);
    append(&mut log, blanks(1, 0..1)).await.unwrap();
    disk.set_fault(Fault::FailAt(1));
    let pending = begin_append(&mut log, blanks(1, 1..2)).await;
    let error = machine.apply(to_apply(&blanks(1, 0..2))).await.unwrap_err().to_string();
    assert!(error.contains("a simulated error"), "{error}");
    pending.await.unwrap().unwrap_err();
    machine.apply(to_apply(&blanks(1, 0..1))).await.unwrap();
    assert_eq!(database.progress().index, 1);
    log.close();
}

#[tokio::test]
async fn the_durable_index_follows_the_log() {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk);
    let durable = log.durable_index();
    assert_eq!(durable.get(), 0);
    append(&mut log, blanks(1, 0..5)).await.unwrap();
    assert_eq!(durable.get(), 5);
    log.truncate_after(Some(log_id(1, 2))).await.unwrap();
    assert_eq!(durable.get(), 3);
    disk.hold(Held::Syncs);
    let pending = begin_append(&mut log, blanks(2, 3..9)).await;
    disk.wait_until_one_is_held();
    assert_eq!(durable.get(), 3);
    disk.release();
    pending.await.unwrap().unwrap();
    assert_eq!(durable.get(), 9);
    log.purge(log_id(2, 5)).await.unwrap();
    assert_eq!(durable.get(), 9);
    // A snapshot of another node contains entries that this log never had.
    log.purge(log_id(3, 89)).await.unwrap();
    assert_eq!(durable.get(), 90);
    append(&mut log, blanks(3, 90..92)).await.unwrap();
    assert_eq!(durable.get(), 92);
    log.close();
    durable.reaches(92).await.unwrap();
    let error = durable.reaches(93).await.unwrap_err().to_string();
    assert_eq!(error, "the log is closed");
    disk.crash(Loss::All);
    let log = open(&disk);
    assert_eq!(log.durable_index().get(), 92);
    log.close();
}

/// An entry that is truncated while it is being written is not durable, even if the write succeeds.
#[test]
fn a_truncated_entry_is_not_counted_as_durable() {
    let file = SimulatedDisk::new().create(Path::new("/log/0000000001.log")).unwrap();
    let location = || EntryLocation { number: 1, file: file.clone(), offset: 128, len: 34 };
    let mut memory = InMemoryLog::default();
    for index in 0..3 {
        memory.append(blank(1, index)).unwrap();
    }
    memory.truncate_after(Some(log_id(1, 0)));
    memory.append(blank(2, 1)).unwrap();
    for index in 0..3 {
        memory.set_location(log_id(1, index), location());
    }
    assert_eq!(memory.durable(), 1);
    memory.set_location(log_id(2, 1), location());
    assert_eq!(memory.durable(), 2);
}
