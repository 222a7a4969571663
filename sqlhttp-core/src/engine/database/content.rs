//! Reads the logical content of a database, to compare it with that of other nodes.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::handle::Database;
use crate::engine::background::{spawn, spawn_low_priority};
use crate::engine::content::ContentDigest;
use crate::engine::content::pinned::PinnedContent;
use crate::engine::content::requests::Reply;
use crate::engine::options::Writes;
use crate::engine::replicated::chain::OutcomeLink;
use crate::engine::shared::SharedState;
use crate::engine::watch::{Cancel, CancelOnDrop};
use crate::model::Error;

impl Database {
    /// Computes the digest of the current content, on a low-priority thread. Writes continue meanwhile, except in a
    /// database with a rollback journal, where they wait. Dropping the future ends the computation.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the content cannot be read; [`Error::Unavailable`] if the write-ahead log has grown by 1
    /// GiB meanwhile, or the database file was replaced.
    pub async fn content_digest(&self) -> Result<ContentDigest, Error> {
        if self.inner.sessions.is_closed() {
            return Err(Error::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        let shared = self.inner.shared.clone();
        // The send fails if the caller has dropped the future. That is no error.
        spawn_low_priority("sqlhttp-digest", move || drop(reply.send(digest(&shared, &cancel))))?;
        let result = answer.await.map_err(|_| self.inner.shared.closed_error())?;
        guard.disarm();
        result
    }
}

#[cfg(feature = "replication")]
impl Database {
    /// Requests the content directly after the entry of the log at `index`, which has not been applied yet. Returns as
    /// soon as the writer thread knows the request. The writer then ends its transaction after the entry, and begins a
    /// read transaction on a connection that is open already.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the database applies no log; [`Error::Sqlite`] if a connection cannot be opened.
    pub async fn pin_at(&self, index: u64) -> Result<PendingContent, Error> {
        let shared = &self.inner.shared;
        if shared.config.options.writes != Writes::Log {
            return Err(Error::Unsupported("this database applies no log".into()));
        }
        let opening = shared.clone();
        let (opened, content) = oneshot::channel();
        // The send fails if the caller has dropped the future. That is no error.
        spawn("sqlhttp-pin", move || drop(opened.send(PinnedContent::prepare(&opening))))?;
        let content = content.await.map_err(|_| shared.closed_error())??;
        let answer = shared.pin_requests.add(index, content);
        // The writer may have applied the entry before it could see the request.
        let (applied, ..) = shared.applied_position();
        if applied >= index {
            shared.pin_requests.answer(applied, false);
        }
        Ok(PendingContent { answer, database: self.clone() })
    }

    /// The running hash of the outcomes of the log entries that this database has applied; `None` if there was a gap
    /// since it began, for example because the database was just opened. Two databases that apply the same log have the
    /// same hash at the same index.
    pub fn last_outcome_link(&self) -> Option<OutcomeLink> {
        self.inner.shared.chain.last()
    }

    /// The hashes of the entries before the one at `index`, in order, since the chain last began, and that of the entry
    /// itself; empty if they are no longer kept.
    pub fn outcome_links_up_to(&self, index: u64) -> Vec<OutcomeLink> {
        self.inner.shared.chain.window_up_to(index)
    }
}

/// A request for the content after an entry of the log ([`Database::pin_at`]). Dropping it withdraws the request.
#[cfg(feature = "replication")]
#[derive(Debug)]
pub struct PendingContent {
    answer: oneshot::Receiver<Reply>,
    database: Database,
}

#[cfg(feature = "replication")]
impl PendingContent {
    /// Waits until the entry has been applied, and returns the content directly after it. Returns `None` if that
    /// content no longer exists, because later entries have been applied or the content was replaced.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the content cannot be read; [`Error::Closed`] if the database is closed.
    pub async fn content(self) -> Result<Option<PinnedContent>, Error> {
        self.answer.await.map_err(|_| self.database.inner.shared.closed_error())?
    }
}

fn digest(shared: &Arc<SharedState>, cancel: &Cancel) -> Result<ContentDigest, Error> {
    let rollback_lock =
        (!shared.config.snapshots()).then(|| shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
    let digest = PinnedContent::open(shared)?.digest_blocking(cancel);
    drop(rollback_lock);
    digest
}
