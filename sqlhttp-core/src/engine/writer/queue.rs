//! The queue of the tasks that the writer thread runs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::engine::replicated::entry::{LogEntry, OnApplied};
use crate::engine::replicated::progress::Progress;
use crate::engine::sessions::Sessions;
use crate::engine::transaction::TransactionJob;
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Answer, Batch, Error, Outcome, SqlError, Stamp};

/// A batch in the queue of the writer.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) stamp: Stamp,
    pub(crate) limits: Limits,
    /// Whether the batch must have a transaction of its own. If not, it may share one with other batches.
    pub(crate) exclusive: bool,
    pub(crate) reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Job {
    /// Sends the result of the batch to its caller.
    pub(crate) fn answer(self, result: Result<Outcome, Error>) {
        // The caller may have dropped the receiver.
        let _ = self.reply.send(result.map(Answer::Whole));
    }
}

/// A task of the database's owner (the code that opened the database), as opposed to a batch of a client.
pub(crate) enum OwnerTask {
    /// Run the statements of this SQL text. Each statement outside an explicit transaction is committed on its own.
    Script(String, oneshot::Sender<Result<Result<(), SqlError>, Error>>),
    /// Run the script at this index. If it begins a transaction, also run the following scripts until that transaction
    /// ends. The result has one element for each script that ran.
    Scripts(Arc<[String]>, usize, oneshot::Sender<Result<Vec<Result<(), SqlError>>, Error>>),
    /// Rebuild the database file with VACUUM.
    Vacuum(oneshot::Sender<Result<(), Error>>),
    /// Checkpoint: copy the write-ahead log into the database file.
    Checkpoint(oneshot::Sender<Result<(), Error>>),
    /// Replace the content of the database with that of this file, which [`crate::Database::check_image`] has checked.
    Replace(PathBuf, oneshot::Sender<Result<(), Error>>),
}

/// A snapshot that replaces the database file.
pub(crate) struct InstallTask {
    pub(crate) snapshot: PathBuf,
    /// The idle sessions of the database, which must be closed.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) reply: oneshot::Sender<Result<Progress, Error>>,
}

/// Entries of the Raft log that the writer applies.
pub(crate) struct LogTask {
    pub(crate) entries: Vec<LogEntry>,
    /// The callback for each entry, by index in `entries`. The outcomes of an entry without a callback are part of the
    /// reply. May be shorter than `entries`.
    pub(crate) on_applied: Vec<Option<OnApplied>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<Outcome>>, Error>>,
}

/// A task for the writer thread.
pub(crate) enum Task {
    Batch(Box<Job>),
    /// The transaction of a closure.
    Transaction(Box<TransactionJob>),
    Owner(OwnerTask),
    Log(Box<LogTask>),
    Install(Box<InstallTask>),
}

impl Task {
    /// Sends an error to the caller of a batch or of a transaction that has not begun. Drops other tasks, which closes
    /// their reply channels.
    pub(crate) fn fail(self, error: Error) {
        match self {
            Task::Batch(job) => job.answer(Err(error)),
            Task::Transaction(job) => job.body.end(Err(error)),
            Task::Owner(_) | Task::Log(_) | Task::Install(_) => {}
        }
    }
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
    /// Whether the writer thread is sleeping. Only then does `push` wake it: that costs a system call, and most tasks
    /// arrive while the writer is busy.
    writer_waits: bool,
}

/// The writer's queue: bounded, first in, first out.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    len_max: usize,
}

impl Queue {
    pub(crate) fn new(len_max: usize) -> Self {
        Queue { state: Mutex::default(), arrived: Condvar::new(), len_max: len_max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task at the end. Fails if the queue is closed, or if it is full and the task is a batch or a transaction.
    /// Other tasks are not subject to the limit of the length.
    ///
    /// # Errors
    /// Returns the reason why the task was not added, and the task.
    pub(crate) fn push(&self, task: Task) -> Result<(), Box<(Error, Task)>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Box::new((Error::Closed, task)));
        }
        if state.tasks.len() >= self.len_max && matches!(task, Task::Batch(_) | Task::Transaction(_)) {
            return Err(Box::new((Error::Overloaded("too many writes are waiting"), task)));
        }
        state.tasks.push_back(task);
        let wake = std::mem::take(&mut state.writer_waits);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts batches back in front of all other tasks.
    pub(crate) fn put_back(&self, jobs: VecDeque<Box<Job>>) {
        let mut state = self.lock();
        jobs.into_iter().rev().for_each(|job| state.tasks.push_front(Task::Batch(job)));
    }

    /// Waits for a task and removes it from the queue. If the task is a batch, the batches that directly follow it are
    /// removed and returned with it, `group_len_max` in total. Returns `None` when the queue is closed and empty.
    pub(crate) fn gather(&self, group_len_max: usize) -> Option<Gathered> {
        let mut state = self.lock();
        while state.tasks.is_empty() && !state.closed {
            state.writer_waits = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer_waits = false;
        match state.tasks.pop_front()? {
            Task::Transaction(job) => Some(Gathered::Transaction(job)),
            Task::Owner(task) => Some(Gathered::Owner(task)),
            Task::Log(task) => Some(Gathered::Log(task)),
            Task::Install(task) => Some(Gathered::Install(task)),
            Task::Batch(first) => {
                let mut jobs = VecDeque::from([first]);
                while jobs.len() < group_len_max {
                    match state.tasks.pop_front() {
                        Some(Task::Batch(job)) => jobs.push_back(job),
                        Some(other) => {
                            state.tasks.push_front(other);
                            break;
                        }
                        None => break,
                    }
                }
                Some(Gathered::Jobs(jobs))
            }
        }
    }

    /// Closes the queue: no more tasks can be added. Tasks that are in the queue still run.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Closes the queue and drops the queued tasks, which closes their reply channels.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
        self.arrived.notify_all();
    }

    /// Removes the batches and transactions that have exceeded their limits while they waited in the queue, and replies
    /// to their callers with an error. Returns whether a task is left in the queue.
    pub(crate) fn supervise(&self) -> bool {
        let mut state = self.lock();
        let mut over = Vec::new();
        if state.tasks.iter().any(|task| exceeded(task).is_some()) {
            for task in std::mem::take(&mut state.tasks) {
                match (exceeded(&task), task) {
                    (None, task) => state.tasks.push_back(task),
                    (Some(reason), task) => over.push((task, reason)),
                }
            }
        }
        let waits = !state.tasks.is_empty();
        drop(state);
        over.into_iter().for_each(|(task, reason)| task.fail(stop_error(reason)));
        waits
    }

    /// The number of queued tasks.
    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }
}

/// Returns why a task must not run any more; `None` if it may run.
fn exceeded(task: &Task) -> Option<StopReason> {
    match task {
        Task::Batch(job) => job.limits.exceeded_in_queue(),
        Task::Transaction(job) => job.limits.exceeded_in_queue(),
        Task::Owner(_) | Task::Log(_) | Task::Install(_) => None,
    }
}

/// The work that the writer has taken from the queue to run next.
pub(crate) enum Gathered {
    /// Batches, which may share a transaction.
    Jobs(VecDeque<Box<Job>>),
    /// The transaction of a closure.
    Transaction(Box<TransactionJob>),
    /// A task of the database's owner.
    Owner(OwnerTask),
    /// Entries of the Raft log to apply.
    Log(Box<LogTask>),
    /// A snapshot to install.
    Install(Box<InstallTask>),
}
