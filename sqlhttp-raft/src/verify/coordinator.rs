//! The part of the coordinator in a verification.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sqlhttp_core::Deadline;
use tokio::time::Instant;

use super::compare::reference;
use super::messages::{EndCall, PinCall, PinReply, SessionState, StateCall, Verdict, VerdictCall, WireDigest};
use super::search::Search;
use super::{NodeDigest, Verification, VerifyError, VerifyOptions};
use crate::forward::Caller;
use crate::identity::random_u128;
use crate::network::{Request, Target};
use crate::node::Node;

/// The time within which a node must respond to a short question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time within which a node must apply the entry at which the content is compared.
const APPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The limits of the pause between two questions for the progress of a node.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// The interval at which all nodes are asked for their progress, so that their sessions do not end as idle ones.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The distances between the last entry of the log and the chosen index that are tried one after the other. A short one
/// needs few barriers; nodes that apply many entries per second pass it before they receive the question.
const DISTANCES: [u64; 5] = [4, 16, 64, 256, 1024];

/// The time that a verification waits for another one to end, on this node or on another one.
pub(super) const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// The maximum of the random pause before a verification that has met another one begins again. Two verifications that
/// have begun in the same moment refuse each other.
const BUSY_PAUSE_MAX_MS: u128 = 500;

/// The members of the cluster.
struct Members {
    names: BTreeMap<u64, String>,
    voters: BTreeSet<u64>,
}

/// The results of the members that have computed a digest, and the errors of the others.
pub(super) struct Results {
    index: u64,
    pub(super) digests: BTreeMap<u64, WireDigest>,
    /// The members whose database is damaged. They have an error, or the damages are in their digest.
    damaged: BTreeSet<u64>,
    errors: BTreeMap<u64, String>,
}

/// A verification that this node coordinates.
pub(super) struct Coordinator<'a> {
    node: &'a Node,
    members: Members,
    options: VerifyOptions,
    id: u128,
}

/// The result of one member, or that it has passed the index.
enum MemberResult {
    Digest(WireDigest),
    Damaged(String),
    Failed(String),
    Passed,
}

/// The result of a verification.
pub(super) struct Finding {
    pub(super) report: Verification,
    /// The Raft ids and names of the nodes that differ from a majority of the voters.
    pub(super) differing: Vec<(u64, String)>,
    /// The Raft ids of the nodes that have the content of the majority.
    pub(super) equal: BTreeSet<u64>,
}

impl Node {
    /// Compares the content once. Waits first until no other verification is running.
    pub(super) async fn verify_once(&self, options: VerifyOptions) -> Result<Finding, VerifyError> {
        let begun = Instant::now();
        loop {
            match self.verify_at_once(options).await {
                Err(VerifyError::Running) if begun.elapsed() < BUSY_WAIT_MAX => {
                    let pause = u64::try_from(random_u128() % BUSY_PAUSE_MAX_MS).unwrap_or_default();
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                finding => return finding,
            }
        }
    }

    async fn verify_at_once(&self, options: VerifyOptions) -> Result<Finding, VerifyError> {
        for distance in DISTANCES {
            // When this node has applied the entry, it knows the members.
            let last = self.barrier_for(&Caller::default(), Deadline::NEVER).await?;
            self.wait_until_applied(last, Deadline::after(Instant::now().into_std(), APPLY_TIMEOUT)).await?;
            let (members, voters) = self.inner.members.current();
            let names = members.into_iter().map(|(id, member)| (id, member.name)).collect();
            let members = Members { names, voters };
            let coordinator = Coordinator { node: self, members, options, id: random_u128() };
            if let Some(finding) = coordinator.run(last + distance).await? {
                return Ok(finding);
            }
        }
        Err(VerifyError::TooBusy)
    }
}

impl Coordinator<'_> {
    pub(super) fn id(&self) -> u128 {
        self.id
    }

    pub(super) fn node(&self) -> &Node {
        self.node
    }

    /// Compares the content at `index`. Returns `None` if a member had passed it.
    async fn run(&self, index: u64) -> Result<Option<Finding>, VerifyError> {
        let finding = tokio::select! {
            finding = self.compare(index) => finding,
            never = self.keep_alive() => match never {},
        };
        self.end().await;
        finding
    }

    async fn compare(&self, index: u64) -> Result<Option<Finding>, VerifyError> {
        let mut results =
            Results { index, digests: BTreeMap::new(), damaged: BTreeSet::new(), errors: BTreeMap::new() };
        let begun = join_all(self.members.names.keys().map(|id| self.begin(*id, index))).await;
        let mut waiting = FuturesUnordered::new();
        for (id, reply) in self.members.names.keys().zip(begun) {
            match reply {
                Ok(PinReply::Waits) => waiting.push(async move { (*id, self.wait_for_digest(*id).await) }),
                Ok(PinReply::Passed) => return Ok(None),
                Ok(PinReply::Busy) => return Err(VerifyError::Running),
                Ok(PinReply::Failed(error)) | Err(error) => drop(results.errors.insert(*id, error)),
            }
        }
        while self.node.barrier_for(&Caller::default(), Deadline::NEVER).await? < index {}
        while let Some((id, result)) = waiting.next().await {
            match result {
                MemberResult::Digest(digest) => drop(results.digests.insert(id, digest)),
                MemberResult::Failed(error) => drop(results.errors.insert(id, error)),
                MemberResult::Damaged(error) => {
                    results.damaged.insert(id);
                    results.errors.insert(id, error);
                }
                MemberResult::Passed => return Ok(None),
            }
        }
        drop(waiting);
        Ok(Some(self.conclude(results).await))
    }

    async fn begin(&self, member: u64, index: u64) -> Result<PinReply, String> {
        let call = PinCall { id: self.id, index, deep: self.options.deep };
        if self.is_own(member) {
            return Ok(self.node.begin_verification(call).await);
        }
        self.ask(member, &call, ANSWER_TIMEOUT).await
    }

    pub(super) fn is_own(&self, member: u64) -> bool {
        self.node.inner.leadership.own_id() == member
    }

    /// Sends a request to another member.
    pub(super) async fn ask<R: Request>(
        &self,
        member: u64,
        call: &R,
        timeout: Duration,
    ) -> Result<R::Response, String> {
        self.node.inner.peers.bulk(Target::Node(member), call, timeout).await.map_err(|error| error.to_string())
    }

    async fn state(&self, member: u64) -> Result<SessionState, String> {
        let call = StateCall { id: self.id };
        if self.is_own(member) {
            return Ok(self.node.verification_state(&call));
        }
        self.ask(member, &call, ANSWER_TIMEOUT).await
    }

    /// Asks all members for their progress again and again. A member that does not hear from the coordinator ends its
    /// session.
    async fn keep_alive(&self) -> Infallible {
        loop {
            tokio::time::sleep(KEEP_ALIVE).await;
            join_all(self.members.names.keys().map(|id| self.state(*id))).await;
        }
    }

    /// Waits until a member has computed the digest of its content.
    async fn wait_for_digest(&self, member: u64) -> MemberResult {
        let (begun, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            match self.state(member).await {
                Ok(SessionState::Done(digest)) => return MemberResult::Digest(digest),
                Ok(SessionState::Failed(error)) | Err(error) => return MemberResult::Failed(error),
                Ok(SessionState::Damaged(error)) => return MemberResult::Damaged(error),
                Ok(SessionState::Passed) => return MemberResult::Passed,
                Ok(SessionState::Unknown) => return MemberResult::Failed("the node was restarted".to_owned()),
                Ok(SessionState::Waits { applied_index }) if begun.elapsed() >= APPLY_TIMEOUT => {
                    let why = format!("the node has applied the log up to index {applied_index} only");
                    return MemberResult::Failed(why);
                }
                Ok(SessionState::Waits { .. } | SessionState::Computes) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Compares the digests, sends the verdicts, and then finds the differing rows.
    async fn conclude(&self, mut results: Results) -> Finding {
        let digests: BTreeMap<u64, u128> = results.digests.iter().map(|(id, wire)| (*id, wire.digest)).collect();
        let answered = digests.keys().filter(|id| self.members.voters.contains(id)).count();
        let leader = self.node.inner.leadership.leader();
        let (expected, is_majority) = reference(&digests, &self.members.voters, leader).unwrap_or_default();
        // The integrity check has found damage, usually in an index, which the digest does not cover.
        let with_damages = results.digests.iter().filter(|(_, wire)| !wire.damages.is_empty()).map(|(id, _)| *id);
        results.damaged.extend(with_damages);
        let (mut equal, other): (BTreeSet<u64>, BTreeSet<u64>) =
            digests.keys().partition(|id| digests.get(id) == Some(&expected));
        equal.retain(|id| !results.damaged.contains(id));
        if is_majority {
            self.send_verdicts(&mut results, &digests, expected).await;
        }
        let search = Search { coordinator: self, results: &results };
        let differences = search.differences(&equal, other.iter().map(|id| (*id, self.name_of(*id)))).await;
        let nodes: BTreeMap<String, NodeDigest> =
            self.members.names.iter().map(|(id, name)| (name.clone(), node_digest(&results, *id))).collect();
        let sound = nodes.values().all(|node| node.error.is_none());
        let report = Verification {
            index: results.index,
            equal: sound && other.is_empty(),
            has_quorum: answered > self.members.voters.len() / 2,
            nodes,
            differences,
            repaired: Vec::new(),
        };
        let differing = other.union(&results.damaged).filter(|_| is_majority);
        Finding { report, differing: differing.map(|id| (*id, self.name_of(*id))).collect(), equal }
    }

    /// Sends each member that has responded whether its content is that of the majority. A member that does not record
    /// it has an error in the results.
    async fn send_verdicts(&self, results: &mut Results, digests: &BTreeMap<u64, u128>, expected: u128) {
        let index = results.index;
        let damaged = results.damaged.iter().map(|id| (*id, None));
        let readable = digests.iter().filter(|(id, _)| !results.damaged.contains(id));
        let verdicts = readable.map(|(id, digest)| (*id, Some(*digest))).chain(damaged);
        let sent = verdicts.map(|(id, digest)| async move {
            let verdict = Verdict { index, digest, expected };
            (id, self.send_verdict(id, VerdictCall { id: self.id, verdict }).await)
        });
        let sent: Vec<_> = sent.collect();
        for (id, recorded) in join_all(sent).await {
            if let Err(error) = recorded {
                results.errors.entry(id).or_insert(error);
            }
        }
    }

    async fn send_verdict(&self, member: u64, call: VerdictCall) -> Result<(), String> {
        if self.is_own(member) {
            return self.node.record_verdict(call).await;
        }
        self.ask(member, &call, ANSWER_TIMEOUT).await?
    }

    fn name_of(&self, member: u64) -> String {
        self.members.names.get(&member).cloned().unwrap_or_default()
    }

    /// Ends the sessions of all members. A session that cannot be ended now ends by itself when it is idle.
    async fn end(&self) {
        let call = EndCall { id: self.id };
        self.node.end_verification(&call);
        let others = self.members.names.keys().filter(|id| !self.is_own(**id));
        join_all(others.map(|id| self.ask(*id, &call, ANSWER_TIMEOUT))).await;
    }
}

fn node_digest(results: &Results, member: u64) -> NodeDigest {
    let wire = results.digests.get(&member);
    let damages = wire.map(|wire| wire.damages.join("; ")).filter(|damages| !damages.is_empty());
    NodeDigest { digest: wire.map(|wire| wire.digest), error: results.errors.get(&member).cloned().or(damages) }
}
