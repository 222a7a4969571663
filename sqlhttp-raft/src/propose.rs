//! Queues operations, and proposes entries of the Raft log that contain them.
//!
//! All queued operations are combined into one entry. While entries are in flight, further operations queue up. Under
//! load, more operations therefore share an entry, its append and its fsync (batching, section 10.2.2 of the Raft
//! dissertation). An operation that arrives while nothing is in flight is proposed at once; no timer delays it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use sqlhttp_core::{Conditions, Database, Deadline, Error, NamedZone, Outcome, TimeZone};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::clock;
use crate::command::{Command, DATABASE, EncodedOperation};
use crate::leadership::Leadership;
use crate::log::LogStore;
use crate::observer::{Event, Observer};
use crate::options::NodeOptions;
use crate::raft::{Raft, stopped};
use crate::timer::CoarseTimer;
use crate::types::{EntryOutcomes, index_of};
use crate::waiters::{PendingReply, Waiters, reply};

/// The maximum number of operations that share an entry.
const OPERATIONS_MAX: usize = 256;
/// The maximum total length of the operations in an entry, in bytes. An entry with a single operation may be longer.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// The maximum number of entries in flight: one is written and synced while the other is applied.
const IN_FLIGHT_MAX: usize = 2;
/// The maximum length of an operation, in bytes. A longer operation is refused. A frame of the Raft log can contain
/// about twice as many bytes.
const OPERATION_BYTES_MAX: usize = 1 << 30;
/// The length, in bytes, from which an operation counts as large. A large operation is proposed only if the disk has
/// enough free space for it.
const LARGE_BYTES: usize = 1 << 20;
/// The maximum number of queued operations. When the queue is full, further operations are refused as
/// [`Error::Overloaded`].
const QUEUED_MAX: usize = 4096;
/// The maximum total length of the operations that are queued or in flight, in bytes. An operation that would exceed
/// this total is refused as [`Error::Overloaded`]; a longer operation is accepted only if no other is queued or in
/// flight.
const QUEUED_BYTES_MAX: usize = 256 << 20;
/// How long the caller of a submitted write waits for its outcome after the deadline, before it receives
/// [`Error::Unknown`].
const APPLY_GRACE: Duration = Duration::from_secs(1);
/// The maximum time between two attempts to append an entry while there is no leader. A change of the leadership ends
/// this time early. A leader that appends no entries at the moment (it transfers its leadership) announces nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// An operation that waits in the queue to be put into an entry.
struct Proposal {
    operation: EncodedOperation,
    /// The time until which the operation may be submitted to the Raft log. Once it is in the log, it is applied
    /// regardless of the deadline.
    deadline: Deadline,
    reply: oneshot::Sender<Result<Outcome, Error>>,
    state: Arc<ProposalState>,
    permit: OwnedSemaphorePermit,
}

/// Receives the outcome of a proposed operation.
type OutcomeReceiver = oneshot::Receiver<Result<Outcome, Error>>;

/// Accepts operations for the Raft log. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    queued_bytes: Arc<Semaphore>,
    queued: Arc<AtomicU64>,
    apply_timeout: Duration,
    /// The timer that measures `apply_timeout` for writes without a deadline.
    timer: CoarseTimer,
    database: Database,
    log: LogStore,
    leadership: Arc<Leadership>,
}

/// How long an operation may wait to be submitted to the Raft log, the settings that are copied into every entry, and
/// the observer of the node.
#[derive(Clone)]
pub(crate) struct ProposeSettings {
    apply_timeout: Duration,
    foreign_keys: bool,
    value_bytes_max: u64,
    /// The time zone of local times; `None` for UTC.
    time_zone: Option<NamedZone>,
    observer: Arc<dyn Observer>,
}

impl ProposeSettings {
    pub(crate) fn of(options: &NodeOptions) -> ProposeSettings {
        let NodeOptions { apply_timeout, database, observer, .. } = options;
        ProposeSettings {
            apply_timeout: *apply_timeout,
            foreign_keys: database.foreign_keys,
            value_bytes_max: database.value_bytes_max,
            time_zone: if let TimeZone::Named(zone) = database.time_zone { Some(zone) } else { None },
            observer: observer.clone(),
        }
    }
}

/// How far the time of an entry may be ahead of the system clock, in milliseconds.
const AHEAD_MAX_MS: i64 = 10_000;

/// Assigns times to entries. The times never decrease, unless the system clock was set back by more than
/// [`AHEAD_MAX_MS`].
struct EntryClock {
    last_unix_ms: AtomicI64,
    observer: Arc<dyn Observer>,
}

impl EntryClock {
    /// Returns a clock that starts at `last_unix_ms`, the time of the last entry.
    fn new(last_unix_ms: i64, observer: Arc<dyn Observer>) -> EntryClock {
        EntryClock { last_unix_ms: AtomicI64::new(last_unix_ms), observer }
    }

    fn next(&self, now_unix_ms: i64) -> i64 {
        let last = self.last_unix_ms.load(Ordering::Relaxed);
        let next = if last > now_unix_ms.saturating_add(AHEAD_MAX_MS) {
            self.observer.event(&Event::ClockSetBack { by: Duration::from_millis(last.abs_diff(now_unix_ms)) });
            now_unix_ms
        } else {
            last.max(now_unix_ms)
        };
        // Calls are never concurrent: all proposals run on the single-threaded replication runtime, and this function
        // does not await.
        self.last_unix_ms.store(next, Ordering::Relaxed);
        next
    }
}

/// Whether a proposal is queued, has been submitted to the Raft log, or has been abandoned by its caller.
#[derive(Debug, Default)]
struct ProposalState(AtomicU8);

const QUEUED: u8 = 0;
const SUBMITTED: u8 = 1;
const ABANDONED: u8 = 2;

impl ProposalState {
    /// Marks the proposal as submitted to the Raft log. Returns `false`, and does nothing, if its caller has abandoned
    /// it.
    fn try_submit(&self) -> bool {
        self.0.compare_exchange(QUEUED, SUBMITTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Marks the proposal as abandoned by its caller. Returns `false`, and does nothing, if it has been submitted to
    /// the Raft log.
    fn try_abandon(&self) -> bool {
        self.0.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Proposer {
    /// Starts the task that proposes entries, on the current runtime.
    pub(crate) fn start(
        leadership: Arc<Leadership>,
        database: Database,
        log: LogStore,
        waiters: Waiters,
        settings: ProposeSettings,
    ) -> Proposer {
        let (queue, proposals) = mpsc::channel(QUEUED_MAX);
        let queued = Arc::new(AtomicU64::new(0));
        let clock = Arc::new(EntryClock::new(database.progress().unix_ms, settings.observer.clone()));
        let apply_timeout = settings.apply_timeout;
        let raft = leadership.raft().clone();
        let context = ProposeContext { raft, database: database.clone(), settings, clock, waiters };
        let task = ProposerTask { context, queued: queued.clone() };
        tokio::spawn(task.run(proposals));
        let (queued_bytes, timer) = (Arc::new(Semaphore::new(QUEUED_BYTES_MAX)), CoarseTimer::start(apply_timeout));
        Proposer { queue, queued_bytes, queued, apply_timeout, timer, database, log, leadership }
    }

    /// Proposes an operation, and waits until it has been applied. Once the operation is submitted to the Raft log, it
    /// is applied even if this future is dropped.
    ///
    /// # Errors
    /// * [`Error::Overloaded`]: the queue is full, or the operations that are queued or in flight are too long
    ///   together.
    /// * [`Error::Timeout`]: the operation was not submitted before its deadline or within the node's `apply_timeout`.
    ///   Nothing was executed.
    /// * [`Error::Unknown`]: the operation was submitted, but its outcome did not arrive in time. It may still be
    ///   applied.
    /// * [`Error::Unavailable`]: the node waits until its disk can be written again, or the disk has no space for an
    ///   operation of this length.
    /// * [`Error::NoLeader`]: no leader was found in time, or another node is leader.
    /// * [`Error::LeadershipLost`]: this node lost its leadership before the entry was committed.
    /// * [`Error::Poisoned`]: this node has stopped because of an error.
    pub(crate) async fn propose(&self, operation: EncodedOperation, deadline: Deadline) -> Result<Outcome, Error> {
        const OVERLOADED: Error = Error::Overloaded("too many writes are waiting");
        if operation.len() > OPERATION_BYTES_MAX {
            return Err(Error::Unsupported("the request is too large for the log".to_owned()));
        }
        let bytes = u32::try_from(operation.len().min(QUEUED_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = self.queued_bytes.clone().try_acquire_many_owned(bytes).map_err(|_| OVERLOADED)?;
        if let Some(why) = self.waits_for() {
            return Err(Error::Unavailable(why));
        }
        if operation.len() >= LARGE_BYTES {
            self.check_space()?;
        }
        let (reply, outcome) = oneshot::channel();
        let state = Arc::new(ProposalState::default());
        let proposal = Proposal { operation, deadline, reply, state: state.clone(), permit };
        self.queue.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OVERLOADED,
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.wait_for_outcome(outcome, &state, deadline).await
    }

    /// Returns an error if the disk has no space for all operations that are queued or in flight, including the new
    /// one. If such an operation were proposed, the Raft log would wait for space without end.
    fn check_space(&self) -> Result<(), Error> {
        let queued = QUEUED_BYTES_MAX.saturating_sub(self.queued_bytes.available_permits());
        if self.log.lacks_space_for(queued as u64) {
            return Err(Error::Unavailable("the disk of the log has no space for so large a write".into()));
        }
        Ok(())
    }

    /// Waits for the outcome of an operation. Until the operation is submitted to the Raft log, this function waits for
    /// at most `apply_timeout`, and not beyond the deadline. After that, it waits until [`APPLY_GRACE`] after the
    /// deadline.
    async fn wait_for_outcome(
        &self,
        mut outcome: OutcomeReceiver,
        state: &ProposalState,
        deadline: Deadline,
    ) -> Result<Outcome, Error> {
        let submit_by = Instant::now() + self.apply_timeout;
        let Some(moment) = deadline.moment() else {
            return self.wait_without_deadline(outcome, state, submit_by).await;
        };
        if let Ok(outcome) = tokio::time::timeout_at(submit_by.min(moment.into()), &mut outcome).await {
            return outcome.unwrap_or(Err(Error::Closed));
        }
        if state.try_abandon() {
            return Err(self.not_submitted(deadline));
        }
        let latest = Instant::from_std(moment + APPLY_GRACE);
        let waited = tokio::time::timeout_at(latest, outcome).await;
        waited.map_or(Err(Error::Unknown), |outcome| outcome.unwrap_or(Err(Error::Closed)))
    }

    /// Waits for the outcome of a write without a deadline. If the write has not been submitted to the Raft log by
    /// `submit_by`, or up to a tick of the timer later, it is abandoned. Once it is submitted, this function returns
    /// only when the outcome arrives, when the node waits for its disk, or when the node has been cut off from the
    /// quorum for `apply_timeout`.
    async fn wait_without_deadline(
        &self,
        mut outcome: OutcomeReceiver,
        state: &ProposalState,
        submit_by: Instant,
    ) -> Result<Outcome, Error> {
        let mut submitted = false;
        let mut in_quorum = Instant::now();
        loop {
            if let Some(outcome) = self.timer.ready_before_tick(&mut outcome).await {
                return outcome.unwrap_or(Err(Error::Closed));
            }
            if self.leadership.leader().is_some() {
                in_quorum = Instant::now();
            }
            if submitted {
                if self.waits_for().is_some() || in_quorum.elapsed() >= self.apply_timeout {
                    return Err(Error::Unknown);
                }
            } else if Instant::now() >= submit_by {
                if state.try_abandon() {
                    return Err(self.not_submitted(Deadline::NEVER));
                }
                submitted = true;
            }
        }
    }

    /// Returns the error of an operation that was not submitted to the Raft log in time: [`Error::Unavailable`] if the
    /// node waits for its disk, [`Error::NoLeader`] if the node has been cut off from the quorum and the deadline has
    /// not passed, otherwise [`Error::Timeout`].
    fn not_submitted(&self, deadline: Deadline) -> Error {
        if let Some(why) = self.waits_for() {
            return Error::Unavailable(why);
        }
        let cut_off = !deadline.passed(clock::now()) && self.leadership.leader().is_none();
        if cut_off { Error::NoLeader } else { Error::Timeout }
    }

    /// The reason why the database or the Raft log cannot be written at the moment. `None` if the node does not wait
    /// for its disk.
    fn waits_for(&self) -> Option<Arc<str>> {
        self.database.waits_for().or_else(|| self.log.waits_for())
    }

    /// The number of operations in the queue.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }
}

/// The task that takes operations from the queue, combines them into entries and proposes these.
struct ProposerTask {
    context: ProposeContext,
    queued: Arc<AtomicU64>,
}

/// The handles and settings that are used to propose an entry.
#[derive(Clone)]
struct ProposeContext {
    raft: Raft,
    /// The database, which reports why it has stopped if replication has stopped because of it.
    database: Database,
    settings: ProposeSettings,
    clock: Arc<EntryClock>,
    waiters: Waiters,
}

impl ProposeContext {
    /// Returns the conditions of an entry that is proposed now: its time, and the settings that apply to its SQL.
    fn conditions(&self) -> Conditions {
        let ProposeSettings { foreign_keys, value_bytes_max, time_zone, .. } = self.settings;
        Conditions { unix_ms: self.clock.next(clock::unix_ms()), foreign_keys, value_bytes_max, time_zone }
    }
}

impl ProposerTask {
    async fn run(self, mut proposals: mpsc::Receiver<Proposal>) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut first = None;
        loop {
            let next = match first.take() {
                Some(next) => next,
                None => match proposals.recv().await {
                    Some(next) => next,
                    None => return,
                },
            };
            // The semaphore is never closed, so `acquire_owned` does not fail.
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            let (gathered, did_not_fit) = gather(next, &mut proposals);
            first = did_not_fit;
            self.queued.fetch_sub(gathered.len() as u64, Ordering::Relaxed);
            let gathered = without_abandoned(gathered);
            if gathered.is_empty() {
                continue;
            }
            let context = self.context.clone();
            tokio::spawn(async move {
                replicate(&context, gathered).await;
                drop(permit);
            });
        }
    }
}

/// Takes from the queue the operations that can share an entry with `first`. Also returns the operation that was taken
/// but does not fit any more, or `None` if all fit.
fn gather(first: Proposal, proposals: &mut mpsc::Receiver<Proposal>) -> (Vec<Proposal>, Option<Proposal>) {
    let mut bytes = first.operation.len();
    let is_alone = first.operation.needs_own_entry();
    let mut gathered = vec![first];
    while gathered.len() < OPERATIONS_MAX && !is_alone {
        let Ok(next) = proposals.try_recv() else { break };
        bytes = bytes.saturating_add(next.operation.len());
        if bytes > ENTRY_BYTES_MAX || next.operation.needs_own_entry() {
            return (gathered, Some(next));
        }
        gathered.push(next);
    }
    (gathered, None)
}

/// Removes the proposals that their callers have abandoned or whose deadline has passed, and marks the others as
/// submitted.
fn without_abandoned(gathered: Vec<Proposal>) -> Vec<Proposal> {
    let timed = gathered.iter().any(|proposal| proposal.deadline.moment().is_some());
    let now = timed.then(clock::now);
    let mut kept = Vec::with_capacity(gathered.len());
    for proposal in gathered {
        if now.is_some_and(|now| proposal.deadline.passed(now)) {
            reply(proposal.reply, Err(Error::Timeout));
        } else if !proposal.reply.is_closed() && proposal.state.try_submit() {
            kept.push(proposal);
        }
    }
    kept
}

/// Proposes an entry, and waits until it has been applied. The callers that have not received their outcome from the
/// database's writer thread by then receive it here.
async fn replicate(context: &ProposeContext, gathered: Vec<Proposal>) {
    let mut operations = Vec::with_capacity(gathered.len());
    let mut replies = VecDeque::with_capacity(gathered.len());
    for Proposal { operation, reply, permit, .. } in gathered {
        operations.push(operation);
        replies.push_back(PendingReply { sender: reply, _permit: permit });
    }
    let proposal = context.waiters.register(replies);
    let result = match Command::new(DATABASE, context.conditions(), operations) {
        Ok(command) => write_entry(context, command.proposed_as(proposal.id())).await,
        Err(error) => Err(encoding_error(&error)),
    };
    match result {
        Ok((applied, log_index)) => {
            applied.outcomes.into_iter().for_each(|outcome| proposal.queue().answer_next(outcome, log_index));
            // No reply channel is left, unless the entry had fewer outcomes than operations.
            proposal.queue().fail_all(&Error::LeadershipLost);
        }
        Err(error) => proposal.queue().fail_all(&error),
    }
}

/// Appends an entry to the Raft log, and waits until it has been applied. If there is no leader, or a new leader cannot
/// write yet, tries again until `apply_timeout` has passed; an election usually takes milliseconds.
async fn write_entry(context: &ProposeContext, command: Command) -> Result<(EntryOutcomes, u64), Error> {
    let ProposeContext { raft, database, settings: ProposeSettings { apply_timeout: leader_timeout, .. }, .. } =
        context;
    let started = Instant::now();
    let mut metrics = raft.server_metrics();
    loop {
        metrics.borrow_and_update();
        match raft.client_write(command.clone()).await {
            Ok(written) => return Ok((written.data, index_of(&written.log_id))),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                let other_leader = forward.leader_id.is_some_and(|leader| leader != *raft.node_id());
                if other_leader || started.elapsed() >= *leader_timeout {
                    return Err(Error::NoLeader);
                }
                // An error means that replication has stopped; the next attempt returns the reason.
                let _ = tokio::time::timeout(RETRY_PAUSE, metrics.changed()).await;
            }
            Err(RaftError::APIError(_)) => return Err(Error::LeadershipLost),
            Err(RaftError::Fatal(fatal)) => return Err(stopped(database, &fatal)),
        }
    }
}

fn encoding_error(error: &io::Error) -> Error {
    Error::Unsupported(format!("the request cannot be written to the log: {error}"))
}
