//! Runs openraft's test suite for storage implementations on this log.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, TryStreamExt};
use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::storage::{EntryResponder, RaftLogStorage as _, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{StorageError, StorageHelper};
use tempfile::TempDir;

use super::super::{CheckedLog, LogOptions, LogStore};
use super::support::{append, blank};
use crate::types::{EntryOutcomes, LogId, StoredMembership, TypeConfig, log_id};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, ()>;

/// A state machine that records only the last applied entry.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for Counter {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut counted = self.0.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: counted.applied, last_membership: counted.membership.clone() };
        counted.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Counter {
    type SnapshotData = ();
    type SnapshotBuilder = Counter;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let counted = self.0.lock().unwrap();
        Ok((counted.applied, counted.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let entries: Vec<EntryResponder<TypeConfig>> = entries.try_collect().await?;
        let mut counted = self.0.lock().unwrap();
        for (entry, responder) in entries {
            counted.applied = Some(entry.log_id());
            if let EntryPayload::Membership(members) = &entry.payload {
                counted.membership = StoredMembership::new(Some(entry.log_id()), members.clone());
            }
            if let Some(responder) = responder {
                responder.send(EntryOutcomes::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Counter {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _snapshot: ()) -> io::Result<()> {
        let mut counted = self.0.lock().unwrap();
        counted.applied = meta.last_log_id;
        counted.membership = meta.last_membership.clone();
        counted.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshot = self.0.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Counter, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Counter), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let log = LogStore::open(LogOptions::new(directory.path())).unwrap();
        Ok((directory, log, Counter::default()))
    }
}

#[tokio::test]
async fn openraft_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}

/// The log of a follower after a power cut in the installation of a snapshot, whose last entry is 5@3.
#[tokio::test]
async fn openraft_starts_after_an_interrupted_installation() {
    let installed = log_id(3, 4);
    let mut machine = Counter::default();
    machine.0.lock().unwrap().applied = Some(installed);
    for (entries, refused) in [(0..3, false), (0..5, true), (0..9, true)] {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogStore::open(LogOptions::new(directory.path())).unwrap();
        append(&mut log, entries.clone().map(|index| blank(1, index)).collect()).await.unwrap();
        let identity = log.identity();
        if refused {
            let state = StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await;
            let error = state.err().unwrap().to_string();
            assert!(error.contains("inverted log order"), "{error}");
        }
        log.close();
        drop(log);
        for marker in [Some(installed), None] {
            let checked = CheckedLog::check(LogOptions::new(directory.path())).unwrap();
            let mut log = checked.open(Some(installed), marker).unwrap();
            StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await.unwrap();
            let state = log.get_log_state().await.unwrap();
            let ends = (state.last_purged_log_id, state.last_log_id);
            assert_eq!(ends, (Some(installed), Some(installed)), "{entries:?}");
            assert_eq!(log.identity(), identity);
            log.close();
        }
    }
}
