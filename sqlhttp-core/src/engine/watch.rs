//! Stops a statement that runs too long, or for nobody.
//!
//! SQLite calls the connection's progress handler every [`STEPS_PER_CALL`] virtual-machine steps
//! (<https://sqlite.org/c3ref/progress_handler.html>); the handler asks the [`Watch`] whether to go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::model::Deadline;

/// How many virtual-machine steps pass between two looks at the watch.
pub(crate) const STEPS_PER_CALL: i32 = 1000;

/// Set by a caller that has gone away.
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

/// Sets the flag when it is dropped, unless it was disarmed: what a caller holds while it waits.
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

/// Why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Nobody waits for it any more.
    Cancelled,
    /// Its deadline passed.
    Deadline,
    /// It took more steps than it was allowed on this thread.
    Budget,
}

/// What a run may take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) cancel: Option<Cancel>,
    pub(crate) deadline: Deadline,
    /// Calls of the progress handler that are left.
    pub(crate) calls: Option<u32>,
}

impl Limits {
    /// Why not even to start.
    pub(crate) fn exceeded(&self) -> Option<StopReason> {
        if self.cancel.as_ref().is_some_and(Cancel::is_set) {
            return Some(StopReason::Cancelled);
        }
        let passed = self.deadline.moment().is_some() && self.deadline.passed(Instant::now());
        passed.then_some(StopReason::Deadline)
    }
}

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    stopped: Option<StopReason>,
}

/// The limits of whatever runs on a connection now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<State>>);

impl Watch {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a run.
    pub(crate) fn begin(&self, limits: Limits) {
        self.with(|state| *state = State { limits, stopped: None });
    }

    /// Ends a run. Returns why it was stopped, if it was.
    pub(crate) fn end(&self) -> Option<StopReason> {
        self.with(|state| {
            state.limits = Limits::default();
            state.stopped.take()
        })
    }

    /// Why the run was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.with(|state| state.stopped)
    }

    /// Whether to stop: the progress handler's question.
    pub(crate) fn tick(&self) -> bool {
        self.with(|state| {
            let reason = match state.limits.calls.as_mut() {
                Some(0) => Some(StopReason::Budget),
                Some(calls) => {
                    *calls -= 1;
                    state.limits.exceeded()
                }
                None => state.limits.exceeded(),
            };
            if reason.is_some() {
                state.stopped = reason;
            }
            reason.is_some()
        })
    }
}
