//! Damage to what was durable is told, with file and offset, and never repaired.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};

use super::super::{LogError, LogOptions, LogStore};
use crate::command::{Command, DATABASE, EncodedWork, Work};
use crate::types::{Entry, Vote, log_id};

fn options(directory: &Path) -> LogOptions {
    let mut options = LogOptions::new(directory);
    options.segment_bytes = 4096;
    options
}

fn open(directory: &Path) -> Result<LogStore, LogError> {
    LogStore::open(options(directory))
}

fn entry(index: u64, bytes: usize) -> Entry {
    let work = EncodedWork::new(Work::Replace(vec![index as u8; bytes].into())).unwrap();
    let payload = EntryPayload::Normal(Command::new(DATABASE, vec![work]).unwrap());
    Entry { log_id: log_id(1, index), payload }
}

/// A log with several segments. Each entry is durable before the next is appended.
async fn write(directory: &Path) -> Vec<Entry> {
    let mut log = open(directory).unwrap();
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    let entries: Vec<Entry> = (0..24).map(|index| entry(index, 500)).collect();
    for entry in &entries {
        log.append([entry.clone()], IOFlushed::noop()).await.unwrap();
        log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    }
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    entries
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = names.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    segments.sort();
    segments
}

async fn entries(directory: &Path) -> Result<Vec<Entry>, LogError> {
    let mut log = open(directory)?;
    let entries = log.try_get_log_entries(..).await.unwrap();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    Ok(entries)
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let segments = segments(directory.path());
    assert!(segments.len() > 2, "{segments:?}");
    for (number, segment) in segments.iter().enumerate() {
        let sound = fs::read(segment).unwrap();
        let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
        for offset in (0..=used).step_by(if number == 0 { 1 } else { 7 }) {
            let mut damaged = sound.clone();
            damaged[offset] ^= 1 << (offset % 8);
            fs::write(segment, &damaged).unwrap();
            match entries(directory.path()).await {
                Err(LogError::Corrupt { file, offset: told, .. }) => {
                    assert_eq!(&file, segment, "offset {offset}");
                    assert!(told <= offset as u64, "{told} is behind {offset}");
                }
                Err(LogError::Version { file, .. }) => assert_eq!((&file, offset / 4), (segment, 2)),
                Err(other) => panic!("offset {offset}: {other}"),
                Ok(left) => {
                    // Only the last frame may be taken for a torn one: nothing behind it says that it was durable.
                    assert_eq!(number + 1, segments.len(), "offset {offset} of {segment:?} went unnoticed");
                    assert!(left.len() + 1 >= written.len() && written.starts_with(&left), "offset {offset}");
                }
            }
            fs::write(segment, &sound).unwrap();
        }
    }
    assert_eq!(entries(directory.path()).await.unwrap(), written);
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path()).await;
    let segments = segments(directory.path());
    let bytes = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    match open(directory.path()) {
        Err(LogError::Corrupt { file, .. }) => assert_eq!(file, segments[1]),
        other => panic!("{:?}", other.map(drop)),
    }
    fs::write(&segments[1], bytes).unwrap();
    open(directory.path()).unwrap().close();
}

#[tokio::test]
async fn a_torn_tail_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let last = segments(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used - 6..].fill(0);
    fs::write(&last, &bytes).unwrap();
    // What is torn is the vote behind the last entry.
    assert_eq!(entries(directory.path()).await.unwrap(), written);
    let after = fs::read(&last).unwrap();
    assert!(after.iter().rposition(|byte| *byte != 0).unwrap() < used - 6, "the torn frame is still there");
    assert_eq!(entries(directory.path()).await.unwrap(), written);
}

#[tokio::test]
async fn a_segment_that_was_never_born_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let count = segments(directory.path()).len();
    // The last one has to be ended for another to follow.
    for content in [Vec::new(), vec![0; 200], b"sqlhttpL".to_vec()] {
        let mut log = open(directory.path()).unwrap();
        let next = log.status().last_index;
        for index in next..next + 12 {
            log.append([entry(index, 500)], IOFlushed::noop()).await.unwrap();
        }
        log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
        tokio::task::spawn_blocking(move || log.close()).await.unwrap();
        let path = segments(directory.path()).pop().unwrap();
        let number: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let head = fs::read(&path).unwrap();
        if head[128..].iter().all(|byte| *byte == 0) {
            fs::write(directory.path().join(format!("{number:010}.log")), content).unwrap();
        }
        open(directory.path()).unwrap().close();
    }
    assert!(segments(directory.path()).len() > count);
    assert_eq!(entries(directory.path()).await.unwrap()[..written.len()], written);
}

#[tokio::test]
async fn old_entries_come_from_the_disk_and_old_segments_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut small = options(directory.path());
    small.cache_bytes = 1000;
    let mut log = LogStore::open(small).unwrap();
    let written: Vec<Entry> = (0..200).map(|index| entry(index, 300)).collect();
    log.append(written.clone(), IOFlushed::noop()).await.unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), written);
    let limited = log.limited_get_log_entries(3, 150).await.unwrap();
    assert_eq!(limited[0].log_id().index, 3);
    let before = segments(directory.path()).len();
    log.purge(written[150].log_id()).await.unwrap();
    let after = segments(directory.path()).len();
    assert!(after < before, "{after} of {before} segments are left");
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), written[151..]);
    let status = log.status();
    assert_eq!((status.first_index, status.last_index, status.purged_index), (152, 200, 151));
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    assert_eq!(entries(directory.path()).await.unwrap(), written[151..]);
}

#[tokio::test]
async fn an_entry_may_be_larger_than_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path()).unwrap();
    let written = vec![entry(0, 10), entry(1, 3 << 20), entry(2, 10)];
    log.append(written.clone(), IOFlushed::noop()).await.unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    assert_eq!(entries(directory.path()).await.unwrap(), written);
}
