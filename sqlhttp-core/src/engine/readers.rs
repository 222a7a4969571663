//! Readers: sessions that cannot write, beside the writer.
//!
//! A short read runs on the caller's own thread ([`Readers::inline`]): handing it to another thread costs more than the
//! read. That thread serves other connections too, so the run must be short whatever the data is: the batch is small, values
//! are limited to some kilobytes, and a budget of steps and milliseconds ends it. A read that does not fit runs again on a
//! thread of the pool, with the limits of the database, and its rows travel in parts.
//!
//! The pool grows while reads wait ([`Readers::supervise`]): a few endless reads take processor time from others, but never
//! their place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::background::spawn;
use super::blueprint::Role;
use super::classify::{Kind, classify, classify_kept, is_going_to_fail, refused};
use super::facts::Author;
use super::parts;
use super::run::{Mode, Sink, Stop, run_batch};
use super::script::{Script, is_white};
use super::session::{Session, engine_error};
use super::sinks::{Held, Told};
use super::sqlite::clock::Stamped;
use super::supervisor;
use super::watch::{Cancel, Limits, StopReason};
use super::writer::{Job as WriteJob, Shared};
use crate::model::{Answer, Batch, Ending, Error, Outcome, SqlError, Stamp};

/// Progress-handler calls a read may take on its caller's thread: some 100,000 virtual-machine steps, about a
/// millisecond.
const INLINE_CALLS: u32 = 100;
/// Bytes of rows that a read on its caller's thread may yield; its result is held whole.
const INLINE_BYTES_MAX: u64 = 256 << 10;
/// SQL text that is prepared on its caller's thread, bytes of all steps together: about a millisecond.
const INLINE_SQL_BYTES_MAX: usize = 64 << 10;
/// A text that is not kept as a prepared statement, bytes: the time to prepare it may grow with the square of its length.
const INLINE_UNKNOWN_SQL_BYTES_MAX: usize = 4 << 10;
/// A run that the supervisor has met so often was slow: some eight milliseconds.
const SLOW_SCANS: u32 = 3;
/// How long unknown texts are then prepared on threads of the pool.
const SLOW_PENALTY_MS: u64 = 10_000;
/// With so many SELECTs in a text it is prepared on a thread of the pool first.
const NESTED_SELECTS: usize = 5;
/// Steps of a batch that are prepared or run there.
const INLINE_STEPS_MAX: usize = 1024;
/// Threads of the pool beyond those that the options ask for: some wait for slow callers, some run long reads.
const EXTRA_THREADS_MAX: usize = 64;
/// Threads beyond those for batches that have to be classified before they can be written.
const CLASSIFY_THREADS_MAX: usize = 8;
/// How long a read waits for a thread before the pool grows.
const WAIT_BEFORE_GROWTH: Duration = Duration::from_millis(12);
/// How long a read of a database without snapshots waits for a slow caller: the writer waits meanwhile.
const STALL_WITHOUT_SNAPSHOTS_MAX: Duration = Duration::from_secs(2);
/// Sessions that are kept although nobody uses them.
const IDLE_SESSIONS_MAX: usize = 64;
/// Sessions that may be open at once for callers' own threads and the pool together.
const SESSIONS_MAX: usize = 512;

/// Whether a batch may also write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// SQLite decides; a batch that writes goes to the writer.
    Any,
    /// A statement that writes fails.
    ReadOnly,
}

/// A batch that waits for a reader.
pub(crate) struct ReadJob {
    pub(crate) batch: Batch,
    pub(crate) stamp: Stamp,
    pub(crate) access: Access,
    pub(crate) deadline: crate::model::Deadline,
    pub(crate) cancel: Cancel,
    pub(crate) reply: oneshot::Sender<Result<Answer, Error>>,
}

/// Work for a thread of the pool.
enum Job {
    Read(Box<ReadJob>),
    Classify(Batch, oneshot::Sender<(Batch, Result<Kind, Error>)>),
}

impl Job {
    /// Whether its deadline has passed or its caller is gone.
    fn is_over(&self) -> bool {
        match self {
            Job::Read(job) => {
                job.cancel.is_set() || job.deadline.moment().is_some() && job.deadline.passed(Instant::now())
            }
            Job::Classify(_, reply) => reply.is_closed(),
        }
    }

    fn fail(self, error: Error) {
        // The receiver may have been dropped.
        match self {
            Job::Read(job) => drop(job.reply.send(Err(error))),
            Job::Classify(batch, reply) => drop(reply.send((batch, Err(error)))),
        }
    }
}

/// What came of the attempt to answer on the caller's thread.
pub(crate) enum Inline {
    /// Answered.
    Done(Outcome),
    /// It writes.
    Write { alone: bool },
    /// It takes too long, or no session was free.
    Later,
}

#[derive(Default)]
struct State {
    /// Boxed, because each read takes one out and gives it back, and a session has 500 bytes.
    #[allow(clippy::vec_box)]
    idle: Vec<Box<Session>>,
    /// Sessions that somebody uses now.
    lent: usize,
    /// The jobs that wait for a thread, and since when each waits.
    jobs: VecDeque<(Job, Instant)>,
    threads: usize,
    waiting_threads: usize,
    stalled_threads: usize,
    closed: bool,
}

/// The readers of a database.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
    penalty: Penalty,
}

/// For some time after a slow text, unknown texts are prepared elsewhere: a view may be as long as it likes, and the time to
/// prepare a text does not only depend on its length.
struct Penalty {
    opened: Instant,
    /// When it ends, milliseconds after `opened`.
    until_ms: AtomicU64,
}

impl Penalty {
    fn new(opened: Instant) -> Penalty {
        Penalty { opened, until_ms: AtomicU64::new(0) }
    }

    /// Begins it, or begins it again.
    fn begin(&self, now: Instant) {
        self.until_ms.store(self.millis(now) + SLOW_PENALTY_MS, Ordering::Relaxed);
    }

    fn holds(&self, now: Instant) -> bool {
        self.until_ms.load(Ordering::Relaxed) > self.millis(now)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX - SLOW_PENALTY_MS)
    }
}

/// The texts of a batch that are not kept as prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    None,
    Quick,
    /// One of them may take long to prepare.
    Slow,
}

impl Readers {
    /// Opens the first session, so that a file that cannot be read is noticed now.
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Arc<Readers>, SqlError> {
        let session = Box::new(Session::open(&shared.blueprint, Role::Reader)?);
        let state = State { idle: vec![session], ..State::default() };
        Ok(Arc::new(Readers {
            shared,
            state: Mutex::new(state),
            changed: Condvar::new(),
            penalty: Penalty::new(Instant::now()),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no more reads are taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many reads wait.
    pub(crate) fn queue_len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Answers on the caller's thread, if that takes little time.
    pub(crate) fn inline(&self, batch: &Batch, stamp: Stamp, access: Access) -> Inline {
        let gate = match (self.shared.blueprint.snapshots(), self.shared.gate.try_read()) {
            (true, _) => None,
            (false, Ok(guard)) => Some(guard),
            (false, Err(TryLockError::Poisoned(poisoned))) => Some(poisoned.into_inner()),
            (false, Err(TryLockError::WouldBlock)) => return Inline::Later,
        };
        if !is_small(batch) {
            return Inline::Later;
        }
        let Some(mut session) = self.try_take() else {
            return Inline::Later;
        };
        let kept = if access == Access::Any { classify_kept(&session, batch) } else { None };
        let answer = match (access, kept) {
            (Access::Any, Some(Kind::Write { alone })) => Inline::Write { alone },
            (Access::Any, Some(kind)) => self.inline_on(&mut session, batch, stamp, (Some(kind), Unknown::None)),
            (Access::Any, None) => self.inline_unless_slow(&mut session, batch, stamp, None),
            (Access::ReadOnly, _) => self.inline_unless_slow(&mut session, batch, stamp, Some(Kind::Read)),
        };
        drop(gate);
        self.give_back(session);
        if let Inline::Done(_) = answer {
            self.shared.anchor.set();
        }
        answer
    }

    fn inline_unless_slow(&self, session: &mut Session, batch: &Batch, stamp: Stamp, kind: Option<Kind>) -> Inline {
        match self.unknown(session, batch, Instant::now) {
            Unknown::Slow => Inline::Later,
            unknown => self.inline_on(session, batch, stamp, (kind, unknown)),
        }
    }

    /// Runs a batch under the limits of a caller's thread. Its kind is `None` until it has been classified.
    fn inline_on(
        &self,
        session: &mut Session,
        batch: &Batch,
        stamp: Stamp,
        (kind, unknown): (Option<Kind>, Unknown),
    ) -> Inline {
        session.begin_run(Limits { calls: Some(INLINE_CALLS), ..Limits::default() });
        let answer = self.run_inline(session, batch, stamp, kind);
        self.note_time(unknown, session.end_run(), Instant::now);
        answer
    }

    fn run_inline(&self, session: &mut Session, batch: &Batch, stamp: Stamp, kind: Option<Kind>) -> Inline {
        match kind.unwrap_or_else(|| classify(session, batch)) {
            _ if session.watch.stopped().is_some() => return Inline::Later,
            Kind::Write { alone } => return Inline::Write { alone },
            Kind::Unknown => return Inline::Later,
            Kind::Refused => return Inline::Done(refused()),
            Kind::Read => {}
        }
        let over_budget = Stop::Interrupted(StopReason::Budget);
        let mut sink = Held::new(batch.steps.len(), INLINE_BYTES_MAX, over_budget);
        match self.read(session, batch, stamp, &mut sink) {
            // A failure may come from the limits that hold here only.
            Ok(Ok(_)) if sink.last_failure().is_some() => Inline::Later,
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                Inline::Done(sink.into_outcome(ending))
            }
            // Whatever it was, the pool finds out again and has the time to tell.
            Ok(Err(_)) | Err(_) => Inline::Later,
        }
    }

    /// Whether a batch has texts that are not kept as prepared statements, and how long they may take to prepare. The clock is
    /// read only if there are any.
    fn unknown(&self, session: &Session, batch: &Batch, now: impl FnOnce() -> Instant) -> Unknown {
        let mut unknown = Unknown::None;
        for sql in batch.steps.iter().filter_map(|step| step.sql()).filter(|sql| session.kept(sql).is_none()) {
            if sql.len() > INLINE_UNKNOWN_SQL_BYTES_MAX || is_nested(sql) || joins_by_name(sql) {
                return Unknown::Slow;
            }
            unknown = Unknown::Quick;
        }
        if unknown == Unknown::Quick && self.penalty.holds(now()) { Unknown::Slow } else { unknown }
    }

    /// Notes how long a run on a caller's thread has taken.
    fn note_time(&self, unknown: Unknown, scans: u32, now: impl FnOnce() -> Instant) {
        if unknown == Unknown::Quick && scans >= SLOW_SCANS {
            self.penalty.begin(now());
        }
    }

    /// Where a batch has to run, decided on the caller's thread however long that takes.
    pub(crate) fn classify_here(&self, batch: &Batch) -> Result<Kind, Error> {
        let mut session = self.take(false)?;
        session.begin_run(Limits::default());
        let kind = classify(&mut session, batch);
        session.end_run();
        self.give_back(session);
        Ok(kind)
    }

    /// Where a batch has to run, if its statements can be prepared quickly on the caller's thread.
    fn classify_inline(&self, batch: &Batch) -> Option<Kind> {
        if !is_small(batch) {
            return None;
        }
        let mut session = self.try_take()?;
        let kind = classify_kept(&session, batch).or_else(|| self.classify_unless_slow(&mut session, batch));
        self.give_back(session);
        kind
    }

    fn classify_unless_slow(&self, session: &mut Session, batch: &Batch) -> Option<Kind> {
        let unknown = self.unknown(session, batch, Instant::now);
        if unknown == Unknown::Slow {
            return None;
        }
        session.begin_run(Limits { calls: Some(INLINE_CALLS), ..Limits::default() });
        let kind = classify(session, batch);
        let stopped = session.watch.stopped().is_some();
        self.note_time(unknown, session.end_run(), Instant::now);
        // A write may look like a read if it cannot be prepared under the limits that hold here.
        (!stopped && kind != Kind::Unknown).then_some(kind)
    }

    /// Where a batch has to run. The batch is returned with the answer.
    pub(crate) async fn classify(self: &Arc<Self>, batch: Batch) -> Result<(Batch, Kind), Error> {
        if let Some(kind) = self.classify_inline(&batch) {
            return Ok((batch, kind));
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Classify(batch, reply))?;
        let (batch, kind) = answer.await.map_err(|_| Error::Closed)?;
        Ok((batch, kind?))
    }

    /// A session for a run on the caller's thread. `None` if too many are open, or none can be opened: a thread of the
    /// pool then reports the reason. (There must be one even while long reads hold the others, or a write would wait for
    /// them to be classified.)
    fn try_take(&self) -> Option<Box<Session>> {
        let mut state = self.lock();
        if state.closed || state.lent >= SESSIONS_MAX {
            return None;
        }
        let idle = lend(&mut state);
        drop(state);
        self.fresh(idle, true).ok()
    }

    /// A session. Opening one can fail for a moment (another process replaces the file, descriptors run out), so a failure
    /// counts only if it happens twice.
    fn take(&self, inline: bool) -> Result<Box<Session>, Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        let idle = lend(&mut state);
        drop(state);
        let session = self.fresh(idle, inline).or_else(|_| {
            self.lock().lent += 1;
            self.fresh(None, inline)
        });
        session.map_err(|error| engine_error("open reader", error))
    }

    /// The idle session if it can be used, or a new one. A failure takes the session off the count of lent ones.
    fn fresh(&self, idle: Option<Box<Session>>, inline: bool) -> Result<Box<Session>, SqlError> {
        let blueprint = &self.shared.blueprint;
        let session = match idle {
            Some(session) if !session.is_stale(blueprint) => Ok(session),
            _ => Session::open(blueprint, Role::Reader).map(Box::new),
        };
        let session = session.and_then(|mut session| session.set_inline(inline).map(|()| session));
        if session.is_err() {
            self.lock().lent -= 1;
        }
        session
    }

    fn give_back(&self, mut session: Box<Session>) {
        // An interrupt may have met the end of the transaction.
        if !session.is_autocommit() && session.rollback().is_err() {
            session.mark_dirty();
        }
        let keep = !session.is_stale(&self.shared.blueprint);
        let mut state = self.lock();
        state.lent -= 1;
        if keep && !state.closed && state.idle.len() < IDLE_SESSIONS_MAX {
            state.idle.push(session);
        }
    }

    /// Whether a text is one VACUUM, INTO or not.
    pub(crate) fn is_vacuum(&self, sql: &str) -> bool {
        let Ok(mut session) = self.take(false) else { return false };
        let is_vacuum = Script::new(&mut session, sql, Author::Owner).is_ok_and(|mut script| {
            let first = script.next(&mut session);
            let outside = first.is_ok_and(|first| first.is_some_and(|prepared| prepared.facts.outside_transaction));
            outside && is_white(script.rest())
        });
        self.give_back(session);
        is_vacuum
    }

    /// Hands a read to the pool.
    pub(crate) fn submit_read(self: &Arc<Self>, job: ReadJob) -> Result<(), Error> {
        self.submit(Job::Read(Box::new(job)))
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.jobs.len() >= self.shared.blueprint.options.read_queue_len_max.max(1) {
            return Err(Error::Overloaded("too many reads are waiting"));
        }
        match job {
            // A write waits for it, and it takes little time.
            Job::Classify(..) => state.jobs.push_front((job, Instant::now())),
            Job::Read(_) => state.jobs.push_back((job, Instant::now())),
        }
        self.ensure_thread(&mut state);
        drop(state);
        self.changed.notify_one();
        supervisor::notice();
        Ok(())
    }

    /// Threads that the options ask for.
    fn wanted_threads(&self) -> usize {
        self.shared.blueprint.options.read_threads.max(1)
    }

    /// Starts a thread if a job waits, no thread waits for a job, and fewer read than the options ask for.
    fn ensure_thread(self: &Arc<Self>, state: &mut State) {
        let reading = state.threads - state.stalled_threads.min(state.threads);
        if reading < self.wanted_threads() {
            self.start_thread(state);
        }
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) {
        let classifies = matches!(state.jobs.front(), Some((Job::Classify(..), _)));
        let most = self.wanted_threads() + EXTRA_THREADS_MAX + if classifies { CLASSIFY_THREADS_MAX } else { 0 };
        if state.jobs.is_empty() || state.waiting_threads > 0 || state.threads >= most {
            return;
        }
        let readers = self.clone();
        let spawned = spawn("sqlhttp-reader", move || readers.work());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) => tracing::error!(%error, "cannot start a reader's thread"),
        }
    }

    /// Answers the callers whose deadline passed while their reads waited, and starts a thread if the others wait too long.
    /// Returns whether a read waits.
    pub(crate) fn supervise(self: &Arc<Self>, now: Instant) -> bool {
        let mut state = self.lock();
        let Some((_, since)) = state.jobs.front() else { return false };
        if now.saturating_duration_since(*since) >= WAIT_BEFORE_GROWTH {
            self.start_thread(&mut state);
        }
        let over: Vec<Job> = take_over(&mut state.jobs);
        drop(state);
        over.into_iter().for_each(|job| job.fail(Error::Timeout));
        true
    }

    /// The life of a thread of the pool.
    fn work(self: Arc<Self>) {
        while let Some(job) = self.next_job() {
            // A panic here is a bug of ours; the caller sees that his reply never comes, and the thread goes on.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match job {
                Job::Read(job) => self.run(*job),
                Job::Classify(batch, reply) => {
                    let kind = self.classify_here(&batch);
                    // The receiver may have been dropped.
                    let _ = reply.send((batch, kind));
                }
            }));
            if result.is_err() {
                tracing::error!("a reader panicked");
            }
        }
        let mut state = self.lock();
        state.threads -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some((job, _)) = state.jobs.pop_front() {
                return Some(job);
            }
            let reading = state.threads - state.stalled_threads.min(state.threads);
            if state.closed || reading > self.wanted_threads() {
                return None;
            }
            state.waiting_threads += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting_threads -= 1;
        }
    }

    fn run(self: &Arc<Self>, job: ReadJob) {
        let mut session = match self.take(false) {
            Ok(session) => session,
            // A reader may be refused what the writer is not: to roll back a journal that a crash has left. It finds out.
            Err(_) if job.access == Access::Any && !self.lock().closed => return self.pass_to_writer(job, true),
            Err(error) => return drop(job.reply.send(Err(error))),
        };
        let gate = (!self.shared.blueprint.snapshots())
            .then(|| self.shared.gate.read().unwrap_or_else(PoisonError::into_inner));
        session.begin_run(Limits { cancel: Some(job.cancel.clone()), deadline: job.deadline, ..Limits::default() });
        let kind = if job.access == Access::Any { classify(&mut session, &job.batch) } else { Kind::Read };
        match kind {
            Kind::Write { alone } if session.watch.stopped().is_none() => self.pass_to_writer(job, alone),
            // The receiver may have been dropped.
            Kind::Refused => drop(job.reply.send(Ok(Answer::Whole(refused())))),
            _ => self.tell(&mut session, job),
        }
        session.end_run();
        drop(gate);
        self.give_back(session);
    }

    fn pass_to_writer(&self, job: ReadJob, alone: bool) {
        let limits = Limits { cancel: Some(job.cancel), deadline: job.deadline.of_writes(), ..Limits::default() };
        let write = WriteJob { batch: job.batch, stamp: job.stamp, limits, alone, reply: job.reply };
        self.shared.submit(Box::new(write));
    }

    fn tell(self: &Arc<Self>, session: &mut Session, job: ReadJob) {
        let readers = self.clone();
        let stalled: Arc<dyn Fn(bool) + Send + Sync> = Arc::new(move |begins| readers.stalled(begins));
        let blueprint = &self.shared.blueprint;
        let patience = if blueprint.snapshots() { Duration::MAX } else { STALL_WITHOUT_SNAPSHOTS_MAX };
        let (cancel, stall_timeout) = (job.cancel.clone(), blueprint.options.stall_timeout.min(patience));
        let open = move || parts::channel(cancel.clone(), stall_timeout, stalled.clone());
        let mut sink = Told::new(job.reply, open);
        if let Some(reason) = session.watch.stopped() {
            return sink.fail(super::writer::stop_error(reason));
        }
        if is_going_to_fail(session, &job.batch) {
            sink.expect_failure();
        }
        match self.read(session, &job.batch, job.stamp, &mut sink) {
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                sink.end(ending);
            }
            Ok(Err(Stop::Interrupted(reason))) => sink.fail(super::writer::stop_error(reason)),
            Ok(Err(_)) => sink.fail(Error::Timeout),
            Err(error) => sink.fail(engine_error("read", error)),
        }
    }

    /// Runs a batch in one read transaction. The caller has begun a run.
    fn read(
        &self,
        session: &mut Session,
        batch: &Batch,
        stamp: Stamp,
        sink: &mut impl Sink,
    ) -> Result<Result<Ending, Stop>, SqlError> {
        let options = &self.shared.blueprint.options;
        let mode = Mode {
            savepoints: false,
            shared: false,
            block_bytes: options.block_bytes,
            rows_max: options.rows_max,
            known: &[],
            first_step: 0,
            settings_hold: false,
        };
        let transaction = needs_transaction(batch);
        if transaction {
            session.begin()?;
        }
        let _stamped = Stamped::new(stamp);
        session.begin_batch();
        let result = run_batch(session, batch, mode, sink);
        if transaction {
            session.rollback()?;
        }
        Ok(result)
    }

    /// A thread of the pool begins or ends to wait for a slow caller. Another one reads in its stead.
    fn stalled(self: &Arc<Self>, begins: bool) {
        let mut state = self.lock();
        if begins {
            state.stalled_threads += 1;
            self.ensure_thread(&mut state);
        } else {
            state.stalled_threads -= 1;
        }
    }

    /// Takes no more reads, and waits until those that run or wait have ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        let mut state =
            self.changed.wait_while(state, |state| state.threads > 0).unwrap_or_else(PoisonError::into_inner);
        state.idle.clear();
    }
}

/// Whether a batch takes little time to prepare.
fn is_small(batch: &Batch) -> bool {
    let sql_bytes: usize = batch.steps.iter().filter_map(|step| step.sql()).map(str::len).sum();
    batch.steps.len() <= INLINE_STEPS_MAX && sql_bytes <= INLINE_SQL_BYTES_MAX
}

/// Whether SQLite may have to expand one query inside another to prepare a text, which can take time that doubles with each
/// level. A text that only looks like it (in a string) takes the longer way to a thread of the pool, nothing worse.
fn is_nested(sql: &str) -> bool {
    let sql = sql.as_bytes();
    // Of the letters of the word, `c` is rare in other words.
    let selects = memchr::memchr2_iter(b'c', b'C', sql).filter(|c| is_select_around(sql, *c));
    selects.take(NESTED_SELECTS).count() == NESTED_SELECTS
}

/// Whether the letter at `c` is the `c` of a SELECT.
fn is_select_around(sql: &[u8], c: usize) -> bool {
    let word = c.checked_sub(4).and_then(|start| sql.get(start..c + 2));
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"select"))
}

/// Whether a text joins tables by the names of their columns (NATURAL, USING): SQLite compares each column with all others.
fn joins_by_name(sql: &str) -> bool {
    let sql = sql.as_bytes();
    let is_word = |start: Option<usize>, word: &[u8]| {
        start.and_then(|start| sql.get(start..start + word.len())).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    // Both words have a `u`.
    let mut letters = memchr::memchr2_iter(b'u', b'U', sql);
    letters.any(|u| is_word(u.checked_sub(3), b"natural") || is_word(Some(u), b"using"))
}

/// Takes out the jobs whose deadline has passed or whose caller is gone.
fn take_over(jobs: &mut VecDeque<(Job, Instant)>) -> Vec<Job> {
    if !jobs.iter().any(|(job, _)| job.is_over()) {
        return Vec::new();
    }
    let (over, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(jobs).into_iter().partition(|(job, _)| job.is_over());
    *jobs = left;
    over.into_iter().map(|(job, _)| job).collect()
}

/// Counts one session more as used, and takes it from the idle ones if there is any.
fn lend(state: &mut State) -> Option<Box<Session>> {
    state.lent += 1;
    state.idle.pop()
}

/// Several statements must see one snapshot. (A semicolon inside a text costs a superfluous BEGIN, nothing more.)
fn needs_transaction(batch: &Batch) -> bool {
    batch.steps.len() > 1
        || batch.steps.iter().filter_map(|step| step.sql()).any(|sql| {
            let text = sql.trim_end().trim_end_matches(';');
            memchr::memchr(b';', text.as_bytes()).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::blueprint::Blueprint;
    use crate::engine::{Location, Options};
    use crate::model::Step;

    fn readers() -> Arc<Readers> {
        let blueprint = Arc::new(Blueprint::new(Location::Memory, Options::default()));
        let writer = Session::open(&blueprint, Role::Writer).unwrap();
        let readers = Readers::open(Arc::new(Shared::new(blueprint))).unwrap();
        drop(writer);
        readers
    }

    #[test]
    fn after_a_slow_text_unknown_texts_are_prepared_elsewhere_for_ten_seconds() {
        let readers = readers();
        let session = readers.try_take().unwrap();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let batch = Batch::one(Step::query("SELECT 1", ()));
        let unknown = |now| readers.unknown(&session, &batch, || now);

        readers.note_time(Unknown::Quick, SLOW_SCANS - 1, || start);
        readers.note_time(Unknown::None, SLOW_SCANS, || start);
        assert_eq!(unknown(start), Unknown::Quick);

        readers.note_time(Unknown::Quick, SLOW_SCANS, || start);
        assert_eq!([unknown(start), unknown(after(9_900))], [Unknown::Slow; 2]);
        assert_eq!(unknown(after(10_100)), Unknown::Quick);

        // The last one counts.
        readers.note_time(Unknown::Quick, SLOW_SCANS, || after(9_000));
        assert_eq!([unknown(after(10_100)), unknown(after(18_900))], [Unknown::Slow; 2]);
        assert_eq!(unknown(after(19_100)), Unknown::Quick);

        // A text that is kept needs no preparation.
        let none = Batch { steps: Vec::new(), ..batch.clone() };
        assert_eq!(readers.unknown(&session, &none, || after(9_500)), Unknown::None);
    }

    #[test]
    fn many_selects_are_nested_however_they_are_written() {
        let slowly = |sql: &str| {
            let words = sql.as_bytes().windows(6).filter(|word| word.eq_ignore_ascii_case(b"select"));
            words.count() >= NESTED_SELECTS
        };
        let words = ["select", "SELECT", "sELEct", "selec", "elect", "c", "CC", "ect", " ", "(", "sele ct", "é"];
        for first in words {
            for second in words {
                for count in 0..=NESTED_SELECTS + 1 {
                    let sql = format!("{}{second}", format!("{first}{second}").repeat(count));
                    assert_eq!(is_nested(&sql), slowly(&sql), "{sql}");
                }
            }
        }
    }

    #[test]
    fn joins_by_the_names_of_columns_are_found() {
        for sql in ["SELECT 1 FROM a NATURAL JOIN b", "select 1 from a join b uSiNg(x)", "natural", "using"] {
            assert!(joins_by_name(sql), "{sql}");
        }
        for sql in ["", "u", "natu", "usin", "SELECT u FROM users WHERE name = 'unusual'"] {
            assert!(!joins_by_name(sql), "{sql}");
        }
    }
}
