//! The requests for the content of a database directly after an entry of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::pinned::PinnedContent;
use crate::model::Error;

/// The reply to a request: the content, or `None` if the database had applied later entries already.
pub(crate) type Reply = Result<Option<PinnedContent>, Error>;

struct Request {
    index: u64,
    /// The content, whose read transaction has not begun.
    content: PinnedContent,
    reply: oneshot::Sender<Reply>,
}

/// The requests that wait for the writer thread.
pub(crate) struct PinRequests {
    waiting: Mutex<Vec<Request>>,
    /// The smallest index of a request; `u64::MAX` if there is none.
    next: AtomicU64,
}

impl Default for PinRequests {
    fn default() -> Self {
        PinRequests { waiting: Mutex::default(), next: AtomicU64::new(u64::MAX) }
    }
}

impl PinRequests {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The smallest index of a request; `u64::MAX` if there is none. The writer commits when it has applied the entry
    /// at this index.
    pub(crate) fn next_index(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Adds a request for the content directly after the entry at `index`. The writer thread answers it when the entry
    /// has been applied.
    pub(crate) fn add(&self, index: u64, content: PinnedContent) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.push(Request { index, content, reply });
        self.update_next(&waiting);
        answer
    }

    /// Answers the requests up to `index`, the index of the last entry that has been applied. If `is_current` is set,
    /// the database has the content directly after this entry, and the requests for it receive it. All others end
    /// without content.
    pub(crate) fn answer(&self, index: u64, is_current: bool) {
        let mut waiting = self.lock();
        let (due, later) = std::mem::take(&mut *waiting).into_iter().partition(|request| request.index <= index);
        *waiting = later;
        self.update_next(&waiting);
        drop(waiting);
        let due: Vec<Request> = due;
        for Request { index: wanted, content, reply } in due.into_iter().filter(|request| !request.reply.is_closed()) {
            let begun = if is_current && wanted == index { content.begin() } else { Ok(false) };
            // The send fails if the caller has dropped the future. That is no error.
            let _ = reply.send(begun.map(|begun| begun.then_some(content)));
        }
    }

    fn update_next(&self, waiting: &[Request]) {
        let next = waiting.iter().map(|request| request.index).min().unwrap_or(u64::MAX);
        self.next.store(next, Ordering::Release);
    }
}
