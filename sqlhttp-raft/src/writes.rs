//! The path of a write: on the leader through the Raft log, on every other node to the leader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlhttp_core::{Answer, Atomicity, Batch, Classified, Deadline, Error, Outcome, ReadLevel, Step};

use crate::clock;
use crate::command::{EncodedOperation, Operation};
use crate::forward::{Authorization, Caller, ForwardCall, ForwardKind};
use crate::leadership::Leadership;
use crate::network::{CallError, Target};
use crate::node::Node;
use crate::runtime::{blocking, engine};

/// The minimum of the time that a request waits for a leader if the cluster has several nodes. An election takes about
/// one heartbeat timeout, but longer on a machine under load.
const LEADER_WAIT_MIN: Duration = Duration::from_secs(5);
/// The time before a request is sent again to a leader that has not taken it, because it is not ready or cannot be
/// reached. No event of this node announces that it can take requests.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// The time that a forwarded request without a deadline may take at the leader. The leader limits the steps of a write,
/// so only a load of SQL text takes as long.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How much longer than its deadline a forwarded request may take until its response has arrived.
const FORWARD_GRACE: Duration = Duration::from_secs(2);
/// The approximate number of simple SQLite virtual machine steps that a processor executes per millisecond.
const STEPS_PER_MILLISECOND: u64 = 50_000;

/// The node that carries out a request that needs the leader.
pub(crate) enum Route {
    /// This node.
    Here,
    /// The node with this Raft id.
    Peer(u64),
    /// There is no leader at the moment.
    Nowhere,
}

/// Waits for a leader until a time.
pub(crate) struct LeaderWait {
    leadership: Arc<Leadership>,
    until: Instant,
}

impl LeaderWait {
    /// Waits until a leader is known. If one is known already, waits for a short time, because it has not taken the
    /// request.
    ///
    /// # Errors
    /// * [`Error::NoLeader`]: the time is over.
    /// * [`Error::Removed`]: this node was removed from its cluster.
    pub(crate) async fn pause(&self) -> Result<(), Error> {
        if self.leadership.is_removed() {
            return Err(Error::Removed);
        }
        if clock::now() >= self.until {
            return Err(Error::NoLeader);
        }
        if self.leadership.leader().is_none() {
            // The caller checks again after the time has passed, too.
            let _ = tokio::time::timeout_at(self.until.into(), self.leadership.wait_for_leader()).await;
            if self.leadership.leader().is_some() {
                return Ok(());
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

impl Node {
    pub(crate) fn route(&self) -> Route {
        let leadership = &self.inner.leadership;
        if leadership.is_leader() {
            return Route::Here;
        }
        leadership.leader().map_or(Route::Nowhere, Route::Peer)
    }

    /// Returns how long a request may wait for a leader. A request during an election then succeeds, and a request to a
    /// node without a quorum fails soon. The only node of a cluster may take longer: it is leader when it has applied
    /// its log.
    pub(crate) fn leader_wait(&self, deadline: Deadline) -> LeaderWait {
        let options = &self.inner.options;
        let limit = if self.inner.leadership.is_sole() {
            options.apply_timeout
        } else {
            options.apply_timeout.min((options.heartbeat_timeout * 3).max(LEADER_WAIT_MIN))
        };
        let now = clock::now();
        let until = now + limit;
        let until = deadline.moment().map_or(until, |moment| moment.min(until));
        LeaderWait { leadership: self.inner.leadership.clone(), until }
    }

    pub(crate) async fn execute_for(&self, caller: &Caller, batch: Batch, deadline: Deadline) -> Result<Answer, Error> {
        let wait = self.leader_wait(deadline.of_writes());
        let mut batch = batch;
        loop {
            match self.route() {
                Route::Here => {
                    let classified = engine(self.inner.database.classify(batch)).await?;
                    match self.execute_classified(classified, deadline).await {
                        Err((Error::NoLeader, Some(again))) => batch = again,
                        Err((error, _)) => return Err(error),
                        Ok(answer) => return Ok(answer),
                    }
                }
                Route::Peer(leader) => {
                    let call = ForwardCall::new(caller, ForwardKind::Execute, Some(batch), deadline);
                    // Boxed, because this future is large, and the leader does not need it.
                    match Box::pin(self.forward(leader, call, deadline.of_writes())).await {
                        Forwarded::Answer(outcome) => return outcome.map(Answer::Whole),
                        Forwarded::NotTaken(again) => batch = again,
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

    /// Writes a classified batch on this node. Returns the batch with the error if nothing took effect because this
    /// node is not leader.
    pub(crate) async fn execute_classified(
        &self,
        classified: Classified,
        deadline: Deadline,
    ) -> Result<Answer, (Error, Option<Batch>)> {
        if let Some(outcome) = classified.refused {
            return Ok(Answer::Whole(outcome));
        }
        let mut batch = classified.batch;
        // This is the only place that chooses the timestamp and the random seed of a batch. Every node that applies the
        // batch uses these.
        batch.stamp.get_or_insert_with(clock::new_stamp);
        let batch = Arc::new(batch);
        match self.write(batch.clone(), classified.exclusive, deadline).await {
            Ok(outcome) => Ok(Answer::Whole(outcome)),
            Err(Error::NoLeader) => Err((Error::NoLeader, Some(Arc::unwrap_or_clone(batch)))),
            Err(error) => Err((error, None)),
        }
    }

    async fn write(&self, batch: Arc<Batch>, exclusive: bool, deadline: Deadline) -> Result<Outcome, Error> {
        let deadline = deadline.of_writes();
        let steps_max = self.steps_max(deadline);
        let operation = Operation::Batch { batch, exclusive, steps_max };
        let outcome = self.propose(operation, deadline.or_turn()).await;
        let by_turn = deadline.turn().is_some_and(|turn| deadline.moment().is_none_or(|moment| turn < moment));
        match outcome {
            Err(Error::Timeout) if by_turn => {
                Err(Error::Overloaded("the write had to wait for longer than its timeout"))
            }
            outcome => outcome,
        }
    }

    pub(crate) async fn propose(&self, operation: Operation, deadline: Deadline) -> Result<Outcome, Error> {
        let encoded = EncodedOperation::new(operation).map_err(|error| Error::Unsupported(error.to_string()))?;
        self.inner.proposer.propose(encoded, deadline).await
    }

    /// Runs a maintenance statement, such as VACUUM, on every node, through the Raft log.
    pub(crate) async fn replicate_statement(&self, sql: &str) -> Result<Outcome, Error> {
        let mut batch = Batch { atomicity: Atomicity::Each, ..Batch::one(Step::execute(sql, ())) };
        batch.stamp.get_or_insert_with(clock::new_stamp);
        self.write(Arc::new(batch), true, Deadline::NEVER).await
    }

    /// Returns the maximum number of SQLite virtual machine steps that a write with this deadline may execute; 0 for no
    /// maximum. A deadline is converted to steps, because all nodes must interrupt the write at the same step, and have
    /// no common clock.
    fn steps_max(&self, deadline: Deadline) -> u64 {
        let most = if deadline.is_without_default() { 0 } else { self.inner.options.write_steps_max };
        let Some(moment) = deadline.moment() else { return most };
        let left = moment.saturating_duration_since(clock::now());
        let steps = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_mul(STEPS_PER_MILLISECOND);
        let steps = steps.max(STEPS_PER_MILLISECOND);
        if most == 0 { steps } else { steps.min(most) }
    }

    /// Sends a request to the leader. Returns the batch if the leader has not taken the request.
    pub(crate) async fn forward(&self, leader: u64, call: ForwardCall, deadline: Deadline) -> Forwarded {
        let left = deadline.or_turn().moment().map(|moment| moment.saturating_duration_since(clock::now()));
        let timeout = left.map_or(FORWARD_TIMEOUT, |left| left + FORWARD_GRACE);
        self.inner.counters.forwarded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut call = call;
        let end = async {
            // A leader that hangs never responds, so the request also ends when another node has become leader, or when
            // this node has had no contact with the leader for a long time.
            let lost = self.inner.leadership.lost(leader, self.inner.options.apply_timeout);
            let _ = tokio::time::timeout(timeout, lost).await;
        };
        match self.inner.peers.forward(Target::Node(leader), &call, end).await {
            Ok(Ok(outcome)) => Forwarded::Answer(Ok(outcome)),
            Ok(Err(error)) => match Error::from(error) {
                Error::NoLeader => Forwarded::NotTaken(call.take_batch()),
                error => Forwarded::Answer(Err(error)),
            },
            Err(CallError::NotSent(_)) => Forwarded::NotTaken(call.take_batch()),
            Err(CallError::Lost(_)) if mutated!(RetryUnknown) => Forwarded::NotTaken(call.take_batch()),
            // A read has no effect, so it can be repeated.
            Err(CallError::Lost(_)) if matches!(call.kind, ForwardKind::Query(_) | ForwardKind::Barrier) => {
                Forwarded::NotTaken(call.take_batch())
            }
            Err(CallError::Lost(_)) => Forwarded::Answer(Err(Error::LeadershipLost)),
        }
    }

    /// Carries out a request that another node has forwarded. Never forwards it again.
    pub(crate) async fn run_forwarded(&self, mut call: ForwardCall) -> Result<Outcome, Error> {
        if !self.permits(&call.authorization, None).await {
            return Err(Error::Unauthorized);
        }
        if !self.inner.leadership.is_leader() {
            return Err(Error::NoLeader);
        }
        let (deadline, batch) = (call.limits.deadline(), call.take_batch());
        let answer = match call.kind {
            ForwardKind::Execute => {
                let classified = engine(self.inner.database.classify(batch)).await?;
                self.execute_classified(classified, deadline).await.map_err(|(error, _)| error)?
            }
            ForwardKind::Request(level) => self.request_here(batch, level.into(), deadline).await?,
            ForwardKind::Query(level) => {
                if !self.inner.leadership.is_ready() {
                    return Err(Error::NoLeader);
                }
                self.read_here(batch, level.into(), deadline).await?
            }
            ForwardKind::Barrier => return self.propose(Operation::Barrier, deadline).await,
        };
        answer.whole().await
    }

    /// Runs a batch that may read or write on this node, which is leader.
    async fn request_here(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> Result<Answer, Error> {
        if !self.inner.leadership.is_ready() {
            return Err(Error::NoLeader);
        }
        let classified = engine(self.inner.database.classify(batch)).await?;
        if classified.refused.is_some() || classified.writes {
            return self.execute_classified(classified, deadline).await.map_err(|(error, _)| error);
        }
        self.read_here(classified.batch, level, deadline).await
    }
}

impl Node {
    /// Returns whether the authorizer of this node gives the user the permissions that a request needs, and
    /// `permission`. Checking a password may take long, so another thread does it.
    pub(crate) async fn permits(&self, authorization: &Authorization, permission: Option<&'static str>) -> bool {
        let mut needed = authorization.clone();
        needed.permissions.extend(permission.map(str::to_owned));
        if needed.permissions.is_empty() {
            return true;
        }
        let authorizer = self.inner.options.authorizer.clone();
        let checked = blocking(move || needed.is_permitted(&*authorizer)).await;
        checked.unwrap_or(false)
    }
}

/// The result of a forwarded request.
pub(crate) enum Forwarded {
    Answer(Result<Outcome, Error>),
    /// The leader has not carried out the request. It may be sent again.
    NotTaken(Batch),
}
