//! The callers that wait for the outcomes of the entries that this node has proposed.
//!
//! A [`crate::command::Command`] is data only. The reply channels of its callers are kept in this module, under the
//! [`ProposalId`] that the command carries on this node. The proposer registers the channels before it hands the
//! command to openraft. It removes them when the proposal has ended: applied, refused, discarded, or cut off by a
//! shutdown. While they are registered, the state machine finds them when it applies the entry, and the database's
//! writer thread replies to each caller as soon as its operation is committed.
//!
//! * Each caller receives one reply: a reply channel is removed from its queue before it is used.
//! * No reply channel outlives its proposal: [`CloseRepliesOnDrop`] closes the channels that have not been used, even
//!   if the proposing task panics or is dropped.
//! * An entry that was read from the disk or received from another node carries no id, so no callers are registered for
//!   it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlhttp_core::{Error, Outcome};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::command::ProposalId;

/// Sends a value on a reply channel. If the receiver has been dropped, because its request timed out or its client
/// disconnected, the value is dropped.
pub(crate) fn reply<T>(sender: oneshot::Sender<T>, value: T) {
    let _ = sender.send(value);
}

/// The reply channel of one operation, and the share of the proposer's memory limit that the operation occupies.
pub(crate) struct PendingReply {
    pub(crate) sender: oneshot::Sender<Result<Outcome, Error>>,
    /// Returned to the proposer's memory limit when the reply is sent.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// The reply channels of the operations of one entry, in the order of the operations. Either the database's writer
/// thread (at commit) or the proposer (when the proposal ends) sends each reply.
#[derive(Default)]
pub(crate) struct ReplyQueue(Mutex<VecDeque<PendingReply>>);

impl ReplyQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingReply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an outcome on the first remaining reply channel. `log_index` is the index of the entry.
    pub(crate) fn answer_next(&self, outcome: Outcome, log_index: u64) {
        let next = self.lock().pop_front();
        if let Some(next) = next {
            reply(next.sender, Ok(Outcome { log_index, ..outcome }));
        }
    }

    /// Sends an error on all remaining reply channels.
    pub(crate) fn fail_all(&self, error: &Error) {
        self.take_all().into_iter().for_each(|pending| reply(pending.sender, Err(error.clone())));
    }

    fn take_all(&self) -> VecDeque<PendingReply> {
        std::mem::take(&mut *self.lock())
    }
}

/// The reply queues of all proposals of this node that have not ended. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    last_id: u64,
    /// Contains few proposals, so a lookup costs less than a hash of the id.
    queues: BTreeMap<ProposalId, Arc<ReplyQueue>>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the callers of a proposal, under an id that no other proposal has had since this node was started.
    pub(crate) fn register(&self, replies: VecDeque<PendingReply>) -> CloseRepliesOnDrop {
        let queue = Arc::new(ReplyQueue(Mutex::new(replies)));
        let mut registry = self.lock();
        registry.last_id += 1;
        let id = ProposalId(registry.last_id);
        registry.queues.insert(id, queue.clone());
        CloseRepliesOnDrop { waiters: self.clone(), id, queue }
    }

    /// Returns the callers of a proposal, or `None` if the proposal has ended.
    pub(crate) fn get(&self, id: ProposalId) -> Option<Arc<ReplyQueue>> {
        self.lock().queues.get(&id).cloned()
    }
}

/// The registration of a proposal in [`Waiters`]. When this guard is dropped, it removes the reply queue of the
/// proposal and closes its remaining reply channels.
pub(crate) struct CloseRepliesOnDrop {
    waiters: Waiters,
    id: ProposalId,
    queue: Arc<ReplyQueue>,
}

impl CloseRepliesOnDrop {
    pub(crate) fn id(&self) -> ProposalId {
        self.id
    }

    pub(crate) fn queue(&self) -> &ReplyQueue {
        &self.queue
    }
}

impl Drop for CloseRepliesOnDrop {
    fn drop(&mut self) {
        self.waiters.lock().queues.remove(&self.id);
        // The state machine may still hold a reference to the queue.
        drop(self.queue.take_all());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::Semaphore;
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    /// Returns as many callers as the semaphore has permits, and their receivers.
    fn callers(permits: &Arc<Semaphore>) -> (VecDeque<PendingReply>, Vec<Receiver<Result<Outcome, Error>>>) {
        let callers = (0..permits.available_permits()).map(|_| {
            let (sender, receiver) = oneshot::channel();
            (PendingReply { sender, _permit: permits.clone().try_acquire_owned().unwrap() }, receiver)
        });
        callers.unzip()
    }

    #[test]
    fn each_caller_is_answered_once_and_in_order() {
        let (waiters, permits) = (Waiters::default(), Arc::new(Semaphore::new(3)));
        let (replies, mut receivers) = callers(&permits);
        let registered = waiters.register(replies);
        let queue = waiters.get(registered.id()).unwrap();
        queue.answer_next(Outcome::default(), 7);
        queue.answer_next(Outcome::default(), 8);
        registered.queue().fail_all(&Error::LeadershipLost);
        // There are three callers, and each has received a reply by now.
        queue.answer_next(Outcome::default(), 9);
        assert_eq!(receivers[0].try_recv().unwrap().unwrap().log_index, 7);
        assert_eq!(receivers[1].try_recv().unwrap().unwrap().log_index, 8);
        assert!(matches!(receivers[2].try_recv().unwrap(), Err(Error::LeadershipLost)));
        assert_eq!(permits.available_permits(), 3);
    }

    #[test]
    fn the_end_of_a_proposal_closes_its_channels_and_removes_it() {
        let (waiters, permits) = (Waiters::default(), Arc::new(Semaphore::new(2)));
        let (replies, mut receivers) = callers(&permits);
        let registered = waiters.register(replies);
        let (id, queue) = (registered.id(), waiters.get(registered.id()).unwrap());
        queue.answer_next(Outcome::default(), 7);
        drop(registered);
        assert!(waiters.get(id).is_none() && waiters.lock().queues.is_empty());
        // The writer thread may still try to reply.
        queue.answer_next(Outcome::default(), 7);
        assert!(receivers[0].try_recv().unwrap().is_ok());
        assert_eq!(receivers[1].try_recv().unwrap_err(), TryRecvError::Closed);
        assert_eq!(permits.available_permits(), 2);
    }

    #[test]
    fn an_id_is_not_used_twice() {
        let waiters = Waiters::default();
        let first = waiters.register(VecDeque::new()).id();
        let second = waiters.register(VecDeque::new());
        assert_ne!(first, second.id());
        assert!(waiters.get(first).is_none());
    }

    #[test]
    fn an_answer_to_a_dropped_receiver_is_lost() {
        let (waiters, permits) = (Waiters::default(), Arc::new(Semaphore::new(2)));
        let (replies, mut receivers) = callers(&permits);
        let registered = waiters.register(replies);
        drop(receivers.remove(0));
        registered.queue().answer_next(Outcome::default(), 1);
        registered.queue().answer_next(Outcome::default(), 2);
        assert_eq!(receivers[0].try_recv().unwrap().unwrap().log_index, 2);
    }
}
