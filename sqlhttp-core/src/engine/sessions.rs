//! The pool of reading sessions (configured read-only connections). Callers' threads and reader threads share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection_config::{ConnectionConfig, Role};
use super::error::engine_error;
use super::session::Session;
use crate::model::{Error, SqlError};

/// The maximum number of idle sessions that are kept open. Further ones are closed when they are put back.
const IDLE_SESSIONS_MAX: usize = 64;
/// The number of sessions in use at which [`Sessions::try_take`] returns none to callers' threads.
const SESSIONS_MAX: usize = 512;

/// The reading sessions of a database: the idle ones, and the number of those in use.
pub(crate) struct Sessions {
    config: Arc<ConnectionConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Boxed, because each read moves one session out and in, and a session has a size of 500 bytes.
    #[allow(clippy::vec_box)]
    idle: Vec<Box<Session>>,
    /// The number of sessions in use.
    in_use: usize,
    closed: bool,
}

impl Sessions {
    /// Opens the pool with one session, so that a file that cannot be read is detected now.
    pub(crate) fn open(config: Arc<ConnectionConfig>) -> Result<Arc<Sessions>, SqlError> {
        let session = Box::new(Session::open(&config, Role::Reader)?);
        let state = State { idle: vec![session], ..State::default() };
        Ok(Arc::new(Sessions { config, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the pool is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes a session for a batch on the caller's thread. Returns `None` if too many sessions are in use or none can
    /// be opened; a reader thread then reports the reason. The limit is high, because a write must be classified even
    /// while long reads use many sessions. Returns `None` also while the database file is being replaced; a reader
    /// thread then waits for that.
    pub(crate) fn try_take(&self) -> Option<Box<Session>> {
        let mut state = self.lock();
        if state.closed || state.in_use >= SESSIONS_MAX || self.config.gate().is_shut() {
            return None;
        }
        let idle = take_idle(&mut state);
        drop(state);
        self.reuse_or_open(idle, true).ok()
    }

    /// Takes an idle session, or opens one. If opening fails, it is tried once more, because the reason may be
    /// temporary (another process replaces the file, file descriptors run out). `inline` sets the low limits for a
    /// caller's thread. Waits while the database file is being replaced.
    pub(crate) fn take(&self, inline: bool) -> Result<Box<Session>, Error> {
        loop {
            self.config.gate().wait_until_open();
            match self.take_or_open(inline) {
                Err(Error::Busy(_)) if self.config.gate().is_shut() => {}
                result => return result,
            }
        }
    }

    fn take_or_open(&self, inline: bool) -> Result<Box<Session>, Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        let idle = take_idle(&mut state);
        drop(state);
        let session = self.reuse_or_open(idle, inline).or_else(|_| {
            self.lock().in_use += 1;
            self.reuse_or_open(None, inline)
        });
        session.map_err(|error| engine_error("open reader", error))
    }

    /// Returns the idle session if there is a usable one, or opens a new session. On failure, decrements the number of
    /// sessions in use.
    fn reuse_or_open(&self, idle: Option<Box<Session>>, inline: bool) -> Result<Box<Session>, SqlError> {
        let config = &self.config;
        let session = match idle {
            Some(session) if !session.is_stale(config) => Ok(session),
            _ => Session::open(config, Role::Reader).map(Box::new),
        };
        let session = session.and_then(|mut session| session.set_inline(inline).map(|()| session));
        if session.is_err() {
            self.lock().in_use -= 1;
        }
        session
    }

    /// Puts a session back into the pool. Closes the session if it is stale (its connection must not be used again), if
    /// enough sessions are idle, if the database file is being replaced, or if the pool is closed.
    pub(crate) fn put_back(&self, mut session: Box<Session>) {
        // An interrupt may have prevented that the batch's transaction was ended.
        if !session.is_autocommit() && session.rollback().is_err() {
            session.mark_dirty();
        }
        let keep = !session.is_stale(&self.config) && !self.config.gate().is_shut();
        let mut state = self.lock();
        state.in_use -= 1;
        if keep && !state.closed && state.idle.len() < IDLE_SESSIONS_MAX {
            state.idle.push(session);
        }
    }

    /// Closes the pool: [`Sessions::take`] fails and [`Sessions::try_take`] returns `None` from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.config.gate().end_waits();
    }

    /// Closes the idle sessions.
    pub(crate) fn clear(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        // Closing a connection takes system calls, so the lock is not held meanwhile.
        drop(idle);
    }
}

/// Increments the number of sessions in use, and takes an idle session. Returns `None` if no session is idle.
fn take_idle(state: &mut State) -> Option<Box<Session>> {
    state.in_use += 1;
    state.idle.pop()
}
