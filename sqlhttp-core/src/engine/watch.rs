//! Interrupts runs that have exceeded their limits or whose callers are gone. A run is the execution of one batch on a
//! connection.
//!
//! There are two mechanisms:
//!
//! * SQLite calls the connection's progress handler every [`STEPS_PER_CALL`] virtual-machine steps
//!   (<https://sqlite.org/c3ref/progress_handler.html>). The handler calls [`Watch::should_stop`].
//! * Some opcodes work for seconds without calling the handler (`OP_Count`, b-tree scans, sorter merges, parts of
//!   `prepare`), but they check SQLite's interrupt flag. The supervisor thread sets that flag ([`super::supervisor`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rusqlite::InterruptHandle;

use super::sqlite::steps;
use super::supervisor;
use crate::model::{Deadline, Error};

/// The number of virtual-machine steps between two calls of the progress handler.
pub(crate) const STEPS_PER_CALL: i32 = 1000;

/// The number of virtual-machine steps that are counted for each trigger program when it begins. The progress handler
/// counts the program's own steps too, but only after the outermost program has ended.
const STEPS_PER_PROGRAM: u64 = 50;
/// The number of trigger programs that begin between two checks of the run's deadline.
const PROGRAMS_PER_CHECK: u32 = 64;

/// The number of virtual-machine steps that are counted when a function has processed one megabyte.
const STEPS_PER_MEGABYTE: u64 = 100_000;

/// The number of supervisor scans that a run on a caller's thread may last. At the next scan it is interrupted.
const BUDGET_SCANS: u32 = 3;

/// A flag that is set when the caller has dropped its future.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A drop guard that a caller holds while it waits. Dropping it sets the cancel flag, unless the guard was disarmed.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Option<Cancel>);

impl CancelOnDrop {
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.set();
        }
    }
}

/// Why a run (the execution of a batch) was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The run's caller has dropped the future.
    Cancelled,
    /// The run's deadline has passed.
    Deadline,
    /// The write waited in the queue for longer than its caller allows. It has not started.
    QueueTimeout,
    /// The run exceeded the steps or the time that are allowed on a caller's thread. It is repeated on a reader thread.
    Budget,
    /// The run exceeded the time that a batch in a group may take. The writer runs the batch again in a transaction of
    /// its own.
    GroupTime,
    /// The run exceeded the number of virtual-machine steps that its log entry allows. The result is the same on every
    /// node.
    Steps,
    /// The run exceeded a limit of [`LogLimits`] that depends on this node.
    NodeLimit,
    /// The read ran for too long while the database file was to be replaced.
    FileReplaced,
}

/// Returns the error for the caller of a batch that was stopped.
pub(crate) fn stop_error(reason: StopReason) -> Error {
    match reason {
        StopReason::Deadline => Error::Timeout,
        StopReason::QueueTimeout => Error::Overloaded("the write had to wait for longer than its timeout"),
        StopReason::FileReplaced => Error::Unavailable("a snapshot replaces the content".into()),
        // No caller receives an error for these reasons: a cancelled batch has no caller, and the engine itself handles
        // the other reasons.
        StopReason::Cancelled
        | StopReason::Budget
        | StopReason::GroupTime
        | StopReason::Steps
        | StopReason::NodeLimit => Error::Closed,
    }
}

/// The limits of a run (the execution of a batch on a connection).
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) cancel: Option<Cancel>,
    pub(crate) deadline: Deadline,
    /// The number of progress-handler calls that the run has left. `Some` only for a run on a caller's thread, which
    /// the supervisor also ends after [`BUDGET_SCANS`] scans.
    pub(crate) inline_calls: Option<u32>,
    /// The time at which the run must leave its group (the batches that share one transaction). The writer then runs
    /// the batch again in a transaction of its own.
    pub(crate) leave_group_at: Option<Instant>,
    /// The limits of a write that a Raft log entry contains.
    pub(crate) log: LogLimits,
}

/// The limits of a write that a Raft log entry contains.
///
/// Exceeding `steps` gives the same result on all nodes. The other limits depend on this node (its clock, the caches of
/// its virtual tables), so exceeding one of them is a failure of this node only.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogLimits {
    /// The number of virtual-machine steps that the run has left (see [`super::sqlite::steps`]); `None` for no limit.
    pub(crate) steps: Option<u64>,
    /// The number of virtual-machine steps that the run has left, counting also those of the statements that virtual
    /// tables run; `None` for no limit. Set only on a node without others.
    pub(crate) all_steps: Option<u64>,
    /// The time at which the run is interrupted in any case. Set only on a node without others.
    pub(crate) end_at: Option<Instant>,
    /// The time at which a statement that works on whole tables (CREATE INDEX, for example) is interrupted in any case.
    /// Set only on a node without others.
    pub(crate) end_table_work_at: Option<Instant>,
}

impl Limits {
    /// Returns why the run must not start or continue; `None` if it may.
    pub(crate) fn exceeded(&self) -> Option<StopReason> {
        if self.cancel.as_ref().is_some_and(Cancel::is_set) {
            return Some(StopReason::Cancelled);
        }
        let passed = self.deadline.moment().is_some() && self.deadline.passed(Instant::now());
        passed.then_some(StopReason::Deadline)
    }

    /// Returns why a queued write must not start; `None` if it may.
    pub(crate) fn exceeded_in_queue(&self) -> Option<StopReason> {
        let late = self.deadline.turn().is_some_and(|turn| Instant::now() >= turn);
        self.exceeded().or(late.then_some(StopReason::QueueTimeout))
    }
}

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    stopped: Option<StopReason>,
    running: bool,
    /// Whether a run has begun since the supervisor's last scan.
    begun: bool,
    /// The number of supervisor scans during this run.
    scans: u32,
    /// The number of trigger programs that have begun during this run.
    programs: u32,
    /// Whether the supervisor has set SQLite's interrupt flag during this run.
    interrupted: bool,
}

/// The state of the current run on a connection, for the supervisor, and the connection's interrupt handle.
#[derive(Default)]
pub(crate) struct WatchedConnection {
    state: Mutex<State>,
    handle: OnceLock<InterruptHandle>,
    /// Set when the run must end. SQLite's allocator then refuses memory to the run.
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for WatchedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedConnection").field("state", &self.state).finish_non_exhaustive()
    }
}

impl WatchedConnection {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Interrupts the run if it has exceeded one of its limits. Returns whether there has been a run since the last
    /// call.
    ///
    /// The interrupt is sent while the state is locked and the run has not ended, so it never affects a later run.
    pub(crate) fn supervise(&self) -> bool {
        self.with(|state| {
            let active = std::mem::take(&mut state.begun) || state.running;
            if !state.running {
                return active;
            }
            state.scans += 1;
            let over_budget = state.limits.inline_calls.is_some() && state.scans > BUDGET_SCANS;
            let is_past = |moment: Option<Instant>| moment.is_some_and(|moment| Instant::now() >= moment);
            let (leave_group, end) = (is_past(state.limits.leave_group_at), is_past(state.limits.log.end_at));
            let reason = state.limits.exceeded().or(over_budget.then_some(StopReason::Budget));
            let reason =
                reason.or(leave_group.then_some(StopReason::GroupTime)).or(end.then_some(StopReason::NodeLimit));
            if let (Some(reason), Some(handle)) = (reason, self.handle.get()) {
                state.stopped.get_or_insert(reason);
                state.interrupted = true;
                self.stop.store(true, Ordering::Relaxed);
                handle.interrupt();
            }
            active
        })
    }

    /// Interrupts whatever the connection does, because the database file is to be replaced.
    pub(crate) fn evict(&self) {
        self.with(|state| {
            let Some(handle) = self.handle.get() else { return };
            if state.running {
                state.stopped.get_or_insert(StopReason::FileReplaced);
                state.interrupted = true;
                self.stop.store(true, Ordering::Relaxed);
            }
            handle.interrupt();
        });
    }
}

/// The observations of a [`Watch`] about a run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedRun {
    /// Whether the supervisor has set SQLite's interrupt flag, which may still be set.
    pub(crate) interrupted: bool,
    /// The number of supervisor scans during the run. There is one scan every [`supervisor::PERIOD`].
    pub(crate) scans: u32,
}

/// Enforces the limits of the current run on a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<WatchedConnection>);

impl Watch {
    /// Stores the connection's interrupt handle, with which the supervisor interrupts runs. Called once, when the
    /// connection has been opened.
    pub(crate) fn attach(&self, handle: InterruptHandle) -> &Arc<WatchedConnection> {
        // Fails only if a handle is stored already. That handle belongs to the same connection.
        let _ = self.0.handle.set(handle);
        &self.0
    }

    /// Begins a run (the execution of a batch) on the connection, with these limits.
    pub(crate) fn begin(&self, limits: Limits) {
        self.0.with(|state| {
            *state = State { limits, running: true, begun: true, ..State::default() };
            self.0.stop.store(false, Ordering::Relaxed);
        });
        supervisor::wake();
    }

    /// Returns the flag that is set when the run must end.
    pub(crate) fn stop_flag(&self) -> &Arc<AtomicBool> {
        &self.0.stop
    }

    /// Ends the run. The limits no longer apply.
    pub(crate) fn end(&self) -> EndedRun {
        self.0.with(|state| {
            let ended = EndedRun { interrupted: state.interrupted, scans: state.scans };
            *state = State { begun: true, ..State::default() };
            ended
        })
    }

    /// Returns why the run was stopped; `None` if it was not.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.0.with(|state| state.stopped)
    }

    /// Counts [`STEPS_PER_MEGABYTE`] steps after a function has processed about one megabyte. Returns whether the
    /// function must stop.
    pub(crate) fn count_work(&self) -> bool {
        self.0.with(|state| {
            if let Some(left) = &mut state.limits.log.steps {
                *left = left.saturating_sub(STEPS_PER_MEGABYTE);
                if *left == 0 {
                    state.stopped.get_or_insert(StopReason::Steps);
                }
            }
            state.stopped = state.stopped.or_else(|| state.limits.exceeded());
            state.stopped.is_some()
        })
    }

    /// Returns whether the number of virtual-machine steps of the current run is limited.
    pub(crate) fn limits_steps(&self) -> bool {
        self.0.with(|state| state.limits.log.steps.is_some())
    }

    /// Stops the run as if it had used up its virtual-machine steps.
    pub(crate) fn exhaust_steps(&self) {
        self.0.with(|state| {
            state.limits.log.steps = Some(0);
            state.stopped = Some(StopReason::Steps);
        });
    }

    /// Stops counting virtual-machine steps, and returns the limits. [`Watch::resume_steps`] restores them.
    pub(crate) fn suspend_steps(&self) -> LogLimits {
        self.0.with(|state| {
            let end_at = state.limits.log.end_table_work_at;
            std::mem::replace(&mut state.limits.log, LogLimits { end_at, ..LogLimits::default() })
        })
    }

    /// Restores the limits that [`Watch::suspend_steps`] returned, so that steps count again.
    pub(crate) fn resume_steps(&self, limits: LogLimits) {
        self.0.with(|state| state.limits.log = limits);
    }

    /// Counts [`STEPS_PER_PROGRAM`] steps for a trigger program that begins. Returns whether the statement must end.
    pub(crate) fn count_program(&self) -> bool {
        self.0.with(|state| {
            state.programs = state.programs.wrapping_add(1);
            if let Some(left) = &mut state.limits.log.steps {
                *left = left.saturating_sub(STEPS_PER_PROGRAM);
                if *left == 0 {
                    state.stopped.get_or_insert(StopReason::Steps);
                }
            }
            if state.programs.is_multiple_of(PROGRAMS_PER_CHECK) {
                state.stopped = state.stopped.or_else(|| state.limits.exceeded());
            }
            state.stopped.is_some()
        })
    }

    /// The progress handler: counts [`STEPS_PER_CALL`] steps, and returns whether the statement must end.
    pub(crate) fn should_stop(&self) -> bool {
        let counts = steps::is_outermost();
        self.0.with(|state| {
            if let (Some(left), true) = (&mut state.limits.log.steps, counts) {
                *left = left.saturating_sub(STEPS_PER_CALL as u64);
                if *left == 0 {
                    state.stopped.get_or_insert(StopReason::Steps);
                }
            }
            if let Some(left) = &mut state.limits.log.all_steps {
                *left = left.saturating_sub(STEPS_PER_CALL as u64);
                if *left == 0 {
                    state.stopped.get_or_insert(StopReason::NodeLimit);
                }
            }
            let reason = match state.limits.inline_calls.as_mut() {
                Some(0) => Some(StopReason::Budget),
                Some(calls) => {
                    *calls -= 1;
                    state.limits.exceeded()
                }
                None => state.limits.exceeded(),
            };
            let reason = state.stopped.or(reason);
            state.stopped = reason;
            reason.is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn watch() -> (rusqlite::Connection, Watch) {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let watch = Watch::default();
        watch.attach(connection.get_interrupt_handle());
        (connection, watch)
    }

    #[test]
    fn a_deadline_that_has_passed_ends_the_run() {
        let (_connection, watch) = watch();
        let past = Some(Instant::now());
        for (limits, reason) in [
            (
                Limits { log: LogLimits { end_at: past, ..LogLimits::default() }, ..Limits::default() },
                StopReason::NodeLimit,
            ),
            (Limits { leave_group_at: past, ..Limits::default() }, StopReason::GroupTime),
            (
                Limits {
                    deadline: Deadline::at(Instant::now()),
                    log: LogLimits { end_at: past, ..LogLimits::default() },
                    ..Limits::default()
                },
                StopReason::Deadline,
            ),
        ] {
            watch.begin(limits);
            watch.0.supervise();
            assert_eq!(watch.stopped(), Some(reason));
            assert!(watch.end().interrupted);
        }
    }

    #[test]
    fn work_on_whole_tables_has_its_own_time_limit() {
        let (_connection, watch) = watch();
        watch.begin(Limits {
            log: LogLimits { end_at: Some(Instant::now()), steps: Some(1), ..LogLimits::default() },
            ..Limits::default()
        });
        let left = watch.suspend_steps();
        watch.0.supervise();
        assert!(!watch.should_stop() && !watch.count_program());
        watch.resume_steps(left);
        watch.0.supervise();
        assert_eq!(watch.stopped(), Some(StopReason::NodeLimit));
    }
}
