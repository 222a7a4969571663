//! The durable end of the log on this node's disk.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The index of the last entry that is durable on this node's disk, and a way to wait for a higher one.
///
/// openraft applies committed entries up to the last one that it has handed to the log. If the disk of a leader is
/// slower than those of a quorum of followers, such an entry is committed before it is durable on the leader.
#[derive(Default)]
pub(crate) struct DurableIndex {
    /// Counted from 1; 0 if no entry is durable.
    index: AtomicU64,
    /// Why no further entry becomes durable: the log has failed or has been closed.
    ended: OnceLock<String>,
    changed: Notify,
}

impl DurableIndex {
    /// The index of the last entry of the log that is durable, counted from 1; 0 if none is. The index decreases when
    /// entries are truncated.
    pub(crate) fn get(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, index: u64) {
        self.index.store(index, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Makes all waits fail, because no further entry becomes durable. Only the first reason is kept.
    pub(super) fn end(&self, why: &str) {
        self.ended.get_or_init(|| why.to_owned());
        self.changed.notify_waiters();
    }

    /// Waits until the entry at `index`, counted from 1, is durable. If it is, costs one atomic load.
    ///
    /// # Errors
    /// The entry will not become durable, because the log has failed or has been closed.
    pub(crate) async fn reaches(&self, index: u64) -> io::Result<()> {
        while self.get() < index {
            // Created before the checks, so that no change after them is missed.
            let changed = self.changed.notified();
            let ended = self.ended.get();
            if self.get() >= index {
                break;
            }
            if let Some(why) = ended {
                return Err(io::Error::other(why.clone()));
            }
            changed.await;
        }
        Ok(())
    }
}
