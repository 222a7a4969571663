//! The part of the coordinator in a verification.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlhttp_core::Deadline;

use super::compare::{differing_buckets, differing_rows, differing_tables, reference};
use super::messages::{
    BucketsCall, EndCall, PinCall, PinReply, RowsCall, SessionState, StateCall, Verdict, WireDigest, WireRow,
};
use super::reseed::SeedCall;
use super::{DIFFERENCES_MAX, Difference, NodeDigest, Verification, VerifyError, VerifyOptions};
use crate::forward::Caller;
use crate::identity::random_u128;
use crate::network::Target;
use crate::node::Node;

/// The time within which a node must respond to a short question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time within which a node must read a table.
const TABLE_TIMEOUT: Duration = Duration::from_secs(600);
/// The time within which a node must apply the entry at which the content is compared.
const APPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The limits of the pause between two questions for the progress of a node.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// The distances between the last entry of the log and the chosen index that are tried one after the other. A short one
/// needs few barriers; nodes that apply many entries per second pass it before they receive the question.
const DISTANCES: [u64; 5] = [4, 16, 64, 256, 1024];
/// The number of buckets over which the rows of a table are distributed.
const BUCKETS: u32 = 4096;
/// The maximum number of buckets of a table whose rows are compared.
const BUCKETS_MAX: usize = 16;
/// The time within which the leader must replace the content of a follower.
const SEED_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time within which another node must become leader if the content of the leader differs.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// The members of the cluster.
struct Members {
    names: BTreeMap<u64, String>,
    voters: BTreeSet<u64>,
}

/// The results of the members that have computed a digest, and the errors of the others.
struct Results {
    index: u64,
    digests: BTreeMap<u64, WireDigest>,
    errors: BTreeMap<u64, String>,
}

/// A verification that this node coordinates.
struct Coordinator<'a> {
    node: &'a Node,
    members: Members,
    options: VerifyOptions,
    id: u128,
}

/// The result of one member, or that it has passed the index.
enum MemberResult {
    Digest(WireDigest),
    Failed(String),
    Passed,
}

impl Node {
    /// Compares the content of all nodes of the cluster directly after the same entry of the Raft log, while writes
    /// continue. A node whose content is not that of a majority of the voters serves no reads from then on, until a
    /// verification finds that it is equal.
    ///
    /// # Errors
    /// [`VerifyError::Running`] if another verification is running; [`VerifyError::Log`] if there is no leader or no
    /// quorum; [`VerifyError::TooBusy`] if the nodes cannot agree on an index.
    pub async fn verify(&self, options: VerifyOptions) -> Result<Verification, VerifyError> {
        let Ok(_verifying) = self.inner.verifying.try_lock() else { return Err(VerifyError::Running) };
        let verification = self.verify_once(options).await?;
        if !options.repair || verification.differing.is_empty() {
            return Ok(verification.report);
        }
        let (mut repaired, mut failed) = (Vec::new(), BTreeMap::new());
        for (id, name) in verification.differing {
            match self.replace_content_of(id).await {
                Ok(()) => repaired.push(name),
                Err(error) => drop(failed.insert(name, error)),
            }
        }
        let mut report = self.verify_once(options).await?.report;
        for (name, error) in failed {
            report.equal = false;
            report.nodes.entry(name).or_default().error = Some(format!("its content could not be replaced: {error}"));
        }
        Ok(Verification { repaired, ..report })
    }

    async fn verify_once(&self, options: VerifyOptions) -> Result<Finding, VerifyError> {
        let (members, voters) = self.inner.members.current();
        let names = members.into_iter().map(|(id, member)| (id, member.name)).collect();
        let mut coordinator = Coordinator { node: self, members: Members { names, voters }, options, id: 0 };
        for distance in DISTANCES {
            coordinator.id = random_u128();
            if let Some(finding) = coordinator.run(distance).await? {
                return Ok(finding);
            }
        }
        Err(VerifyError::TooBusy)
    }

    /// Asks the leader to replace the content of a follower.
    async fn replace_content_of(&self, node: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let leader = self.inner.leadership.leader();
            if let Some(leader) = leader.filter(|leader| *leader != node) {
                let call = SeedCall { node };
                if leader == self.inner.leadership.own_id() {
                    return self.seed(call).await;
                }
                let seeded = self.inner.peers.bulk(Target::Node(leader), &call, SEED_TIMEOUT).await;
                return seeded.map_err(|error| error.to_string())?;
            }
            // A leader whose content differs transfers the leadership.
            if begun.elapsed() >= HANDOVER_TIMEOUT {
                return Err("no other node has become leader".to_owned());
            }
            tokio::time::sleep(PAUSES.1).await;
        }
    }
}

/// The result of a verification, and the Raft ids and names of the nodes that differ from the majority.
struct Finding {
    report: Verification,
    differing: Vec<(u64, String)>,
}

impl Coordinator<'_> {
    fn own_id(&self) -> u64 {
        self.node.inner.leadership.own_id()
    }

    /// Compares the content at an index that is `distance` above the end of the log. Returns `None` if a member had passed
    /// that index.
    async fn run(&self, distance: u64) -> Result<Option<Finding>, VerifyError> {
        let index = self.append_barrier().await? + distance;
        let mut results = Results { index, digests: BTreeMap::new(), errors: BTreeMap::new() };
        let begun = join_all(self.members.names.keys().map(|id| self.begin(*id, index))).await;
        let mut waiting = Vec::new();
        for (id, reply) in self.members.names.keys().zip(begun) {
            match reply {
                Ok(PinReply::Waits) => waiting.push(*id),
                Ok(PinReply::Passed) => return self.give_up().await,
                Ok(PinReply::Busy) => {
                    self.end(&BTreeMap::new()).await;
                    return Err(VerifyError::Running);
                }
                Err(error) => drop(results.errors.insert(*id, error)),
            }
        }
        while self.append_barrier().await? < index {}
        let states = join_all(waiting.iter().map(|id| self.wait_for_digest(*id))).await;
        for (id, state) in waiting.iter().zip(states) {
            match state {
                MemberResult::Digest(digest) => drop(results.digests.insert(*id, digest)),
                MemberResult::Failed(error) => drop(results.errors.insert(*id, error)),
                MemberResult::Passed => return self.give_up().await,
            }
        }
        Ok(Some(self.conclude(results).await))
    }

    /// Ends the sessions of all members without a verdict.
    async fn give_up(&self) -> Result<Option<Finding>, VerifyError> {
        self.end(&BTreeMap::new()).await;
        Ok(None)
    }

    /// Appends an entry to the log, and returns its index.
    async fn append_barrier(&self) -> Result<u64, VerifyError> {
        Ok(self.node.barrier_for(&Caller::default(), Deadline::NEVER).await?)
    }

    async fn begin(&self, member: u64, index: u64) -> Result<PinReply, String> {
        let call = PinCall { id: self.id, index, deep: self.options.deep };
        if member == self.own_id() {
            return Ok(self.node.begin_verification(call));
        }
        self.ask(member, &call, ANSWER_TIMEOUT).await
    }

    async fn ask<R: crate::network::Request>(
        &self,
        member: u64,
        call: &R,
        timeout: Duration,
    ) -> Result<R::Response, String> {
        self.node.inner.peers.bulk(Target::Node(member), call, timeout).await.map_err(|error| error.to_string())
    }

    /// Waits until a member has computed the digest of its content.
    async fn wait_for_digest(&self, member: u64) -> MemberResult {
        let call = StateCall { id: self.id };
        let (begun, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let state = if member == self.own_id() {
                self.node.verification_state(&call)
            } else {
                match self.ask(member, &call, ANSWER_TIMEOUT).await {
                    Ok(state) => state,
                    Err(error) => return MemberResult::Failed(error),
                }
            };
            match state {
                SessionState::Done(digest) => return MemberResult::Digest(digest),
                SessionState::Failed(error) => return MemberResult::Failed(error),
                SessionState::Passed => return MemberResult::Passed,
                SessionState::Unknown => return MemberResult::Failed("the node was restarted".to_owned()),
                SessionState::Waits { applied_index } if begun.elapsed() >= APPLY_TIMEOUT => {
                    return MemberResult::Failed(format!(
                        "the node has applied the log up to index {applied_index} only"
                    ));
                }
                SessionState::Waits { .. } | SessionState::Computes => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Compares the digests, finds the differing rows, and sends the verdicts.
    async fn conclude(&self, results: Results) -> Finding {
        let digests: BTreeMap<u64, u128> = results.digests.iter().map(|(id, wire)| (*id, wire.digest)).collect();
        let answered = digests.keys().filter(|id| self.members.voters.contains(id)).count();
        let (expected, is_majority) = reference(&digests, &self.members.voters).unwrap_or_default();
        let differing: Vec<u64> =
            digests.iter().filter(|(_, digest)| **digest != expected).map(|(id, _)| *id).collect();
        let differences = self.find_differences(&results, expected, &differing).await;
        let verdict = |digest: &u128| Verdict { index: results.index, digest: *digest, expected };
        let verdicts = digests.iter().filter(|_| is_majority).map(|(id, digest)| (*id, verdict(digest))).collect();
        self.end(&verdicts).await;
        let nodes: BTreeMap<String, NodeDigest> =
            self.members.names.iter().map(|(id, name)| (name.clone(), node_digest(&results, *id))).collect();
        let sound = nodes.values().all(|node| node.error.is_none());
        let report = Verification {
            index: results.index,
            equal: sound && differing.is_empty(),
            has_quorum: answered > self.members.voters.len() / 2,
            nodes,
            differences,
            repaired: Vec::new(),
        };
        let differing = if is_majority { differing } else { Vec::new() };
        Finding { report, differing: differing.into_iter().map(|id| (id, self.name_of(id))).collect() }
    }

    fn name_of(&self, member: u64) -> String {
        self.members.names.get(&member).cloned().unwrap_or_default()
    }

    /// Ends the sessions of all members, with the verdicts on some of them.
    async fn end(&self, verdicts: &BTreeMap<u64, Verdict>) {
        let ends = self.members.names.keys().map(|member| async move {
            let call = EndCall { id: self.id, verdict: verdicts.get(member).copied() };
            // A session that is not ended ends by itself when it is idle.
            if *member == self.own_id() {
                drop(self.node.end_verification(call).await);
            } else {
                drop(self.ask(*member, &call, ANSWER_TIMEOUT).await);
            }
        });
        join_all(ends).await;
    }

    async fn find_differences(&self, results: &Results, expected: u128, differing: &[u64]) -> Vec<Difference> {
        let mut found = Vec::new();
        let same = results.digests.iter().find(|(_, wire)| wire.digest == expected);
        let Some((&equal, ours)) = same else { return found };
        for &member in differing {
            let Some(theirs) = results.digests.get(&member) else { continue };
            for (table, in_both) in differing_tables(ours, theirs) {
                let rows = if in_both { self.find_rows((equal, member), &table).await } else { Vec::new() };
                let node = self.name_of(member);
                if rows.is_empty() {
                    found.push(Difference { node, table, row: None });
                } else {
                    found
                        .extend(rows.into_iter().map(|row| Difference { row: Some(row), ..difference(&node, &table) }));
                }
                if found.len() >= DIFFERENCES_MAX {
                    found.truncate(DIFFERENCES_MAX);
                    return found;
                }
            }
        }
        found
    }

    /// Returns the keys of rows of a table in which two members differ. Returns none if a member does not respond.
    async fn find_rows(&self, members: (u64, u64), table: &str) -> Vec<sqlhttp_core::RowKey> {
        let buckets = futures_util::join!(self.buckets(members.0, table), self.buckets(members.1, table));
        let (Ok(ours), Ok(theirs)) = buckets else { return Vec::new() };
        let mut keys = Vec::new();
        for number in differing_buckets(&ours, &theirs).into_iter().take(BUCKETS_MAX) {
            let rows = futures_util::join!(self.rows(members.0, table, number), self.rows(members.1, table, number));
            let (Ok(ours), Ok(theirs)) = rows else { return keys };
            keys.extend(differing_rows(&ours, &theirs).into_iter().map(sqlhttp_core::RowKey::from));
        }
        keys.sort();
        keys
    }

    async fn buckets(&self, member: u64, table: &str) -> Result<Vec<u128>, String> {
        let call = BucketsCall { id: self.id, table: table.to_owned(), count: BUCKETS };
        if member == self.own_id() {
            return self.node.verification_buckets(call).await;
        }
        self.ask(member, &call, TABLE_TIMEOUT).await?
    }

    async fn rows(&self, member: u64, table: &str, number: u32) -> Result<Vec<WireRow>, String> {
        let call = RowsCall { id: self.id, table: table.to_owned(), count: BUCKETS, number };
        if member == self.own_id() {
            return self.node.verification_rows(call).await;
        }
        self.ask(member, &call, TABLE_TIMEOUT).await?
    }
}

fn difference(node: &str, table: &str) -> Difference {
    Difference { node: node.to_owned(), table: table.to_owned(), row: None }
}

fn node_digest(results: &Results, member: u64) -> NodeDigest {
    let wire = results.digests.get(&member);
    let damages = wire.map(|wire| wire.damages.join("; ")).filter(|damages| !damages.is_empty());
    NodeDigest { digest: wire.map(|wire| wire.digest), error: results.errors.get(&member).cloned().or(damages) }
}
