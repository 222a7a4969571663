//! The pool of sessions that read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection_config::{ConnectionConfig, Role};
use super::error::engine_error;
use super::session::Session;
use crate::model::{Error, SqlError};

/// Sessions that are kept although nobody uses them.
const IDLE_SESSIONS_MAX: usize = 64;
/// Sessions that may be open at once for callers' own threads and the pool together.
const SESSIONS_MAX: usize = 512;

/// The sessions of a database that read: those that nobody uses, and the number of those that somebody does.
pub(crate) struct Sessions {
    config: Arc<ConnectionConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Boxed, because each read takes one out and gives it back, and a session has 500 bytes.
    #[allow(clippy::vec_box)]
    idle: Vec<Box<Session>>,
    /// Sessions that somebody uses now.
    in_use: usize,
    closed: bool,
}

impl Sessions {
    /// Opens the first session, so that a file that cannot be read is noticed now.
    pub(crate) fn open(config: Arc<ConnectionConfig>) -> Result<Arc<Sessions>, SqlError> {
        let session = Box::new(Session::open(&config, Role::Reader)?);
        let state = State { idle: vec![session], ..State::default() };
        Ok(Arc::new(Sessions { config, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no more sessions are given out.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A session for a run on the caller's thread. `None` if too many are open, or none can be opened: a thread of the
    /// pool then reports the reason. (There must be one even while long reads hold the others, or a write would wait for
    /// them to be classified.)
    pub(crate) fn try_take(&self) -> Option<Box<Session>> {
        let mut state = self.lock();
        if state.closed || state.in_use >= SESSIONS_MAX {
            return None;
        }
        let idle = take_idle(&mut state);
        drop(state);
        self.reuse_or_open(idle, true).ok()
    }

    /// A session. Opening one can fail for a moment (another process replaces the file, descriptors run out), so a failure
    /// counts only if it happens twice.
    pub(crate) fn take(&self, inline: bool) -> Result<Box<Session>, Error> {
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

    /// The idle session if it can be used, or a new one. A failure takes the session off the count of lent ones.
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

    pub(crate) fn put_back(&self, mut session: Box<Session>) {
        // An interrupt may have met the end of the transaction.
        if !session.is_autocommit() && session.rollback().is_err() {
            session.mark_dirty();
        }
        let keep = !session.is_stale(&self.config);
        let mut state = self.lock();
        state.in_use -= 1;
        if keep && !state.closed && state.idle.len() < IDLE_SESSIONS_MAX {
            state.idle.push(session);
        }
    }

    /// Gives out no more sessions.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Closes the sessions that nobody uses.
    pub(crate) fn clear(&self) {
        self.lock().idle.clear();
    }
}

/// Counts one session more as used, and takes it from the idle ones if there is any.
fn take_idle(state: &mut State) -> Option<Box<Session>> {
    state.in_use += 1;
    state.idle.pop()
}
