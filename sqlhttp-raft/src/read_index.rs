//! Read indexes: the index up to which a node must have applied the Raft log before it runs a read (section 6.4 of the
//! Raft dissertation).
//!
//! Reads share rounds. A round confirms the leadership with a quorum once, for all reads that were waiting when it
//! began. A read that arrives during a round waits for the next one, because the confirmation must begin after the read
//! has arrived. Many readers therefore cost as much as one.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use serde::{Deserialize, Serialize};
use sqlhttp_core::Error;
use tokio::sync::{mpsc, oneshot};

use crate::leadership::Leadership;
use crate::network::{Peers, Request, Target};
use crate::types::index_of;

/// The time within which one round must end.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of reads that wait for a round.
const WAITING_MAX: usize = 65_536;

/// Asks the leader for a read index.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadIndexCall {
    /// Whether a quorum must confirm the leadership. Otherwise the leader relies on its lease.
    pub(crate) confirmed: bool,
}

/// The read index, counted from 1; `None` if the node is not leader or not ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadIndexReply(pub(crate) Option<u64>);

impl Request for ReadIndexCall {
    const KIND: u8 = 14;
    type Response = ReadIndexReply;
}

/// Runs rounds for reads of one consistency level. Clones share the rounds.
#[derive(Clone)]
pub(crate) struct ReadIndexes {
    waiting: mpsc::Sender<oneshot::Sender<Option<u64>>>,
}

/// The handles with which a round finds the read index.
#[derive(Clone)]
pub(crate) struct RoundContext {
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) peers: Arc<Peers>,
    /// See [`ReadIndexCall::confirmed`].
    pub(crate) confirmed: bool,
}

impl ReadIndexes {
    /// Starts the task that runs the rounds, on the current runtime.
    pub(crate) fn start(context: RoundContext) -> ReadIndexes {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run_rounds(context, queue));
        ReadIndexes { waiting }
    }

    /// Returns the read index of a round that begins after this call; `None` if there is no leader that can serve reads
    /// at the moment.
    ///
    /// # Errors
    /// * [`Error::Overloaded`]: too many reads are waiting.
    /// * [`Error::Closed`]: the node is being closed.
    pub(crate) async fn next(&self) -> Result<Option<u64>, Error> {
        let (reply, index) = oneshot::channel();
        self.waiting.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded("too many reads are waiting for the leader"),
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        index.await.map_err(|_| Error::Closed)
    }
}

async fn run_rounds(context: RoundContext, mut queue: mpsc::Receiver<oneshot::Sender<Option<u64>>>) {
    let mut waiting = Vec::new();
    loop {
        if queue.recv_many(&mut waiting, WAITING_MAX).await == 0 {
            return;
        }
        let index = tokio::time::timeout(ROUND_TIMEOUT, context.round()).await.unwrap_or(None);
        for reply in waiting.drain(..) {
            crate::waiters::reply(reply, index);
        }
    }
}

impl RoundContext {
    async fn round(&self) -> Option<u64> {
        let leader = self.leadership.leader()?;
        if leader == self.leadership.own_id() {
            return self.leadership.read_index(self.confirmed).await;
        }
        let call = ReadIndexCall { confirmed: self.confirmed };
        self.peers.call(Target::Node(leader), &call, ROUND_TIMEOUT).await.ok()?.0
    }
}

impl Leadership {
    /// Returns the read index, counted from 1, if this node is leader and ready; otherwise `None`.
    pub(crate) async fn read_index(&self, confirmed: bool) -> Option<u64> {
        if mutated!(UnconfirmedRead) {
            return (*self.ready_term().borrow() != 0).then(|| self.applied_index());
        }
        if !self.is_ready() {
            return None;
        }
        if !confirmed {
            return Some(self.applied_index());
        }
        match self.raft().get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Some(index_of(linearizer.read_log_id().log_id())),
            Err(
                RaftError::Fatal(_)
                | RaftError::APIError(
                    LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
                ),
            ) => None,
        }
    }
}
