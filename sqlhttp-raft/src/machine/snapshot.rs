//! Raft snapshots. A snapshot is the database itself, synced up to an index of the Raft log.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use openraft::storage::RaftSnapshotBuilder;
use sqlhttp_core::{Database, Error, Progress};

use crate::clock;
use crate::membership;
use crate::observer::{Event, Observer};
use crate::runtime::engine;
use crate::types::{TypeConfig, id_at, index_of};

pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, DatabaseSnapshot>;

/// The interval between attempts to sync the database while syncing is not possible because no file descriptor is
/// available.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The contents of a Raft snapshot.
#[derive(Debug, Clone)]
pub(crate) enum DatabaseSnapshot {
    /// The database of this node. No bytes are copied to compact the Raft log; a copy is made only when another node
    /// needs a snapshot.
    Live,
    /// A checked file that this node has received from the leader.
    Received(PathBuf),
}

/// Returns a snapshot with the contents that a database has at this position.
pub(crate) fn snapshot_at(progress: &Progress, contents: DatabaseSnapshot) -> io::Result<Snapshot> {
    let meta = SnapshotMeta {
        last_log_id: id_at(progress.term, progress.index),
        last_membership: membership::decode(&progress.membership)?,
    };
    Ok(Snapshot { meta, snapshot: contents })
}

/// The term, the index and the time of the last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotInfo {
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) at: SystemTime,
}

/// The last snapshot; `None` if no snapshot has been taken since the start. Clones share the value.
#[derive(Debug, Clone, Default)]
pub(crate) struct LatestSnapshot(Arc<Mutex<Option<(Snapshot, SystemTime)>>>);

impl LatestSnapshot {
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(snapshot, _)| snapshot.clone())
    }

    pub(super) fn info(&self) -> Option<SnapshotInfo> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, at) = latest.as_ref()?;
        let id = snapshot.meta.last_log_id?;
        Some(SnapshotInfo { term: id.leader_id.term, index: index_of(&id), at: *at })
    }

    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((snapshot, clock::system_time()));
    }
}

/// Takes Raft snapshots for openraft.
pub(crate) struct SnapshotBuilder {
    database: Database,
    latest: LatestSnapshot,
    observer: Arc<dyn Observer>,
}

impl SnapshotBuilder {
    pub(super) fn new(database: Database, latest: LatestSnapshot, observer: Arc<dyn Observer>) -> Self {
        SnapshotBuilder { database, latest, observer }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = DatabaseSnapshot;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let progress = loop {
            match engine(self.database.sync()).await {
                Ok(progress) => break progress,
                // The database attempted nothing, so trying again is safe. openraft would stop the node on any error
                // returned here.
                Err(Error::Unavailable(why)) => self.observer.event(&Event::SnapshotDelayed { reason: &why }),
                Err(error) => return Err(io::Error::other(error)),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        };
        let snapshot = snapshot_at(&progress, DatabaseSnapshot::Live)?;
        self.latest.set(snapshot.clone());
        Ok(snapshot)
    }
}
