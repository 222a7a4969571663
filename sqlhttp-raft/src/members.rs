//! Changes of the cluster membership, made by the leader: joining, promotion to voter, removal, changed addresses.
//!
//! A node joins as a learner, which receives the Raft log but does not vote, and becomes a voter when it has caught up
//! (section 4.2.1 of the Raft dissertation). A new voter without entries would otherwise stop all writes of a small
//! cluster until it has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::{ChangeMembers, Instant as _};
use serde::{Deserialize, Serialize};
use sqlhttp_core::TimeZone;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::forward::Authorization;
use crate::leadership::Leadership;
use crate::network::Request;
use crate::observer::{Event, Observer};
use crate::options::NodeOptions;
use crate::raft::Raft;
use crate::runtime::watch;
use crate::types::{MemberInfo, TypeConfig, index_of};

/// The time within which a change of the membership must be committed.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which a leader checks for members to promote or to remove.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The time within which a learner must have responded when it becomes a voter.
const RESPONDED_WITHIN: Duration = Duration::from_secs(1);
/// The number of entries by which a learner may lag behind the leader when it becomes a voter.
const LAG_MAX: u64 = 1000;

/// A request to become a member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinCall {
    pub(crate) authorization: Authorization,
    pub(crate) node: u64,
    pub(crate) instance: u128,
    pub(crate) name: String,
    pub(crate) raft_address: String,
    pub(crate) non_voter: bool,
    /// The settings of the joining node that must be the same on all nodes.
    pub(crate) settings: SharedSettings,
}

/// The settings that must be the same on all nodes. An entry of the Raft log contains those of the leader, but each
/// node runs reads with its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedSettings {
    foreign_keys: bool,
    /// The name of the time zone of local times; `None` for UTC.
    time_zone: Option<String>,
}

impl SharedSettings {
    pub(crate) fn of(options: &NodeOptions) -> SharedSettings {
        let time_zone = match options.database.time_zone {
            TimeZone::Named(zone) => Some(zone.name().to_owned()),
            TimeZone::Process | TimeZone::Utc => None,
        };
        SharedSettings { foreign_keys: options.database.foreign_keys, time_zone }
    }

    /// Returns why a node with these settings cannot join a cluster with the settings `cluster`; `None` if it can.
    fn difference(&self, cluster: &SharedSettings) -> Option<String> {
        if self.foreign_keys != cluster.foreign_keys {
            let (own, theirs) = if self.foreign_keys { ("on", "off") } else { ("off", "on") };
            let remedy = if cluster.foreign_keys { "with" } else { "without" };
            return Some(format!(
                "-fk is {own} on this node and {theirs} in the cluster, and must be the same: start this node {remedy} -fk"
            ));
        }
        let zone = |settings: &SharedSettings| settings.time_zone.clone().unwrap_or_else(|| "UTC".to_owned());
        let (own, theirs) = (zone(self), zone(cluster));
        (own != theirs).then(|| {
            format!(
                "-time-zone is {own} on this node and {theirs} in the cluster, and must be the same: start this node with \
                 -time-zone {theirs}"
            )
        })
    }
}

/// The response to a request that changes the membership. New variants are added only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MembershipReply {
    Done,
    /// The membership is already as requested.
    Unchanged,
    /// This node is not leader. The value is the address of the leader, if it is known.
    NotLeader(Option<String>),
    Unauthorized,
    /// The reason why the membership cannot be changed.
    Refused(String),
}

impl Request for JoinCall {
    const KIND: u8 = 16;
    type Response = MembershipReply;
}

/// A request to remove a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoveCall {
    pub(crate) authorization: Authorization,
    pub(crate) name: String,
}

impl Request for RemoveCall {
    const KIND: u8 = 17;
    type Response = MembershipReply;
}

/// Counts of the changes of the membership that this node has made as leader.
#[derive(Debug, Default)]
pub(crate) struct MembershipCounters {
    pub(crate) joins_requested: AtomicU64,
    pub(crate) joins: AtomicU64,
    pub(crate) joins_unchanged: AtomicU64,
    pub(crate) removed_before_joins: AtomicU64,
    pub(crate) removals: AtomicU64,
    pub(crate) reaped_voters: AtomicU64,
    pub(crate) reaped_non_voters: AtomicU64,
}

/// Changes the cluster membership while this node is leader.
pub(crate) struct Members {
    leadership: Arc<Leadership>,
    observer: Arc<dyn Observer>,
    settings: SharedSettings,
    own: MemberInfo,
    reap_voters_after: Option<Duration>,
    reap_non_voters_after: Option<Duration>,
    pub(crate) counters: MembershipCounters,
    /// Held during each change, so that changes are made one after the other. [`crate::Node::boot`] holds it too.
    lock: Mutex<()>,
}

/// Why the membership could not be changed.
enum ChangeFailed {
    /// This node is not leader any more.
    NotLeader,
    Other(String),
}

type Changes = ChangeMembers<u64, MemberInfo>;

impl Members {
    /// Starts the task that promotes and removes members while this node is leader, on the current runtime.
    pub(crate) fn start(leadership: Arc<Leadership>, options: &NodeOptions, own: MemberInfo) -> Arc<Members> {
        let members = Arc::new(Members {
            leadership,
            observer: options.observer.clone(),
            settings: SharedSettings::of(options),
            own,
            reap_voters_after: options.reap_voters_after,
            reap_non_voters_after: options.reap_non_voters_after,
            counters: MembershipCounters::default(),
            lock: Mutex::default(),
        });
        tokio::spawn(maintain(Arc::downgrade(&members), members.leadership.ready_term()));
        members
    }

    fn raft(&self) -> &Raft {
        self.leadership.raft()
    }

    /// Waits until no change of the membership is being made. None begins while the returned guard is held.
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock.lock().await
    }

    /// Returns all members by Raft id, and the ids of the voters.
    pub(crate) fn current(&self) -> (BTreeMap<u64, MemberInfo>, BTreeSet<u64>) {
        let membership = self.raft().server_metrics().borrow_watched().membership_config.clone();
        let nodes = membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
        (nodes, membership.voter_ids().collect())
    }

    fn not_leader(&self) -> MembershipReply {
        let leader = self.leadership.leader().filter(|leader| *leader != self.leadership.own_id());
        let address = leader.and_then(|leader| self.current().0.get(&leader).map(|member| member.raft_address.clone()));
        MembershipReply::NotLeader(address)
    }

    /// Adds a node to the cluster, or updates its address. The caller has checked the credentials.
    pub(crate) async fn join(&self, call: JoinCall) -> MembershipReply {
        self.counters.joins_requested.fetch_add(1, Ordering::Relaxed);
        if !self.leadership.is_ready() {
            return self.not_leader();
        }
        if let Some(why) = call.settings.difference(&self.settings) {
            return MembershipReply::Refused(why);
        }
        let _changing = self.lock.lock().await;
        let result = self.join_locked(call).await;
        result.unwrap_or_else(|failed| self.failed(failed))
    }

    async fn join_locked(&self, call: JoinCall) -> Result<MembershipReply, ChangeFailed> {
        let JoinCall { node, instance, name, raft_address, non_voter, .. } = call;
        let (members, voters) = self.current();
        let info = MemberInfo { name, raft_address, non_voter, instance };
        if let Some(known) = members.get(&node) {
            if known.name == info.name && known.raft_address == info.raft_address {
                self.counters.joins_unchanged.fetch_add(1, Ordering::Relaxed);
                return Ok(MembershipReply::Unchanged);
            }
            self.counters.removed_before_joins.fetch_add(1, Ordering::Relaxed);
            let info = MemberInfo { non_voter: known.non_voter, ..info };
            self.change(Changes::SetNodes(BTreeMap::from([(node, info)]))).await?;
            self.counters.joins.fetch_add(1, Ordering::Relaxed);
            return Ok(MembershipReply::Done);
        }
        // A member with the same name or address is the same node with another directory: its disk was replaced.
        let replaced = |member: &MemberInfo| member.name == info.name || member.raft_address == info.raft_address;
        for (id, _) in members.iter().filter(|(_, member)| replaced(member)) {
            self.counters.removed_before_joins.fetch_add(1, Ordering::Relaxed);
            self.remove_id(*id, voters.contains(id)).await?;
        }
        self.change(Changes::AddNodes(BTreeMap::from([(node, info.clone())]))).await?;
        self.counters.joins.fetch_add(1, Ordering::Relaxed);
        self.observer.event(&Event::MemberAdded { name: &info.name, raft_address: &info.raft_address });
        Ok(MembershipReply::Done)
    }

    /// Removes the member with this name. Does nothing if there is none.
    pub(crate) async fn remove(&self, name: &str) -> MembershipReply {
        if !self.leadership.is_ready() {
            return self.not_leader();
        }
        let _changing = self.lock.lock().await;
        let (members, voters) = self.current();
        let Some((id, _)) = members.iter().find(|(_, member)| member.name == name) else {
            return MembershipReply::Unchanged;
        };
        match self.remove_id(*id, voters.contains(id)).await {
            Ok(()) => {
                self.counters.removals.fetch_add(1, Ordering::Relaxed);
                MembershipReply::Done
            }
            Err(failed) => self.failed(failed),
        }
    }

    fn failed(&self, failed: ChangeFailed) -> MembershipReply {
        match failed {
            ChangeFailed::NotLeader => self.not_leader(),
            ChangeFailed::Other(why) => MembershipReply::Refused(why),
        }
    }

    async fn remove_id(&self, id: u64, voter: bool) -> Result<(), ChangeFailed> {
        let (members, voters) = self.current();
        if voter && voters.len() == 1 {
            return Err(ChangeFailed::Other("need at least one voter in configuration: {[]}".to_owned()));
        }
        let ids = BTreeSet::from([id]);
        self.change(if voter { Changes::RemoveVoters(ids) } else { Changes::RemoveNodes(ids) }).await?;
        let name = members.get(&id).map_or("", |member| &member.name);
        self.observer.event(&Event::MemberRemoved { name });
        Ok(())
    }

    /// Makes a change. Completes first a change that has remained in joint consensus, for example because the quorum
    /// was lost: openraft would base the new one on the voters that the unfinished one leads to, which may lack this
    /// node.
    async fn change(&self, change: Changes) -> Result<(), ChangeFailed> {
        self.finish_joint_membership().await?;
        self.propose(change).await
    }

    async fn propose(&self, change: Changes) -> Result<(), ChangeFailed> {
        // A leader that has removed itself leads until its removal is committed (section 4.2.2 of the Raft
        // dissertation). openraft does not permit it further changes.
        if !self.current().1.contains(&self.leadership.own_id()) {
            return Err(ChangeFailed::NotLeader);
        }
        let changing = async {
            let changed = self.raft().change_membership(change, false).await?;
            // The next change must see this one.
            self.await_membership(index_of(&changed.log_id)).await;
            Ok(())
        };
        match tokio::time::timeout(CHANGE_TIMEOUT, changing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ChangeFailed::NotLeader),
            Ok(Err(error)) => Err(ChangeFailed::Other(error.to_string())),
            Err(_) => Err(ChangeFailed::Other("the change of the membership took too long".to_owned())),
        }
    }

    /// Waits until the metrics of openraft contain the membership in the entry at `index`, or a later one.
    async fn await_membership(&self, index: u64) {
        let mut metrics = self.raft().server_metrics();
        let known =
            |metrics: &RaftServerMetrics<TypeConfig>| metrics.membership_config.log_id().map(|id| index_of(&id));
        while known(&metrics.borrow_and_update()) < Some(index) {
            if metrics.changed().await.is_err() {
                // Replication has ended.
                return;
            }
        }
    }

    /// Makes the changes that are due on a leader, which has been leader for the time `leads_for`.
    async fn check(&self, leads_for: Duration) -> Result<(), ChangeFailed> {
        let _changing = self.lock.lock().await;
        self.finish_joint_membership().await?;
        self.update_own_info().await?;
        self.promote().await?;
        self.reap(leads_for).await
    }

    /// Completes a change that this node or an earlier leader has begun. openraft stays in joint consensus until the
    /// next change.
    async fn finish_joint_membership(&self) -> Result<(), ChangeFailed> {
        let membership = self.raft().server_metrics().borrow_watched().membership_config.clone();
        let [_, .., last] = membership.membership().get_joint_config().as_slice() else { return Ok(()) };
        self.propose(Changes::ReplaceAllVoters(last.clone())).await
    }

    /// Updates the membership if this node was started with another name or address than before.
    async fn update_own_info(&self) -> Result<(), ChangeFailed> {
        let own_id = self.leadership.own_id();
        let Some(known) = self.current().0.remove(&own_id) else { return Ok(()) };
        let own = MemberInfo { non_voter: known.non_voter, ..self.own.clone() };
        if known == own {
            return Ok(());
        }
        let changed = self.change(Changes::SetNodes(BTreeMap::from([(own_id, own)]))).await;
        if let Err(ChangeFailed::Other(error)) = &changed {
            self.observer.event(&Event::MembershipNotUpdated { error });
        }
        changed
    }

    async fn promote(&self) -> Result<(), ChangeFailed> {
        let (members, voters) = self.current();
        let metrics = self.raft().metrics().borrow_watched().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let Some(replication) = metrics.replication else { return Ok(()) };
        let responds = |id: &u64| {
            let acked = metrics.heartbeat.as_ref().and_then(|acked| acked.get(id)?.as_ref());
            acked.is_some_and(|acked| acked.elapsed() < RESPONDED_WITHIN)
        };
        // A voter that does not respond would stop the writes of a small cluster.
        let caught_up = |id: &u64| {
            let matched = replication.get(id).and_then(|matched| matched.as_ref());
            responds(id) && matched.is_some_and(|matched| matched.index + LAG_MAX >= last)
        };
        let waiting = members.iter().filter(|(id, member)| !member.non_voter && !voters.contains(id));
        let promoted: BTreeSet<u64> = waiting.map(|(id, _)| *id).filter(caught_up).collect();
        if promoted.is_empty() {
            return Ok(());
        }
        self.change(Changes::AddVoterIds(promoted.clone())).await?;
        for name in promoted.iter().filter_map(|id| members.get(id)).map(|member| &member.name) {
            self.observer.event(&Event::MemberPromoted { name });
        }
        Ok(())
    }

    /// Removes the members that have not responded for longer than the operator permits.
    async fn reap(&self, leads_for: Duration) -> Result<(), ChangeFailed> {
        if self.reap_voters_after.is_none() && self.reap_non_voters_after.is_none() {
            return Ok(());
        }
        let metrics = self.raft().metrics().borrow_watched().clone();
        let Some(heartbeat) = metrics.heartbeat else { return Ok(()) };
        let (members, voters) = self.current();
        for id in members.keys() {
            let voter = voters.contains(id);
            let limit = if voter { self.reap_voters_after } else { self.reap_non_voters_after };
            // A member that has never responded to this leader has been silent at least since the leader was elected.
            let acked = heartbeat.get(id).and_then(|acked| acked.as_ref());
            let silent = acked.map_or_else(|| leads_for, |acked| acked.elapsed());
            if *id == self.leadership.own_id() || limit.is_none_or(|limit| silent < limit) {
                continue;
            }
            self.remove_id(*id, voter).await?;
            let counters = &self.counters;
            let counter = if voter { &counters.reaped_voters } else { &counters.reaped_non_voters };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns whether the membership is stable, so that no check is due soon.
    fn is_settled(&self) -> bool {
        let membership = self.raft().server_metrics().borrow_watched().membership_config.clone();
        let (members, voters) = self.current();
        let own = members.get(&self.leadership.own_id());
        membership.membership().get_joint_config().len() == 1
            && members.iter().all(|(id, member)| member.non_voter || voters.contains(id))
            && own.is_none_or(|own| *own == MemberInfo { non_voter: own.non_voter, ..self.own.clone() })
            && self.reap_voters_after.is_none()
            && self.reap_non_voters_after.is_none()
    }
}

/// The minimum time between two attempts to change the membership after one has failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Makes the changes that are due while this node is leader, until `members` is dropped.
async fn maintain(members: std::sync::Weak<Members>, mut ready_term: watch::Receiver<u64>) {
    let (mut led_term, mut led_since) = (0, Instant::now());
    loop {
        let Ok(term) = ready_term.wait_for(|term| *term != 0).await.map(|term| *term) else { return };
        if term != led_term {
            (led_term, led_since) = (term, Instant::now());
        }
        let Some(strong) = members.upgrade() else { return };
        let mut metrics = strong.raft().server_metrics();
        metrics.borrow_and_update();
        let begun = Instant::now();
        let failed = !strong.is_settled() && strong.check(led_since.elapsed()).await.is_err();
        let settled = strong.is_settled();
        drop(strong);
        if failed {
            tokio::time::sleep(RETRY_PAUSE.saturating_sub(begun.elapsed())).await;
        } else if !settled {
            tokio::time::sleep(CHECK_INTERVAL).await;
        } else {
            // Nothing is due until the membership changes, or another node becomes leader.
            tokio::select! {
                biased;
                changed = metrics.changed() => if changed.is_err() { return },
                changed = ready_term.changed() => if changed.is_err() { return },
            }
        }
    }
}
