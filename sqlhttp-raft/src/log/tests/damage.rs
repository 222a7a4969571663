//! Tests that damage to durable data is reported with the file and the offset, and is never repaired.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};

use super::super::state::{HEADER_BYTES, LogState, SegmentHeader, decode_header, encode_header};
use super::super::{CheckedLog, LogError, LogOptions, LogStore};
use super::support::command;
use crate::types::{Entry, Vote, id_at};

/// The length of the frame of a vote, in bytes.
const VOTE_FRAME_BYTES: usize = 34;

fn options(directory: &Path) -> LogOptions {
    let mut options = LogOptions::new(directory);
    options.segment_bytes = 4096;
    options
}

fn open(directory: &Path) -> Result<LogStore, LogError> {
    LogStore::open(options(directory))
}

fn entry(index: u64, bytes: usize) -> Entry {
    command(1, index, bytes)
}

/// Writes a log with several segments. Each entry is durable before the next one is appended.
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
                Err(LogError::Corrupt { file, offset: reported, .. }) => {
                    assert_eq!(&file, segment, "offset {offset}");
                    assert!(reported <= offset as u64, "{reported} is behind {offset}");
                }
                Err(other) => panic!("offset {offset}: {other}"),
                Ok(_) => panic!("offset {offset} of {segment:?} went unnoticed"),
            }
            fs::write(segment, &sound).unwrap();
        }
    }
    assert_eq!(entries(directory.path()).await.unwrap(), written);
}

/// Opens the log, and returns the file and the offset that are reported as damaged.
fn reported_damage(directory: &Path) -> (PathBuf, u64) {
    match open(directory) {
        Err(LogError::Corrupt { file, offset, .. }) => (file, offset),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[tokio::test]
async fn a_missing_segment_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path()).await;
    let segments = segments(directory.path());
    // The last segment is left out, because only the database can show that it is missing.
    for missing in &segments[..segments.len() - 1] {
        let bytes = fs::read(missing).unwrap();
        fs::remove_file(missing).unwrap();
        assert_eq!(reported_damage(directory.path()), (missing.clone(), 0));
        fs::write(missing, bytes).unwrap();
    }
    open(directory.path()).unwrap().close();
}

#[tokio::test]
async fn a_segment_in_place_of_another_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path()).await;
    let segments = segments(directory.path());
    fs::copy(&segments[0], &segments[1]).unwrap();
    assert_eq!(reported_damage(directory.path()), (segments[1].clone(), 0));
}

#[tokio::test]
async fn only_the_last_segment_may_be_cut_short() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let segments = segments(directory.path());
    let (last, others) = segments.split_last().unwrap();
    for segment in others {
        let sound = fs::read(segment).unwrap();
        let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
        for length in (0..used).step_by(101) {
            fs::write(segment, &sound[..length]).unwrap();
            let (file, offset) = reported_damage(directory.path());
            assert_eq!(&file, segment);
            assert!(offset <= length as u64, "cut at {length}, reported at {offset}");
        }
        fs::write(segment, &sound).unwrap();
    }
    let sound = fs::read(last).unwrap();
    for length in (0..sound.len()).step_by(101) {
        fs::write(last, &sound[..length]).unwrap();
        let left = entries(directory.path()).await.unwrap();
        assert!(written.starts_with(&left), "cut at {length}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path()).await;
    for segment in segments(directory.path()) {
        let sound = fs::read(&segment).unwrap();
        let mut newer = sound.clone();
        newer[8..12].copy_from_slice(&3_u32.to_le_bytes());
        let checksum = crc32fast::hash(&newer[..HEADER_BYTES - 4]);
        newer[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&segment, &newer).unwrap();
        match open(directory.path()) {
            Err(LogError::Version { file, found: 3, known: 2 }) => assert_eq!(file, segment),
            other => panic!("{:?}", other.map(drop)),
        }
        assert_eq!(fs::read(&segment).unwrap(), newer, "it was written to");
        fs::write(&segment, &sound).unwrap();
    }
}

#[tokio::test]
async fn segments_missing_before_an_empty_one_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("0000000003.log"), [0; 4096]).unwrap();
    assert_eq!(reported_damage(directory.path()), (directory.path().join("0000000002.log"), 0));
}

#[tokio::test]
async fn a_torn_tail_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let last = segments(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    // The sector that contains the end of the last entry, and the vote after it.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let sector = (used - VOTE_FRAME_BYTES) / 512 * 512;
    bytes[sector..].fill(0);
    fs::write(&last, &bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(entries(directory.path()).await.unwrap(), written[..written.len() - 1]);
        let after = fs::read(&last).unwrap();
        assert!(after.iter().rposition(|byte| *byte != 0).unwrap() < sector, "the torn frame is still there");
    }
}

#[tokio::test]
async fn an_empty_segment_is_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let segments = segments(directory.path());
    let (last, before) = segments.split_last().unwrap();
    let contents = [Vec::new(), vec![0; 200], vec![0; 4096], b"sqlhttpL".to_vec(), b"\x81garbage".repeat(500)];
    let mut whole = Vec::new();
    for content in contents {
        // Each content is tested twice: in a segment after a complete one, and in the only segment.
        fs::write(last, &content).unwrap();
        let left = entries(directory.path()).await.unwrap();
        assert!(left.len() >= before.len() && written.starts_with(&left), "{} bytes", content.len());
        let empty = tempfile::tempdir().unwrap();
        fs::write(empty.path().join("0000000001.log"), &content).unwrap();
        assert_eq!(entries(empty.path()).await.unwrap(), []);
        let begun = fs::read(empty.path().join("0000000001.log")).unwrap();
        let SegmentHeader::Valid { number: 1, state } = decode_header(&begun) else { panic!("no head") };
        assert_eq!(LogState { identity: None, ..state.clone() }, LogState::default());
        assert!(state.identity.is_some());
        assert_eq!(begun[..HEADER_BYTES], encode_header(1, &state));
        whole.push(left);
    }
    assert!(whole.windows(2).all(|pair| pair[0] == pair[1]));
}

/// A lost sector at the very end of the log looks like a torn write. But if the database has applied the entry, the
/// entry was durable, so the log is damaged.
#[tokio::test]
async fn an_applied_entry_is_not_a_torn_tail() {
    let directory = tempfile::tempdir().unwrap();
    let written = write(directory.path()).await;
    let last = segments(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The sector that contains the end of the last entry, and the vote after it.
    let sector = (used - VOTE_FRAME_BYTES) / 512 * 512;
    bytes[sector..].fill(0);
    fs::write(&last, &bytes).unwrap();
    let applied = |applied| CheckedLog::check(options(directory.path())).unwrap().open(id_at(1, applied), None);
    match applied(written.len() as u64) {
        Err(LogError::Corrupt { file, offset, .. }) => {
            assert_eq!(file, last);
            assert!(offset <= sector as u64 && offset > used as u64 - 700, "{offset} of {used}");
        }
        other => panic!("{:?}", other.map(drop)),
    }
    assert_eq!(fs::read(&last).unwrap(), bytes, "the file was touched");
    applied(written.len() as u64 - 1).unwrap().close();
    assert_eq!(entries(directory.path()).await.unwrap(), written[..written.len() - 1]);
}
