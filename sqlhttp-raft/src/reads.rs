//! The path of a read. Every node runs reads on its own database; the consistency level determines the wait
//! before it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlhttp_core::{Answer, Backend as _, Batch, BoxFuture, Deadline, Error, Outcome, Part, PartStream, ReadLevel};
use tokio::time::Instant;

use crate::clock;
use crate::command::Operation;
use crate::forward::{Authorization, AuthorizeCall, Caller, ForwardCall, ForwardKind, WireLevel};
use crate::network::Target;
use crate::node::Node;
use crate::read_index::ReadIndexes;
use crate::runtime::engine;
use crate::writes::{Forwarded, LeaderWait, Route};

/// How long a read waits until this node has applied the entries up to the read index. If that takes longer, the leader
/// runs the read.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);
/// The interval at which a read that waits checks its deadline, and whether the node has stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// The time within which the leader must respond to a question about permissions.
const AUTHORIZE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the leader's answer about the permissions of a client is used.
const AUTHORIZED_FOR: Duration = Duration::from_secs(1);
/// The maximum number of clients whose permissions are remembered.
const AUTHORIZED_MAX: usize = 1000;

/// The permissions that the leader has confirmed recently.
#[derive(Default)]
pub(crate) struct Authorized(Mutex<HashMap<Authorization, (Instant, bool)>>);

impl Authorized {
    fn get(&self, authorization: &Authorization) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(authorization).filter(|(at, _)| at.elapsed() < AUTHORIZED_FOR).map(|(_, permitted)| *permitted)
    }

    fn set(&self, authorization: Authorization, permitted: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= AUTHORIZED_MAX {
            known.clear();
        }
        known.insert(authorization, (Instant::now(), permitted));
    }
}

/// How far the database of this node must have applied the Raft log before a read.
enum ReadAt {
    /// The database has applied enough. The value is the index of the barrier of a strong read; otherwise 0.
    Now(u64),
    /// This node lags too far behind, so the leader must run the read.
    Leader(u64),
}

impl Node {
    pub(crate) async fn read_for(
        &self,
        caller: &Caller,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        if self.inner.difference.is_marked() {
            return Box::pin(self.read_elsewhere(caller, batch, level, deadline)).await;
        }
        let is_local = match level {
            ReadLevel::None => true,
            ReadLevel::Auto if self.inner.options.non_voter => true,
            ReadLevel::Weak | ReadLevel::Auto => self.inner.leadership.is_ready(),
            ReadLevel::Linearizable | ReadLevel::Strong => false,
        };
        if is_local {
            return engine(self.inner.database.read_batch(batch, level, deadline)).await;
        }
        // Boxed, because the future is large, and most reads do not need it.
        match Box::pin(self.prepare_read(caller, level, deadline)).await? {
            // A verdict may have arrived meanwhile.
            ReadAt::Now(_) if self.inner.difference.is_marked() => {
                Box::pin(self.read_elsewhere(caller, batch, level, deadline)).await
            }
            ReadAt::Now(log_index) => {
                Ok(with_log_index(engine(self.inner.database.read_batch(batch, level, deadline)).await?, log_index))
            }
            ReadAt::Leader(leader) => Box::pin(self.forward_read(caller, leader, batch, level, deadline)).await,
        }
    }

    /// The error of a read that would run on this node, whose content differs from that of the majority.
    fn own_reads_refused(&self) -> Error {
        Error::Unavailable(self.inner.difference.reason().unwrap_or_default())
    }

    /// Lets the leader run a read, because the content of this node differs from that of the majority.
    async fn read_elsewhere(
        &self,
        caller: &Caller,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        if level == ReadLevel::None {
            return Err(self.own_reads_refused());
        }
        let wait = self.leader_wait(deadline);
        loop {
            match self.route() {
                Route::Here => return Err(self.own_reads_refused()),
                Route::Peer(leader) => return self.forward_read(caller, leader, batch, level, deadline).await,
                Route::Nowhere => wait.pause().await?,
            }
        }
    }

    /// Runs a read on this node, which is leader and ready.
    pub(crate) async fn read_here(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        if self.inner.difference.is_marked() {
            return Err(self.own_reads_refused());
        }
        let log_index = match level {
            ReadLevel::None | ReadLevel::Weak | ReadLevel::Auto => 0,
            ReadLevel::Linearizable => {
                let index = self.inner.confirmed_reads.next().await?.ok_or(Error::NoLeader)?;
                match self.catch_up(index, deadline).await? {
                    ReadAt::Now(_) => 0,
                    // Another node has become leader.
                    ReadAt::Leader(_) => return Err(Error::NoLeader),
                }
            }
            ReadLevel::Strong => self.propose(Operation::Barrier, deadline).await?.log_index,
        };
        Ok(with_log_index(engine(self.inner.database.read_batch(batch, level, deadline)).await?, log_index))
    }

    pub(crate) async fn request_for(
        &self,
        caller: &Caller,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        // The batch must be classified with the newest schema. A leader has it when it has applied every entry that was
        // acknowledged before; another node when it has applied the entries up to a read index. The levels that need no
        // leader are classified with the schema of this node.
        let is_local = level == ReadLevel::None || level == ReadLevel::Auto && self.inner.options.non_voter;
        let mut log_index = 0;
        if !is_local
            && self.inner.difference.is_marked()
            && let Route::Peer(leader) = self.route()
        {
            return Box::pin(self.forward_request(caller, leader, batch, level, deadline)).await;
        }
        if !is_local && !self.inner.leadership.is_ready() {
            match Box::pin(self.prepare_read(caller, level, deadline)).await? {
                ReadAt::Now(index) => log_index = index,
                ReadAt::Leader(leader) => {
                    return Box::pin(self.forward_request(caller, leader, batch, level, deadline)).await;
                }
            }
        }
        let classified = engine(self.inner.database.classify(batch)).await?;
        if let Some(outcome) = classified.refused {
            return Ok(Answer::Whole(outcome));
        }
        if classified.writes {
            return match self.route() {
                Route::Here => match self.execute_classified(classified, deadline).await {
                    // The leadership is being transferred.
                    Err((Error::NoLeader, Some(batch))) => Box::pin(self.execute_for(caller, batch, deadline)).await,
                    written => written.map_err(|(error, _)| error),
                },
                Route::Peer(leader) => {
                    Box::pin(self.forward_request(caller, leader, classified.batch, level, deadline)).await
                }
                Route::Nowhere => Box::pin(self.execute_for(caller, classified.batch, deadline)).await,
            };
        }
        let level = if log_index == 0 { level } else { ReadLevel::None };
        let answer = self.read_for(caller, classified.batch, level, deadline).await?;
        Ok(with_log_index(answer, log_index))
    }

    /// Appends an entry that changes nothing to the Raft log, and waits until this node has applied it. Returns the
    /// index of the entry.
    ///
    /// # Errors
    /// The errors of [`sqlhttp_core::Backend::write_batch`].
    pub async fn barrier(&self, deadline: Deadline) -> Result<u64, Error> {
        let index = self.barrier_for(&Caller::default(), deadline).await?;
        self.wait_until_applied(index, deadline).await?;
        Ok(index)
    }

    /// Like [`Node::barrier`], but the leader appends the entry for this caller, and this node may not have applied it.
    pub(crate) async fn barrier_for(&self, caller: &Caller, deadline: Deadline) -> Result<u64, Error> {
        let wait = self.leader_wait(deadline);
        loop {
            match self.route() {
                // A barrier changes nothing, so it is repeated also if its entry may be in the log.
                Route::Here => match self.propose(Operation::Barrier, deadline).await {
                    Err(Error::NoLeader | Error::LeadershipLost) => {}
                    Err(Error::Unknown) => return Err(self.not_applied_in_time()),
                    outcome => return Ok(outcome?.log_index),
                },
                Route::Peer(leader) => {
                    let call = ForwardCall::new(caller, ForwardKind::Barrier, None, deadline);
                    match self.forward(leader, call, deadline).await {
                        Forwarded::Answer(Err(Error::LeadershipLost)) | Forwarded::NotTaken(_) => {}
                        Forwarded::Answer(Err(Error::Unknown)) => return Err(self.not_applied_in_time()),
                        Forwarded::Answer(outcome) => return Ok(outcome?.log_index),
                    }
                }
                Route::Nowhere => {}
            }
            if let Some(why) = self.stopped() {
                return Err(why);
            }
            wait.pause().await?;
        }
    }

    /// The error of a read whose barrier was not applied within `-raft-apply-timeout`: usually because the leader has
    /// lost its quorum.
    fn not_applied_in_time(&self) -> Error {
        if self.inner.leadership.is_ready() { Error::Timeout } else { Error::NoLeader }
    }

    /// Waits until this node has applied every write that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Error::NoLeader`] and [`Error::Timeout`], if there is no leader or the deadline passes; the error that has
    /// stopped the node.
    pub async fn apply_acknowledged(&self, deadline: Deadline) -> Result<(), Error> {
        let index = self.read_index(&self.inner.confirmed_reads, deadline).await?;
        self.wait_until_applied(index, deadline).await
    }

    /// Waits until a read of this level may run on the database of this node.
    async fn prepare_read(&self, caller: &Caller, level: ReadLevel, deadline: Deadline) -> Result<ReadAt, Error> {
        self.authorize_at_leader(caller, deadline).await?;
        match level {
            ReadLevel::None => Ok(ReadAt::Now(0)),
            ReadLevel::Weak | ReadLevel::Auto => self.wait_for_index(&self.inner.leased_reads, deadline).await,
            ReadLevel::Linearizable => self.wait_for_index(&self.inner.confirmed_reads, deadline).await,
            ReadLevel::Strong => {
                let index = self.barrier_for(caller, deadline).await?;
                Ok(match self.catch_up(index, deadline).await? {
                    ReadAt::Now(_) => ReadAt::Now(index),
                    leader => leader,
                })
            }
        }
    }

    async fn wait_for_index(&self, indexes: &ReadIndexes, deadline: Deadline) -> Result<ReadAt, Error> {
        let index = self.read_index(indexes, deadline).await?;
        self.catch_up(index, deadline).await
    }

    /// Asks for a read index until a leader returns one.
    async fn read_index(&self, indexes: &ReadIndexes, deadline: Deadline) -> Result<u64, Error> {
        let wait = self.leader_wait(deadline);
        loop {
            if let Some(why) = self.stopped() {
                return Err(why);
            }
            if let Some(index) = indexes.next().await? {
                return Ok(index);
            }
            wait.pause().await?;
        }
    }

    /// Waits until this node has applied the entries up to `index`. If another node is leader, waits only for a short
    /// time: the disk of this node may be stalled, and the leader can run the read.
    async fn catch_up(&self, index: u64, deadline: Deadline) -> Result<ReadAt, Error> {
        let started = Instant::now();
        loop {
            let waited = tokio::time::timeout(CATCH_UP_MAX, self.wait_until_applied(index, deadline)).await;
            if let Ok(applied) = waited {
                return applied.map(|()| ReadAt::Now(0));
            }
            match self.route() {
                Route::Peer(leader) => return Ok(ReadAt::Leader(leader)),
                Route::Nowhere if started.elapsed() >= self.inner.options.apply_timeout => return Err(Error::NoLeader),
                // A leader applies the entry when the writes before it have ended.
                Route::Here | Route::Nowhere => {}
            }
        }
    }

    /// Waits until the database of this node has applied the entries up to `index`, counted from 1.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the deadline passes; the error that has stopped the node.
    pub(crate) async fn wait_until_applied(&self, index: u64, deadline: Deadline) -> Result<(), Error> {
        if self.inner.database.progress().index >= index {
            return Ok(());
        }
        let mut applied = self.inner.machine.applied();
        loop {
            let waited = tokio::time::timeout(STOP_CHECK, applied.wait_for(|applied| *applied >= index)).await;
            match waited {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(self.stopped().unwrap_or(Error::Closed)),
                // The sender exists as long as this node, so it does not signal that the node has stopped.
                Err(_) => self.stopped().map_or(Ok(()), Err)?,
            }
            if deadline.passed(clock::now()) {
                return Err(Error::Timeout);
            }
        }
    }

    /// Checks with the leader that the client has the permissions for a read. Does nothing on the leader, and for
    /// requests of this node itself.
    async fn authorize_at_leader(&self, caller: &Caller, deadline: Deadline) -> Result<(), Error> {
        if caller.permissions.is_empty() {
            return Ok(());
        }
        let authorization = Authorization::of(caller);
        let wait: LeaderWait = self.leader_wait(deadline);
        loop {
            let leader = match self.route() {
                Route::Here => return Ok(()),
                Route::Peer(leader) => Some(leader),
                Route::Nowhere => None,
            };
            let known = self.inner.authorized.get(&authorization);
            let permitted = match (known, leader) {
                (Some(known), _) => Some(known),
                (None, Some(leader)) => {
                    let call = AuthorizeCall(authorization.clone());
                    self.inner.peers.call(Target::Node(leader), &call, AUTHORIZE_TIMEOUT).await.ok()
                }
                (None, None) => None,
            };
            if let Some(permitted) = permitted {
                if known.is_none() {
                    self.inner.authorized.set(authorization, permitted);
                }
                return if permitted { Ok(()) } else { Err(Error::Unauthorized) };
            }
            wait.pause().await?;
        }
    }

    async fn forward_read(
        &self,
        caller: &Caller,
        leader: u64,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let call = ForwardCall::new(caller, ForwardKind::Query(WireLevel::from(level)), Some(batch), deadline);
        match self.forward(leader, call, deadline).await {
            Forwarded::Answer(outcome) => outcome.map(Answer::Whole),
            Forwarded::NotTaken(_) => Err(Error::NoLeader),
        }
    }

    async fn forward_request(
        &self,
        caller: &Caller,
        leader: u64,
        batch: Batch,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let wait = self.leader_wait(deadline);
        let kind = ForwardKind::Request(WireLevel::from(level));
        let (mut leader, mut batch) = (leader, batch);
        loop {
            let call = ForwardCall::new(caller, kind, Some(batch), deadline);
            match self.forward(leader, call, deadline).await {
                Forwarded::Answer(outcome) => return outcome.map(Answer::Whole),
                Forwarded::NotTaken(again) => batch = again,
            }
            loop {
                wait.pause().await?;
                match self.route() {
                    // This node has become leader.
                    Route::Here => return self.execute_for(caller, batch, deadline).await,
                    Route::Peer(other) => {
                        leader = other;
                        break;
                    }
                    Route::Nowhere => {}
                }
            }
        }
    }
}

fn with_log_index(answer: Answer, log_index: u64) -> Answer {
    match answer {
        _ if log_index == 0 => answer,
        Answer::Whole(outcome) => Answer::Whole(Outcome { log_index, ..outcome }),
        Answer::Parts(stream) => Answer::Parts(Box::new(PartsAtIndex { stream, log_index })),
    }
}

/// A streamed response to a read, with the index of the barrier that was applied before the read.
struct PartsAtIndex {
    stream: Box<dyn PartStream>,
    log_index: u64,
}

impl PartStream for PartsAtIndex {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        self.stream.next()
    }

    fn log_index(&self) -> u64 {
        self.log_index
    }
}
