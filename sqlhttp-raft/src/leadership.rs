//! Tracks which node is leader, and whether this node is a leader that can serve requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, ReadPolicy};
use sqlhttp_core::Database;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::log::LogStore;
use crate::network::AddressBook;
use crate::observer::Event;
use crate::options::NodeOptions;
use crate::raft::Raft;
use crate::runtime::watch;
use crate::types::MemberInfo;

/// The times that elections depend on. They are fractions of the heartbeat timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    heartbeat_timeout: Duration,
}

impl Timing {
    /// The limits of the heartbeat timeout, which the operator chooses.
    const TIMEOUT_MIN: Duration = Duration::from_millis(50);
    const TIMEOUT_MAX: Duration = Duration::from_secs(600);

    pub(crate) fn new(heartbeat_timeout: Duration) -> Timing {
        Timing { heartbeat_timeout: heartbeat_timeout.clamp(Timing::TIMEOUT_MIN, Timing::TIMEOUT_MAX) }
    }

    /// A random part of an election timeout.
    fn jitter(self) -> Duration {
        let percent = u32::try_from(crate::clock::new_stamp().seed % 100).unwrap_or(0);
        self.election_min() * percent / 100
    }

    /// The interval at which a leader sends heartbeats.
    pub(crate) fn heartbeat_interval(self) -> Duration {
        self.heartbeat_timeout / 10
    }

    /// The minimum of the randomized election timeout (section 3.4 of the Raft dissertation).
    pub(crate) fn election_min(self) -> Duration {
        self.heartbeat_timeout / 4
    }

    /// The maximum of the randomized election timeout. It is also the lease of a leader: followers grant no vote within
    /// this time after the last message of the leader (section 4.2.3 of the Raft dissertation). A follower therefore
    /// starts an election after 0.75 to 1.0 heartbeat timeouts.
    pub(crate) fn lease(self) -> Duration {
        self.heartbeat_timeout / 2
    }

    /// The time without a message of the leader after which a follower reports that there is no leader.
    pub(crate) fn leader_lost_after(self) -> Duration {
        self.heartbeat_timeout
    }
}

/// How long a forwarded request waits for the response of a node that is leader no more. If the leadership was
/// transferred, the next leader commits the entries of the former one, which then responds.
const REPLACED_GRACE: Duration = Duration::from_secs(1);
/// The interval at which a forwarded request checks whether its leader is still in contact.
const SILENCE_CHECK: Duration = Duration::from_secs(1);

/// The time of the last message of the leader to this follower.
#[derive(Debug)]
pub(crate) struct LeaderContact {
    base: Instant,
    /// The time of the last contact in milliseconds after `base`, plus 1; 0 if there was none.
    last_ms: AtomicU64,
    /// Notified at each contact.
    noted: Notify,
}

impl LeaderContact {
    pub(crate) fn new() -> LeaderContact {
        LeaderContact { base: Instant::now(), last_ms: AtomicU64::new(0), noted: Notify::new() }
    }

    /// Records a message of the leader.
    pub(crate) fn note(&self) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_ms.store(now + 1, Ordering::Relaxed);
        self.noted.notify_waiters();
    }

    /// The time since the last message of the leader; `None` if there was none since the start.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        let last = self.last_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.base.elapsed().saturating_sub(Duration::from_millis(last)))
    }
}

/// Whether this node leads, and which node it regards as leader.
pub(crate) struct Leadership {
    raft: Raft,
    database: Database,
    /// The term of this node's leadership, once this node is leader and has applied every entry that was acknowledged
    /// before; 0 otherwise.
    ready_term: watch::Receiver<u64>,
    /// Whether this node is the only member of its cluster.
    sole: Arc<AtomicBool>,
    /// Whether this node is the only voter of its cluster. Its leadership then needs no other node.
    sole_voter: Arc<AtomicBool>,
    /// The last term in which this node has begun to transfer its leadership; 0 if there was none.
    transferred_term: AtomicU64,
    /// Whether another node has reported that this node was removed from its cluster.
    removed: AtomicBool,
    /// Whether this node leaves elections to the other voters, because it cannot write to its disk.
    stalled: AtomicBool,
    /// The time before which this node grants no vote: see [`Leadership::may_vote`].
    votes_from: Instant,
    /// The time before which this node starts no election. Nodes that are started together choose different times.
    elections_from: Instant,
    pub(crate) contact: Arc<LeaderContact>,
    timing: Timing,
}

impl Leadership {
    /// Starts the task that tracks the leadership of this node, on the current runtime.
    pub(crate) fn start(
        raft: Raft,
        log: LogStore,
        database: Database,
        addresses: Arc<AddressBook>,
        options: &NodeOptions,
    ) -> Leadership {
        let (sender, ready_term) = watch::channel(0);
        let (sole, sole_voter): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let has_followed = log.vote().is_some_and(|vote| vote.committed && vote.leader_id.voted_for != *raft.node_id());
        let watch = LeadershipWatch {
            raft: raft.clone(),
            log,
            database: database.clone(),
            addresses,
            options: options.clone(),
            sole: sole.clone(),
            sole_voter: sole_voter.clone(),
            ready_term: sender,
        };
        tokio::spawn(watch.run());
        let timing = Timing::new(options.heartbeat_timeout);
        let now = Instant::now();
        let votes_from = if has_followed { now + timing.lease() } else { now };
        let elections_from = if has_followed { votes_from + timing.jitter() } else { now };
        let (removed, contact) = (AtomicBool::new(false), Arc::new(LeaderContact::new()));
        let leadership = Leadership {
            raft,
            database,
            ready_term,
            sole,
            sole_voter,
            transferred_term: AtomicU64::new(0),
            removed,
            stalled: AtomicBool::new(false),
            votes_from,
            elections_from,
            contact,
            timing,
        };
        leadership.set_elections();
        leadership
    }

    /// Returns whether this node may grant a vote. It may have confirmed a leader just before it was started, and must
    /// not vote for another one before the lease of that leader has ended. openraft does not remember the lease over a
    /// restart.
    pub(crate) fn may_vote(&self) -> bool {
        Instant::now() >= self.votes_from || mutated!(VoteAfterStart)
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The Raft id of this node.
    pub(crate) fn own_id(&self) -> u64 {
        *self.raft.node_id()
    }

    /// The index of the last entry that the database of this node has applied.
    pub(crate) fn applied_index(&self) -> u64 {
        self.database.progress().index
    }

    /// Returns whether this node is leader, has applied every entry that was acknowledged before, and has been
    /// confirmed by a quorum within its lease. A leader that is cut off from the quorum therefore stops serving reads
    /// before another leader can acknowledge a write.
    pub(crate) fn is_ready(&self) -> bool {
        let term = *self.ready_term.borrow();
        term != 0 && self.holds_lease() && !self.has_transferred(term)
    }

    /// Returns whether this node has begun to transfer its leadership in this term.
    fn has_transferred(&self, term: u64) -> bool {
        self.transferred_term.load(Ordering::Acquire) == term && !mutated!(ReadyAfterTransfer)
    }

    /// Records that this node is about to transfer its leadership of this term. Followers vote for the next leader at
    /// once, although this node holds its lease, so it is not ready any more. It cannot become ready in the same term,
    /// also if it was not ready yet: openraft has stopped its heartbeats.
    pub(crate) fn begin_transfer(&self, term: u64) {
        self.transferred_term.store(term, Ordering::Release);
    }

    /// Returns a receiver of the term in which this node leads and has applied every entry that was acknowledged
    /// before; 0 while it does not.
    pub(crate) fn ready_term(&self) -> watch::Receiver<u64> {
        self.ready_term.clone()
    }

    fn holds_lease(&self) -> bool {
        if self.sole_voter.load(Ordering::Relaxed) || mutated!(StaleWeakRead) {
            return true;
        }
        let metrics = self.raft.data_metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        acked.is_some_and(|acked| acked.elapsed() < self.timing.lease())
    }

    /// Returns the Raft id of the leader; `None` if there is none, or if this node has lost contact with it.
    pub(crate) fn leader(&self) -> Option<u64> {
        let metrics = self.raft.server_metrics();
        let (is_leader, leader) = {
            let metrics = metrics.borrow_watched();
            (metrics.state.is_leader(), metrics.current_leader)
        };
        if is_leader {
            return self.holds_lease().then(|| self.own_id());
        }
        let in_contact = self.contact.elapsed().is_some_and(|elapsed| elapsed < self.timing.leader_lost_after());
        leader.filter(|leader| *leader != self.own_id() && in_contact)
    }

    /// Waits until a leader is known, or this node was removed from its cluster. Returns early if replication has
    /// stopped.
    pub(crate) async fn wait_for_leader(&self) {
        let (mut server, mut data) = (self.raft.server_metrics(), self.raft.data_metrics());
        loop {
            let contact = self.contact.noted.notified();
            server.borrow_and_update();
            data.borrow_and_update();
            if self.leader().is_some() || self.is_marked_removed() {
                return;
            }
            let has_stopped = tokio::select! {
                biased;
                changed = server.changed() => changed.is_err(),
                // A leader holds its lease when a quorum has responded.
                changed = data.changed() => changed.is_err(),
                () = contact => false,
            };
            if has_stopped {
                return;
            }
        }
    }

    /// Records that this node was removed from its cluster, or that it was added again.
    pub(crate) fn mark_removed(&self, removed: bool) {
        self.removed.store(removed, Ordering::Relaxed);
        self.set_elections();
        // Requests that wait for a leader end.
        self.contact.noted.notify_waiters();
    }

    /// Sets whether this node leaves elections to the other voters.
    pub(crate) fn mark_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
        self.set_elections();
    }

    /// Tells openraft whether this node may start elections.
    fn set_elections(&self) {
        let has_just_started = Instant::now() < self.elections_from && !mutated!(VoteAfterStart);
        let withheld = has_just_started || self.removed.load(Ordering::Relaxed) || self.stalled.load(Ordering::Relaxed);
        self.raft.runtime_config().elect(!withheld);
    }

    /// Returns whether this node is recorded as removed, although it may have contact with a leader again.
    pub(crate) fn is_marked_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Returns whether this node was removed from its cluster, and has no contact with a leader.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_marked_removed() && self.leader().is_none()
    }

    /// Waits until another node than the one with the Raft id `leader` has been leader for a short time, or until this
    /// node has had no contact with that leader for the time `patience`.
    pub(crate) async fn lost(&self, leader: u64, patience: Duration) {
        let silence = async {
            let mut in_contact = Instant::now();
            while in_contact.elapsed() < patience {
                tokio::time::sleep(SILENCE_CHECK).await;
                if self.leader() == Some(leader) {
                    in_contact = Instant::now();
                }
            }
        };
        let replaced = async {
            self.replaced(leader).await;
            tokio::time::sleep(REPLACED_GRACE).await;
        };
        tokio::select! {
            biased;
            () = replaced => {}
            () = silence => {}
        }
    }

    /// Waits until another node than the one with the Raft id `leader` has become leader.
    async fn replaced(&self, leader: u64) {
        let mut metrics = self.raft.server_metrics();
        loop {
            if metrics.borrow_and_update().current_leader.is_some_and(|current| current != leader) {
                return;
            }
            if metrics.changed().await.is_err() {
                // Replication has ended; the end of the connection ends the request.
                return std::future::pending().await;
            }
        }
    }

    /// Returns whether this node is the only member of its cluster.
    pub(crate) fn is_sole(&self) -> bool {
        self.sole.load(Ordering::Relaxed)
    }

    /// Returns whether this node is leader, whether or not it is ready.
    pub(crate) fn is_leader(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state.is_leader()
    }
}

/// The task that tracks the leadership of this node.
struct LeadershipWatch {
    raft: Raft,
    log: LogStore,
    database: Database,
    addresses: Arc<AddressBook>,
    options: NodeOptions,
    sole: Arc<AtomicBool>,
    sole_voter: Arc<AtomicBool>,
    ready_term: watch::Sender<u64>,
}

impl LeadershipWatch {
    /// Runs until replication ends. Sends the current term to `ready_term` when this node is leader and has applied
    /// every entry that was acknowledged before; sends 0 when it is not leader.
    async fn run(self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = metrics.borrow_and_update().clone();
            let members = &now.membership_config;
            let own = *self.raft.node_id();
            let sole_voter = members.voter_ids().eq([own]);
            let sole = sole_voter && members.nodes().count() == 1;
            self.log.set_inline_append(sole);
            self.database.set_sole(sole);
            self.sole.store(sole, Ordering::Relaxed);
            self.sole_voter.store(sole_voter, Ordering::Relaxed);
            members.nodes().for_each(|(id, member)| self.addresses.set(*id, &member.raft_address));
            let term = now.vote.leader_id.term;
            // A leader that is being removed leads until the removal is committed. The others may elect the next leader
            // then, although this node holds its lease.
            let is_voter = members.voter_ids().any(|id| id == own) || mutated!(ReadyWithoutVote);
            if !now.state.is_leader() || !is_voter {
                self.ready_term.send_replace(0);
            } else if *self.ready_term.borrow() != term {
                self.ready_term.send_replace(0);
                // A new leader may serve requests only after it has committed an entry of its own term (section 6.4 of
                // the Raft dissertation, step 1). `ensure_linearizable` also waits until that entry has been applied.
                // It can wait without end, so this task also waits for the end of the leadership.
                let confirmed = tokio::select! {
                    biased;
                    // First: when replication has ended, the confirmation fails at once.
                    changed = metrics.changed() => {
                        if changed.is_err() {
                            break;
                        }
                        continue;
                    }
                    confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex) => confirmed.is_ok(),
                };
                if !confirmed {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                self.ready_term.send_replace(term);
                let NodeOptions { name, raft_address, observer, .. } = &self.options;
                observer.event(&Event::BecameLeader { name, raft_address });
            }
            if metrics.changed().await.is_err() {
                break;
            }
        }
        // Replication has ended, by a shutdown or because of an error.
        self.ready_term.send_replace(0);
        if let Err(fatal) = self.raft.metrics().borrow_watched().running_state.clone()
            && !matches!(fatal, openraft::errors::Fatal::Stopped)
        {
            self.options.observer.event(&Event::Stopped { error: &fatal.to_string() });
        }
    }
}

/// Returns the name and the address of this node, in the form in which the cluster membership stores them.
pub(crate) fn own_info(options: &NodeOptions, instance: u128) -> MemberInfo {
    MemberInfo {
        name: options.name.clone(),
        raft_address: options.raft_address.clone(),
        non_voter: options.non_voter,
        instance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_detects_the_loss_of_its_leader_within_the_heartbeat_timeout() {
        let timing = Timing::new(Duration::from_secs(1));
        // openraft adds the lease to the election timeout.
        assert!(timing.lease() + timing.lease() <= timing.leader_lost_after());
        assert!(timing.heartbeat_interval() * 2 < timing.election_min());
        assert!(timing.election_min() < timing.lease());
    }

    #[test]
    fn contact_is_measured_from_the_last_message() {
        let contact = LeaderContact::new();
        assert_eq!(contact.elapsed(), None);
        contact.note();
        assert!(contact.elapsed().is_some_and(|elapsed| elapsed < Duration::from_secs(5)));
    }
}
