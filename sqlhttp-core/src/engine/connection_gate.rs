//! Counts the open connections of a database, and keeps new ones out while the database file is replaced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection_config::Role;
use super::sqlite::probe;
use crate::model::SqlError;

/// The gate that every connection of a database passes when it is opened.
#[derive(Debug, Default)]
pub(crate) struct ConnectionGate {
    state: Mutex<State>,
    changed: Condvar,
    /// The same value as in `state`, for callers that must not wait for the mutex.
    shut: AtomicBool,
    evicting: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The number of open connections.
    open: usize,
    /// Whether only the writer may open connections.
    shut: bool,
    /// Whether the database is being closed, so that no thread may wait for the gate.
    closing: bool,
}

/// Registers an open connection with its gate. It must be dropped after the connection.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ConnectionGate>);

/// Keeps the gate shut while it exists.
pub(crate) struct ShutGate<'a>(&'a ConnectionGate);

impl ConnectionGate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection that is about to be opened.
    ///
    /// # Errors
    /// SQLITE_BUSY while the gate is shut, unless the connection is the writer's.
    pub(crate) fn enter(self: &Arc<Self>, role: Role) -> Result<OpenConnection, SqlError> {
        let mut state = self.lock();
        if state.shut && role != Role::Writer {
            let message = "the database file is being replaced";
            return Err(probe::error_of_code(rusqlite::ffi::SQLITE_BUSY, Some(message)));
        }
        state.open += 1;
        Ok(OpenConnection(self.clone()))
    }

    /// Returns whether only the writer may open connections.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Returns whether all connections but the writer's must be closed as soon as possible.
    pub(crate) fn is_evicting(&self) -> bool {
        self.evicting.load(Ordering::Acquire)
    }

    /// Waits until the gate is open, or until the database is being closed.
    pub(crate) fn wait_until_open(&self) {
        if self.is_shut() {
            let shut = |state: &mut State| state.shut && !state.closing;
            drop(self.changed.wait_while(self.lock(), shut).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Ends all waits in [`ConnectionGate::wait_until_open`], because the database is being closed.
    pub(crate) fn end_waits(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Shuts the gate until the result is dropped.
    pub(crate) fn shut(&self) -> ShutGate<'_> {
        self.set_shut(true);
        ShutGate(self)
    }

    /// Requests that all connections but the writer's are closed. The gate must be shut.
    pub(crate) fn begin_eviction(&self) {
        self.evicting.store(true, Ordering::Release);
    }

    fn set_shut(&self, shut: bool) {
        let mut state = self.lock();
        state.shut = shut;
        self.shut.store(shut, Ordering::Release);
        self.evicting.store(false, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until only one connection is open, the writer's, or until the time has passed. Returns whether only one
    /// connection is open.
    pub(crate) fn wait_for_others(&self, timeout: Duration) -> bool {
        let others = |state: &mut State| state.open > 1;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, others);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        let waits = state.shut;
        drop(state);
        if waits {
            self.0.changed.notify_all();
        }
    }
}

impl Drop for ShutGate<'_> {
    fn drop(&mut self) {
        self.0.set_shut(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_gate_admits_the_writer_only() {
        let gate = Arc::new(ConnectionGate::default());
        let reader = gate.enter(Role::Reader).unwrap();
        let shut = gate.shut();
        assert!(gate.is_shut());
        let refused = gate.enter(Role::Copier).unwrap_err();
        assert_eq!(refused.primary_code(), rusqlite::ffi::SQLITE_BUSY);
        let writer = gate.enter(Role::Writer).unwrap();
        assert!(!gate.wait_for_others(Duration::ZERO));
        drop(reader);
        assert!(gate.wait_for_others(Duration::ZERO));
        gate.begin_eviction();
        drop((shut, writer));
        assert!(!gate.is_shut() && !gate.is_evicting());
        assert!(gate.enter(Role::Reader).is_ok());
    }

    #[test]
    fn waits_end_when_the_gate_opens_and_when_the_database_closes() {
        for close in [false, true] {
            let gate = Arc::new(ConnectionGate::default());
            let shut = gate.shut();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| gate.wait_until_open());
                if close {
                    gate.end_waits();
                    waiting.join().unwrap();
                }
                drop(shut);
            });
        }
    }
}
