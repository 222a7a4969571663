//! A node: a database that is written through a Raft log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use sqlhttp_core::{Answer, Backend, Batch, BoxFuture, Database, Deadline, Ending, Error, Failure, ReadLevel};

use crate::bootstrap::Notified;
use crate::command::Operation;
use crate::forward::{Caller, Credentials};
use crate::identity::Identity;
use crate::leadership::Leadership;
use crate::log::LogStore;
use crate::machine::StateMachine;
use crate::members::Members;
use crate::network::Peers;
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::propose::Proposer;
use crate::raft::{Raft, stopped};
use crate::read_index::ReadIndexes;
use crate::reads::Authorized;
use crate::runtime::Runtime;

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
    pub(crate) snapshots_installed: AtomicU64,
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

    /// Replaces all content of the database with that of a database file, on every node at the same index of the Raft
    /// log. Checks the file first, and removes it once it has been read. Returns the index.
    ///
    /// # Errors
    /// * [`Error::Sqlite`]: the file is not a valid database; or this node is the only voter, and its disk has no space
    ///   for the content.
    /// * [`Error::Io`]: the database file cannot be read.
    /// * The errors of [`Backend::execute`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.inner.database.check_image(file.clone()).await?;
        let read = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(&file);
            // Best effort: a file that cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&file);
            bytes.map_err(|source| io_error("read", &file, source))
        });
        let bytes = read.await.map_err(|_| Error::Closed)??;
        let outcome = self.propose(Operation::Replace(bytes.into()), Deadline::NEVER).await?;
        if let Ending::NotCommitted(Failure::Sql(source)) = outcome.ending {
            return Err(Error::Sqlite { action: "load", source });
        }
        self.inner.counters.loads.fetch_add(1, Ordering::Relaxed);
        Ok(outcome.log_index)
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
        self.may_boot()?;
        self.inner.database.check_image(file.clone()).await?;
        // Entries in flight must be applied to the old content, not to the new one.
        self.barrier(Deadline::NEVER).await?;
        self.inner.database.replace(file.clone()).await?;
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
        // Applying the entries up to this barrier would not produce the new content. The snapshot purges them, so that
        // they are never applied again or sent to another node.
        self.barrier(Deadline::NEVER).await?;
        self.take_snapshot(0).await?;
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

    /// Stops the node. Syncs the database, so that the next start has few entries to apply; waits for the entries that
    /// are being applied; and closes all files. A write that is still being applied after 10 seconds is interrupted,
    /// and is applied again at the next start.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: the node had already stopped because of an error.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.log.stop_retries();
        if let Err(error) = inner.database.sync().await {
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
        let closed = inner.database.close().await;
        let log = inner.log.clone();
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
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

    /// Returns the error that requests receive if replication has stopped; `None` if replication is running.
    pub(crate) fn stopped(&self) -> Option<Error> {
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

impl Backend for NodeUser {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.request_for(&self.caller, batch, level, deadline))
    }

    fn execute(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.execute_for(&self.caller, batch, deadline))
    }

    fn query(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.node.read_for(&self.caller, batch, level, deadline))
    }
}

/// The caller of a request that the node itself makes, or that needs no permissions.
const NO_CALLER: &Caller = &Caller { credentials: None, permissions: &[] };

impl Backend for Node {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.request_for(NO_CALLER, batch, level, deadline))
    }

    fn execute(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.execute_for(NO_CALLER, batch, deadline))
    }

    fn query(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.read_for(NO_CALLER, batch, level, deadline))
    }
}

/// Why [`Node::boot`] could not replace the content of the database.
#[derive(Debug, thiserror::Error)]
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
