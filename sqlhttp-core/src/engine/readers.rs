//! Readers: sessions that cannot write, beside the writer.
//!
//! A short read runs on the caller's own thread, under a budget ([`Readers::inline`]): handing it to another thread
//! costs more than the read. What overruns the budget is interrupted, its few bytes are thrown away, and it runs again on
//! a thread of the pool, where it may take as long as its deadline allows and its rows travel in parts.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::oneshot;

use super::background::spawn;
use super::classify::{Kind, classify};
use super::facts::Author;
use super::parts;
use super::run::{Mode, Sink, Stop, run_batch};
use super::script::{Script, is_white};
use super::session::{Role, Session, engine_error};
use super::sinks::{Held, Told};
use super::sqlite::clock::Stamped;
use super::watch::{Cancel, Limits, StopReason};
use super::writer::{Job, Shared};
use crate::model::{Answer, Batch, Ending, Error, Outcome, SqlError, Stamp};

/// Progress-handler calls a read may take on its caller's thread: some 100,000 virtual-machine steps, about a
/// millisecond.
const INLINE_CALLS: u32 = 100;
/// Bytes of rows that a read on its caller's thread may yield; its result is held whole.
const INLINE_BYTES_MAX: u64 = 256 << 10;
/// Threads that may exist beyond those that read, because that many wait for slow callers.
const STALLED_THREADS_MAX: usize = 64;
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
    idle: Vec<Session>,
    /// Sessions that somebody uses now.
    lent: usize,
    jobs: VecDeque<Box<ReadJob>>,
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
}

impl Readers {
    /// Opens the first session, so that a file that cannot be read is noticed now.
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Arc<Readers>, SqlError> {
        let session = Session::open(&shared.blueprint, Role::Reader)?;
        let state = State { idle: vec![session], ..State::default() };
        Ok(Arc::new(Readers { shared, state: Mutex::new(state), changed: Condvar::new() }))
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
        let Some(mut session) = self.try_take() else {
            return Inline::Later;
        };
        let answer = self.inline_on(&mut session, batch, stamp, access);
        drop(gate);
        self.give_back(session);
        if let Inline::Done(_) = answer {
            self.shared.anchor.set();
        }
        answer
    }

    fn inline_on(&self, session: &mut Session, batch: &Batch, stamp: Stamp, access: Access) -> Inline {
        if access == Access::Any
            && let Kind::Write { alone } = classify(session, batch)
        {
            return Inline::Write { alone };
        }
        let over_budget = Stop::Interrupted(StopReason::Budget);
        let mut sink = Held::new(INLINE_BYTES_MAX, over_budget);
        let limits = Limits { calls: Some(INLINE_CALLS), ..Limits::default() };
        match self.read(session, batch, stamp, limits, &mut sink) {
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                Inline::Done(sink.into_outcome(ending))
            }
            // Whatever it was, the pool finds out again and has the time to tell.
            Ok(Err(_)) | Err(_) => Inline::Later,
        }
    }

    /// Whether a batch writes, and then whether it has to be alone.
    pub(crate) fn classify(&self, batch: &Batch) -> Result<Option<bool>, Error> {
        let Some(mut session) = self.try_take() else {
            let closed = self.lock().closed;
            return Err(if closed { Error::Closed } else { Error::Overloaded("too many reads are running") });
        };
        let kind = classify(&mut session, batch);
        self.give_back(session);
        Ok(match kind {
            Kind::Read => None,
            Kind::Write { alone } => Some(alone),
        })
    }

    /// A session for a caller's thread. `None` if too many are open, or none can be opened: the pool will tell why.
    /// (There must be one even while long reads hold the others, or a write would wait for them to be classified.)
    fn try_take(&self) -> Option<Session> {
        let mut state = self.lock();
        if state.closed || state.lent >= SESSIONS_MAX {
            return None;
        }
        let idle = lend(&mut state);
        drop(state);
        self.fresh(idle).ok()
    }

    fn take(&self) -> Result<Session, SqlError> {
        let idle = lend(&mut self.lock());
        self.fresh(idle)
    }

    /// The session that was idle, or a new one in its stead.
    fn fresh(&self, idle: Option<Session>) -> Result<Session, SqlError> {
        let session = match idle {
            Some(session) if !session.is_stale(&self.shared.blueprint) => Ok(session),
            _ => Session::open(&self.shared.blueprint, Role::Reader),
        };
        if session.is_err() {
            self.lock().lent -= 1;
        }
        session
    }

    fn give_back(&self, session: Session) {
        let keep = !session.is_stale(&self.shared.blueprint);
        let mut state = self.lock();
        state.lent -= 1;
        if keep && !state.closed && state.idle.len() < IDLE_SESSIONS_MAX {
            state.idle.push(session);
        }
    }

    /// Whether a text is one VACUUM, INTO or not.
    pub(crate) fn is_vacuum(&self, sql: &str) -> bool {
        let Some(mut session) = self.try_take() else { return false };
        let is_vacuum = Script::new(&mut session, sql, Author::Owner).is_ok_and(|mut script| {
            let first = script.next(&mut session);
            let outside = first.is_ok_and(|first| first.is_some_and(|prepared| prepared.facts.outside_transaction));
            outside && is_white(script.rest())
        });
        self.give_back(session);
        is_vacuum
    }

    /// Hands a batch to the pool.
    pub(crate) fn submit(self: &Arc<Self>, job: Box<ReadJob>) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.jobs.len() >= self.shared.blueprint.options.read_queue_len_max.max(1) {
            return Err(Error::Overloaded("too many reads are waiting"));
        }
        state.jobs.push_back(job);
        self.ensure_thread(&mut state);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Starts a thread if a job waits, no thread waits for a job, and there may be one more.
    fn ensure_thread(self: &Arc<Self>, state: &mut State) {
        let reading = state.threads - state.stalled_threads.min(state.threads);
        let wanted = self.shared.blueprint.options.read_threads.max(1);
        let most = wanted + STALLED_THREADS_MAX;
        if state.jobs.is_empty() || state.waiting_threads > 0 || reading >= wanted || state.threads >= most {
            return;
        }
        let readers = self.clone();
        let spawned = spawn("sqlhttp-reader", move || readers.work());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) => tracing::error!(%error, "cannot start a reader's thread"),
        }
    }

    /// The life of a thread of the pool.
    fn work(self: Arc<Self>) {
        while let Some(job) = self.next_job() {
            // A panic here is a bug of ours; the caller sees that his reply never comes, and the thread goes on.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(*job)));
            if result.is_err() {
                tracing::error!("a reader panicked");
            }
        }
        let mut state = self.lock();
        state.threads -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn next_job(&self) -> Option<Box<ReadJob>> {
        let mut state = self.lock();
        loop {
            let reading = state.threads - state.stalled_threads.min(state.threads);
            if reading > self.shared.blueprint.options.read_threads.max(1) {
                // It was started for those that waited for slow callers.
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.waiting_threads += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting_threads -= 1;
        }
    }

    fn run(self: &Arc<Self>, job: ReadJob) {
        let mut session = match self.take() {
            Ok(session) => session,
            // A reader may be refused what the writer is not: to roll back a journal that a crash has left. It finds out.
            Err(_) if job.access == Access::Any && !self.lock().closed => return self.pass_to_writer(job, true),
            Err(error) => return drop(job.reply.send(Err(engine_error("open reader", error)))),
        };
        let gate = (!self.shared.blueprint.snapshots())
            .then(|| self.shared.gate.read().unwrap_or_else(PoisonError::into_inner));
        if job.access == Access::Any
            && let Kind::Write { alone } = classify(&mut session, &job.batch)
        {
            drop(gate);
            self.give_back(session);
            return self.pass_to_writer(job, alone);
        }
        self.tell(&mut session, job);
        drop(gate);
        self.give_back(session);
    }

    fn pass_to_writer(&self, job: ReadJob, alone: bool) {
        let limits = Limits { cancel: Some(job.cancel), deadline: job.deadline, calls: None };
        let write = Job { batch: job.batch, stamp: job.stamp, limits, alone, reply: job.reply };
        self.shared.submit(Box::new(write));
    }

    fn tell(self: &Arc<Self>, session: &mut Session, job: ReadJob) {
        let readers = self.clone();
        let stalled: Arc<dyn Fn(bool) + Send + Sync> = Arc::new(move |begins| readers.stalled(begins));
        let (cancel, stall_timeout) = (job.cancel.clone(), self.shared.blueprint.options.stall_timeout);
        let open = move || parts::channel(cancel.clone(), stall_timeout, stalled.clone());
        let mut sink = Told::new(job.reply, open);
        let limits = Limits { cancel: Some(job.cancel), deadline: job.deadline, calls: None };
        if let Some(reason) = limits.exceeded() {
            return sink.fail(super::writer::stop_error(reason));
        }
        match self.read(session, &job.batch, job.stamp, limits, &mut sink) {
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                sink.end(ending);
            }
            Ok(Err(Stop::Interrupted(reason))) => sink.fail(super::writer::stop_error(reason)),
            Ok(Err(_)) => sink.fail(Error::Timeout),
            Err(error) => sink.fail(engine_error("read", error)),
        }
    }

    /// Runs a batch in one read transaction.
    fn read(
        &self,
        session: &mut Session,
        batch: &Batch,
        stamp: Stamp,
        limits: Limits,
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
        };
        let transaction = needs_transaction(batch);
        if transaction {
            session.begin()?;
        }
        let _stamped = Stamped::new(stamp);
        session.watch.begin(limits);
        session.begin_batch();
        let result = run_batch(session, batch, mode, sink);
        session.watch.end();
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

/// Counts one session more as used, and takes it from the idle ones if there is any.
fn lend(state: &mut State) -> Option<Session> {
    state.lent += 1;
    state.idle.pop()
}

/// Several statements must see one snapshot. (A semicolon inside a text costs a superfluous BEGIN, nothing more.)
fn needs_transaction(batch: &Batch) -> bool {
    batch.steps.len() > 1
        || batch.steps.iter().filter_map(|step| step.sql()).any(|sql| {
            let text = sql.trim_end().trim_end_matches(';');
            text.contains(';')
        })
}
