//! The state machine: a database that applies the log through its one writer.
//!
//! The database notes how far it is in the transaction that writes the data, so nothing here has to be kept: after a
//! crash it is asked, and openraft hands over what is missing. A snapshot is the database itself, synced: nothing is
//! copied to cut the log, and nothing waits meanwhile.

mod snapshot;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, TryStreamExt};
use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use sqlhttp_core::{Database, LogEntry, LogWork, OnApplied};

pub(crate) use snapshot::{SnapshotBuilder, SnapshotCopy};

use crate::Observe;
use crate::command::Work;
use crate::membership;
use crate::types::{Applied, Entry, LogId, StoredMembership, TypeConfig, id_at, index_of};

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
}

impl Machine {
    pub(crate) fn new(database: Database, directory: PathBuf, on_apply: Option<Observe>) -> Self {
        Machine { database, directory, snapshots: snapshot::Latest::default(), on_apply }
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
            EntryPayload::Normal(command) => {
                let mut works = Vec::with_capacity(command.works().len());
                for work in command.works() {
                    works.push(self.work(index_of(&id), works.len(), work).await?);
                }
                works
            }
        };
        Ok(LogEntry { term: id.leader_id.term, index: index_of(&id), work })
    }

    async fn work(&self, index: u64, number: usize, work: &Work) -> io::Result<LogWork> {
        Ok(match work {
            Work::Batch { batch, alone } => LogWork::Batch { batch: batch.clone(), alone: *alone },
            Work::Barrier => LogWork::Barrier,
            Work::Replace(bytes) => {
                let file = self.directory.join(format!("restore-{index}-{number}.sqlite"));
                write_file(&file, bytes.clone()).await?;
                LogWork::Replace(file)
            }
        })
    }
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

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let entries: Vec<EntryResponder<TypeConfig>> = entries.try_collect().await?;
        let mut translated = Vec::with_capacity(entries.len());
        for (entry, _) in &entries {
            translated.push(self.translate(entry).await?);
        }
        let files = files_of(&translated);
        let tell = entries.iter().map(|(entry, _)| who_waits(entry)).collect();
        let started = Instant::now();
        let applied = self.database.apply_and_tell(translated, tell).await.map_err(io::Error::other);
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
