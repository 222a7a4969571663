//! Interrupts runs whose limits are exceeded or whose callers are gone.
//!
//! There are two mechanisms. SQLite calls the connection's progress handler every [`STEPS_PER_CALL`] virtual-machine
//! steps (<https://sqlite.org/c3ref/progress_handler.html>), and the handler calls [`Watch::should_stop`]. Some opcodes
//! work for seconds without calling the handler (`OP_Count`, b-tree scans, sorter merges, parts of `prepare`), but
//! check SQLite's interrupt flag; the supervisor thread sets that flag ([`super::supervisor`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rusqlite::InterruptHandle;

use super::sqlite::steps;
use super::supervisor;
use crate::model::{Deadline, Error};

/// The number of virtual-machine steps between two calls of the progress handler.
pub(crate) const STEPS_PER_CALL: i32 = 1000;

/// The number of steps that a trigger program counts for, in addition to those that the progress handler counts after
/// all have ended.
const STEPS_PER_PROGRAM: u64 = 50;
/// The number of trigger programs between two checks of the deadline.
const PROGRAMS_PER_CHECK: u32 = 64;

/// The number of steps that a function's work on one megabyte counts for.
const STEPS_PER_MEGABYTE: u64 = 100_000;

/// The number of supervisor scans after which a run on a caller's thread is interrupted.
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

/// Drop guard that a caller holds while it waits: sets the flag when it is dropped, unless it was disarmed.
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

/// Why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its caller has dropped the future.
    Cancelled,
    /// Its deadline passed.
    Deadline,
    /// It waited in the write queue for longer than its caller allows.
    QueueTimeout,
    /// It exceeded the steps or the time that a run on a caller's thread may take.
    Budget,
    /// It exceeded the time that a member of a group may take.
    GroupTime,
    /// It exceeded the steps that its log entry allows, on every node alike.
    Steps,
    /// It exceeded a limit of [`LogLimits`] that only this node applies.
    NodeLimit,
}

/// The error for the caller of a batch that was stopped.
pub(crate) fn stop_error(reason: StopReason) -> Error {
    match reason {
        StopReason::Deadline => Error::Timeout,
        StopReason::QueueTimeout => Error::Overloaded("the write had to wait for longer than its timeout"),
        // No caller receives these: a cancelled batch has none, and the engine handles the others itself.
        StopReason::Cancelled
        | StopReason::Budget
        | StopReason::GroupTime
        | StopReason::Steps
        | StopReason::NodeLimit => Error::Closed,
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) cancel: Option<Cancel>,
    pub(crate) deadline: Deadline,
    /// The number of progress-handler calls that are left. `Some` marks a run on a caller's thread, which the
    /// supervisor also ends after [`BUDGET_SCANS`] scans.
    pub(crate) inline_calls: Option<u32>,
    /// When the run must leave its group's transaction. The writer then runs it again in a transaction of its own.
    pub(crate) leave_group_at: Option<Instant>,
    /// The limits of a write that a log entry contains.
    pub(crate) log: LogLimits,
}

/// The limits of a write that a log entry contains.
///
/// All nodes apply `steps` alike. The others depend on this node (its clock, the caches of its virtual tables), so
/// exceeding one is a failure of this node only.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogLimits {
    /// The number of virtual-machine steps that are left: see [`super::sqlite::steps`].
    pub(crate) steps: Option<u64>,
    /// The number of steps that are left, including those of the statements that virtual tables run.
    pub(crate) all_steps: Option<u64>,
    /// When the run ends in any case. Set only on a node without other voters.
    pub(crate) end_at: Option<Instant>,
    /// When a statement that works on whole tables ends in any case. Set only on a node without other voters.
    pub(crate) end_table_work_at: Option<Instant>,
}

impl Limits {
    /// Returns why the run must not start or continue.
    pub(crate) fn exceeded(&self) -> Option<StopReason> {
        if self.cancel.as_ref().is_some_and(Cancel::is_set) {
            return Some(StopReason::Cancelled);
        }
        let passed = self.deadline.moment().is_some() && self.deadline.passed(Instant::now());
        passed.then_some(StopReason::Deadline)
    }

    /// Returns why a queued write must not start.
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
    /// A run has begun since the supervisor's last scan.
    begun: bool,
    /// The number of supervisor scans during this run.
    scans: u32,
    /// The number of trigger programs that have begun.
    programs: u32,
    /// The supervisor has set SQLite's interrupt flag during this run.
    interrupted: bool,
}

/// The state of a connection's run that the supervisor reads, and the connection's interrupt handle.
#[derive(Default)]
pub(crate) struct WatchedConnection {
    state: Mutex<State>,
    handle: OnceLock<InterruptHandle>,
    /// Set when the run must end: SQLite's allocator then refuses it memory.
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

    /// Interrupts the run if one of its limits is exceeded. Returns whether there has been a run since the last call.
    ///
    /// The interrupt is sent while the lock is held and the run has not ended, so it never reaches a later run.
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
}

/// What the watch has observed of a run that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedRun {
    /// SQLite's interrupt flag may still be set.
    pub(crate) interrupted: bool,
    /// The number of supervisor scans, one every [`supervisor::PERIOD`].
    pub(crate) scans: u32,
}

/// Enforces the limits of the current run on a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<WatchedConnection>);

impl Watch {
    /// Gives the supervisor the connection's interrupt handle. Called once, when the connection has been opened.
    pub(crate) fn attach(&self, handle: InterruptHandle) -> &Arc<WatchedConnection> {
        // A second handle would belong to the same connection.
        let _ = self.0.handle.set(handle);
        &self.0
    }

    /// Begins a run.
    pub(crate) fn begin(&self, limits: Limits) {
        self.0.with(|state| {
            *state = State { limits, running: true, begun: true, ..State::default() };
            self.0.stop.store(false, Ordering::Relaxed);
        });
        supervisor::wake();
    }

    /// The flag that is set when the run must end.
    pub(crate) fn stop_flag(&self) -> &Arc<AtomicBool> {
        &self.0.stop
    }

    /// Ends a run.
    pub(crate) fn end(&self) -> EndedRun {
        self.0.with(|state| {
            let ended = EndedRun { interrupted: state.interrupted, scans: state.scans };
            *state = State { begun: true, ..State::default() };
            ended
        })
    }

    /// Why the run was stopped; `None` if it was not.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.0.with(|state| state.stopped)
    }

    /// Counts the work of a function on about one megabyte. Returns whether the function must stop.
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

    /// Returns whether the steps of the current run are limited.
    pub(crate) fn limits_steps(&self) -> bool {
        self.0.with(|state| state.limits.log.steps.is_some())
    }

    /// Ends the run as if its steps were used up.
    pub(crate) fn exhaust_steps(&self) {
        self.0.with(|state| {
            state.limits.log.steps = Some(0);
            state.stopped = Some(StopReason::Steps);
        });
    }

    /// Stops counting steps until the returned limits are passed to [`Watch::resume_steps`].
    pub(crate) fn suspend_steps(&self) -> LogLimits {
        self.0.with(|state| {
            let end_at = state.limits.log.end_table_work_at;
            std::mem::replace(&mut state.limits.log, LogLimits { end_at, ..LogLimits::default() })
        })
    }

    /// Restores the limits that [`Watch::suspend_steps`] returned.
    pub(crate) fn resume_steps(&self, limits: LogLimits) {
        self.0.with(|state| state.limits.log = limits);
    }

    /// Counts a trigger program that begins. Returns whether the statement must end.
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

    /// The progress handler: counts its call, and returns whether the statement must end.
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
