//! Joins a cluster through nodes whose addresses are given.

use sqlhttp_raft::{ClusterError, Credentials, Node};
use sqlhttp_text::duration;

use crate::cluster::config::FormationConfig;

/// Tries to join a cluster through each address of `-join`, up to `-join-attempts` times. Fails if no attempt has
/// succeeded.
pub(crate) async fn run(node: &Node, config: &FormationConfig, credentials: Option<Credentials>) -> Result<(), String> {
    let (attempts, interval) = (config.join_attempts, config.join_interval);
    for attempt in 1..=attempts {
        if once(node, &config.join, credentials.as_ref()).await {
            return Ok(());
        }
        let failed = format!("failed to join cluster at [{}]", config.join.join(" "));
        if attempt < attempts {
            let interval = duration::format(interval);
            tracing::warn!(target: "cluster-join", "{failed}, sleeping {interval} before retry");
        } else {
            tracing::warn!(target: "cluster-join", "{failed}, after {attempts} attempt(s)");
            break;
        }
        tokio::time::sleep(interval).await;
    }
    Err("failed to join cluster: failed to join cluster".to_owned())
}

/// Tries once to join a cluster through each of these addresses. Returns whether the node has joined.
pub(crate) async fn once(node: &Node, addresses: &[String], credentials: Option<&Credentials>) -> bool {
    for address in addresses {
        match node.join(std::slice::from_ref(address), credentials.cloned()).await {
            Ok(_) => {
                tracing::info!(target: "rqlited", "successfully joined cluster at {address}");
                return true;
            }
            Err(why) => {
                // The leader states the reason of a refusal; credentials would not change it.
                let hint = match why {
                    ClusterError::Refused(_) => "",
                    _ if credentials.is_some() => "",
                    _ => " (did you forget to set -join-as?)",
                };
                let why = reason(&why, address);
                tracing::warn!(target: "cluster-join", "failed to join via node at {address}: {why}{hint}");
            }
        }
    }
    false
}

/// Returns why this node could not join through the node at `address`, in rqlited's words.
fn reason(error: &ClusterError, address: &str) -> String {
    let text = match error {
        ClusterError::NoLeader => return "no leader".to_owned(),
        error => error.to_string(),
    };
    text.strip_prefix(&format!("{address}: ")).map_or(text.clone(), str::to_owned)
}
