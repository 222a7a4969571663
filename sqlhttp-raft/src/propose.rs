//! The context of operation into the log.
//!
//! Whatever waits is put into one entry. While some entries are on their context, the next gathers: the more there is to do,
//! the more share an entry, its state in the log, and its sync. Nobody waits for company: an idle node proposes at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openraft::errors::{ClientWriteError, RaftError};
use sqlhttp_core::{Conditions, Database, Deadline, Error, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::command::{Command, DATABASE, EncodedOperation};
use crate::log::LogStore;
use crate::observer::{Event, Observer};
use crate::options::NodeOptions;
use crate::raft::{Raft, stopped};
use crate::timer::CoarseTimer;
use crate::types::{EntryOutcomes, index_of};
use crate::waiters::{PendingReply, Waiters, reply};

/// How many pieces of operation share an entry at most.
const OPERATIONS_MAX: usize = 256;
/// How many bytes of operation share an entry at most; one piece may be longer.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// How many entries are on their context at once: one is written and synced while another is applied.
const IN_FLIGHT_MAX: usize = 2;
/// How long a piece of operation may be, in bytes; a frame of the log cannot be longer than twice that.
const OPERATION_BYTES_MAX: usize = 1 << 30;
/// Before operation of this length is put into the log, its disk is asked for space, bytes.
const LARGE_BYTES: usize = 1 << 20;
/// How many pieces of operation may wait.
const QUEUED_MAX: usize = 4096;
/// How many bytes of operation may wait.
const QUEUED_BYTES_MAX: usize = 256 << 20;
/// How long after its deadline a write_entry that has its state may take to answer by itself.
const APPLY_GRACE: Duration = Duration::from_secs(1);
/// How soon to ask again for a leader.
pub(crate) const LEADER_POLL: Duration = Duration::from_millis(2);

/// ProposerTask that waits for its state in the log.
struct Proposal {
    operation: EncodedOperation,
    /// Until when it may wait. Once it is in the log, it happens.
    deadline: Deadline,
    reply: oneshot::Sender<Result<Outcome, Error>>,
    state: Arc<ProposalState>,
    permit: OwnedSemaphorePermit,
}

/// Where the outcome of a proposal arrives.
type OutcomeReceiver = oneshot::Receiver<Result<Outcome, Error>>;

/// Where operation goes to get into the log.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    queued_bytes: Arc<Semaphore>,
    queued: Arc<AtomicU64>,
    apply_timeout: Duration,
    /// The clock of the writes without a deadline.
    timer: CoarseTimer,
    database: Database,
    log: LogStore,
}

/// The settings that a proposer puts into every entry, and how long a piece of operation waits for its state.
#[derive(Clone)]
pub(crate) struct ProposeSettings {
    apply_timeout: Duration,
    foreign_keys: bool,
    value_bytes_max: u64,
    observer: Arc<dyn Observer>,
}

impl ProposeSettings {
    pub(crate) fn of(options: &NodeOptions) -> ProposeSettings {
        let NodeOptions { apply_timeout, database, observer, .. } = options;
        let (foreign_keys, value_bytes_max) = (database.foreign_keys, database.value_bytes_max);
        ProposeSettings { apply_timeout: *apply_timeout, foreign_keys, value_bytes_max, observer: observer.clone() }
    }
}

/// How far the time of an entry may be ahead of the clock, milliseconds.
const AHEAD_MAX_MS: i64 = 10_000;

/// The time of entries. It never runs backwards, unless the clock was set back by more than [`AHEAD_MAX_MS`].
struct EntryClock {
    last_unix_ms: AtomicI64,
    observer: Arc<dyn Observer>,
}

impl EntryClock {
    /// A clock for the entries after one of this time.
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
        // One task proposes, so there is one writer.
        self.last_unix_ms.store(next, Ordering::Relaxed);
        next
    }
}

/// The time of day, in milliseconds since 1970-01-01 00:00 UTC.
fn now_unix_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a proposal waits for its state in the log, has one, or was given up by its caller.
#[derive(Debug, Default)]
struct ProposalState(AtomicU8);

const QUEUED: u8 = 0;
const SUBMITTED: u8 = 1;
const ABANDONED: u8 = 2;

impl ProposalState {
    /// Takes the state, unless the caller has given up.
    fn try_submit(&self) -> bool {
        self.0.compare_exchange(QUEUED, SUBMITTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives up. `false` if the proposal has its state already.
    fn try_abandon(&self) -> bool {
        self.0.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Proposer {
    /// Starts to propose, on the runtime of the caller.
    pub(crate) fn start(
        raft: Raft,
        database: Database,
        log: LogStore,
        waiters: Waiters,
        settings: ProposeSettings,
    ) -> Proposer {
        let (queue, proposals) = mpsc::channel(QUEUED_MAX);
        let queued = Arc::new(AtomicU64::new(0));
        let clock = Arc::new(EntryClock::new(database.progress().unix_ms, settings.observer.clone()));
        let apply_timeout = settings.apply_timeout;
        let context = ProposeContext { raft, database: database.clone(), settings, clock, waiters };
        let task = ProposerTask { context, queued: queued.clone() };
        tokio::spawn(task.run(proposals));
        let (queued_bytes, timer) = (Arc::new(Semaphore::new(QUEUED_BYTES_MAX)), CoarseTimer::start(apply_timeout));
        Proposer { queue, queued_bytes, queued, apply_timeout, timer, database, log }
    }

    /// Puts a piece of operation into the log, and waits until it has been applied. It happens even if the future is dropped,
    /// unless it still waits for its state.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too much waits, [`Error::Timeout`] if the deadline passed before there was a state in the
    /// log, [`Error::Unknown`] if it passed after that, [`Error::Unavailable`] if the node waits for its disk,
    /// or the disk has no space for operation as large as this,
    /// [`Error::NoLeader`], [`Error::LeadershipLost`], [`Error::Poisoned`] if this node has stopped.
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

    /// Refuses operation for which the log would wait for ever. All that waits counts, this operation included.
    fn check_space(&self) -> Result<(), Error> {
        let queued = QUEUED_BYTES_MAX.saturating_sub(self.queued_bytes.available_permits());
        if self.log.lacks_space_for(queued as u64) {
            return Err(Error::Unavailable("the disk of the log has no space for so large a write".into()));
        }
        Ok(())
    }

    /// Waits for the outcome: for a state in the log as long as the options and the deadline allow, and then as long as the
    /// deadline allows.
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
        if let Ok(outcome) = tokio::time::timeout_at(moment.min(submit_by).into(), &mut outcome).await {
            return outcome.unwrap_or(Err(Error::Closed));
        }
        if state.try_abandon() {
            return Err(self.not_submitted());
        }
        let latest = tokio::time::Instant::from_std(moment + APPLY_GRACE);
        let waited = tokio::time::timeout_at(latest, outcome).await;
        waited.map_or(Err(Error::Unknown), |outcome| outcome.unwrap_or(Err(Error::Closed)))
    }

    /// Waits for the outcome of a write_entry without a deadline: for a state in the log until `submit_by`, or up to a tick
    /// longer, and then unless the node waits for its disk.
    async fn wait_without_deadline(
        &self,
        mut outcome: OutcomeReceiver,
        state: &ProposalState,
        submit_by: Instant,
    ) -> Result<Outcome, Error> {
        let mut submitted = false;
        loop {
            if let Some(outcome) = self.timer.ready_before_tick(&mut outcome).await {
                return outcome.unwrap_or(Err(Error::Closed));
            }
            if submitted {
                if self.waits_for().is_some() {
                    return Err(Error::Unknown);
                }
            } else if Instant::now() >= submit_by {
                if state.try_abandon() {
                    return Err(self.not_submitted());
                }
                submitted = true;
            }
        }
    }

    /// Why a write_entry has got no state in the log.
    fn not_submitted(&self) -> Error {
        self.waits_for().map_or(Error::Timeout, Error::Unavailable)
    }

    /// The reason why nothing is written at the moment, if the node waits for its disk.
    fn waits_for(&self) -> Option<Arc<str>> {
        self.database.waits_for().or_else(|| self.log.waits_for())
    }

    /// How many pieces of operation wait for their state.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }
}

/// What proposes.
struct ProposerTask {
    context: ProposeContext,
    queued: Arc<AtomicU64>,
}

/// What carries an entry to its end.
#[derive(Clone)]
struct ProposeContext {
    raft: Raft,
    /// Who knows best why nothing goes on.
    database: Database,
    settings: ProposeSettings,
    clock: Arc<EntryClock>,
    waiters: Waiters,
}

impl ProposeContext {
    /// The conditions of an entry that is proposed now.
    fn conditions(&self) -> Conditions {
        let ProposeSettings { foreign_keys, value_bytes_max, .. } = self.settings;
        Conditions { unix_ms: self.clock.next(now_unix_ms()), foreign_keys, value_bytes_max }
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
            // It is never closed.
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

/// Takes what may share an entry. What does not fit any more comes back.
fn gather(first: Proposal, proposals: &mut mpsc::Receiver<Proposal>) -> (Vec<Proposal>, Option<Proposal>) {
    let mut bytes = first.operation.len();
    let mut gathered = vec![first];
    while gathered.len() < OPERATIONS_MAX {
        let Ok(next) = proposals.try_recv() else { break };
        bytes = bytes.saturating_add(next.operation.len());
        if bytes > ENTRY_BYTES_MAX {
            return (gathered, Some(next));
        }
        gathered.push(next);
    }
    (gathered, None)
}

/// Leaves out what nobody waits for any more.
fn without_abandoned(gathered: Vec<Proposal>) -> Vec<Proposal> {
    let timed = gathered.iter().any(|proposal| proposal.deadline.moment().is_some());
    let now = timed.then(Instant::now);
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

/// Carries operation through the log. Mostly the database has told those who wait before this learns of it.
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
            // Nobody is left, unless something is wrong with the entry.
            proposal.queue().fail_all(&Error::LeadershipLost);
        }
        Err(error) => proposal.queue().fail_all(&error),
    }
}

/// Writes an entry. While there is no leader, and until a new leader may write_entry, this waits: it takes milliseconds
/// mostly.
async fn write_entry(context: &ProposeContext, command: Command) -> Result<(EntryOutcomes, u64), Error> {
    let ProposeContext { raft, database, settings: ProposeSettings { apply_timeout: leader_timeout, .. }, .. } =
        context;
    let started = Instant::now();
    loop {
        match raft.client_write(command.clone()).await {
            Ok(written) => return Ok((written.data, index_of(&written.log_id))),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                let other_leader = forward.leader_id.is_some_and(|leader| leader != *raft.node_id());
                if other_leader || started.elapsed() >= *leader_timeout {
                    return Err(Error::NoLeader);
                }
                tokio::time::sleep(LEADER_POLL).await;
            }
            Err(RaftError::APIError(_)) => return Err(Error::LeadershipLost),
            Err(RaftError::Fatal(fatal)) => return Err(stopped(database, &fatal)),
        }
    }
}

fn encoding_error(error: &io::Error) -> Error {
    Error::Unsupported(format!("the request cannot be written to the log: {error}"))
}
