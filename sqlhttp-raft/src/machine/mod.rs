//! The Raft state machine: a database that applies the entries of the Raft log on its single writer thread.
//!
//! The database records the index of the last applied entry in the transaction that writes the data, so this module
//! persists nothing. After a restart, this module reads the index from the database, and openraft passes the entries
//! after that index (section 3.8 of the Raft dissertation: a persistent state machine must persist its last applied
//! index). A snapshot is the synced database itself: no copy is made to compact the Raft log, and no write waits
//! meanwhile (section 5.2, disk-based state machines).

mod loads;
mod snapshot;
mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::storage::{EntryResponder, RaftLogReader as _, RaftSnapshotBuilder as _, RaftStateMachine};
use sqlhttp_core::{Database, Error, LogEntry, LogWork, OnApplied, Outcome, Progress};

pub(crate) use loads::NOT_OPEN;
pub(crate) use snapshot::{DatabaseSnapshot, Snapshot, SnapshotBuilder, snapshot_at};

use self::loads::OpenLoad;
use self::snapshot::SnapshotMeta;
use tokio::time::Instant;

use crate::command::{Command, Operation};
use crate::log::LogStore;
use crate::membership;
use crate::observer::{Event, Observer};
use crate::options::NodeOptions;
use crate::runtime::{blocking, engine, watch};
use crate::skip::Skips;
use crate::snapshots::{Exports, InstallRecord};
use crate::timer::CoarseTimer;
use crate::types::{Entry, EntryOutcomes, LogId, StoredMembership, TypeConfig, id_at, index_of};
use crate::waiters::Waiters;

/// Implements openraft's state machine with the database.
#[derive(Clone)]
pub(crate) struct StateMachine {
    database: Database,
    /// The directory in which files with replacement content are created temporarily.
    directory: PathBuf,
    snapshots: snapshot::LatestSnapshot,
    observer: Arc<dyn Observer>,
    skips: Arc<Skips>,
    /// A timer that ticks often enough to measure [`REPORT_AFTER`].
    timer: CoarseTimer,
    waiters: Waiters,
    /// The index of the last entry that has been applied.
    applied: Arc<watch::Sender<u64>>,
    log: LogStore,
    load: OpenLoad,
    exports: Arc<Exports>,
    installed: Arc<AtomicU64>,
    /// Held while entries are applied, or the content is replaced.
    applying: Arc<tokio::sync::Mutex<()>>,
    reseeding: Reseeding,
}

/// Whether the content of the database is being replaced by that of the leader.
#[derive(Clone, Default)]
struct Reseeding(Arc<AtomicBool>);

impl Reseeding {
    /// Sets the flag until the result is dropped.
    fn begin(&self) -> Reseeded {
        self.0.store(true, Ordering::Release);
        Reseeded(self.0.clone())
    }
}

/// Clears the flag when it is dropped.
struct Reseeded(Arc<AtomicBool>);

impl Drop for Reseeded {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl StateMachine {
    pub(crate) fn new(
        database: Database,
        options: &NodeOptions,
        skips: Arc<Skips>,
        timer: CoarseTimer,
        waiters: Waiters,
        log: LogStore,
        exports: Arc<Exports>,
    ) -> Self {
        let (directory, observer) = (options.directory.clone(), options.observer.clone());
        let progress = database.progress();
        let applied = Arc::new(watch::Sender::new(progress.index));
        StateMachine {
            database,
            directory,
            snapshots: snapshot::LatestSnapshot::default(),
            observer,
            skips,
            timer,
            waiters,
            applied,
            log,
            load: OpenLoad::new(progress.load_index),
            exports,
            installed: Arc::default(),
            applying: Arc::default(),
            reseeding: Reseeding::default(),
        }
    }

    /// Returns a receiver of the index of the last entry that has been applied, counted from 1.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Checks that the database of this node contains the entries of a snapshot of itself.
    fn check_applied(&self, meta: &SnapshotMeta) -> io::Result<()> {
        let wanted = meta.last_log_id.map_or(0, |id| index_of(&id));
        if self.database.progress().index >= wanted {
            return Ok(());
        }
        Err(io::Error::other(format!("the database does not contain its own snapshot at index {wanted}")))
    }

    /// Replaces the database by a snapshot that this node has received. If the process ends before this is complete,
    /// the next start completes it.
    async fn install(&self, meta: &SnapshotMeta, file: PathBuf) -> io::Result<()> {
        let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, index_of(&id)));
        let progress = loop {
            let (directory, record) = (self.directory.clone(), InstallRecord::new(&file, term, index));
            // The disk may be full, or another process may have opened the database. openraft would stop the node on
            // any error returned here.
            let delay =
                match run_blocking(
                    move || if mutated!(InstallWithoutRecord) { Ok(()) } else { record.write(&directory) },
                )
                .await
                {
                    Err(error) => error.to_string(),
                    Ok(()) => match install_file(&self.database, &file).await {
                        Ok(progress) => break progress,
                        Err(error @ (Error::Poisoned(_) | Error::Closed)) => return Err(io::Error::other(error)),
                        Err(error) => error.to_string(),
                    },
                };
            // The record must not remain: the node may be stopped and continue with its old content.
            let directory = self.directory.clone();
            run_blocking(move || InstallRecord::remove(&directory)).await?;
            self.observer.event(&Event::SnapshotDelayed { reason: &delay });
            tokio::time::sleep(INSTALL_RETRY_AFTER).await;
        };
        self.forget_load().await?;
        self.snapshots.set(snapshot_at(&progress, DatabaseSnapshot::Live)?);
        self.applied.send_replace(progress.index);
        self.installed.fetch_add(1, Ordering::Relaxed);
        self.observer.event(&Event::SnapshotInstalled { index: progress.index });
        Ok(())
    }

    /// Replaces the content of the database by a copy of the leader's at the position `copied`, which this node has
    /// passed. Then applies the entries after the copy again, up to the former position.
    ///
    /// No install record is needed: a crash leaves either the old content or the copy, and the Raft log, which is not
    /// reset, contains all entries after both.
    pub(crate) async fn reseed(&self, file: PathBuf, copied: &Progress) -> io::Result<()> {
        let _applying = self.applying.lock().await;
        let _keeping = self.reseeding.begin();
        let (applied, log) = (self.database.progress(), self.log.status());
        if log.purged_index > copied.index || log.last_index < applied.index {
            return Err(io::Error::other("the log of this node does not contain the entries after the copy"));
        }
        if applied.index < copied.index || applied.operations > 0 || applied.load_index != 0 {
            return Err(io::Error::other(
                "this node has applied a part of an entry, or a database file is being loaded",
            ));
        }
        engine(self.database.install(file)).await.map_err(io::Error::other)?;
        self.forget_load().await?;
        let mut log = self.log.clone();
        let entries = log.entries_stream(copied.index..applied.index).await;
        let mut entries = pin!(entries.map_ok(|entry| (entry, None)));
        while let Some(chunk) = next_chunk(&mut entries).await? {
            self.apply_chunk(chunk).await?;
        }
        let index = self.database.progress().index;
        if index != applied.index {
            return Err(io::Error::other(format!("the log of this node ends at {index}, before {}", applied.index)));
        }
        engine(self.database.sync()).await.map_err(io::Error::other)?;
        self.installed.fetch_add(1, Ordering::Relaxed);
        self.observer.event(&Event::SnapshotInstalled { index: copied.index });
        Ok(())
    }

    /// Returns whether the content of the database is being replaced, so that no entry may be purged from the Raft log.
    pub(crate) fn is_reseeding(&self) -> bool {
        self.reseeding.0.load(Ordering::Acquire)
    }

    /// The number of snapshots of other nodes that this node has installed since it was started.
    pub(crate) fn installed(&self) -> u64 {
        self.installed.load(Ordering::Relaxed)
    }

    /// The entries that this node skips.
    pub(crate) fn skips(&self) -> &Arc<Skips> {
        &self.skips
    }

    /// Returns whether the nodes skip the entry at `index`, which contains `command`. Waits until they agree.
    ///
    /// # Errors
    /// See [`Skips::agree`].
    async fn must_skip(&self, index: u64, command: &Command) -> io::Result<bool> {
        if !self.skips.names(index) {
            return Ok(false);
        }
        let digest = command.digest();
        self.skips.agree(index, &digest).await?;
        self.observer.event(&Event::EntrySkipped { index, digest: &digest });
        Ok(true)
    }

    /// Reports the entry that could not be applied to the observer, with the digest that the operator needs to skip it.
    fn report_not_applied(&self, entries: &[EntryResponder<TypeConfig>]) {
        if let Some((index, digest)) = self.applying(entries) {
            self.observer.event(&Event::EntryNotApplied { index, digest: &digest });
        }
    }

    /// Returns the index and the digest of the entry that is being applied, if it is one of `entries` and contains a
    /// command.
    fn applying(&self, entries: &[EntryResponder<TypeConfig>]) -> Option<(u64, String)> {
        let index = self.database.applying_index().max(self.database.progress().index + 1);
        let entry = entries.iter().map(|(entry, _)| entry).find(|entry| index_of(&entry.log_id()) == index)?;
        match &entry.payload {
            EntryPayload::Normal(command) => Some((index, command.digest())),
            _ => None,
        }
    }

    /// The index and the time of the last snapshot; `None` if no snapshot has been taken since the start.
    pub(crate) fn last_snapshot(&self) -> Option<snapshot::SnapshotInfo> {
        self.snapshots.info()
    }

    /// Converts a Raft log entry to the form that the database applies. An entry that the operator wants to skip
    /// becomes an entry without operations.
    async fn to_log_entry(&self, entry: &Entry) -> io::Result<LogEntry> {
        let id = entry.log_id();
        let work = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(members) => {
                let stored = StoredMembership::new(Some(id), members.clone());
                vec![LogWork::Membership(membership::encode(&stored)?)]
            }
            EntryPayload::Normal(command) if self.must_skip(index_of(&id), command).await? => Vec::new(),
            EntryPayload::Normal(command) => {
                let mut operations = Vec::with_capacity(command.operations().len());
                for operation in command.operations() {
                    operations.push(self.to_log_work(index_of(&id), operations.len(), operation).await?);
                }
                operations
            }
        };
        let conditions = match &entry.payload {
            EntryPayload::Normal(command) => command.conditions(),
            _ => None,
        };
        Ok(LogEntry { term: id.leader_id.term, index: index_of(&id), conditions, work })
    }

    async fn apply_chunk(&self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut rest = entries;
        while let Some(at) = rest.iter().position(|(entry, _)| self.commits_load(entry)) {
            let after = rest.split_off(at + 1);
            let commit = rest.pop();
            self.apply_entries(rest).await?;
            if let Some(commit) = commit {
                self.apply_load_commit(commit).await?;
            }
            rest = after;
        }
        self.apply_entries(rest).await
    }

    async fn apply_entries(&self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut log_entries = Vec::with_capacity(entries.len());
        for (entry, _) in &entries {
            log_entries.push(self.to_log_entry(entry).await?);
        }
        self.apply_converted(entries, log_entries).await
    }

    /// Applies entries that have been converted to the form that the database applies.
    async fn apply_converted(
        &self,
        entries: Vec<EntryResponder<TypeConfig>>,
        log_entries: Vec<LogEntry>,
    ) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let files = replacement_files(&log_entries);
        let callbacks = entries.iter().map(|(entry, _)| self.reply_callback(entry)).collect();
        let started = Instant::now();
        let applied = self.apply_or_report(log_entries, callbacks, &entries, started).await.map_err(io::Error::other);
        self.observer.entries_applied(started.elapsed());
        if !files.is_empty() {
            // Best effort: files that cannot be removed now are removed at the next start.
            let remove = move || {
                files.iter().for_each(|file| drop(std::fs::remove_file(file)));
                Ok(())
            };
            run_blocking(remove).await?;
        }
        for ((_, responder), outcomes) in entries.into_iter().zip(applied?) {
            if let Some(responder) = responder {
                responder.send(EntryOutcomes { outcomes });
            }
        }
        Ok(())
    }

    /// Applies all entries of the Raft log, whether or not they are committed.
    pub(crate) async fn apply_all(&self, log: &LogStore) -> io::Result<()> {
        let next = self.database.progress().index;
        let mut log = log.clone();
        let entries = log.entries_stream(next..).await;
        let mut entries = pin!(entries.map_ok(|entry| (entry, None)));
        while let Some(chunk) = next_chunk(&mut entries).await? {
            self.apply_chunk(chunk).await?;
        }
        Ok(())
    }

    /// Applies entries to the database. If an entry fails, waits for at least [`REPORT_AFTER`], or runs for at least
    /// [`LONG_AFTER`], it is reported to the observer.
    async fn apply_or_report(
        &self,
        log_entries: Vec<LogEntry>,
        callbacks: Vec<Option<OnApplied>>,
        entries: &[EntryResponder<TypeConfig>],
        started: Instant,
    ) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut applying = pin!(engine(self.database.apply_and_notify(log_entries, callbacks)));
        let mut reported = started;
        let mut long = LongEntry { index: 0, since: started, report_after: LONG_AFTER };
        loop {
            if let Some(applied) = self.timer.ready_before_tick(&mut applying).await {
                if matches!(applied, Err(Error::Poisoned(_) | Error::Sqlite { .. })) {
                    self.report_not_applied(entries);
                }
                return applied;
            }
            if self.database.waits_for().is_none() {
                self.report_long(&mut long, entries);
            } else if reported.elapsed() >= REPORT_AFTER {
                reported = Instant::now();
                self.report_not_applied(entries);
            }
        }
    }

    /// Reports an entry that has been running for long, at longer and longer intervals.
    fn report_long(&self, long: &mut LongEntry, entries: &[EntryResponder<TypeConfig>]) {
        let index = self.database.applying_index();
        if index != long.index {
            *long = LongEntry { index, since: Instant::now(), report_after: LONG_AFTER };
        }
        let running = long.since.elapsed();
        if running < long.report_after {
            return;
        }
        long.report_after *= 2;
        if let Some((index, digest)) = self.applying(entries) {
            self.observer.event(&Event::EntryRunsLong { index, digest: &digest, running });
        }
    }

    /// Returns a callback that sends the outcomes of an entry to its callers; `None` unless this process has proposed
    /// the entry. The callback runs on the database's writer thread: waking the proposer's task first would take
    /// longer.
    fn reply_callback(&self, entry: &Entry) -> Option<OnApplied> {
        let EntryPayload::Normal(command) = &entry.payload else { return None };
        let (queue, index) = (self.waiters.get(command.proposal()?)?, index_of(&entry.log_id()));
        Some(Box::new(move |outcome| queue.answer_next(outcome, index)))
    }

    async fn to_log_work(&self, index: u64, number: usize, operation: &Operation) -> io::Result<LogWork> {
        Ok(match operation {
            Operation::Batch { batch, exclusive, steps_max } => {
                LogWork::Batch { batch: batch.clone(), exclusive: *exclusive, steps_max: *steps_max }
            }
            Operation::Barrier => LogWork::Barrier,
            Operation::Replace(bytes) => {
                let file = self.directory.join(format!("restore-{index}-{number}.sqlite"));
                write_file(&file, bytes.clone()).await?;
                self.forget_load().await?;
                LogWork::Replace(file)
            }
            Operation::LoadBegin { .. }
            | Operation::LoadChunk { .. }
            | Operation::LoadCommit { .. }
            | Operation::LoadAbort { .. } => self.load_work(index, number, operation).await?,
        })
    }
}

/// The time after which an entry that is still waiting to be applied is reported to the observer. The report is
/// repeated at this interval.
pub(crate) const REPORT_AFTER: Duration = Duration::from_secs(10);
/// The time after which an entry that is running is reported to the observer for the first time. An index of a large
/// table may take as long.
const LONG_AFTER: Duration = Duration::from_secs(60);

/// The entry that is being applied.
struct LongEntry {
    index: u64,
    /// When this entry was first seen to be running.
    since: Instant,
    /// The time after `since` at which the entry is reported next.
    report_after: Duration,
}

/// The maximum number of entries that are applied at a time.
const CHUNK_ENTRIES_MAX: usize = 1024;
/// The size in memory, in bytes, from which no more entries are added to those that are applied at a time.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Takes the next entries to apply from the stream. Returns `None` at the end of the stream.
async fn next_chunk<S>(entries: &mut S) -> io::Result<Option<Vec<EntryResponder<TypeConfig>>>>
where
    S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin,
{
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_ENTRIES_MAX && bytes < CHUNK_BYTES_MAX {
        let Some(entry) = entries.try_next().await? else { break };
        if let EntryPayload::Normal(command) = &entry.0.payload {
            bytes += command.bytes_in_memory();
        }
        chunk.push(entry);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}

/// The interval between attempts to install a snapshot while that is not possible for a temporary reason.
const INSTALL_RETRY_AFTER: Duration = Duration::from_millis(200);

/// Makes the snapshot `file` the content of the database.
async fn install_file(database: &Database, file: &Path) -> Result<Progress, Error> {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        machine.move_to_database_disk(file);
    }
    engine(database.install(file.to_owned())).await
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    blocking(work).await.map_err(io::Error::other)?
}

async fn write_file(file: &Path, bytes: Arc<[u8]>) -> io::Result<()> {
    let file = file.to_owned();
    blocking(move || std::fs::write(file, bytes)).await.map_err(io::Error::other)?
}

fn replacement_files(entries: &[LogEntry]) -> Vec<PathBuf> {
    let work = entries.iter().flat_map(|entry| &entry.work);
    work.filter_map(|work| if let LogWork::Replace(file) = work { Some(file.clone()) } else { None }).collect()
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = DatabaseSnapshot;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let progress = self.database.progress();
        Ok((id_at(progress.term, progress.index), membership::decode(&progress.membership)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        // Entries are applied in chunks, because after a restart all of them together may not fit in memory.
        while let Some(chunk) = next_chunk(&mut entries).await? {
            // A leader whose disk is slower than its followers' commits entries that it has not synced. If the database
            // applied them, a power cut could leave it ahead of the log.
            if let Some((last, _)) = chunk.last()
                && !mutated!(ApplyBeforeDurable)
            {
                self.log.durable_index().reaches(index_of(&last.log_id())).await?;
            }
            let _applying = self.applying.lock().await;
            self.apply_chunk(chunk).await?;
            self.applied.send_replace(self.database.progress().index);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder::new(self.database.clone(), self.snapshots.clone(), self.observer.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Self::SnapshotData) -> io::Result<()> {
        match snapshot {
            DatabaseSnapshot::Live => self.check_applied(meta),
            DatabaseSnapshot::Received(file) => {
                let _applying = self.applying.lock().await;
                self.install(meta, file).await
            }
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        // A transfer that was interrupted continues only if the follower is sent the same copy again.
        if let Some(export) = self.exports.kept() {
            return snapshot_at(&export.progress, DatabaseSnapshot::Live).map(Some);
        }
        match self.snapshots.snapshot() {
            Some(snapshot) => Ok(Some(snapshot)),
            // openraft stops the node if there is no snapshot although entries have been purged.
            None => self.get_snapshot_builder().await.build_snapshot().await.map(Some),
        }
    }
}
