//! Simulates a power cut at every disk operation. After each restart, the log must consist of a prefix of the requested
//! changes. This prefix must contain all changes that were reported durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};

use super::super::disk::Disk as _;
use super::super::frame::{self, Frame};
use super::super::segment::{segment_number, segment_path};
use super::super::simulated::{Fault, Held, Loss, SimulatedDisk};
use super::super::state::HEADER_BYTES;
use super::super::{CheckedLog, LogError, LogOptions, LogStore};
use super::support::{Pending, all_entries, append, begin_append, blank, command, members};
use crate::types::{Entry, LogId, Vote, log_id};

/// A step of a test script: an operation on the log.
#[derive(Clone, Copy)]
enum Step {
    /// Starts several appends concurrently, each of several entries.
    Append {
        appends: usize,
        entries: usize,
    },
    Vote {
        node: u64,
        committed: bool,
    },
    /// Removes this number of entries at the end of the log.
    Truncate(u64),
    /// Purges all entries except for this number of entries at the end.
    PurgeAllBut(u64),
    /// Purges the log up to an index that is this far beyond the next index. The log never had these entries, as when a
    /// snapshot of another node is installed.
    PurgeBeyond(u64),
    Committed,
}

/// A change of the log. After a crash it is either present or absent as a whole.
#[derive(Clone)]
enum Change {
    Entry(Entry),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
}

/// The contents of a log, as a test compares them.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl Content {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.entries.insert(entry.log_id.index, entry.clone());
                self.last = Some(entry.log_id);
            }
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Truncate(last) => {
                self.entries.retain(|index, _| last.is_some_and(|last| *index <= last.index));
                self.last = (*last).max(self.purged);
            }
            Change::Purge(upto) => {
                self.entries.retain(|index, _| *index > upto.index);
                self.purged = Some(*upto);
                self.last = self.last.max(Some(*upto));
            }
        }
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    async fn of(log: &mut LogStore) -> Content {
        let state = log.get_log_state().await.unwrap();
        let entries = all_entries(log).await.into_iter().map(|entry| (entry.log_id.index, entry)).collect();
        let vote = log.read_vote().await.unwrap();
        Content { vote, purged: state.last_purged_log_id, last: state.last_log_id, entries }
    }
}

/// The changes that were requested since the log was opened, and how many of them were reported durable.
struct History {
    /// The contents of the log when it was opened.
    before: Content,
    changes: Vec<Change>,
    /// The number of changes, counted from the first, that must be present after a crash.
    durable: usize,
    /// The contents of the log after all requested changes.
    now: Content,
    term: u64,
    committed: Vec<LogId>,
}

impl History {
    fn new(before: Content) -> Self {
        let term = before.vote.map_or(1, |vote| vote.leader_id.term);
        History { now: before.clone(), before, changes: Vec::new(), durable: 0, term, committed: Vec::new() }
    }

    fn add(&mut self, change: Change) {
        self.now.change(&change);
        self.changes.push(change);
    }

    /// Returns the number of requested changes that lead to the contents `found`, or `None` if no number of them does.
    fn changes_in(&self, found: &Content) -> Option<usize> {
        let mut content = self.before.clone();
        // The largest matching number is returned, because a change may undo an earlier one: an entry may be appended
        // and truncated again.
        let mut same = (content == *found).then_some(0);
        for (number, change) in self.changes.iter().enumerate() {
            content.change(change);
            if content == *found {
                same = Some(number + 1);
            }
        }
        same
    }

    fn next_entry(&self) -> Entry {
        let index = self.now.next_index();
        match index % 7 {
            0 => members(self.term, index),
            1 | 4 => blank(self.term, index),
            2 => command(self.term, index, 1300),
            _ => command(self.term, index, 10 + index as usize * 3 % 200),
        }
    }
}

/// A log that is open during a test, and the history of its changes.
struct Run<'d> {
    disk: &'d SimulatedDisk,
    log: LogStore,
    history: History,
}

impl Run<'_> {
    /// Runs the steps of a script until the disk fails.
    async fn play(mut self, script: &[Step]) -> History {
        for step in script {
            if !self.step(*step).await {
                break;
            }
        }
        self.log.close();
        self.history
    }

    /// Runs a step. Returns `false` if the disk has failed.
    async fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Append { appends, entries } => return self.append(appends, entries).await,
            Step::Vote { node, committed } => {
                self.history.term += u64::from(!committed);
                let term = self.history.term;
                let vote = if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) };
                self.history.add(Change::Vote(vote));
                let saved = self.log.save_vote(&vote).await.is_ok();
                return self.all_durable_if(saved);
            }
            Step::Truncate(entries) => {
                let last = self.history.now.entries.values().rev().nth(entries as usize).map(|entry| entry.log_id);
                let last = last.or(self.history.now.purged);
                self.history.add(Change::Truncate(last));
                let truncated = self.log.truncate_after(last).await.is_ok();
                return self.all_durable_if(truncated);
            }
            Step::PurgeAllBut(entries) => {
                let upto = self.history.now.entries.values().rev().nth(entries as usize).map(|entry| entry.log_id);
                if let Some(upto) = upto {
                    return self.purge(upto).await;
                }
            }
            Step::PurgeBeyond(entries) => {
                let upto = log_id(self.history.term, self.history.now.next_index() + entries);
                return self.purge(upto).await;
            }
            Step::Committed => {
                let committed = self.history.now.last;
                self.history.committed.extend(committed);
                self.log.save_committed(committed).await.unwrap();
            }
        }
        true
    }

    async fn purge(&mut self, upto: LogId) -> bool {
        self.history.add(Change::Purge(upto));
        let purged = self.log.purge(upto).await.is_ok();
        // Otherwise the order of the disk operations would differ from run to run.
        self.log.wait_until_purged_segments_are_removed();
        self.all_durable_if(purged)
    }

    fn all_durable_if(&mut self, works: bool) -> bool {
        if works {
            self.history.durable = self.history.changes.len();
        }
        works
    }

    async fn append(&mut self, appends: usize, entries: usize) -> bool {
        let mut pending: Vec<(usize, Pending)> = Vec::new();
        self.disk.hold(Held::All);
        for _ in 0..appends {
            let mut batch = Vec::new();
            for _ in 0..entries {
                let entry = self.history.next_entry();
                self.history.add(Change::Entry(entry.clone()));
                batch.push(entry);
            }
            pending.push((self.history.changes.len(), begin_append(&mut self.log, batch).await));
            // The first append is being written. The others are queued, and are written together afterwards.
            self.disk.wait_until_one_is_held();
        }
        self.disk.release();
        let mut works = true;
        for (changes, pending) in pending {
            if pending.await.expect("the callback was dropped").is_ok() {
                assert!(works, "an append behind one that failed was reported durable");
                self.history.durable = changes;
            } else {
                works = false;
            }
        }
        works
    }
}

const LONG: &[Step] = &[
    Step::Vote { node: 1, committed: false },
    Step::Vote { node: 1, committed: true },
    Step::Append { appends: 1, entries: 1 },
    Step::Append { appends: 4, entries: 2 },
    Step::Committed,
    Step::Append { appends: 3, entries: 5 },
    Step::Truncate(4),
    Step::Vote { node: 2, committed: false },
    Step::Append { appends: 2, entries: 6 },
    Step::PurgeAllBut(9),
    Step::Committed,
    Step::Append { appends: 5, entries: 3 },
    Step::Truncate(17),
    Step::Append { appends: 2, entries: 9 },
    Step::PurgeAllBut(3),
    Step::Vote { node: 3, committed: false },
    Step::Vote { node: 3, committed: true },
    Step::Append { appends: 6, entries: 4 },
    Step::Append { appends: 1, entries: 1 },
    Step::Committed,
    Step::PurgeAllBut(0),
    Step::Append { appends: 2, entries: 2 },
    Step::PurgeBeyond(40),
    Step::Append { appends: 3, entries: 3 },
    Step::Truncate(2),
    Step::Vote { node: 1, committed: false },
    Step::Append { appends: 2, entries: 2 },
];

const SHORT: &[Step] = &[
    Step::Append { appends: 2, entries: 2 },
    Step::Vote { node: 2, committed: false },
    Step::Truncate(1),
    Step::Append { appends: 2, entries: 3 },
    Step::PurgeAllBut(4),
];

fn options(disk: &SimulatedDisk) -> LogOptions {
    let options = LogOptions::new(Path::new("/log"));
    // The cache is small, so that most entries are read from the disk.
    LogOptions { segment_bytes: 4096, cache_bytes: 2000, disk: Arc::new(disk.clone()), ..options }
}

fn open(disk: &SimulatedDisk) -> Result<LogStore, LogError> {
    LogStore::open(options(disk))
}

/// Opens the log after a crash, compares its contents with the history, and runs a script. Returns `None` if the power
/// fails while the log is being opened.
async fn resume(disk: &SimulatedDisk, past: &History, script: &[Step], case: &str) -> Option<History> {
    let mut log = match open(disk) {
        Ok(log) => log,
        // The power may fail while the log is being opened. There is nothing to check then.
        Err(LogError::Io { source, .. }) if source.to_string().contains("power") => return None,
        Err(error) => panic!("{case}: {error}"),
    };
    // Segments that a crash has left behind are removed after the log has been opened.
    log.wait_until_purged_segments_are_removed();
    if disk.is_dead() {
        return None;
    }
    let found = Content::of(&mut log).await;
    let Some(changes) = past.changes_in(&found) else {
        panic!("{case}: this never was the log: {found:#?}");
    };
    assert!(changes >= past.durable, "{case}: {changes} changes are there, and {} were durable", past.durable);
    let committed = log.read_committed().await.unwrap();
    assert!(committed.is_none() || past.committed.contains(&committed.unwrap()), "{case}: committed {committed:?}");
    let mut history = History::new(found);
    history.committed.extend(committed);
    Some(Run { disk, log, history }.play(script).await)
}

/// Runs the long script until the power fails at operation `cut`; then continues with the short script, in which the
/// power fails again.
async fn crash_at(disk: SimulatedDisk, cut: u64, loss: Loss) -> bool {
    let case = format!("cut at {cut}, {loss:?}");
    disk.set_fault(Fault::CutAt(cut));
    let nothing = History::new(Content::default());
    let first = resume(&disk, &nothing, LONG, &case).await;
    let complete = disk.operations() <= cut;
    let first = first.unwrap_or(nothing);
    disk.crash(loss);

    disk.set_fault(Fault::CutAt(cut % 13));
    let second = resume(&disk, &first, SHORT, &case).await;
    disk.crash(Loss::Part(cut * 31 + 7));
    let second = second.unwrap_or(first);

    let third = resume(&disk, &second, SHORT, &case).await.expect("the disk works");
    assert_eq!(third.durable, third.changes.len(), "{case}: not all was written");
    disk.crash(Loss::All);
    let mut log = open(&disk).unwrap();
    assert_eq!(Content::of(&mut log).await, third.now, "{case}");
    log.close();
    complete
}

async fn crash_everywhere(loss: impl Fn(u64) -> Loss) {
    crash_disks_everywhere(SimulatedDisk::new, loss).await;
}

async fn crash_disks_everywhere(disk: impl Fn() -> SimulatedDisk, loss: impl Fn(u64) -> Loss) {
    let mut cut = 0;
    while !crash_at(disk(), cut, loss(cut)).await {
        cut += 1;
    }
    assert!(cut > 100, "only {cut} operations");
}

#[tokio::test]
async fn unsynced_changes_are_lost() {
    crash_everywhere(|_| Loss::All).await;
}

#[tokio::test]
async fn unsynced_changes_survive() {
    crash_everywhere(|_| Loss::Nothing).await;
}

#[tokio::test]
async fn some_unsynced_changes_are_lost() {
    for seed in 1..4 {
        crash_everywhere(|cut| Loss::Part(cut * 1000 + seed)).await;
    }
}

#[tokio::test]
async fn the_process_is_killed_and_then_the_power_fails() {
    crash_everywhere(|_| Loss::Killed).await;
}

/// Purged segments are removed some time after the purge. A crash can leave any number of them behind.
#[tokio::test]
async fn purged_segments_are_left_behind() {
    let disk = || {
        let disk = SimulatedDisk::new();
        disk.ignore_removals();
        disk
    };
    crash_disks_everywhere(disk, Loss::Part).await;
}

/// Opens the log for a database with the content of a snapshot whose last entry is `installed`. Returns `None` if the
/// power fails.
async fn open_installed(disk: &SimulatedDisk, installed: LogId, marker: Option<LogId>) -> Option<Content> {
    let opened = CheckedLog::check(options(disk)).and_then(|checked| checked.open(Some(installed), marker));
    let mut log = match opened {
        Ok(log) => log,
        Err(LogError::Io { source, .. }) if source.to_string().contains("power") => return None,
        Err(error) => panic!("{error}"),
    };
    let content = Content::of(&mut log).await;
    log.close();
    Some(content)
}

/// The power fails while the log is reset to an installed snapshot. The reset is then repeated, because the marker is
/// removed only after it.
#[tokio::test]
async fn the_reset_to_a_snapshot_is_interrupted() {
    // The log ends before the snapshot; contradicts it at its end; or contradicts it before its end.
    for installed in [log_id(5, 60), log_id(5, 39), log_id(5, 20)] {
        for seed in 0..5 {
            let mut cut = 0;
            loop {
                let disk = SimulatedDisk::new();
                let mut log = open(&disk).unwrap();
                let vote = Vote::new(6, 2);
                log.save_vote(&vote).await.unwrap();
                append(&mut log, (0..40).map(|index| command(1, index, 200)).collect()).await.unwrap();
                log.close();
                disk.crash(Loss::Nothing);
                disk.set_fault(Fault::CutAt(cut));
                open_installed(&disk, installed, Some(installed)).await;
                let complete = disk.operations() <= cut;
                disk.crash(match seed {
                    0 => Loss::All,
                    1 => Loss::Nothing,
                    2 => Loss::Killed,
                    seed => Loss::Part(cut * 10 + seed),
                });
                let reset =
                    Content { vote: Some(vote), purged: Some(installed), last: Some(installed), ..Content::default() };
                let found = open_installed(&disk, installed, Some(installed)).await;
                assert_eq!(found, Some(reset.clone()), "{installed} cut at {cut}, {seed}");
                disk.crash(Loss::All);
                assert_eq!(open_installed(&disk, installed, None).await, Some(reset), "{installed} cut at {cut}");
                if complete {
                    break;
                }
                cut += 1;
            }
            assert!(cut > 3, "only {cut} operations");
        }
    }
}

/// Overwrites the last frame of the log with zeros, durably, if it contains a vote and nothing follows it. Without
/// another copy of the vote, that looks as if the vote had never been written. Returns whether a vote was overwritten.
fn lose_last_vote(disk: &SimulatedDisk) -> bool {
    let directory = Path::new("/log");
    let segments = disk.list(directory).unwrap().into_iter().filter_map(|name| segment_number(&name));
    let Some(number) = segments.max() else { return false };
    let file = disk.open(&segment_path(directory, number)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let (mut at, mut last) = (HEADER_BYTES, None);
    while let Some(found) = frame::decode_at(&bytes, number, 0, at) {
        let is_vote = matches!(frame::parse(&found), Ok(Frame::Vote(_)));
        last = is_vote.then_some((at, found.len()));
        at += found.len();
    }
    let Some((at, len)) = last.filter(|(at, len)| bytes[at + len..].iter().all(|byte| *byte == 0)) else {
        return false;
    };
    file.write_all_at(&vec![0; len], at as u64).unwrap();
    file.sync().unwrap();
    true
}

/// The last frame of the log is lost after a power cut. A vote that was reported durable must not be lost with it.
#[tokio::test]
async fn a_lost_vote_is_found() {
    for seed in 0..3 {
        let (mut cut, mut lost) = (0, 0);
        loop {
            let case = format!("cut at {cut}, seed {seed}");
            let disk = SimulatedDisk::new();
            disk.set_fault(Fault::CutAt(cut));
            let nothing = History::new(Content::default());
            let past = resume(&disk, &nothing, LONG, &case).await.unwrap_or(nothing);
            if disk.operations() <= cut {
                break;
            }
            disk.crash(if seed == 0 { Loss::All } else { Loss::Part(cut * 10 + seed) });
            if lose_last_vote(&disk) {
                lost += 1;
                let found = resume(&disk, &past, SHORT, &case).await.expect("the disk works");
                disk.crash(Loss::All);
                resume(&disk, &found, &[], &case).await.expect("the disk works");
            }
            cut += 1;
        }
        assert!(lost > 5, "only {lost} votes were lost");
    }
}
