//! The queue of the writer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::engine::replicated::entry::{LogEntry, OnApplied};
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Answer, Batch, Error, Outcome, SqlError, Stamp};

/// A batch in the queue.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) stamp: Stamp,
    pub(crate) limits: Limits,
    /// It must not share its transaction.
    pub(crate) exclusive: bool,
    pub(crate) reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Job {
    /// Sends the reply.
    pub(crate) fn answer(self, result: Result<Outcome, Error>) {
        // The receiver may have been dropped.
        let _ = self.reply.send(result.map(Answer::Whole));
    }
}

/// A task of the database's owner.
pub(crate) enum OwnerTask {
    /// Run these statements, each on its own.
    Script(String, oneshot::Sender<Result<Result<(), SqlError>, Error>>),
    /// Run the script at this index, and those after it that are in the transaction it begins. The result has one
    /// element for each script that ran.
    Scripts(Arc<[String]>, usize, oneshot::Sender<Result<Vec<Result<(), SqlError>>, Error>>),
    /// Rebuild the file.
    Vacuum(oneshot::Sender<Result<(), Error>>),
    /// Copy the write-ahead log into the database file.
    Checkpoint(oneshot::Sender<Result<(), Error>>),
    /// Replace the content by that of a checked file.
    Replace(PathBuf, oneshot::Sender<Result<(), Error>>),
}

/// Entries of a log to apply.
pub(crate) struct LogTask {
    pub(crate) entries: Vec<LogEntry>,
    /// Callbacks for the outcomes of each entry; may be shorter than `entries`.
    pub(crate) on_applied: Vec<Option<OnApplied>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<Outcome>>, Error>>,
}

/// A task for the writer.
pub(crate) enum Task {
    Batch(Box<Job>),
    Owner(OwnerTask),
    Log(Box<LogTask>),
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
    /// The writer sleeps. Waking it costs a system call, and most tasks arrive while it is busy.
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

    /// Adds a task, unless the queue is full or closed. The owner's tasks are not subject to the limit.
    ///
    /// # Errors
    /// The reason, with the task.
    pub(crate) fn push(&self, task: Task) -> Result<(), (Error, Task)> {
        let mut state = self.lock();
        if state.closed {
            return Err((Error::Closed, task));
        }
        if state.tasks.len() >= self.len_max && matches!(task, Task::Batch(_)) {
            return Err((Error::Overloaded("too many writes are waiting"), task));
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

    /// Waits for a task. Returns it, with the following ones that may share a transaction with it. Returns `None` when
    /// the queue is closed and empty.
    pub(crate) fn gather(&self, group_len_max: usize) -> Option<Gathered> {
        let mut state = self.lock();
        while state.tasks.is_empty() && !state.closed {
            state.writer_waits = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer_waits = false;
        match state.tasks.pop_front()? {
            Task::Owner(task) => Some(Gathered::Owner(task)),
            Task::Log(task) => Some(Gathered::Log(task)),
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

    /// Closes the queue. Queued tasks still run.
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

    /// Replies to callers whose limits were exceeded in the queue. Returns whether a task is queued.
    pub(crate) fn supervise(&self) -> bool {
        let mut state = self.lock();
        let mut over = Vec::new();
        if state.tasks.iter().any(|task| exceeded(task).is_some()) {
            for task in std::mem::take(&mut state.tasks) {
                match (exceeded(&task), task) {
                    (Some(reason), Task::Batch(job)) => over.push((job, reason)),
                    (_, task) => state.tasks.push_back(task),
                }
            }
        }
        let waits = !state.tasks.is_empty();
        drop(state);
        over.into_iter().for_each(|(job, reason)| job.answer(Err(stop_error(reason))));
        waits
    }

    /// The number of queued tasks.
    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }
}

/// Returns why a task must not run any more.
fn exceeded(task: &Task) -> Option<StopReason> {
    match task {
        Task::Batch(job) => job.limits.exceeded_in_queue(),
        Task::Owner(_) | Task::Log(_) => None,
    }
}

/// The tasks that the writer runs next.
pub(crate) enum Gathered {
    /// These batches.
    Jobs(VecDeque<Box<Job>>),
    /// A task of the owner.
    Owner(OwnerTask),
    /// These entries.
    Log(Box<LogTask>),
}
