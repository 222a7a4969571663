//! Tests of the log's caching, errors, full disks, closing and statistics.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};

use super::super::frame;
use super::super::simulated::{Fault, Held, Loss, SimulatedDisk};
use super::super::{CheckedLog, LogError, LogOptions, LogStatus, LogStore};
use super::support::{all_entries, append, begin_append, blank, command, members};
use crate::observer::Observer;
use crate::types::{Entry, Vote, id_at, log_id};

fn small(directory: &Path) -> LogOptions {
    LogOptions { segment_bytes: 4096, cache_bytes: 1000, ..LogOptions::new(directory) }
}

fn options_on(disk: &SimulatedDisk) -> LogOptions {
    LogOptions { disk: Arc::new(disk.clone()), ..small(Path::new("/log")) }
}

fn simulated(disk: &SimulatedDisk) -> LogStore {
    LogStore::open(options_on(disk)).unwrap()
}

fn mixed(index: u64) -> Entry {
    match index % 3 {
        0 => blank(2, index),
        1 => members(2, index),
        _ => command(2, index, 200),
    }
}

#[tokio::test]
async fn old_entries_are_read_from_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(small(directory.path())).unwrap();
    let written: Vec<Entry> = (0..200).map(mixed).collect();
    for batch in written.chunks(20) {
        append(&mut log, batch.to_vec()).await.unwrap();
    }
    assert_eq!(all_entries(&mut log).await, written);
    assert_eq!(log.try_get_log_entries(37..=120).await.unwrap(), written[37..121]);
    assert_eq!(log.try_get_log_entries(250..).await.unwrap(), []);
    // An entry that is no longer cached is read from its file, so it cannot be read once the file is damaged.
    let first = directory.path().join("0000000001.log");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, vec![0; bytes.len()]).unwrap();
    let error = log.try_get_log_entries(0..1).await.unwrap_err();
    assert!(error.to_string().contains("damaged at offset 128"), "{error}");
    assert_eq!(log.try_get_log_entries(199..).await.unwrap(), written[199..]);
    log.close();
}

/// A cluster of one node caches an eighth of the entries that another cluster does.
#[tokio::test]
async fn the_cache_is_smaller_in_a_cluster_of_one_node() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(LogOptions { cache_bytes: 8000, ..LogOptions::new(directory.path()) }).unwrap();
    // An entry that is not cached cannot be read once its file is damaged.
    let damage = || {
        let file = directory.path().join("0000000001.log");
        std::fs::write(&file, vec![0; std::fs::metadata(&file).unwrap().len() as usize]).unwrap();
    };
    append(&mut log, (0..40).map(|index| blank(1, index)).collect()).await.unwrap();
    damage();
    assert_eq!(all_entries(&mut log).await.len(), 40);
    log.set_inline_append(true);
    append(&mut log, vec![blank(1, 40)]).await.unwrap();
    damage();
    log.try_get_log_entries(0..1).await.unwrap_err();
    assert_eq!(log.try_get_log_entries(35..41).await.unwrap().len(), 6);
    log.close();
}

#[tokio::test]
async fn entries_can_be_read_before_they_are_durable() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    disk.hold(Held::All);
    let written: Vec<Entry> = (0..30).map(mixed).collect();
    let pending = begin_append(&mut log, written.clone()).await;
    disk.wait_until_one_is_held();
    assert_eq!(all_entries(&mut log).await, written);
    disk.release();
    pending.await.unwrap().unwrap();
    log.close();
}

#[tokio::test]
async fn a_limited_read_has_at_least_one_entry_and_not_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(LogOptions { segment_bytes: 1 << 20, ..small(directory.path()) }).unwrap();
    let mut written: Vec<Entry> = (0..5).map(|index| command(1, index, 3 << 20)).collect();
    written.push(command(1, 5, 9 << 20));
    written.push(blank(1, 6));
    append(&mut log, written.clone()).await.unwrap();
    // At most 8 MiB are read at a time.
    assert_eq!(log.limited_get_log_entries(0, 7).await.unwrap(), written[..2]);
    assert_eq!(log.limited_get_log_entries(4, 7).await.unwrap(), written[4..5]);
    assert_eq!(log.limited_get_log_entries(5, 7).await.unwrap(), written[5..6]);
    assert_eq!(log.limited_get_log_entries(6, 7).await.unwrap(), written[6..]);
    log.close();
    drop(log);
    // A segment may be longer than `segment_bytes` if it contains a single entry that is longer.
    let mut log = LogStore::open(small(directory.path())).unwrap();
    assert_eq!(all_entries(&mut log).await, written);
    log.close();
}

/// Entries that begin later than expected would leave a gap in a follower's log, or in the applied entries.
#[tokio::test]
async fn a_read_never_begins_later_than_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(small(directory.path())).unwrap();
    let written: Vec<Entry> = (0..9).map(mixed).collect();
    append(&mut log, written.clone()).await.unwrap();
    log.purge(log_id(2, 3)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(3, 9).await.unwrap(), []);
    assert_eq!(log.limited_get_log_entries(4, 9).await.unwrap(), written[4..]);
    let mut reader = log.clone();
    let applied = reader.entries_stream(3..9).await.try_collect::<Vec<Entry>>().await;
    let error = applied.unwrap_err().to_string();
    assert!(error.contains("entry 4 is to be applied"), "{error}");
    assert_eq!(reader.entries_stream(4..9).await.try_collect::<Vec<Entry>>().await.unwrap(), written[4..]);
    // The contract of this function allows a range that begins with purged entries.
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap(), written[4..]);
    log.purge(log_id(2, 8)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(8, 9).await.unwrap(), []);
    reader.entries_stream(8..9).await.try_collect::<Vec<Entry>>().await.unwrap_err();
    assert_eq!(reader.entries_stream(9..12).await.try_collect::<Vec<Entry>>().await.unwrap(), []);
    log.close();
}

/// After an error the contents of the disk are unknown, so no later write is reported durable.
#[tokio::test]
async fn a_disk_error_is_final() {
    let mut failing = 0;
    loop {
        let disk = SimulatedDisk::new();
        let mut log = simulated(&disk);
        let vote = Vote::new(1, 1);
        log.save_vote(&vote).await.unwrap();
        disk.set_fault(Fault::FailAt(failing));
        let mut durable = Vec::new();
        for index in 0..40 {
            if append(&mut log, vec![mixed(index)]).await.is_err() {
                break;
            }
            durable.push(mixed(index));
        }
        if durable.len() == 40 {
            log.close();
            break;
        }
        let error = append(&mut log, vec![mixed(durable.len() as u64 + 1)]).await.unwrap_err();
        assert!(error.to_string().contains("a simulated error"), "operation {failing}: {error}");
        log.save_vote(&Vote::new(2, 2)).await.unwrap_err();
        log.truncate_after(None).await.unwrap_err();
        log.purge(log_id(2, 0)).await.unwrap_err();
        assert_eq!(log.read_vote().await.unwrap(), Some(vote), "a vote that was not saved is relied on");
        log.close();
        disk.crash(Loss::All);
        let mut log = simulated(&disk);
        assert_eq!(all_entries(&mut log).await, durable, "operation {failing}");
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        append(&mut log, vec![mixed(durable.len() as u64)]).await.unwrap();
        log.close();
        failing += 1;
    }
    assert!(failing > 80, "only {failing} operations");
}

#[tokio::test]
async fn a_directory_cannot_be_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let first = LogStore::open(small(directory.path())).unwrap();
    assert!(matches!(LogStore::open(small(directory.path())), Err(LogError::InUse)));
    first.close();
    drop(first);
    LogStore::open(small(directory.path())).unwrap().close();
}

#[tokio::test]
async fn closing_writes_queued_operations_and_refuses_later_ones() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    disk.hold(Held::All);
    let mut pending = Vec::new();
    for index in 0..20 {
        pending.push(begin_append(&mut log, vec![mixed(index)]).await);
    }
    disk.release();
    log.close();
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    let error = append(&mut log, vec![mixed(20)]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    log.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    log.close();
    disk.crash(Loss::All);
    let mut log = simulated(&disk);
    assert_eq!(all_entries(&mut log).await, (0..20).map(mixed).collect::<Vec<_>>());
    log.close();
}

/// The log waits while the disk is full, and continues when there is space: no entry is lost or reported durable too
/// early.
#[tokio::test]
async fn the_log_waits_for_a_full_disk() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    append(&mut log, vec![mixed(0)]).await.unwrap();
    disk.set_fault(Fault::Full);
    let mut pending = Vec::new();
    // These are enough entries for several segments.
    for index in 1..40 {
        pending.push(begin_append(&mut log, vec![mixed(index)]).await);
    }
    while log.waits_for().is_none() {
        std::thread::yield_now();
    }
    assert!(log.waits_for().is_some_and(|why| why.contains("the log waits")));
    assert!(pending[0].try_recv().is_err(), "reported although nothing is written");
    disk.set_fault(Fault::None);
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    assert_eq!(log.waits_for(), None);
    log.close();
    disk.crash(Loss::All);
    let mut log = simulated(&disk);
    assert_eq!(all_entries(&mut log).await, (0..40).map(mixed).collect::<Vec<_>>());
    log.close();
}

/// The torn tail of a write can occupy much of the disk. Opening the log must free its space.
#[tokio::test]
async fn the_space_of_a_torn_tail_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new(dir.path());
    let mut log = LogStore::open(options.clone()).unwrap();
    append(&mut log, vec![mixed(0)]).await.unwrap();
    log.close();
    drop(log);
    let path = dir.path().join("0000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let sound = bytes.len();
    bytes.resize(sound + (5 << 20), 0xA5);
    std::fs::write(&path, bytes).unwrap();

    let mut log = LogStore::open(options).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() <= sound as u64);
    append(&mut log, vec![mixed(1)]).await.unwrap();
    assert_eq!(all_entries(&mut log).await, [mixed(0), mixed(1)]);
    log.close();
}

/// The simulated disk has 12 MiB of free space, of which 8 MiB are the reserve.
#[tokio::test]
async fn a_reserve_of_the_disk_stays_free() {
    let disk = SimulatedDisk::new();
    let log = simulated(&disk);
    assert!(!log.lacks_space_for(1 << 40), "a disk that does not tell is not limited");
    disk.set_fault(Fault::Full);
    assert!(!log.lacks_space_for(4 << 20));
    assert!(log.lacks_space_for((4 << 20) + 1));
    log.close();
}

/// Closing the log does not wait for a full disk. An entry that was not written is not reported durable.
#[tokio::test]
async fn closing_does_not_wait_for_a_full_disk() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    append(&mut log, vec![mixed(0)]).await.unwrap();
    disk.set_fault(Fault::Full);
    let pending = begin_append(&mut log, vec![mixed(1)]).await;
    while log.waits_for().is_none() {
        std::thread::yield_now();
    }
    log.stop_retries();
    pending.await.unwrap().unwrap_err();
    log.close();
    disk.set_fault(Fault::None);
    disk.crash(Loss::Killed);
    let mut log = simulated(&disk);
    assert_eq!(all_entries(&mut log).await, [mixed(0)]);
    log.close();
}

#[tokio::test]
async fn queued_operations_share_a_sync() {
    let disk = SimulatedDisk::new();
    let mut log = LogStore::open(LogOptions { segment_bytes: 1 << 20, ..options_on(&disk) }).unwrap();
    disk.hold(Held::All);
    let mut pending = vec![begin_append(&mut log, vec![blank(1, 0)]).await];
    disk.wait_until_one_is_held();
    for index in 1..1000 {
        pending.push(begin_append(&mut log, vec![blank(1, index)]).await);
    }
    disk.release();
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    assert_eq!(log.status().fsyncs, 2);
    log.close();
}

#[tokio::test]
async fn many_concurrent_appends_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { segment_bytes: 1 << 20, cache_bytes: 1 << 20, ..LogOptions::new(directory.path()) };
    let mut log = LogStore::open(options()).unwrap();
    let entry = |index| command(1, index, 20);
    let mut pending = Vec::new();
    for index in 0..50_000 {
        pending.push(begin_append(&mut log, vec![entry(index)]).await);
    }
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    let status = log.status();
    assert_eq!((status.appended_entries, status.last_index), (50_000, 50_000));
    log.close();
    drop(log);
    let mut log = LogStore::open(options()).unwrap();
    let found = all_entries(&mut log).await;
    assert_eq!(found.len(), 50_000);
    assert!(found.iter().zip(0..).all(|(found, index)| *found == entry(index)));
    log.close();
}

/// An observer that counts the syncs of the log.
struct SyncCounter(Arc<AtomicU64>);

impl Observer for SyncCounter {
    fn log_synced(&self, _took: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn statistics_match_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let options = LogOptions { observer: Arc::new(SyncCounter(syncs.clone())), ..small(directory.path()) };
    let mut log = LogStore::open(options).unwrap();
    assert_eq!(log.status(), LogStatus { bytes_on_disk: 4096, ..LogStatus::default() });
    for index in 0..100 {
        append(&mut log, vec![mixed(index)]).await.unwrap();
    }
    let on_disk = || -> u64 {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let segments = files.map(Result::unwrap).filter(|file| file.file_name().to_string_lossy().ends_with(".log"));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    let before = log.status();
    let expected = LogStatus { first_index: 1, last_index: 100, last_term: 2, appended_entries: 100, ..before };
    assert_eq!(before, expected);
    assert_eq!((before.purged_index, before.bytes_on_disk), (0, on_disk()));
    assert!(before.fsyncs >= 100 && before.fsync_nanos_total > 0);
    assert_eq!(before.fsyncs, syncs.load(Ordering::Relaxed));

    log.truncate_after(Some(log_id(2, 89))).await.unwrap();
    log.purge(log_id(2, 69)).await.unwrap();
    log.wait_until_purged_segments_are_removed();
    let after = log.status();
    assert_eq!((after.first_index, after.last_index, after.purged_index), (71, 90, 70));
    assert_eq!(after.bytes_on_disk, on_disk());
    assert!(after.bytes_on_disk < before.bytes_on_disk, "no segment went");
    log.purge(log_id(2, 89)).await.unwrap();
    log.wait_until_purged_segments_are_removed();
    let empty = log.status();
    assert_eq!((empty.first_index, empty.last_index, empty.purged_index), (0, 90, 90));
    log.close();
    drop(log);

    let log = LogStore::open(small(directory.path())).unwrap();
    let reopened = log.status();
    let kept = LogStatus { fsyncs: 0, fsync_nanos_total: 0, appended_entries: 0, ..empty };
    assert_eq!(reopened, kept);
    log.close();
}

/// The length of the entries that remain is counted in the same way before and after a restart.
#[tokio::test]
async fn the_log_to_keep_is_measured_in_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(small(directory.path())).unwrap();
    assert_eq!((log.index_keeping(0), log.index_keeping(1)), (0, 0));
    let written: Vec<Entry> = (0..60).map(mixed).collect();
    let lengths: Vec<u64> = written.iter().map(frame::entry_len).collect();
    append(&mut log, written).await.unwrap();
    // The entries 41 to 60 are replaced.
    log.truncate_after(Some(log_id(2, 39))).await.unwrap();
    append(&mut log, (40..60).map(mixed).collect()).await.unwrap();
    log.purge(log_id(2, 9)).await.unwrap();
    for reopened in [false, true] {
        if reopened {
            log.close();
            drop(log);
            log = LogStore::open(small(directory.path())).unwrap();
        }
        assert_eq!(log.index_keeping(0), 60);
        for purged in 10..60 {
            let left: u64 = lengths[purged..].iter().sum();
            assert_eq!(log.index_keeping(left), purged as u64, "{left} bytes");
            assert_eq!(log.index_keeping(left + 1), purged.saturating_sub(1).max(10) as u64, "{left} bytes and one");
        }
        assert_eq!(log.index_keeping(u64::MAX), 10);
    }
    log.close();
}

/// A log whose queue is never empty still loses its purged segments, and so does not fill the disk.
#[tokio::test]
async fn purged_segments_are_removed_from_a_busy_log() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    for index in 0..100 {
        append(&mut log, vec![mixed(index)]).await.unwrap();
    }
    let before = log.status().bytes_on_disk;
    disk.hold(Held::Removals);
    log.purge(log_id(2, 95)).await.unwrap();
    disk.wait_until_one_is_held();
    disk.hold(Held::All);
    let mut pending = Vec::new();
    for index in 100..180 {
        pending.push(begin_append(&mut log, vec![mixed(index)]).await);
    }
    // The appends begin several segments. The log is closed after them, so the log thread is never idle.
    log.shared.close();
    disk.release();
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    log.close();
    let after = log.status().bytes_on_disk;
    assert!(after <= before, "{after} bytes, {before} before");
}

/// A database that lacks entries which the log has already purged is refused, because the log cannot bring it up to
/// date.
#[tokio::test]
async fn a_database_older_than_the_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(small(directory.path())).unwrap();
    append(&mut log, (0..5).map(|index| command(1, index, 20)).collect()).await.unwrap();
    log.purge(log_id(1, 2)).await.unwrap();
    log.close();
    drop(log);
    let open = |applied| CheckedLog::check(small(directory.path())).unwrap().open(id_at(1, applied), None);
    let refused = open(2).err().unwrap().to_string();
    assert!(refused.contains("begins behind 3"), "{refused}");
    open(3).unwrap().close();
}

/// An inline append is written on the calling thread if the log is idle, and is queued if the log is busy. In both
/// cases the entry is written once and in order.
#[tokio::test]
async fn inline_appends_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { segment_bytes: 1 << 16, ..LogOptions::new(directory.path()) };
    let mut log = LogStore::open(options()).unwrap();
    let (mut written, mut pending) = (Vec::new(), Vec::new());
    for index in 0..2000 {
        // The appends that are not inline go to the log thread.
        log.set_inline_append(index % 3 != 0);
        written.push(command(1, index, 100));
        pending.push(begin_append(&mut log, vec![written[index as usize].clone()]).await);
        if index % 100 == 0 {
            log.save_vote(&Vote::new(index + 1, 1)).await.unwrap();
        }
    }
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    assert_eq!(all_entries(&mut log).await, written);
    log.close();
    drop(log);
    let mut log = LogStore::open(options()).unwrap();
    assert_eq!(all_entries(&mut log).await, written);
    log.close();
}

/// An inline append must not be written after the log thread has taken the queued operations and before it has written
/// them.
#[tokio::test]
async fn an_inline_append_neither_overtakes_the_log_thread_nor_waits_for_it() {
    let disk = SimulatedDisk::new();
    let mut log = simulated(&disk);
    disk.hold(Held::All);
    let first = begin_append(&mut log, vec![mixed(0)]).await;
    disk.wait_until_one_is_held();
    log.set_inline_append(true);
    let mut other = log.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = sender.send(runtime.block_on(begin_append(&mut other, vec![mixed(1)])));
    });
    let second = receiver.recv_timeout(std::time::Duration::from_secs(10));
    disk.release();
    let second = second.expect("an append that returns although the thread is writing");
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(all_entries(&mut log).await, [mixed(0), mixed(1)]);
    log.close();
}
