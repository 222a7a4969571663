//! The part of a node in a verification: keeps its content at one index, and answers the questions of the coordinator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlhttp_core::{Bucket, CheckOptions, Database, Error, PinnedContent};
use tokio::task::AbortHandle;

use super::messages::{
    BucketsCall, EndCall, PinCall, PinReply, RowsCall, SessionState, StateCall, WireDigest, WireRow,
};
use crate::node::Node;
use crate::observer::Event;

/// The time without a question of the coordinator after which a session ends. The write-ahead log grows while a session
/// keeps content.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);
/// The interval at which idle sessions are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(5);
/// The maximum number of rows that a node reports of one bucket.
const ROWS_MAX: usize = 10_000;

/// The session of a node in a verification. A node takes part in one verification at a time.
#[derive(Default)]
pub(crate) struct VerifySessions(Arc<Mutex<Option<Session>>>);

struct Session {
    id: u128,
    asked: Instant,
    state: SessionState,
    content: Option<PinnedContent>,
    /// The task that computes the digest.
    task: Option<AbortHandle>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl VerifySessions {
    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session, which replaces an idle one.
    fn begin(&self, database: &Database, call: PinCall) -> PinReply {
        let mut session = self.lock();
        if session.as_ref().is_some_and(|other| other.id != call.id && other.asked.elapsed() < IDLE_MAX) {
            return PinReply::Busy;
        }
        let applied_index = database.progress().index;
        if applied_index >= call.index {
            *session = None;
            return PinReply::Passed;
        }
        *session = Some(Session {
            id: call.id,
            asked: Instant::now(),
            state: SessionState::Waits { applied_index },
            content: None,
            task: None,
        });
        let task = tokio::spawn(run(Arc::downgrade(&self.0), database.clone(), call.clone()));
        if let Some(session) = session.as_mut() {
            session.task = Some(task.abort_handle());
        }
        drop(session);
        tokio::spawn(end_when_idle(Arc::downgrade(&self.0), call.id));
        PinReply::Waits
    }

    /// Returns the session with this id.
    fn find<T>(&self, id: u128, with: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut session = self.lock();
        let session = session.as_mut().filter(|session| session.id == id)?;
        session.asked = Instant::now();
        Some(with(session))
    }

    fn content(&self, id: u128) -> Result<PinnedContent, String> {
        let content = self.find(id, |session| session.content.clone()).flatten();
        content.ok_or_else(|| "this node no longer keeps its content for this verification".to_owned())
    }
}

type WeakSession = std::sync::Weak<Mutex<Option<Session>>>;

/// Changes the session with this id, if it still exists.
fn update(session: &WeakSession, id: u128, change: impl FnOnce(&mut Session)) {
    let Some(session) = session.upgrade() else { return };
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = session.as_mut().filter(|session| session.id == id) {
        change(session);
    }
}

/// Waits for the entry, and computes the digest.
async fn run(session: WeakSession, database: Database, call: PinCall) {
    let state = match compute(&session, &database, &call).await {
        Ok(Some(digest)) => SessionState::Done(digest),
        Ok(None) => SessionState::Passed,
        Err(error) => SessionState::Failed(error.to_string()),
    };
    update(&session, call.id, |session| session.state = state);
}

async fn compute(session: &WeakSession, database: &Database, call: &PinCall) -> Result<Option<WireDigest>, Error> {
    let Some(content) = database.pin_at(call.index).await? else { return Ok(None) };
    update(session, call.id, |session| {
        session.state = SessionState::Computes;
        session.content = Some(content.clone());
    });
    let digest = content.digest().await?;
    let damages = if call.deep { check(database).await? } else { Vec::new() };
    Ok(Some(WireDigest::new(digest, damages)))
}

/// Runs an integrity check. Waits while another one is running.
async fn check(database: &Database) -> Result<Vec<String>, Error> {
    loop {
        match database.check_integrity(CheckOptions { pages_per_second: None }).await {
            Err(Error::Overloaded(_)) => tokio::time::sleep(IDLE_CHECK).await,
            report => return report.map(|report| report.damages),
        }
    }
}

/// Ends the session when the coordinator has asked nothing for [`IDLE_MAX`].
async fn end_when_idle(session: WeakSession, id: u128) {
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        let Some(session) = session.upgrade() else { return };
        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
        match session.as_ref() {
            Some(current) if current.id == id && current.asked.elapsed() < IDLE_MAX => {}
            Some(current) if current.id == id => {
                session.take();
                return;
            }
            _ => return,
        }
    }
}

impl Node {
    pub(crate) fn begin_verification(&self, call: PinCall) -> PinReply {
        self.inner.verify_sessions.begin(&self.inner.database, call)
    }

    pub(crate) fn verification_state(&self, call: &StateCall) -> SessionState {
        let applied_index = self.inner.database.progress().index;
        let state = self.inner.verify_sessions.find(call.id, |session| session.state.clone());
        match state {
            Some(SessionState::Waits { .. }) => SessionState::Waits { applied_index },
            state => state.unwrap_or(SessionState::Unknown),
        }
    }

    pub(crate) async fn verification_buckets(&self, call: BucketsCall) -> Result<Vec<u128>, String> {
        let content = self.inner.verify_sessions.content(call.id)?;
        content.buckets(call.table, call.count).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn verification_rows(&self, call: RowsCall) -> Result<Vec<WireRow>, String> {
        let content = self.inner.verify_sessions.content(call.id)?;
        let bucket = Bucket { count: call.count, number: call.number };
        let rows = content.rows(call.table, bucket, ROWS_MAX).await.map_err(|error| error.to_string())?;
        Ok(rows.into_iter().map(WireRow::from).collect())
    }

    /// Ends a session, and records the verdict on this node.
    pub(crate) async fn end_verification(&self, call: EndCall) -> Result<(), String> {
        let known = self.inner.verify_sessions.lock().take_if(|session| session.id == call.id).is_some();
        let Some(verdict) = call.verdict.filter(|_| known) else { return Ok(()) };
        let node = self.clone();
        let recorded = tokio::task::spawn_blocking(move || node.inner.difference.record(&verdict)).await;
        let changed = recorded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let reason = self.inner.difference.reason();
        if changed {
            self.inner.options.observer.event(&match &reason {
                Some(reason) => Event::ContentDiffers { reason },
                None => Event::ContentEqual { index: verdict.index },
            });
        }
        Ok(())
    }
}
