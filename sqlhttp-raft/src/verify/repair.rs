//! Verifies the content of all nodes, and has the content of those that differ replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::coordinator::{BUSY_WAIT_MAX, Finding};
use super::reseed::{NOT_LEADER, SeedCall};
use super::{Verification, VerifyError, VerifyOptions};
use crate::forward::{Authorization, Caller, Credentials};
use crate::network::Target;
use crate::node::Node;

/// The time within which the leader must replace the content of a follower.
const SEED_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time within which another node must become leader if the content of the leader differs. A leader that has handed
/// over recently waits for 30 seconds.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two questions for the leader, and between two attempts to compare again.
const PAUSE: Duration = Duration::from_millis(500);
/// The number of attempts to compare again after a repair.
const ATTEMPTS: usize = 5;

impl Node {
    /// Compares the content of all nodes of the cluster directly after the same entry of the Raft log, while writes
    /// continue. A node whose content is not that of a majority of the voters serves no reads from then on, until a
    /// verification finds that it is equal.
    ///
    /// The leader repairs a node only if the user with these credentials has the permission `all` there.
    ///
    /// # Errors
    /// [`VerifyError::Running`] if another verification is running, and does not end within 10 seconds;
    /// [`VerifyError::Log`] if there is no leader or no quorum; [`VerifyError::TooBusy`] if the nodes cannot agree on
    /// an index.
    pub async fn verify(
        &self,
        options: VerifyOptions,
        credentials: Option<Credentials>,
    ) -> Result<Verification, VerifyError> {
        let verifying = tokio::time::timeout(BUSY_WAIT_MAX, self.inner.verifying.lock()).await;
        let Ok(_verifying) = verifying else { return Err(VerifyError::Running) };
        let Finding { report, differing, equal } = self.verify_once(options).await?;
        if !options.repair || differing.is_empty() {
            return Ok(report);
        }
        let caller = Caller { credentials: credentials.map(std::sync::Arc::new), permissions: &[] };
        let (mut repaired, mut failed) = (Vec::new(), Vec::new());
        for (id, name) in differing {
            match self.replace_content_of(id, &equal, &caller).await {
                Ok(()) => repaired.push(name),
                Err(error) => failed.push((name, format!("its content could not be replaced: {error}"))),
            }
        }
        let mut report = self.verify_again(options).await.unwrap_or(Verification { equal: false, ..report });
        for (name, error) in failed {
            report.equal = false;
            report.nodes.entry(name).or_default().error = Some(error);
        }
        Ok(Verification { repaired, ..report })
    }

    /// Compares the content after a repair. Returns `None` if that is not possible at the moment.
    async fn verify_again(&self, options: VerifyOptions) -> Option<Verification> {
        for _ in 0..ATTEMPTS {
            if let Ok(finding) = self.verify_once(options).await {
                return Some(finding.report);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Asks the leader to replace the content of the follower `node`.
    async fn seed_from(&self, leader: u64, node: u64, caller: &Caller) -> Result<(), String> {
        let call = SeedCall { node, authorization: Authorization::of(caller) };
        if leader == self.inner.leadership.own_id() {
            return self.seed(call).await;
        }
        let seeded = self.inner.peers.bulk(Target::Node(leader), &call, SEED_TIMEOUT).await;
        seeded.map_err(|error| error.to_string())?
    }

    /// Asks the leader, which must be one of the nodes `equal`, to replace the content of a follower.
    async fn replace_content_of(&self, node: u64, equal: &BTreeSet<u64>, caller: &Caller) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let leader = self.inner.leadership.leader();
            if let Some(leader) = leader.filter(|leader| *leader != node && equal.contains(leader)) {
                match self.seed_from(leader, node, caller).await {
                    // Another node has become leader.
                    Err(error) if error == NOT_LEADER => {}
                    seeded => return seeded,
                }
            }
            // A leader whose content differs transfers the leadership.
            if begun.elapsed() >= HANDOVER_TIMEOUT {
                return Err("there is no leader whose content is known to be that of the majority".to_owned());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
