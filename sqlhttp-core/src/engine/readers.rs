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
use super::watch::{Cancel, Limits, stop_error};
use super::writer::queue::Job as WriteJob;
use crate::model::{Answer, Batch, Error, Stamp};

/// Threads of the pool beyond those that the options ask for: some wait for slow callers, some run long reads.
const EXTRA_THREADS_MAX: usize = 64;
/// Threads beyond those for batches that have to be classified before they can be written.
const CLASSIFY_THREADS_MAX: usize = 8;
/// How long a read waits for a thread before the pool grows.
const WAIT_BEFORE_GROWTH: Duration = Duration::from_millis(12);
/// How long a read of a database without snapshots waits for a slow caller: the writer waits meanwhile.
const STALL_WITHOUT_SNAPSHOTS_MAX: Duration = Duration::from_secs(2);

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
    Classify(Batch, oneshot::Sender<(Batch, Result<BatchKind, Error>)>),
}

impl Job {
    /// Whether its deadline has passed or its caller is gone.
    fn is_expired(&self) -> bool {
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

#[derive(Default)]
struct State {
    /// The jobs that wait for a thread, and since when each waits.
    jobs: VecDeque<(Job, Instant)>,
    threads: usize,
    waiting_threads: usize,
    stalled_threads: usize,
    closed: bool,
}

/// The readers of a database.
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

    /// How many reads wait.
    pub(crate) fn queue_len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Where a batch has to run, decided on the caller's thread however long that takes.
    fn classify_here(&self, batch: &Batch) -> Result<BatchKind, Error> {
        let mut session = self.sessions.take(false)?;
        session.begin_run(Limits::default());
        let kind = classify(&mut session, batch);
        session.end_run();
        self.sessions.put_back(session);
        Ok(kind)
    }

    /// Where a batch has to run. The batch is returned with the answer.
    pub(crate) async fn classify(self: &Arc<Self>, batch: Batch) -> Result<(Batch, BatchKind), Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Classify(batch, reply))?;
        let (batch, kind) = answer.await.map_err(|_| Error::Closed)?;
        Ok((batch, kind?))
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
        if state.jobs.len() >= self.shared.config.options.read_queue_len_max.max(1) {
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
        supervisor::wake();
        Ok(())
    }

    /// Threads that the options ask for.
    fn wanted_threads(&self) -> usize {
        self.shared.config.options.read_threads.max(1)
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
        let spawned = spawn("sqlhttp-reader", move || readers.run_thread());
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
        let expired: Vec<Job> = remove_expired(&mut state.jobs);
        drop(state);
        expired.into_iter().for_each(|job| job.fail(Error::Timeout));
        true
    }

    /// The life of a thread of the pool.
    fn run_thread(self: Arc<Self>) {
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
        let mut session = match self.sessions.take(false) {
            Ok(session) => session,
            // A reader may be refused what the writer is not: to roll back a journal that a crash has left. It finds out.
            Err(_) if job.access == Access::Any && !self.lock().closed => return self.pass_to_writer(job, true),
            Err(error) => return drop(job.reply.send(Err(error))),
        };
        let rollback_lock = (!self.shared.config.snapshots())
            .then(|| self.shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
        session.begin_run(Limits { cancel: Some(job.cancel.clone()), deadline: job.deadline, ..Limits::default() });
        let kind = if job.access == Access::Any { classify(&mut session, &job.batch) } else { BatchKind::Read };
        match kind {
            BatchKind::Write { exclusive } if session.watch.stopped().is_none() => self.pass_to_writer(job, exclusive),
            // The receiver may have been dropped.
            BatchKind::Refused => drop(job.reply.send(Ok(Answer::Whole(refused())))),
            _ => self.run_and_reply(&mut session, job),
        }
        session.end_run();
        drop(rollback_lock);
        self.sessions.put_back(session);
    }

    fn pass_to_writer(&self, job: ReadJob, exclusive: bool) {
        let limits = Limits { cancel: Some(job.cancel), deadline: job.deadline.of_writes(), ..Limits::default() };
        let write = WriteJob { batch: job.batch, stamp: job.stamp, limits, exclusive, reply: job.reply };
        self.shared.submit(Box::new(write));
    }

    fn run_and_reply(self: &Arc<Self>, session: &mut Session, job: ReadJob) {
        let readers = self.clone();
        let stalled: Arc<dyn Fn(bool) + Send + Sync> = Arc::new(move |begins| readers.stalled(begins));
        let config = &self.shared.config;
        let stall_max = if config.snapshots() { Duration::MAX } else { STALL_WITHOUT_SNAPSHOTS_MAX };
        let (cancel, stall_timeout) = (job.cancel.clone(), config.options.stall_timeout.min(stall_max));
        let open = move || parts::channel(cancel.clone(), stall_timeout, stalled.clone());
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
            Ok(Err(_)) => sink.fail(Error::Timeout),
            Err(error) => sink.fail(engine_error("read", error)),
        }
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
        self.sessions.close();
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.threads > 0).unwrap_or_else(PoisonError::into_inner));
        self.sessions.clear();
    }
}

/// Takes out the jobs whose deadline has passed or whose caller is gone.
fn remove_expired(jobs: &mut VecDeque<(Job, Instant)>) -> Vec<Job> {
    if !jobs.iter().any(|(job, _)| job.is_expired()) {
        return Vec::new();
    }
    let (expired, left): (VecDeque<_>, VecDeque<_>) =
        std::mem::take(jobs).into_iter().partition(|(job, _)| job.is_expired());
    *jobs = left;
    expired.into_iter().map(|(job, _)| job).collect()
}
