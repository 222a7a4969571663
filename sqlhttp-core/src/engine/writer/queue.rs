//! What waits for the writer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::engine::replicated::entry::{LogEntry, OnApplied};
use crate::engine::watch::{Limits, StopReason, stop_error};
use crate::model::{Answer, Batch, Error, Outcome, SqlError, Stamp};

/// A batch that waits.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) stamp: Stamp,
    pub(crate) limits: Limits,
    /// It must not share its transaction.
    pub(crate) exclusive: bool,
    pub(crate) reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Job {
    pub(crate) fn answer(self, result: Result<Outcome, Error>) {
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(result.map(Answer::Whole));
    }
}

/// What the owner of the database asks for.
pub(crate) enum OwnerTask {
    /// Run these statements, each on its own.
    Script(String, oneshot::Sender<Result<Result<(), SqlError>, Error>>),
    /// Run the script at this index, and those after it that are in the transaction it begins. One result for each script
    /// that ran.
    Scripts(Arc<[String]>, usize, oneshot::Sender<Result<Vec<Result<(), SqlError>>, Error>>),
    /// Rebuild the file.
    Vacuum(oneshot::Sender<Result<(), Error>>),
    /// Move the write-ahead log into the database file.
    Checkpoint(oneshot::Sender<Result<(), Error>>),
    /// Put the content of a checked file in the place of what there is.
    Replace(PathBuf, oneshot::Sender<Result<(), Error>>),
}

/// Entries of a log, to be applied, and who waits for what comes of their batches.
pub(crate) struct LogTask {
    pub(crate) entries: Vec<LogEntry>,
    /// Who else is told, and at once; as many as there are entries, or fewer.
    pub(crate) on_applied: Vec<Option<OnApplied>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<Outcome>>, Error>>,
}

/// Anything that waits.
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

/// The writer's queue: bounded, first come first served.
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

    /// Adds a task, unless the queue is full or closed. The owner's tasks always find room.
    /// A task that is not taken comes back with the reason.
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

    /// Returns batches that were taken, in front of all others.
    pub(crate) fn put_back(&self, jobs: VecDeque<Box<Job>>) {
        let mut state = self.lock();
        jobs.into_iter().rev().for_each(|job| state.tasks.push_front(Task::Batch(job)));
    }

    /// Waits for a task; then takes it, and as many further ones as may share a transaction with it. `None` when the
    /// queue is closed and empty.
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

    /// Takes no more tasks. Those that wait are still run.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Takes no more tasks, and throws away those that wait: their callers see that the reply never comes.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
        self.arrived.notify_all();
    }

    /// Answers the callers whose limits were exceeded while their batches waited. Returns whether a batch waits.
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

    /// How many tasks wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }
}

/// Why a task need not run any more.
fn exceeded(task: &Task) -> Option<StopReason> {
    match task {
        Task::Batch(job) => job.limits.exceeded_before_turn(),
        Task::Owner(_) | Task::Log(_) => None,
    }
}

/// What the writer does next.
pub(crate) enum Gathered {
    /// These batches.
    Jobs(VecDeque<Box<Job>>),
    /// This alone.
    Owner(OwnerTask),
    /// These entries.
    Log(Box<LogTask>),
}
