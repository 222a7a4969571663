//! The way of work into the log.
//!
//! Whatever waits is put into one entry. While some entries are on their way, the next gathers: the more there is to do,
//! the more share an entry, its place in the log, and its sync. Nobody waits for company: an idle node proposes at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openraft::errors::{ClientWriteError, RaftError};
use sqlhttp_core::{Conditions, Database, Deadline, Error, Outcome};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::command::{Command, DATABASE, EncodedWork};
use crate::log::LogStore;
use crate::observer::{Event, Observer};
use crate::options::NodeOptions;
use crate::raft::{Raft, stopped};
use crate::ticks::Ticks;
use crate::types::{Applied, index_of};
use crate::waiters::{PendingReply, Waiters, reply};

/// How many pieces of work share an entry at most.
const WORKS_MAX: usize = 256;
/// How many bytes of work share an entry at most; one piece may be longer.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// How many entries are on their way at once: one is written and synced while another is applied.
const IN_FLIGHT_MAX: usize = 2;
/// How long a piece of work may be, in bytes; a frame of the log cannot be longer than twice that.
const WORK_BYTES_MAX: usize = 1 << 30;
/// Before work of this length is put into the log, its disk is asked for space, bytes.
const LARGE_BYTES: usize = 1 << 20;
/// How many pieces of work may wait.
const WAITING_MAX: usize = 4096;
/// How many bytes of work may wait.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// How long after its deadline a write that has its place may take to answer by itself.
const APPLY_GRACE: Duration = Duration::from_secs(1);
/// How soon to ask again for a leader.
pub(crate) const LEADER_POLL: Duration = Duration::from_millis(2);

/// Work that waits for its place in the log.
struct Proposal {
    work: EncodedWork,
    /// Until when it may wait. Once it is in the log, it happens.
    deadline: Deadline,
    reply: oneshot::Sender<Result<Outcome, Error>>,
    place: Arc<Place>,
    _room: tokio::sync::OwnedSemaphorePermit,
}

/// Where the outcome of a proposal arrives.
type Reply = oneshot::Receiver<Result<Outcome, Error>>;

/// Where work goes to get into the log.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    room: Arc<Semaphore>,
    waiting: Arc<AtomicU64>,
    apply_timeout: Duration,
    /// The clock of the writes without a deadline.
    ticks: Ticks,
    database: Database,
    log: LogStore,
}

/// The settings that a proposer puts into every entry, and how long a piece of work waits for its place.
#[derive(Clone)]
pub(crate) struct Settings {
    apply_timeout: Duration,
    foreign_keys: bool,
    value_bytes_max: u64,
    observer: Arc<dyn Observer>,
}

impl Settings {
    pub(crate) fn of(options: &NodeOptions) -> Settings {
        let NodeOptions { apply_timeout, database, observer, .. } = options;
        let (foreign_keys, value_bytes_max) = (database.foreign_keys, database.value_bytes_max);
        Settings { apply_timeout: *apply_timeout, foreign_keys, value_bytes_max, observer: observer.clone() }
    }
}

/// How far the time of an entry may be ahead of the clock, milliseconds.
const AHEAD_MAX_MS: i64 = 10_000;

/// The time of entries. It never runs backwards, unless the clock was set back by more than [`AHEAD_MAX_MS`].
struct Clock {
    last_unix_ms: AtomicI64,
    observer: Arc<dyn Observer>,
}

impl Clock {
    /// A clock for the entries after one of this time.
    fn new(last_unix_ms: i64, observer: Arc<dyn Observer>) -> Clock {
        Clock { last_unix_ms: AtomicI64::new(last_unix_ms), observer }
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

/// Whether a proposal waits for its place in the log, has one, or was given up by its caller.
#[derive(Debug, Default)]
struct Place(AtomicU8);

const WAITS: u8 = 0;
const PLACED: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Place {
    /// Takes the place, unless the caller has given up.
    fn take(&self) -> bool {
        self.0.compare_exchange(WAITS, PLACED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives up. `false` if the proposal has its place already.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITS, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Proposer {
    /// Starts to propose, on the runtime of the caller.
    pub(crate) fn start(
        raft: Raft,
        database: Database,
        log: LogStore,
        waiters: Waiters,
        settings: Settings,
    ) -> Proposer {
        let (queue, proposals) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(AtomicU64::new(0));
        let clock = Arc::new(Clock::new(database.progress().unix_ms, settings.observer.clone()));
        let apply_timeout = settings.apply_timeout;
        let way = Way { raft, database: database.clone(), settings, clock, waiters };
        let work = Work { way, waiting: waiting.clone() };
        tokio::spawn(work.run(proposals));
        let (room, ticks) = (Arc::new(Semaphore::new(WAITING_BYTES_MAX)), Ticks::start(apply_timeout));
        Proposer { queue, room, waiting, apply_timeout, ticks, database, log }
    }

    /// Puts a piece of work into the log, and waits until it has been applied. It happens even if the future is dropped,
    /// unless it still waits for its place.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too much waits, [`Error::Timeout`] if the deadline passed before there was a place in the
    /// log, [`Error::Unknown`] if it passed after that, [`Error::Unavailable`] if the node waits for its disk,
    /// or the disk has no space for work as large as this,
    /// [`Error::NoLeader`], [`Error::LeadershipLost`], [`Error::Poisoned`] if this node has stopped.
    pub(crate) async fn propose(&self, work: EncodedWork, deadline: Deadline) -> Result<Outcome, Error> {
        const OVERLOADED: Error = Error::Overloaded("too many writes are waiting");
        if work.len() > WORK_BYTES_MAX {
            return Err(Error::Unsupported("the request is too large for the log".to_owned()));
        }
        let bytes = u32::try_from(work.len().min(WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| OVERLOADED)?;
        if let Some(why) = self.waits_for() {
            return Err(Error::Unavailable(why));
        }
        if work.len() >= LARGE_BYTES {
            self.check_space()?;
        }
        let (reply, outcome) = oneshot::channel();
        let place = Arc::new(Place::default());
        let proposal = Proposal { work, deadline, reply, place: place.clone(), _room: room };
        self.queue.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OVERLOADED,
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.outcome(outcome, &place, deadline).await
    }

    /// Refuses work for which the log would wait for ever. All that waits counts, this work included.
    fn check_space(&self) -> Result<(), Error> {
        let waiting = WAITING_BYTES_MAX.saturating_sub(self.room.available_permits());
        if self.log.lacks_space_for(waiting as u64) {
            return Err(Error::Unavailable("the disk of the log has no space for so large a write".into()));
        }
        Ok(())
    }

    /// Waits for the outcome: for a place in the log as long as the options and the deadline allow, and then as long as the
    /// deadline allows.
    async fn outcome(&self, mut outcome: Reply, place: &Place, deadline: Deadline) -> Result<Outcome, Error> {
        let placed_by = Instant::now() + self.apply_timeout;
        let Some(moment) = deadline.moment() else {
            return self.outcome_unless_stuck(outcome, place, placed_by).await;
        };
        if let Ok(outcome) = tokio::time::timeout_at(moment.min(placed_by).into(), &mut outcome).await {
            return outcome.unwrap_or(Err(Error::Closed));
        }
        if place.give_up() {
            return Err(self.given_up());
        }
        let latest = tokio::time::Instant::from_std(moment + APPLY_GRACE);
        let waited = tokio::time::timeout_at(latest, outcome).await;
        waited.map_or(Err(Error::Unknown), |outcome| outcome.unwrap_or(Err(Error::Closed)))
    }

    /// Waits for the outcome of a write without a deadline: for a place in the log until `placed_by`, or up to a tick
    /// longer, and then unless the node waits for its disk.
    async fn outcome_unless_stuck(
        &self,
        mut outcome: Reply,
        place: &Place,
        placed_by: Instant,
    ) -> Result<Outcome, Error> {
        let mut placed = false;
        loop {
            if let Some(outcome) = self.ticks.unless_next(&mut outcome).await {
                return outcome.unwrap_or(Err(Error::Closed));
            }
            if placed {
                if self.waits_for().is_some() {
                    return Err(Error::Unknown);
                }
            } else if Instant::now() >= placed_by {
                if place.give_up() {
                    return Err(self.given_up());
                }
                placed = true;
            }
        }
    }

    /// Why a write has got no place in the log.
    fn given_up(&self) -> Error {
        self.waits_for().map_or(Error::Timeout, Error::Unavailable)
    }

    /// The reason why nothing is written at the moment, if the node waits for its disk.
    fn waits_for(&self) -> Option<Arc<str>> {
        self.database.waits_for().or_else(|| self.log.waits_for())
    }

    /// How many pieces of work wait for their place.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// What proposes.
struct Work {
    way: Way,
    waiting: Arc<AtomicU64>,
}

/// What carries an entry to its end.
#[derive(Clone)]
struct Way {
    raft: Raft,
    /// Who knows best why nothing goes on.
    database: Database,
    settings: Settings,
    clock: Arc<Clock>,
    waiters: Waiters,
}

impl Way {
    /// The conditions of an entry that is proposed now.
    fn conditions(&self) -> Conditions {
        let Settings { foreign_keys, value_bytes_max, .. } = self.settings;
        Conditions { unix_ms: self.clock.next(now_unix_ms()), foreign_keys, value_bytes_max }
    }
}

impl Work {
    async fn run(self, mut proposals: mpsc::Receiver<Proposal>) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(first) => first,
                None => match proposals.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            // It is never closed.
            let Ok(place) = in_flight.clone().acquire_owned().await else { return };
            let (gathered, left_over) = gather(first, &mut proposals);
            held = left_over;
            self.waiting.fetch_sub(gathered.len() as u64, Ordering::Relaxed);
            let gathered = still_wanted(gathered);
            if gathered.is_empty() {
                continue;
            }
            let way = self.way.clone();
            tokio::spawn(async move {
                carry(&way, gathered).await;
                drop(place);
            });
        }
    }
}

/// Takes what may share an entry. What does not fit any more comes back.
fn gather(first: Proposal, proposals: &mut mpsc::Receiver<Proposal>) -> (Vec<Proposal>, Option<Proposal>) {
    let mut bytes = first.work.len();
    let mut gathered = vec![first];
    while gathered.len() < WORKS_MAX {
        let Ok(next) = proposals.try_recv() else { break };
        bytes = bytes.saturating_add(next.work.len());
        if bytes > ENTRY_BYTES_MAX {
            return (gathered, Some(next));
        }
        gathered.push(next);
    }
    (gathered, None)
}

/// Leaves out what nobody waits for any more.
fn still_wanted(gathered: Vec<Proposal>) -> Vec<Proposal> {
    let timed = gathered.iter().any(|proposal| proposal.deadline.moment().is_some());
    let now = timed.then(Instant::now);
    let mut wanted = Vec::with_capacity(gathered.len());
    for proposal in gathered {
        if now.is_some_and(|now| proposal.deadline.passed(now)) {
            reply(proposal.reply, Err(Error::Timeout));
        } else if !proposal.reply.is_closed() && proposal.place.take() {
            wanted.push(proposal);
        }
    }
    wanted
}

/// Carries work through the log. Mostly the database has told those who wait before this learns of it.
async fn carry(way: &Way, gathered: Vec<Proposal>) {
    let mut works = Vec::with_capacity(gathered.len());
    let mut replies = VecDeque::with_capacity(gathered.len());
    for Proposal { work, reply, _room, .. } in gathered {
        works.push(work);
        replies.push_back(PendingReply { sender: reply, _permit: _room });
    }
    let registered = way.waiters.register(replies);
    let result = match Command::new(DATABASE, way.conditions(), works) {
        Ok(command) => write(way, command.proposed_as(registered.id())).await,
        Err(error) => Err(internal(&error)),
    };
    match result {
        Ok((applied, log_index)) => {
            applied.outcomes.into_iter().for_each(|outcome| registered.queue().answer_next(outcome, log_index));
            // Nobody is left, unless something is wrong with the entry.
            registered.queue().fail_all(&Error::LeadershipLost);
        }
        Err(error) => registered.queue().fail_all(&error),
    }
}

/// Writes an entry. While there is no leader, and until a new leader may write, this waits: it takes milliseconds
/// mostly.
async fn write(way: &Way, command: Command) -> Result<(Applied, u64), Error> {
    let Way { raft, database, settings: Settings { apply_timeout: leader_timeout, .. }, .. } = way;
    let started = Instant::now();
    loop {
        match raft.client_write(command.clone()).await {
            Ok(written) => return Ok((written.data, index_of(&written.log_id))),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(elsewhere))) => {
                let known = elsewhere.leader_id.is_some_and(|leader| leader != *raft.node_id());
                if known || started.elapsed() >= *leader_timeout {
                    return Err(Error::NoLeader);
                }
                tokio::time::sleep(LEADER_POLL).await;
            }
            Err(RaftError::APIError(_)) => return Err(Error::LeadershipLost),
            Err(RaftError::Fatal(fatal)) => return Err(stopped(database, &fatal)),
        }
    }
}

fn internal(error: &io::Error) -> Error {
    Error::Unsupported(format!("the request cannot be written to the log: {error}"))
}
