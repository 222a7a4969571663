//! A node: a database that is written through a Raft log, and everything around it.

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

use crate::command::{EncodedWork, Work};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::maintain::Maintenance;
use crate::propose::{LEADER_POLL, Proposer, stopped};
use crate::runtime::Runtime;
use crate::start::{self, StartError, Started};
use crate::types::Raft;
use crate::{NodeOptions, stamps};

/// A node of a cluster. Clones share it.
///
/// It is a [`Backend`]: what writes goes through the log, what reads runs here, as fresh as its level demands.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: NodeOptions,
    pub(crate) database: Database,
    pub(crate) log: LogStore,
    pub(crate) machine: Machine,
    pub(crate) raft: Raft,
    pub(crate) proposer: Proposer,
    /// The term in which this node leads and has applied everything from before; 0 if it does not.
    pub(crate) ready: watch::Receiver<u64>,
    pub(crate) counters: Counters,
    pub(crate) runtime: Runtime,
}

/// What has happened since the start.
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
    /// Starts a node on what its directory holds: an empty one becomes a cluster of one node. It leads a moment later; see
    /// [`Node::status`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Node, StartError> {
        let Started { database, log, machine, raft, proposer, ready, runtime } = start::start(&options).await?;
        let counters = Counters { started_on_existing: database.progress().index > 0, ..Counters::default() };
        let inner = Inner { options, database, log, machine, raft, proposer, ready, counters, runtime };
        let node = Node { inner: Arc::new(inner) };
        Maintenance::start(&node);
        Ok(node)
    }

    /// The database, for backups and for what it tells of itself. It takes no writes but those of the log.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Takes a place in the log, and waits until everything before it has been applied here. Returns its index.
    ///
    /// # Errors
    /// As [`Backend::execute`].
    pub async fn barrier(&self, deadline: Deadline) -> Result<u64, Error> {
        Ok(self.propose(Work::Barrier, deadline).await?.log_index)
    }

    /// Replaces all content by that of a database file, on every node, at one place in the log. The file is checked first,
    /// and is taken away. Returns the place.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file is no sound database, or is larger than the disk of a node that decides alone;
    /// [`Error::Io`] if it cannot be read; and as [`Backend::execute`].
    pub async fn load(&self, file: PathBuf) -> Result<u64, Error> {
        self.inner.database.check_image(file.clone()).await?;
        let read = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(&file);
            // Best effort: what is left is removed at the next start.
            let _ = std::fs::remove_file(&file);
            bytes.map_err(|source| io_error("read", &file, source))
        });
        let bytes = read.await.map_err(|_| Error::Closed)??;
        let outcome = self.propose(Work::Replace(bytes.into()), Deadline::NEVER).await?;
        if let Ending::NotCommitted(Failure::Sql(source)) = outcome.ending {
            return Err(Error::Sqlite { action: "load", source });
        }
        self.inner.counters.loads.fetch_add(1, Ordering::Relaxed);
        Ok(outcome.log_index)
    }

    /// Replaces all content of a cluster of one node by that of a database file, not through the log, however large it is.
    /// The file is checked first, and is taken away.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn boot(&self, file: PathBuf) -> Result<(), BootError> {
        // Once begun it is carried through, whether or not whoever asked for it is still there: between the new content and
        // the cut of the log it must not stop.
        let node = self.clone();
        let booted = self.inner.runtime.run(async move { node.carry_out_boot(file).await }).await;
        booted.map_err(|_| Error::Closed)?
    }

    async fn carry_out_boot(&self, file: PathBuf) -> Result<(), BootError> {
        self.may_boot()?;
        self.inner.database.check_image(file.clone()).await?;
        // What was on its way must not come after the content that replaces it.
        self.barrier(Deadline::NEVER).await?;
        self.inner.database.replace(file.clone()).await?;
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
        // The log before this place does not make this content: it must never be applied again, nor sent to anybody.
        self.barrier(Deadline::NEVER).await?;
        self.take_snapshot(0).await?;
        self.inner.counters.boots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether all content may be replaced beside the log.
    ///
    /// # Errors
    /// [`BootError::NotLeader`], [`BootError::NotSingleNode`].
    pub fn may_boot(&self) -> Result<(), BootError> {
        if !self.inner.raft.is_leader() {
            return Err(BootError::NotLeader);
        }
        if self.inner.raft.voter_ids().count() + self.inner.raft.learner_ids().count() > 1 {
            return Err(BootError::NotSingleNode);
        }
        Ok(())
    }

    /// Stops: finishes what is on its way, takes a snapshot so that the next start has nothing to apply, and closes all
    /// files.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the node had stopped by itself before.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.log.stop_waiting();
        if let Err(error) = inner.database.sync().await {
            tracing::error!(target: "store", "the database was not synced: {error}");
        }
        let database = inner.database.clone();
        // What runs for longer begins anew at the next start.
        let interrupt = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            tracing::warn!(target: "store", "interrupting the write that is being applied");
            database.interrupt();
        });
        let closed = self.close_all().await;
        interrupt.abort();
        closed
    }

    async fn close_all(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if let Err(error) = inner.raft.shutdown().await {
            tracing::error!(target: "raft", "replication did not end well: {error}");
        }
        let closed = inner.database.close().await;
        let log = inner.log.clone();
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
        inner.runtime.stop();
        closed
    }

    /// The reason why nothing is written at the moment, if the node waits for something that can pass: space on its disk, a
    /// lock, file descriptors.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.inner.database.waits_for().or_else(|| self.inner.log.waits_for())
    }

    /// The directory where everything is kept.
    pub fn directory(&self) -> &Path {
        &self.inner.options.directory
    }

    pub(crate) async fn propose(&self, work: Work, deadline: Deadline) -> Result<Outcome, Error> {
        let encoded = EncodedWork::new(work).map_err(|error| Error::Unsupported(error.to_string()))?;
        self.inner.proposer.propose(encoded, deadline).await
    }

    /// Runs a statement of the owner's on every node, through the log.
    pub(crate) async fn run_everywhere(&self, sql: &str) -> Result<Outcome, Error> {
        let batch = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::execute(sql, ())) };
        self.write(batch, true, Deadline::NEVER).await
    }

    async fn write(&self, mut batch: Batch, alone: bool, deadline: Deadline) -> Result<Outcome, Error> {
        // Here, and nowhere below, time and chance come into the log.
        batch.stamp.get_or_insert_with(stamps::new);
        let deadline = deadline.of_writes();
        let steps_max = self.steps_max(deadline);
        let work = Work::Batch { batch: Arc::new(batch), alone, steps_max };
        let outcome = self.propose(work, deadline.or_turn()).await;
        let by_turn = deadline.turn().is_some_and(|turn| deadline.moment().is_none_or(|moment| turn < moment));
        match outcome {
            Err(Error::Timeout) if by_turn => {
                Err(Error::Overloaded("the write had to wait for longer than its timeout"))
            }
            outcome => outcome,
        }
    }

    /// How many steps a write may take. A deadline is translated into steps, because the nodes that apply the write must
    /// decide alike, and have no clock in common.
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
        // What is asked of the schema must be asked of the newest one.
        self.lead_ready(deadline).await?;
        let Classified { batch, writes, exclusive: alone, refused } = self.inner.database.classify(batch).await?;
        if let Some(outcome) = refused {
            Ok(Answer::Whole(outcome))
        } else if writes {
            Ok(Answer::Whole(self.write(batch, alone, deadline).await?))
        } else {
            self.read(batch, level, deadline).await
        }
    }

    async fn read(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        let log_index = match level {
            ReadLevel::None => 0,
            ReadLevel::Weak | ReadLevel::Auto => {
                self.lead_ready(deadline).await?;
                0
            }
            ReadLevel::Linearizable => {
                // The state of this and of the next is large beside that of the usual levels.
                Box::pin(self.confirm_leadership(deadline)).await?;
                0
            }
            ReadLevel::Strong => Box::pin(self.barrier(deadline)).await?,
        };
        let answer = self.inner.database.query(batch, level, deadline).await?;
        Ok(at_index(answer, log_index))
    }

    /// Why this node has stopped by itself, if it has.
    fn stopped(&self) -> Option<Error> {
        let running = self.inner.raft.metrics().borrow_watched().running_state.clone();
        running.err().map(|fatal| stopped(&self.inner.database, &fatal))
    }

    /// Waits until this node leads and has applied what was acknowledged before it did.
    async fn lead_ready(&self, deadline: Deadline) -> Result<(), Error> {
        if *self.inner.ready.borrow() != 0 {
            return Ok(());
        }
        // Rare, and its state is large.
        Box::pin(self.wait_to_lead(deadline)).await
    }

    async fn wait_to_lead(&self, deadline: Deadline) -> Result<(), Error> {
        if let Some(why) = self.stopped() {
            return Err(why);
        }
        let mut ready = self.inner.ready.clone();
        let waited = async { ready.wait_for(|term| *term != 0).await.map(drop).map_err(|_| Error::Closed) };
        tokio::time::timeout(self.patience(deadline), waited).await.unwrap_or(Err(Error::NoLeader))
    }

    /// Asks a quorum whether this node still leads, and waits until it has applied what was committed by then (section 6.4
    /// of the Raft dissertation, ReadIndex).
    async fn confirm_leadership(&self, deadline: Deadline) -> Result<(), Error> {
        let confirmed = async {
            loop {
                match self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    Ok(_) => return Ok(()),
                    Err(RaftError::Fatal(fatal)) => return Err(stopped(&self.inner.database, &fatal)),
                    // A leader that is new may not answer yet. Nothing but a quorum's answer will do.
                    Err(RaftError::APIError(
                        LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
                    )) => self.lead_ready(deadline).await?,
                }
                tokio::time::sleep(LEADER_POLL).await;
            }
        };
        tokio::time::timeout(self.patience(deadline), confirmed).await.unwrap_or(Err(Error::NoLeader))
    }

    /// How long a request may wait for a leader.
    fn patience(&self, deadline: Deadline) -> Duration {
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

/// Why all content cannot be replaced beside the log.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// This node does not lead.
    #[error("not leader")]
    NotLeader,
    /// There are other nodes, which would not get the content.
    #[error("not single-node")]
    NotSingleNode,
    /// The file, the disk or the node.
    #[error(transparent)]
    Failed(#[from] Error),
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.display().to_string(), source: Arc::new(source) }
}

fn at_index(answer: Answer, log_index: u64) -> Answer {
    match answer {
        _ if log_index == 0 => answer,
        Answer::Whole(outcome) => Answer::Whole(Outcome { log_index, ..outcome }),
        Answer::Parts(stream) => Answer::Parts(Box::new(AtIndex { stream, log_index })),
    }
}

/// Parts of an answer that has a place in the log.
struct AtIndex {
    stream: Box<dyn PartStream>,
    log_index: u64,
}

impl PartStream for AtIndex {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        self.stream.next()
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}

/// Steps of SQLite's virtual machine that a processor does in a millisecond, about, if they are simple ones.
const STEPS_PER_MILLISECOND: u64 = 50_000;

/// How long something that happens in the background may go on when the node stops.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
