//! A node: a database that is written through a Raft log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use sqlhttp_core::{Answer, Backend, Batch, BoxFuture, Database, Deadline, Error, ReadLevel};

use crate::bootstrap::Notified;
use crate::forward::{Caller, Credentials};
use crate::identity::Identity;
use crate::leadership::Leadership;
use crate::log::LogStore;
use crate::machine::{DatabaseSnapshot, Snapshot, StateMachine, snapshot_at};
use crate::members::{JoinCall, Members};
use crate::network::{Peers, Target};
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::propose::Proposer;
use crate::raft::{Raft, stopped};
use crate::read_index::ReadIndexes;
use crate::reads::Authorized;
use crate::runtime::{Runtime, blocking, engine};
use crate::snapshots::{Exports, Receiver};
use crate::types::{LogId, Vote, index_of};
use crate::verify::{DifferenceMark, VerifySessions};

/// A node of a cluster. Clones share the node.
///
/// A node is a [`Backend`]. Writes go through the Raft log. Reads run on the local database; the [`ReadLevel`] of a
/// read determines what the node must confirm or wait for first.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<NodeInner>,
}

pub(crate) struct NodeInner {
    pub(crate) options: NodeOptions,
    pub(crate) database: Database,
    pub(crate) log: LogStore,
    pub(crate) machine: StateMachine,
    pub(crate) raft: Raft,
    pub(crate) proposer: Proposer,
    pub(crate) identity: Arc<Identity>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) members: Arc<Members>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) exports: Arc<Exports>,
    pub(crate) receiver: Receiver,
    /// Whether the content of this node differs from that of the majority.
    pub(crate) difference: Arc<DifferenceMark>,
    pub(crate) verify_sessions: VerifySessions,
    /// Held by the verification that this node coordinates.
    pub(crate) verifying: tokio::sync::Mutex<()>,
    /// Held by the load of a database file that this node replicates as leader.
    pub(crate) loads: tokio::sync::Mutex<()>,
    /// The read indexes for which the leader relies on its lease.
    pub(crate) leased_reads: ReadIndexes,
    /// The read indexes for which a quorum confirms the leadership.
    pub(crate) confirmed_reads: ReadIndexes,
    pub(crate) authorized: Authorized,
    pub(crate) notified: Notified,
    pub(crate) counters: Counters,
    /// The replication thread.
    pub(crate) runtime: Runtime,
    /// The thread for forwarded requests and snapshots.
    pub(crate) slow_runtime: Runtime,
}

/// Counts of this node's operations since it was started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) started_on_existing: bool,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_by_request: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) boots: AtomicU64,
    pub(crate) vacuums: AtomicU64,
    pub(crate) vacuums_failed: AtomicU64,
    pub(crate) optimizes: AtomicU64,
    pub(crate) optimizes_failed: AtomicU64,
    pub(crate) forwarded: AtomicU64,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.inner.options.name).finish_non_exhaustive()
    }
}

impl Node {
    /// The database of this node, for backups and its status. The database rejects writes that do not come from the
    /// Raft log.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Replaces all content of the database of a single-node cluster with that of a database file of any size, which is
    /// not written to the Raft log. Checks the file first, and removes it afterwards.
    ///
    /// # Errors
    /// See [`BootError`].
    pub async fn boot(&self, file: PathBuf) -> Result<(), BootError> {
        // `run_boot` runs to its end even if the caller drops this future. It must not stop between the replacement of
        // the content and the compaction of the log.
        let node = self.clone();
        let booted = self.inner.runtime.run(async move { node.run_boot(file).await }).await;
        booted.map_err(|_| Error::Closed)?
    }

    async fn run_boot(&self, file: PathBuf) -> Result<(), BootError> {
        // No other node can join before the entries that produced the old content are purged.
        let _no_joins = self.inner.members.lock().await;
        // A load that is open keeps its entries in the Raft log.
        let _no_loads = self.inner.loads.lock().await;
        self.may_boot()?;
        self.abort_open_load().await;
        engine(self.inner.database.check_image(file.clone())).await?;
        // Entries in flight must be applied to the old content, not to the new one.
        self.barrier(Deadline::NEVER).await?;
        engine(self.inner.database.replace(file.clone())).await?;
        self.inner.exports.invalidate();
        let _ = blocking(move || std::fs::remove_file(file)).await;
        // Applying the entries up to this barrier would not produce the new content. The snapshot purges them, so that
        // they are never applied again or sent to another node.
        self.barrier(Deadline::NEVER).await?;
        // Until then, no other node may join: it would apply the entries of the old content.
        while let Err(error) = self.take_snapshot(u64::MAX).await {
            self.inner.options.observer.event(&Event::SnapshotFailed { error: &error });
            if let Some(why) = self.stopped() {
                return Err(why.into());
            }
        }
        self.inner.counters.boots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Checks whether [`Node::boot`] is possible: this node must be leader and the only node of its cluster.
    ///
    /// # Errors
    /// * [`BootError::NotLeader`]: this node is not leader.
    /// * [`BootError::NotSingleNode`]: the cluster has other nodes.
    pub fn may_boot(&self) -> Result<(), BootError> {
        if !self.inner.raft.is_leader() {
            return Err(BootError::NotLeader);
        }
        if self.inner.raft.voter_ids().count() + self.inner.raft.learner_ids().count() > 1 {
            return Err(BootError::NotSingleNode);
        }
        Ok(())
    }

    /// Checks and installs a snapshot that has been received completely from the leader with this vote. Returns the
    /// vote of this node.
    pub(crate) async fn install_received(&self, id: u128, vote: Vote) -> Result<Vote, String> {
        let node = self.clone();
        let checked = blocking(move || {
            let file = node.inner.receiver.finish(id).map_err(|error| error.to_string())?;
            let checked = Database::check_snapshot(&file).inspect_err(|_| node.inner.receiver.end(&file));
            checked.map(|progress| (progress, file)).map_err(|error| format!("the snapshot is not usable: {error}"))
        });
        let (progress, file) = checked.await.map_err(|error| error.to_string())??;
        // openraft panics if a snapshot is newer than its leader. The database may already contain the entries of an
        // older snapshot, which is not installed then.
        let is_newer = progress.term > vote.leader_id.term;
        let installed = if is_newer {
            Err("the snapshot is newer than its leader".to_owned())
        } else if progress.index <= self.inner.database.progress().index.max(self.committed_index()) {
            // An older entry at the same or a later index is not part of the leader's log. Only an unsafe recovery of a
            // cluster can lead to this.
            let is_same = self.inner.database.progress().term >= progress.term;
            if is_same {
                self.follow(vote, None).await
            } else {
                Err("this node contains entries that the cluster does not".to_owned())
            }
        } else {
            let snapshot = snapshot_at(&progress, DatabaseSnapshot::Received(file.clone()));
            self.install_snapshot(vote, snapshot.map_err(|error| error.to_string())?).await
        };
        // An installation has renamed the file.
        let node = self.clone();
        let _ = blocking(move || node.inner.receiver.end(&file)).await;
        installed
    }

    /// Installs a snapshot of the leader with this vote. Returns the vote of this node.
    ///
    /// If the entry of this node at the position of the snapshot is not the leader's, openraft first removes all
    /// entries that it does not know to be committed. After a power cut it does not know the last ones that are. A
    /// further power cut before the snapshot is durable would then lose entries that this node has acknowledged.
    /// Therefore the conflicting entries are removed before, and no others.
    async fn install_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<Vote, String> {
        let accepted = self.follow(vote, snapshot.meta.last_log_id.filter(|_| !mutated!(TruncateCommitted))).await?;
        if accepted != vote {
            return Ok(accepted);
        }
        let installed = self.inner.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(|response| response.vote).map_err(|error| error.to_string())
    }

    /// Follows the leader with this vote, unless this node has voted for a later one, and removes the entries from the
    /// position `prev` on if the entry there is not `prev`. Returns the vote of this node, which may only be that of
    /// the leader if openraft has accepted it: the leader takes it for a confirmation of its leadership.
    async fn follow(&self, vote: Vote, prev: Option<LogId>) -> Result<Vote, String> {
        let heartbeat = AppendEntriesRequest { vote, prev_log_id: prev, leader_commit: None, entries: Vec::new() };
        match self.inner.raft.append_entries(heartbeat).await.map_err(|error| error.to_string())? {
            AppendEntriesResponse::HigherVote(later) if !mutated!(SnapshotConfirms) => Ok(later),
            _ => Ok(vote),
        }
    }

    /// Ensures that a node that joins receives no entry with a statement that failed only because of this node's disk
    /// or memory, while it was the only member. Such a statement could succeed on another node.
    pub(crate) async fn prepare_for_members(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if !inner.leadership.is_sole() || !inner.leadership.is_ready() {
            return Ok(());
        }
        let database = inner.database.clone();
        let decided = blocking(move || {
            database.set_sole(false);
            database.status().decision_index
        });
        let decided = decided.await.map_err(|_| Error::Closed)?;
        if decided <= inner.log.status().purged_index {
            return Ok(());
        }
        self.take_snapshot(u64::MAX).await?;
        let mut metrics = inner.raft.data_metrics();
        let purged = async {
            while metrics.borrow_and_update().purged.map_or(0, |id| index_of(&id)) < decided {
                metrics.changed().await.map_err(|_| self.stopped().unwrap_or(Error::Closed))?;
            }
            Ok(())
        };
        tokio::time::timeout(BACKGROUND_TIMEOUT, purged).await.unwrap_or(Err(Error::Timeout))
    }

    /// Gives a node that joins the entries that the cluster has skipped. The log that it receives may contain them. A
    /// leader that is ready has passed all of them, so no further one is decided until the node is a member.
    pub(crate) async fn share_skips(&self, joining: &JoinCall) -> Result<(), String> {
        let inner = &self.inner;
        let Some(call) = inner.machine.skips().for_new_member().filter(|_| inner.leadership.is_ready()) else {
            return Ok(());
        };
        // The connection makes the node a member of this cluster, as that of the replication does.
        inner.peers.set_address(joining.node, &joining.raft_address);
        let adopted = inner.peers.call(Target::Node(joining.node), &call, BACKGROUND_TIMEOUT).await;
        let adopted = adopted.map_err(|error| error.to_string()).and_then(|recorded| recorded);
        adopted.map_err(|why| format!("the node cannot record the entries of the log that the cluster skips: {why}"))
    }

    /// Stops the node. Syncs the database, so that the next start has few entries to apply; waits for the entries that
    /// are being applied; and closes all files. A write that is still being applied after 10 seconds is interrupted,
    /// and is applied again at the next start.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: the node had already stopped because of an error.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.verify_sessions.end();
        inner.log.stop_retries();
        if let Err(error) = engine(inner.database.sync()).await {
            inner.options.observer.event(&Event::CloseNotSynced { error: &error });
        }
        let (database, observer) = (inner.database.clone(), inner.options.observer.clone());
        // The next start applies an interrupted write again.
        let interrupt = tokio::spawn(async move {
            tokio::time::sleep(BACKGROUND_TIMEOUT).await;
            observer.event(&Event::WriteInterrupted);
            database.interrupt();
        });
        let closed = self.close_all().await;
        interrupt.abort();
        closed
    }

    async fn close_all(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if let Err(error) = inner.raft.shutdown().await {
            inner.options.observer.event(&Event::ShutdownFailed { error: &error.to_string() });
        }
        let closed = engine(inner.database.close()).await;
        let log = inner.log.clone();
        let _ = blocking(move || log.close()).await;
        inner.slow_runtime.stop();
        inner.runtime.stop();
        closed
    }

    /// The reason why the node cannot write at the moment, if the cause is temporary: no free disk space, a lock on the
    /// database, or no file descriptors. `None` if nothing prevents writes.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.inner.database.waits_for().or_else(|| self.inner.log.waits_for())
    }

    /// The directory that contains the Raft log and the database.
    pub fn directory(&self) -> &Path {
        &self.inner.options.directory
    }

    /// Returns the same node as a backend for the requests of one client. Requests that another node carries out are
    /// sent with the credentials of the client, and with the permissions that the request needs there.
    pub fn on_behalf_of(&self, credentials: Option<Credentials>, permissions: &'static [&'static str]) -> NodeUser {
        let caller = Caller { credentials: credentials.map(Arc::new), permissions };
        NodeUser { node: self.clone(), caller }
    }

    /// The index of the last entry that this node knows to be committed, counted from 1. It may not have applied it
    /// yet.
    fn committed_index(&self) -> u64 {
        self.inner.raft.data_metrics().borrow_watched().local_committed.map_or(0, |id| index_of(&id))
    }

    /// Returns the error that requests receive if replication has stopped or this node was removed from its cluster;
    /// `None` otherwise.
    pub(crate) fn stopped(&self) -> Option<Error> {
        if self.inner.leadership.is_removed() {
            return Some(Error::Removed);
        }
        let running = self.inner.raft.metrics().borrow_watched().running_state.clone();
        running.err().map(|fatal| stopped(&self.inner.database, &fatal))
    }
}

/// A node, used by one client: see [`Node::on_behalf_of`].
#[derive(Debug, Clone)]
pub struct NodeUser {
    node: Node,
    caller: Caller,
}

impl NodeUser {
    /// Replaces all content of the database, like [`Node::load`].
    ///
    /// # Errors
    /// Those of [`Node::load`], and [`Error::Unauthorized`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.node.load_for(&self.caller, file).await
    }
}

impl Backend for NodeUser {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.request_for(&self.caller, batch, level, deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.execute_for(&self.caller, batch, deadline))
    }

    fn read_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.read_for(&self.caller, batch, level, deadline))
    }
}

/// The caller of a request that the node itself makes, or that needs no permissions.
const NO_CALLER: &Caller = &Caller { credentials: None, permissions: &[] };

impl Backend for Node {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.request_for(NO_CALLER, batch, level, deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.execute_for(NO_CALLER, batch, deadline))
    }

    fn read_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.read_for(NO_CALLER, batch, level, deadline))
    }
}

/// Why [`Node::boot`] could not replace the content of the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// This node is not leader.
    #[error("not leader")]
    NotLeader,
    /// The cluster has other nodes, which would not receive the new content.
    #[error("not single-node")]
    NotSingleNode,
    /// The file is not a valid database, the disk failed, or the node has stopped.
    #[error(transparent)]
    Failed(#[from] Error),
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.display().to_string(), source: Arc::new(source) }
}

/// The maximum duration of a snapshot. Also how long [`Node::close`] waits before it interrupts a write that is being
/// applied.
pub(crate) const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(10);
