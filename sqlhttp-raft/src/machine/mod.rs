//! The state machine: a database that applies the log through its one writer.
//!
//! The database notes how far it is in the transaction that writes the data, so nothing here has to be kept: after a
//! crash it is asked, and openraft hands over what is missing. A snapshot is the database itself, synced: nothing is
//! copied to cut the log, and nothing waits meanwhile.

mod snapshot;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt};
use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use sqlhttp_core::{Database, Error, LogEntry, LogWork, OnApplied, Outcome};

pub(crate) use snapshot::{SnapshotBuilder, SnapshotCopy};

use crate::command::{Command, Work};
use crate::membership;
use crate::skip::Skip;
use crate::ticks::Ticks;
use crate::types::{Applied, Entry, LogId, StoredMembership, TypeConfig, id_at, index_of};
use crate::{NodeOptions, Observe};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotCopy>;

/// The database as openraft sees it.
#[derive(Clone)]
pub(crate) struct Machine {
    database: Database,
    /// Where files are put that content is replaced by.
    directory: PathBuf,
    snapshots: snapshot::Latest,
    on_apply: Option<Observe>,
    /// The entry that an operator wants passed over.
    skip: Option<Skip>,
    /// The clock of the entries that wait, fine enough for [`REPORT_AFTER`].
    ticks: Ticks,
}

impl Machine {
    pub(crate) fn new(database: Database, options: &NodeOptions, skip: Option<Skip>, ticks: Ticks) -> Self {
        let (directory, on_apply) = (options.directory.clone(), options.on_apply.clone());
        Machine { database, directory, snapshots: snapshot::Latest::default(), on_apply, skip, ticks }
    }

    /// Whether an entry is passed over because an operator says so.
    ///
    /// # Errors
    /// The operator names this index, but another digest.
    fn skips(&self, index: u64, command: &Command) -> io::Result<bool> {
        let Some(skip) = self.skip.as_ref().filter(|skip| skip.index == index) else { return Ok(false) };
        let digest = command.digest();
        if skip.digest != digest {
            let why =
                format!("skip.json names entry {index} with the digest {}, but its digest is {digest}", skip.digest);
            return Err(io::Error::other(why));
        }
        tracing::error!(target: "store", "entry {index} of the log (digest {digest}) is passed over: skip.json names it");
        Ok(true)
    }

    /// Tells the operator which entry could not be applied, and how to get past it.
    fn report_failure(&self, entries: &[EntryResponder<TypeConfig>]) {
        let next = self.database.progress().index + 1;
        let stuck = entries.iter().map(|(entry, _)| entry).find(|entry| index_of(&entry.log_id()) == next);
        let Some(EntryPayload::Normal(command)) = stuck.map(|entry| &entry.payload) else { return };
        let digest = command.digest();
        tracing::error!(
            target: "store",
            "entry {next} of the log could not be applied. If it cannot be applied at all, stop this node, write \
             {{\"index\": {next}, \"digest\": \"{digest}\"}} to raft/skip.json, and start it again: the entry is then \
             passed over, and its writes are lost"
        );
    }

    /// The index and the time of the last snapshot, if there is one.
    pub(crate) fn last_snapshot(&self) -> Option<snapshot::Taken> {
        self.snapshots.taken()
    }

    /// An entry as the database takes it.
    async fn translate(&self, entry: &Entry) -> io::Result<LogEntry> {
        let id = entry.log_id();
        let work = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(members) => {
                let stored = StoredMembership::new(Some(id), members.clone());
                vec![LogWork::Membership(membership::encode(&stored)?)]
            }
            EntryPayload::Normal(command) if self.skips(index_of(&id), command)? => Vec::new(),
            EntryPayload::Normal(command) => {
                let mut works = Vec::with_capacity(command.works().len());
                for work in command.works() {
                    works.push(self.work(index_of(&id), works.len(), work).await?);
                }
                works
            }
        };
        let conditions = match &entry.payload {
            EntryPayload::Normal(command) => command.conditions(),
            _ => None,
        };
        Ok(LogEntry { term: id.leader_id.term, index: index_of(&id), conditions, work })
    }

    async fn apply_chunk(&self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut translated = Vec::with_capacity(entries.len());
        for (entry, _) in &entries {
            translated.push(self.translate(entry).await?);
        }
        let files = files_of(&translated);
        let tell = entries.iter().map(|(entry, _)| who_waits(entry)).collect();
        let started = Instant::now();
        let applied = self.apply_or_report(translated, tell, &entries, started).await.map_err(io::Error::other);
        if let Some(observe) = &self.on_apply {
            observe(started.elapsed());
        }
        // Best effort: what is left is removed at the next start.
        files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        for ((_, responder), outcomes) in entries.into_iter().zip(applied?) {
            if let Some(responder) = responder {
                responder.send(Applied { outcomes });
            }
        }
        Ok(())
    }

    /// Applies entries. The log names the entry that fails, or waits for long.
    async fn apply_or_report(
        &self,
        translated: Vec<LogEntry>,
        tell: Vec<Option<OnApplied>>,
        entries: &[EntryResponder<TypeConfig>],
        started: Instant,
    ) -> Result<Vec<Vec<Outcome>>, Error> {
        let mut applying = pin!(self.database.apply_and_notify(translated, tell));
        let mut reported = started;
        loop {
            if let Some(applied) = self.ticks.unless_next(&mut applying).await {
                if matches!(applied, Err(Error::Poisoned(_) | Error::Sqlite { .. })) {
                    self.report_failure(entries);
                }
                return applied;
            }
            if reported.elapsed() >= REPORT_AFTER {
                reported = Instant::now();
                if self.database.waits_for().is_some() {
                    self.report_failure(entries);
                }
            }
        }
    }

    async fn work(&self, index: u64, number: usize, work: &Work) -> io::Result<LogWork> {
        Ok(match work {
            Work::Batch { batch, alone, steps_max } => {
                LogWork::Batch { batch: batch.clone(), exclusive: *alone, steps_max: *steps_max }
            }
            Work::Barrier => LogWork::Barrier,
            Work::Replace(bytes) => {
                let file = self.directory.join(format!("restore-{index}-{number}.sqlite"));
                write_file(&file, bytes.clone()).await?;
                LogWork::Replace(file)
            }
        })
    }
}

/// How long entries may wait to be applied before the log says which one waits.
pub(crate) const REPORT_AFTER: Duration = Duration::from_secs(10);
/// How many entries, and about how many bytes of them, are applied at a time.
const CHUNK_ENTRIES_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Takes some entries from the stream; `None` at its end.
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

async fn write_file(file: &Path, bytes: Arc<[u8]>) -> io::Result<()> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || std::fs::write(file, bytes)).await.map_err(io::Error::other)?
}

fn files_of(entries: &[LogEntry]) -> Vec<PathBuf> {
    let works = entries.iter().flat_map(|entry| &entry.work);
    works.filter_map(|work| if let LogWork::Replace(file) = work { Some(file.clone()) } else { None }).collect()
}

/// How those learn of it who wait for this entry here: from the writer's own thread, which is the shortest way.
fn who_waits(entry: &Entry) -> Option<OnApplied> {
    let EntryPayload::Normal(command) = &entry.payload else { return None };
    let (waiting, index) = (command.waiting()?.clone(), index_of(&entry.log_id()));
    Some(Box::new(move |outcome| waiting.tell(outcome, index)))
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotCopy;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let progress = self.database.progress();
        Ok((id_at(progress.term, progress.index), membership::decode(&progress.membership)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        // After a restart there may be more of them than memory.
        while let Some(chunk) = next_chunk(&mut entries).await? {
            self.apply_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder::new(self.database.clone(), self.snapshots.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Self::SnapshotData) -> io::Result<()> {
        snapshot.install(&self.database, meta).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshots.snapshot())
    }
}
