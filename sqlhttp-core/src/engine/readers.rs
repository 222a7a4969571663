//! A pool of reader threads, which run reads concurrently with the writer.
//!
//! Short reads run on their callers' threads ([`super::inline`]). All other reads run on a reader thread, with the
//! limits of the database, and their rows are streamed in parts.
//!
//! The pool grows while reads wait ([`Readers::supervise`]). So a few endless reads take processor time from other
//! reads, but do not block them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::background::spawn;
use super::classify::{BatchKind, classify, is_going_to_fail, refused};
use super::error::engine_error;
use super::inline::Access;
use super::parts;
use super::read::read;
use super::run::RunError;
use super::session::Session;
use super::sessions::Sessions;
use super::shared::SharedState;
use super::sinks::StreamingSink;
use super::supervisor;
use super::transaction::{self, TransactionJob};
use super::watch::{Cancel, Limits, StopReason, stop_error};
use super::writer::queue::Job as WriteJob;
use crate::model::{Answer, Batch, Deadline, Error, Stamp};

/// The maximum number of reader threads beyond the option `read_threads`. Extra threads are started while others run
/// long reads or wait for slow callers.
const EXTRA_THREADS_MAX: usize = 64;
/// The maximum number of further reader threads beyond [`EXTRA_THREADS_MAX`]. They are started only to classify batches
/// (as reads or writes), because a write waits for that.
const CLASSIFY_THREADS_MAX: usize = 8;
/// How long a read waits in the queue before the pool starts an extra thread.
const WAIT_BEFORE_GROWTH: Duration = Duration::from_millis(12);
/// How long a read waits for a slow caller to take rows, if the database has a rollback journal and so no snapshots.
/// The writer waits meanwhile.
const STALL_WITHOUT_SNAPSHOTS_MAX: Duration = Duration::from_secs(2);

/// A batch in the read queue.
pub(crate) struct ReadJob {
    pub(crate) batch: Batch,
    pub(crate) stamp: Stamp,
    pub(crate) access: Access,
    pub(crate) deadline: Deadline,
    pub(crate) cancel: Cancel,
    pub(crate) reply: oneshot::Sender<Result<Answer, Error>>,
}

/// A job for a reader thread.
enum Job {
    Read(Box<ReadJob>),
    /// The read transaction of a closure.
    Transaction(Box<TransactionJob>),
    Classify(Batch, oneshot::Sender<(Batch, Result<BatchKind, Error>)>),
}

impl Job {
    /// Returns whether the job's deadline has passed or its caller has dropped the future.
    fn is_expired(&self) -> bool {
        match self {
            Job::Read(job) => {
                job.cancel.is_set() || job.deadline.moment().is_some() && job.deadline.passed(Instant::now())
            }
            Job::Transaction(job) => job.limits.exceeded().is_some(),
            Job::Classify(_, reply) => reply.is_closed(),
        }
    }

    fn fail(self, error: Error) {
        // The send fails if the caller has dropped the future. That is no error.
        match self {
            Job::Read(job) => drop(job.reply.send(Err(error))),
            Job::Transaction(job) => job.body.end(Err(error)),
            Job::Classify(batch, reply) => drop(reply.send((batch, Err(error)))),
        }
    }
}

#[derive(Default)]
struct State {
    /// The jobs in the read queue, each with the time at which it arrived.
    jobs: VecDeque<(Job, Instant)>,
    /// The number of reader threads.
    threads: usize,
    /// The number of reader threads that wait for a job.
    idle_threads: usize,
    /// The number of reader threads that wait for slow callers to take rows.
    stalled_threads: usize,
    closed: bool,
}

/// The reader threads of a database and their queue.
pub(crate) struct Readers {
    shared: Arc<SharedState>,
    sessions: Arc<Sessions>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Readers {
    pub(crate) fn new(shared: Arc<SharedState>, sessions: Arc<Sessions>) -> Arc<Readers> {
        Arc::new(Readers { shared, sessions, state: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of jobs in the read queue.
    pub(crate) fn queue_len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Classifies a batch as a read or a write, on this thread. The limits of runs on a connection's thread do not
    /// apply.
    fn classify_here(&self, batch: &Batch) -> Result<BatchKind, Error> {
        let mut session = self.sessions.take(false)?;
        session.begin_run(Limits::default());
        let kind = classify(&mut session, batch);
        let stopped = session.watch.stopped();
        session.end_run();
        self.sessions.put_back(session);
        // A batch whose statements could not be prepared may have been classified as a read.
        stopped.map_or(Ok(kind), |reason| Err(stop_error(reason)))
    }

    /// Classifies a batch (as a read or a write) on a reader thread. Returns the batch with its kind.
    pub(crate) async fn classify(self: &Arc<Self>, batch: Batch) -> Result<(Batch, BatchKind), Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Classify(batch, reply))?;
        let (batch, kind) = answer.await.map_err(|_| Error::Closed)?;
        Ok((batch, kind?))
    }

    /// Queues a read.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the read queue is full; [`Error::Closed`] if the database is closed.
    pub(crate) fn submit_read(self: &Arc<Self>, job: ReadJob) -> Result<(), Error> {
        self.submit(Job::Read(Box::new(job)))
    }

    /// Queues a job, and starts a reader thread if the job would otherwise wait.
    fn submit(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        self.try_submit(job).map_err(|refused| refused.0)
    }

    /// Like [`Readers::submit`], but returns the job with the error.
    fn try_submit(self: &Arc<Self>, job: Job) -> Result<(), Box<(Error, Job)>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Box::new((Error::Closed, job)));
        }
        if state.jobs.len() >= self.shared.config.options.read_queue_len_max.max(1) {
            return Err(Box::new((Error::Overloaded("too many reads are waiting"), job)));
        }
        match job {
            // A job that classifies a batch goes first: it takes little time, and a write waits for it.
            Job::Classify(..) => state.jobs.push_front((job, Instant::now())),
            Job::Read(_) | Job::Transaction(_) => state.jobs.push_back((job, Instant::now())),
        }
        self.ensure_thread(&mut state);
        drop(state);
        self.changed.notify_one();
        supervisor::wake();
        Ok(())
    }

    /// The value of the option `read_threads`, at least 1.
    fn wanted_threads(&self) -> usize {
        self.shared.config.options.read_threads.max(1)
    }

    /// Starts a reader thread if a job waits, no thread is idle, and the number of threads that run reads is below the
    /// option `read_threads`.
    fn ensure_thread(self: &Arc<Self>, state: &mut State) {
        let reading = state.threads - state.stalled_threads.min(state.threads);
        if reading < self.wanted_threads() {
            self.start_thread(state);
        }
    }

    /// Starts a reader thread if a job waits, no thread is idle, and the maximum number of threads, including extra
    /// threads, has not been reached.
    fn start_thread(self: &Arc<Self>, state: &mut State) {
        let classifies = matches!(state.jobs.front(), Some((Job::Classify(..), _)));
        let most = self.wanted_threads() + EXTRA_THREADS_MAX + if classifies { CLASSIFY_THREADS_MAX } else { 0 };
        if state.jobs.is_empty() || state.idle_threads > 0 || state.threads >= most {
            return;
        }
        let readers = self.clone();
        let spawned = spawn("sqlhttp-reader", move || readers.run_thread());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) => tracing::error!(%error, "cannot start a reader thread"),
        }
    }

    /// Sends [`Error::Timeout`] to the callers whose deadlines have passed while their jobs waited in the queue. Starts
    /// an extra thread if the first job has waited for [`WAIT_BEFORE_GROWTH`]. Returns whether there was a job in the
    /// queue.
    pub(crate) fn supervise(self: &Arc<Self>, now: Instant) -> bool {
        let mut state = self.lock();
        let Some((_, since)) = state.jobs.front() else { return false };
        let may_grow = !self.shared.config.gate().is_shut();
        if may_grow && now.saturating_duration_since(*since) >= WAIT_BEFORE_GROWTH {
            self.start_thread(&mut state);
        }
        let expired: Vec<Job> = remove_expired(&mut state.jobs);
        drop(state);
        expired.into_iter().for_each(|job| job.fail(Error::Timeout));
        true
    }

    /// The loop of a reader thread.
    fn run_thread(self: Arc<Self>) {
        while let Some(job) = self.next_job() {
            // A panic is a bug of the engine. It closes the reply channel, so the caller receives an error. The thread
            // continues.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match job {
                Job::Read(job) => self.run(*job),
                Job::Transaction(job) => self.run_closure(job),
                Job::Classify(batch, reply) => {
                    let kind = self.classify_here(&batch);
                    // The send fails if the caller has dropped the future. That is no error.
                    let _ = reply.send((batch, kind));
                }
            }));
            if result.is_err() {
                tracing::error!("a reader thread panicked");
            }
        }
        let mut state = self.lock();
        state.threads -= 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for a job. Returns `None` if the thread must end: the pool is closed, or it has more threads than the
    /// options allow and no job waits.
    fn next_job(&self) -> Option<Job> {
        let gate = self.shared.config.gate();
        let mut state = self.lock();
        loop {
            if gate.is_shut() && !state.closed {
                // The jobs stay in the queue, so that their deadlines apply while the database file is being replaced.
                drop(state);
                gate.wait_until_open();
                state = self.lock();
                continue;
            }
            if let Some((job, _)) = state.jobs.pop_front() {
                return Some(job);
            }
            let reading = state.threads - state.stalled_threads.min(state.threads);
            if state.closed || reading > self.wanted_threads() {
                return None;
            }
            state.idle_threads += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_threads -= 1;
        }
    }

    /// Runs a batch if it only reads; passes it to the writer if it writes.
    fn run(self: &Arc<Self>, job: ReadJob) {
        let mut session = match self.sessions.take(false) {
            Ok(session) => session,
            // A reader cannot open the database if a crash has left a journal that must be rolled back. The writer can,
            // so it runs the batch.
            Err(_) if job.access == Access::Any && !self.lock().closed => return self.pass_to_writer(job, true),
            Err(error) => return drop(job.reply.send(Err(error))),
        };
        let rollback_lock = (!self.shared.config.snapshots())
            .then(|| self.shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
        session.begin_run(Limits { cancel: Some(job.cancel.clone()), deadline: job.deadline, ..Limits::default() });
        let kind = if job.access == Access::Any { classify(&mut session, &job.batch) } else { BatchKind::Read };
        match kind {
            BatchKind::Write { exclusive } if session.watch.stopped().is_none() => self.pass_to_writer(job, exclusive),
            // The send fails if the caller has dropped the future. That is no error.
            BatchKind::Refused => drop(job.reply.send(Ok(Answer::Whole(refused())))),
            _ => self.run_and_reply(&mut session, job),
        }
        session.end_run();
        drop(rollback_lock);
        self.sessions.put_back(session);
    }

    /// Runs the read transaction of a closure, and sends the caller its result.
    fn run_closure(&self, mut job: Box<TransactionJob>) {
        let ended = self.try_closure(&mut job);
        job.body.end(ended);
    }

    fn try_closure(&self, job: &mut TransactionJob) -> Result<(), Error> {
        let mut session = self.sessions.take(false)?;
        let config = &self.shared.config;
        let rollback_lock =
            (!config.snapshots()).then(|| self.shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
        let called = match job.limits.exceeded() {
            Some(reason) => Err(stop_error(reason)),
            None => session.begin().map_err(|error| engine_error("begin transaction", error)),
        };
        let called =
            called.and_then(|()| transaction::call(&mut session, &config.options, job, Some(config.gate().as_ref())));
        if session.rollback().is_err() {
            session.mark_dirty();
        }
        drop(rollback_lock);
        self.sessions.put_back(session);
        if called.as_ref().is_ok_and(|succeeded| *succeeded) {
            self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
        }
        called.map(drop)
    }

    /// Queues the read transaction of a closure.
    pub(crate) fn submit_transaction(self: &Arc<Self>, job: TransactionJob) {
        if let Err(refused) = self.try_submit(Job::Transaction(Box::new(job))) {
            let (error, job) = *refused;
            job.fail(error);
        }
    }

    fn pass_to_writer(&self, job: ReadJob, exclusive: bool) {
        let limits = Limits { cancel: Some(job.cancel), deadline: job.deadline.of_writes(), ..Limits::default() };
        let write = WriteJob { batch: job.batch, stamp: job.stamp, limits, exclusive, reply: job.reply };
        self.shared.submit(Box::new(write));
    }

    /// Runs a read on a session and sends the results to the caller.
    fn run_and_reply(self: &Arc<Self>, session: &mut Session, job: ReadJob) {
        let readers = self.clone();
        let stalled: Arc<dyn Fn(bool) + Send + Sync> = Arc::new(move |begins| readers.stalled(begins));
        let config = &self.shared.config;
        let stall_max = if config.snapshots() { Duration::MAX } else { STALL_WITHOUT_SNAPSHOTS_MAX };
        let (cancel, stall_timeout) = (job.cancel.clone(), config.options.stall_timeout.min(stall_max));
        let gate = config.gate().clone();
        let open = move || parts::channel(cancel.clone(), stall_timeout, stalled.clone(), gate.clone());
        let mut sink = StreamingSink::new(job.reply, open);
        if let Some(reason) = session.watch.stopped() {
            return sink.fail(stop_error(reason));
        }
        if is_going_to_fail(session, &job.batch) {
            sink.expect_failure();
        }
        match read(&self.shared.config.options, session, &job.batch, job.stamp, &mut sink) {
            Ok(Ok(ending)) => {
                self.shared.counters.batches_read.fetch_add(1, Ordering::Relaxed);
                sink.end(ending);
            }
            Ok(Err(RunError::Interrupted(reason))) => sink.fail(stop_error(reason)),
            Ok(Err(_)) if config.gate().is_evicting() => sink.fail(stop_error(StopReason::FileReplaced)),
            Ok(Err(_)) => {
                let why = format!("the rest of the result was dropped: no rows were taken for {stall_timeout:?}");
                sink.fail(Error::Unavailable(why.into()));
            }
            Err(error) => sink.fail(engine_error("read", error)),
        }
    }

    /// Called when a reader thread begins to wait for a slow caller, and when the wait ends. During the wait another
    /// thread may be started.
    fn stalled(self: &Arc<Self>, begins: bool) {
        let mut state = self.lock();
        if begins {
            state.stalled_threads += 1;
            self.ensure_thread(&mut state);
        } else {
            state.stalled_threads -= 1;
        }
    }

    /// Rejects new reads from now on, and waits until the queued and the running ones have ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.sessions.close();
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.threads > 0).unwrap_or_else(PoisonError::into_inner));
        self.sessions.clear();
    }
}

/// Removes from the queue, and returns, the jobs whose deadlines have passed or whose callers have dropped the future.
fn remove_expired(jobs: &mut VecDeque<(Job, Instant)>) -> Vec<Job> {
    if !jobs.iter().any(|(job, _)| job.is_expired()) {
        return Vec::new();
    }
    let (expired, left): (VecDeque<_>, VecDeque<_>) =
        std::mem::take(jobs).into_iter().partition(|(job, _)| job.is_expired());
    *jobs = left;
    expired.into_iter().map(|(job, _)| job).collect()
}
