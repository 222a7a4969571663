//! A node: a database that is written through a Raft log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{LinearizableReadError, RaftError};
use sqlhttp_core::{
    Answer, Atomicity, Backend, Batch, BoxFuture, Classified, Database, Deadline, Ending, Error, Failure, Outcome,
    Part, PartStream, ReadLevel, Step,
};
use tokio::sync::watch;

use crate::command::{EncodedOperation, Operation};
use crate::log::LogStore;
use crate::machine::StateMachine;
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::propose::{LEADER_POLL, Proposer};
use crate::raft::{Raft, stopped};
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
    /// The term of this node's leadership, once this node is leader and has applied every entry that was acknowledged
    /// before; 0 otherwise.
    pub(crate) ready_term: watch::Receiver<u64>,
    pub(crate) counters: Counters,
    pub(crate) runtime: Runtime,
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

    /// Appends an entry that changes nothing to the Raft log, and waits until this node has applied it. Returns the
    /// index of the entry.
    ///
    /// # Errors
    /// The errors of [`Backend::execute`].
    pub async fn barrier(&self, deadline: Deadline) -> Result<u64, Error> {
        Ok(self.propose(Operation::Barrier, deadline).await?.log_index)
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

    pub(crate) async fn propose(&self, operation: Operation, deadline: Deadline) -> Result<Outcome, Error> {
        let encoded = EncodedOperation::new(operation).map_err(|error| Error::Unsupported(error.to_string()))?;
        self.inner.proposer.propose(encoded, deadline).await
    }

    /// Runs a maintenance statement, such as VACUUM, on every node, through the Raft log.
    pub(crate) async fn replicate_statement(&self, sql: &str) -> Result<Outcome, Error> {
        let batch = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::execute(sql, ())) };
        self.write(batch, true, Deadline::NEVER).await
    }

    async fn write(&self, mut batch: Batch, exclusive: bool, deadline: Deadline) -> Result<Outcome, Error> {
        // This is the only place that chooses the timestamp and the random seed of a batch. Every node that applies the
        // batch uses these.
        batch.stamp.get_or_insert_with(sqlhttp_core::new_stamp);
        let deadline = deadline.of_writes();
        let steps_max = self.steps_max(deadline);
        let operation = Operation::Batch { batch: Arc::new(batch), exclusive, steps_max };
        let outcome = self.propose(operation, deadline.or_turn()).await;
        let by_turn = deadline.turn().is_some_and(|turn| deadline.moment().is_none_or(|moment| turn < moment));
        match outcome {
            Err(Error::Timeout) if by_turn => {
                Err(Error::Overloaded("the write had to wait for longer than its timeout"))
            }
            outcome => outcome,
        }
    }

    /// Returns the maximum number of SQLite virtual machine steps that a write with this deadline may execute; 0 for no
    /// maximum. A deadline is converted to steps, because all nodes must interrupt the write at the same step, and have
    /// no common clock.
    fn steps_max(&self, deadline: Deadline) -> u64 {
        let most = if deadline.is_without_default() { 0 } else { self.inner.options.write_steps_max };
        let Some(moment) = deadline.moment() else { return most };
        let left = moment.saturating_duration_since(std::time::Instant::now());
        let steps = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_mul(STEPS_PER_MILLISECOND);
        let steps = steps.max(STEPS_PER_MILLISECOND);
        if most == 0 { steps } else { steps.min(most) }
    }

    async fn execute_batch(&self, batch: Batch, deadline: Deadline) -> Result<Answer, Error> {
        let classified = self.inner.database.classify(batch).await?;
        if let Some(outcome) = classified.refused {
            return Ok(Answer::Whole(outcome));
        }
        Ok(Answer::Whole(self.write(classified.batch, classified.exclusive, deadline).await?))
    }

    async fn request_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        // The batch must be classified with the newest schema. A leader has it when it has applied every entry that was
        // acknowledged before.
        self.leader_ready(deadline).await?;
        let Classified { batch, writes, exclusive, refused } = self.inner.database.classify(batch).await?;
        if let Some(outcome) = refused {
            Ok(Answer::Whole(outcome))
        } else if writes {
            Ok(Answer::Whole(self.write(batch, exclusive, deadline).await?))
        } else {
            self.read(batch, level, deadline).await
        }
    }

    async fn read(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        let log_index = match level {
            ReadLevel::None => 0,
            ReadLevel::Weak | ReadLevel::Auto => {
                self.leader_ready(deadline).await?;
                0
            }
            ReadLevel::Linearizable => {
                // Boxed, like the barrier below, because these two futures are much larger than those of the common
                // read levels.
                Box::pin(self.confirm_leadership(deadline)).await?;
                0
            }
            ReadLevel::Strong => Box::pin(self.barrier(deadline)).await?,
        };
        let answer = self.inner.database.query(batch, level, deadline).await?;
        Ok(with_log_index(answer, log_index))
    }

    /// Returns the error that requests receive if replication has stopped; `None` if replication is running.
    fn stopped(&self) -> Option<Error> {
        let running = self.inner.raft.metrics().borrow_watched().running_state.clone();
        running.err().map(|fatal| stopped(&self.inner.database, &fatal))
    }

    /// Waits until this node is leader and has applied every entry that was acknowledged before. Returns
    /// [`Error::NoLeader`] if that takes longer than [`Node::leader_timeout`].
    async fn leader_ready(&self, deadline: Deadline) -> Result<(), Error> {
        if *self.inner.ready_term.borrow() != 0 {
            return Ok(());
        }
        // Boxed, because the future is large, and waiting is rarely necessary.
        Box::pin(self.wait_for_leadership(deadline)).await
    }

    async fn wait_for_leadership(&self, deadline: Deadline) -> Result<(), Error> {
        if let Some(why) = self.stopped() {
            return Err(why);
        }
        let mut ready_term = self.inner.ready_term.clone();
        let waited = async { ready_term.wait_for(|term| *term != 0).await.map(drop).map_err(|_| Error::Closed) };
        tokio::time::timeout(self.leader_timeout(deadline), waited).await.unwrap_or(Err(Error::NoLeader))
    }

    /// Confirms with a quorum that this node is still leader, and waits until this node has applied all entries that
    /// were committed at that time (ReadIndex, section 6.4 of the Raft dissertation).
    async fn confirm_leadership(&self, deadline: Deadline) -> Result<(), Error> {
        let confirmed = async {
            loop {
                match self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    Ok(_) => return Ok(()),
                    Err(RaftError::Fatal(fatal)) => return Err(stopped(&self.inner.database, &fatal)),
                    // A new leader may not be ready yet, so the confirmation is tried again. Only a confirmation by a
                    // quorum makes the read linearizable.
                    Err(RaftError::APIError(
                        LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
                    )) => self.leader_ready(deadline).await?,
                }
                tokio::time::sleep(LEADER_POLL).await;
            }
        };
        tokio::time::timeout(self.leader_timeout(deadline), confirmed).await.unwrap_or(Err(Error::NoLeader))
    }

    /// Returns how long a request may wait for a leader: `apply_timeout`, but not beyond the deadline of the request.
    fn leader_timeout(&self, deadline: Deadline) -> Duration {
        let limit = self.inner.options.apply_timeout;
        let now = std::time::Instant::now();
        deadline.moment().map_or(limit, |moment| moment.saturating_duration_since(now).min(limit))
    }
}

impl Backend for Node {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.request_batch(batch, level, deadline))
    }

    fn execute(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.execute_batch(batch, deadline))
    }

    fn query(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.read(batch, level, deadline))
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

fn with_log_index(answer: Answer, log_index: u64) -> Answer {
    match answer {
        _ if log_index == 0 => answer,
        Answer::Whole(outcome) => Answer::Whole(Outcome { log_index, ..outcome }),
        Answer::Parts(stream) => Answer::Parts(Box::new(PartsAtIndex { stream, log_index })),
    }
}

/// A streamed response to a read, with the index of the barrier that was applied before the read.
struct PartsAtIndex {
    stream: Box<dyn PartStream>,
    log_index: u64,
}

impl PartStream for PartsAtIndex {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        self.stream.next()
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

/// The approximate number of simple SQLite virtual machine steps that a processor executes per millisecond.
const STEPS_PER_MILLISECOND: u64 = 50_000;

/// The maximum duration of a snapshot. Also how long [`Node::close`] waits before it interrupts a write that is being
/// applied.
pub(crate) const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(10);
