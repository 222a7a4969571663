//! Forms a new cluster together with other nodes (`-bootstrap-expect`).
//!
//! All nodes of the new cluster know each other's addresses, from `-join` or from DNS. Each notifies the others until
//! one of them knows of the expected number of nodes and creates the cluster. A node that finds a cluster joins it.

use std::sync::Arc;
use std::time::Duration;

use sqlhttp_raft::{BootstrapState, Credentials, Node};
use tokio::time::Instant;

use super::discovery::DnsDiscovery;
use super::join;
use crate::cluster::config::FormationConfig;

/// The time between two attempts to find the other nodes, before it is varied by up to a tenth.
const INTERVAL: Duration = Duration::from_secs(1);

/// Forms a new cluster, or joins it if it exists already. Returns when a leader is known. Fails if there is none after
/// `-bootstrap-expect-timeout`.
pub(crate) async fn run(
    node: &Node,
    config: &FormationConfig,
    discovery: Option<&Arc<DnsDiscovery>>,
    credentials: Option<Credentials>,
) -> Result<(), String> {
    let attempts = async {
        // A member finds the leader by itself, unless it has been removed and does not know it.
        if node.is_member() && leader_within(node, jittered()).await {
            return;
        }
        loop {
            let targets = match discovery {
                Some(discovery) => discovery.addresses().await,
                None => config.join.clone(),
            };
            attempt(node, config, &targets, credentials.as_ref()).await;
            if leader_within(node, jittered()).await {
                return;
            }
        }
    };
    tokio::time::timeout(config.bootstrap_expect_timeout, attempts).await.map_err(|_| "boot timeout".to_owned())?;
    tracing::info!(target: "cluster-bootstrap", "boot operation marked done");
    Ok(())
}

/// Makes one attempt to form a cluster with the nodes at the targets, or to join their cluster. A read replica can only
/// join. So can a node that is a member according to its own files: it may have been removed while it was stopped.
async fn attempt(node: &Node, config: &FormationConfig, targets: &[String], credentials: Option<&Credentials>) {
    if targets.is_empty() {
        return;
    }
    if config.non_voter || node.is_member() {
        join::once(node, targets, credentials).await;
        return;
    }
    match node.bootstrap(targets, config.bootstrap_expect).await {
        Ok(BootstrapState::Formed) => {}
        Ok(BootstrapState::Waiting) => {
            tracing::info!(target: "cluster-bootstrap", "notified all targets: [{}]", targets.join(" "));
        }
        Ok(BootstrapState::MustJoin) => drop(join::once(node, targets, credentials).await),
        Err(why) => tracing::warn!(target: "cluster-bootstrap", "failed to form a cluster: {why}, will retry"),
    }
}

/// Waits until a leader is known, but at most for `time`. Returns whether a leader is known.
async fn leader_within(node: &Node, time: Duration) -> bool {
    let end = Instant::now() + time;
    // The time must pass even if the node has stopped: the caller makes an attempt each time.
    if tokio::time::timeout_at(end, node.wait_for_leader()).await.is_ok() && node.leader().is_none() {
        tokio::time::sleep_until(end).await;
    }
    node.leader().is_some()
}

/// Returns the time until the next attempt. It is random, so that nodes that were started at the same time do not make
/// their attempts at the same time.
fn jittered() -> Duration {
    let mut byte = [0];
    // Without random bytes, the time is not varied.
    let _ = getrandom::fill(&mut byte);
    INTERVAL * 9 / 10 + INTERVAL / 5 * u32::from(byte[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_attempts_is_about_a_second() {
        for _ in 0..100 {
            let time = jittered();
            assert!(time >= Duration::from_millis(900) && time <= Duration::from_millis(1100), "{time:?}");
        }
    }
}
