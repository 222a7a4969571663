//! The part of a node in a verification: keeps its content at one index, and answers the questions of the coordinator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlhttp_core::{Bucket, CheckOptions, Database, Error, PendingContent, PinnedContent};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::messages::{
    BucketsCall, EndCall, PinCall, PinReply, RowsCall, SessionState, StateCall, VerdictCall, WireDigest, WireRow,
};
use crate::node::Node;
use crate::observer::Event;
use crate::runtime::blocking;

/// The time without a question of the coordinator after which a session ends. The write-ahead log grows while a session
/// keeps content.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30);
/// The interval at which idle sessions are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(5);
/// The time that an integrity check waits for another one to end.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(60);
/// The maximum number of rows that a node reports of one bucket.
pub(super) const ROWS_MAX: usize = 10_000;

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

    /// Begins a session, which replaces an idle one. Returns when the database knows the index.
    async fn begin(&self, database: &Database, call: PinCall) -> PinReply {
        let (id, applied_index) = (call.id, database.progress().index);
        if !self.reserve(id, applied_index) {
            return PinReply::Busy;
        }
        let reply = self.pin(database, call, applied_index).await;
        if reply != PinReply::Waits {
            self.end_with_id(id);
        }
        reply
    }

    /// Stores a new session, unless the node takes part in another verification. The session exists before the node
    /// waits for its database: otherwise two verifications that begin at the same time would both find none.
    fn reserve(&self, id: u128, applied_index: u64) -> bool {
        let mut session = self.lock();
        if session.as_ref().is_some_and(|other| other.id != id && other.asked.elapsed() < IDLE_MAX) {
            return false;
        }
        let state = SessionState::Waits { applied_index };
        *session = Some(Session { id, asked: Instant::now(), state, content: None, task: None });
        tokio::spawn(end_when_idle(Arc::downgrade(&self.0), id));
        true
    }

    async fn pin(&self, database: &Database, call: PinCall, applied_index: u64) -> PinReply {
        if applied_index >= call.index {
            return PinReply::Passed;
        }
        let id = call.id;
        let pending = match database.pin_at(call.index).await {
            Ok(pending) => pending,
            Err(error) => return PinReply::Failed(error.to_string()),
        };
        let compute = run(Arc::downgrade(&self.0), database.clone(), call, pending);
        match self.find(id, |session| session.task = Some(tokio::spawn(compute).abort_handle())) {
            Some(()) => PinReply::Waits,
            None => PinReply::Failed("the verification has ended".to_owned()),
        }
    }

    fn end_with_id(&self, id: u128) {
        drop(self.lock().take_if(|session| session.id == id));
    }

    /// Ends the session, if there is one.
    pub(crate) fn end(&self) {
        self.lock().take();
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
async fn run(session: WeakSession, database: Database, call: PinCall, pending: PendingContent) {
    let state = match compute(&session, &database, &call, pending).await {
        Ok(Some(digest)) => SessionState::Done(digest),
        Ok(None) => SessionState::Passed,
        Err(error) if is_damage(&error) => SessionState::Damaged(error.to_string()),
        Err(error) => SessionState::Failed(error.to_string()),
    };
    update(&session, call.id, |session| session.state = state);
}

async fn compute(
    session: &WeakSession,
    database: &Database,
    call: &PinCall,
    pending: PendingContent,
) -> Result<Option<WireDigest>, Error> {
    let Some(content) = pending.content().await? else { return Ok(None) };
    update(session, call.id, |session| {
        session.state = SessionState::Computes;
        session.content = Some(content.clone());
    });
    let digest = content.digest().await?;
    let damages = if call.deep { check(database).await? } else { Vec::new() };
    Ok(Some(WireDigest::new(digest, damages)))
}

/// Returns whether an error means that the database file is damaged.
fn is_damage(error: &Error) -> bool {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    matches!(error, Error::Sqlite { source, .. } if [CORRUPT, NOT_A_DATABASE].contains(&source.primary_code()))
}

/// Runs an integrity check. Waits for some time while another one is running.
async fn check(database: &Database) -> Result<Vec<String>, Error> {
    let begun = Instant::now();
    loop {
        match database.check_integrity(CheckOptions::with_rate(None)).await {
            Err(Error::Overloaded(_)) if begun.elapsed() < CHECK_WAIT_MAX => tokio::time::sleep(IDLE_CHECK).await,
            report => return report.map(|report| report.damages),
        }
    }
}

/// Ends the session when the coordinator has asked nothing for [`IDLE_MAX`]. Gives up its content when the write-ahead
/// log has grown too much.
async fn end_when_idle(session: WeakSession, id: u128) {
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        let Some(session) = session.upgrade() else { return };
        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
        match session.as_ref() {
            Some(current) if current.id == id && current.asked.elapsed() < IDLE_MAX => {
                // No scan may be running that would notice.
                if let Some(content) = &current.content {
                    content.give_up_if_outgrown();
                }
            }
            Some(current) if current.id == id => {
                session.take();
                return;
            }
            _ => return,
        }
    }
}

impl Node {
    pub(crate) async fn begin_verification(&self, call: PinCall) -> PinReply {
        self.inner.verify_sessions.begin(&self.inner.database, call).await
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

    /// Records the verdict on this node.
    pub(crate) async fn record_verdict(&self, call: VerdictCall) -> Result<(), String> {
        let VerdictCall { id, verdict } = call;
        if self.inner.verify_sessions.find(id, |_| ()).is_none() {
            return Err("this node no longer takes part in this verification".to_owned());
        }
        let node = self.clone();
        let recorded = blocking(move || node.inner.difference.record(&verdict)).await;
        let (changed, recorded) = recorded.map_err(|error| error.to_string())?;
        let reason = self.inner.difference.reason();
        if reason.is_some() {
            self.inner.exports.invalidate();
        }
        if changed {
            self.inner.options.observer.event(&match &reason {
                Some(reason) => Event::ContentDiffers { reason },
                None => Event::ContentEqual { index: verdict.index },
            });
        }
        recorded.map_err(|error| format!("the verdict cannot be recorded: {error}"))
    }

    pub(crate) fn end_verification(&self, call: &EndCall) {
        self.inner.verify_sessions.end_with_id(call.id);
    }
}
