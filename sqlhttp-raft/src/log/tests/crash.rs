//! The power is cut at every operation of the disk, and what was reported durable must be there.

use std::path::Path;
use std::sync::Arc;

use openraft::async_runtime::OneshotSender as _;
use openraft::entry::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};

use super::super::{LogError, LogOptions, LogStore};
use super::simulated::{Loss, Simulated};
use crate::command::{Command, DATABASE, EncodedWork, Work};
use crate::types::{Entry, LogId, Vote, log_id};

/// Small, so that many segments begin and end.
const SEGMENT_BYTES: u32 = 2048;

fn options(disk: &Simulated) -> LogOptions {
    let mut options = LogOptions::new(Path::new("/log"));
    options.segment_bytes = SEGMENT_BYTES;
    options.cache_bytes = 2000;
    options.disk = Arc::new(disk.clone());
    options
}

fn open(disk: &Simulated) -> Result<LogStore, LogError> {
    LogStore::open(options(disk))
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = if index % 5 == 0 {
        EntryPayload::Blank
    } else {
        let bytes = vec![index as u8; (index as usize * 37) % 700];
        let work = EncodedWork::new(Work::Replace(bytes.into())).unwrap();
        EntryPayload::Normal(Command::new(DATABASE, vec![work]).unwrap())
    };
    Entry { log_id: log_id(term, index), payload }
}

/// What the log has promised, and what was on its way.
#[derive(Default, Clone)]
struct Promised {
    /// Entries that are durable.
    entries: Vec<Entry>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// Everything that was ever appended.
    appended: Vec<Entry>,
    votes: Vec<Vote>,
    /// From this index on, something was on its way that may or may not have come through.
    open_from: Option<u64>,
    purge_tried: Option<LogId>,
}

/// Does a bit of everything, until the disk fails.
async fn work(disk: &Simulated) -> Promised {
    let mut promised = Promised::default();
    let Ok(log) = open(disk) else { return promised };
    let _ = steps(log.clone(), &mut promised).await;
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    promised
}

async fn steps(mut log: LogStore, promised: &mut Promised) -> std::io::Result<()> {
    let mut next = 0;
    for round in 0..6_u64 {
        let term = round + 1;
        let vote = Vote::new_committed(term, 1);
        promised.votes.push(vote);
        log.save_vote(&vote).await?;
        promised.vote = Some(vote);
        append(&mut log, promised, term, next, 7).await?;
        next += 7;
        if round == 2 {
            let last = promised.entries[promised.entries.len() - 4].log_id;
            promised.open_from = Some(last.index + 1);
            log.truncate_after(Some(last)).await?;
            promised.entries.retain(|entry| entry.log_id.index <= last.index);
            promised.open_from = None;
            next = last.index + 1;
        }
        log.save_committed(promised.entries.last().map(|entry| entry.log_id)).await?;
        if round % 2 == 1 {
            let upto = promised.entries[promised.entries.len() / 2].log_id;
            promised.purge_tried = Some(upto);
            log.purge(upto).await?;
            promised.purged = Some(upto);
        }
    }
    Ok(())
}

/// Appends entries in two batches that are on their way at once.
async fn append(log: &mut LogStore, promised: &mut Promised, term: u64, from: u64, count: u64) -> std::io::Result<()> {
    let entries: Vec<Entry> = (from..from + count).map(|index| entry(term, index)).collect();
    promised.open_from = Some(from);
    let mut flushed = Vec::new();
    for batch in entries.chunks(4) {
        promised.appended.extend(batch.iter().cloned());
        let (tell, told) = tokio::sync::oneshot::channel();
        log.append(batch.to_vec(), IOFlushed::signal(wrap(tell))).await?;
        flushed.push((batch.to_vec(), told));
    }
    for (batch, told) in flushed {
        told.await.unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))?;
        promised.entries.extend(batch);
    }
    promised.open_from = None;
    Ok(())
}

type Told = openraft::alias::OneshotSenderOf<crate::types::TypeConfig, std::io::Result<()>>;

/// openraft's own kind of channel, forwarded to Tokio's.
fn wrap(tell: tokio::sync::oneshot::Sender<std::io::Result<()>>) -> Told {
    use openraft::type_config::TypeConfigExt as _;
    let (sender, receiver) = crate::types::TypeConfig::oneshot();
    tokio::spawn(async move {
        let result = receiver.await;
        let _ = tell.send(result.unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into())));
    });
    let _: &dyn Fn(Told) = &|told: Told| drop(told.send(Ok(())));
    sender
}

/// Everything promised is there, and nothing that was never appended.
async fn check(disk: &Simulated, promised: &Promised, what: &str) {
    let mut log = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let state = log.get_log_state().await.unwrap();
    let purged = state.last_purged_log_id;
    assert!(purged == promised.purged || purged == promised.purge_tried, "{what}: purged {purged:?}");
    let entries = log.try_get_log_entries(..).await.unwrap();
    let first = purged.map_or(0, |id| id.index + 1);
    for (entry, index) in entries.iter().zip(first..) {
        assert_eq!(entry.log_id.index, index, "{what}: a gap");
        assert!(promised.appended.contains(entry), "{what}: {entry:?} was never appended");
    }
    let sure = |index: u64| promised.open_from.is_none_or(|open| index < open);
    for wanted in promised.entries.iter().filter(|entry| entry.log_id.index >= first && sure(entry.log_id.index)) {
        assert!(entries.contains(wanted), "{what}: {:?} is missing", wanted.log_id);
    }
    let vote = log.read_vote().await.unwrap();
    let later = promised.votes.last().copied();
    assert!(vote == promised.vote || vote == later, "{what}: vote {vote:?}");
    // It goes on from here, and that holds too.
    let next = entries.last().map_or(first, |entry| entry.log_id.index + 1);
    let mut again = Promised::default();
    append(&mut log, &mut again, 99, next, 5).await.unwrap();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    let mut log = open(&disk.after(Loss::All)).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    let now = log.try_get_log_entries(next..).await.unwrap();
    assert_eq!(now, again.entries, "{what}, again");
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
}

#[tokio::test]
async fn the_power_may_be_cut_at_any_moment() {
    let whole = Simulated::default();
    let promised = work(&whole).await;
    assert!(promised.purged.is_some() && promised.vote == promised.votes.last().copied());
    let operations = whole.operations();
    assert!(operations > 80, "only {operations} operations");
    for cut in 0..=operations {
        let disk = Simulated::default();
        disk.cut_at(cut);
        let promised = work(&disk).await;
        for loss in [Loss::All, Loss::Nothing, Loss::Some(cut), Loss::Some(!cut)] {
            check(&disk.after(loss), &promised, &format!("cut at {cut}, {loss:?} lost")).await;
        }
    }
}

/// After an error nothing is reported durable any more, whatever the disk does then.
#[tokio::test]
async fn an_error_of_the_disk_is_final() {
    let whole = Simulated::default();
    work(&whole).await;
    for failing in 0..whole.operations() {
        let disk = Simulated::default();
        disk.fail_at(failing);
        let promised = work(&disk).await;
        check(&disk.after(Loss::All), &promised, &format!("operation {failing} failed")).await;
    }
}

#[tokio::test]
async fn a_log_is_opened_once() {
    let disk = Simulated::default();
    let first = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(LogError::InUse)));
    first.close();
    drop(first);
    open(&disk).unwrap();
}
