//! How a node becomes a member of a cluster after it has been opened.
//!
//! * `bootstrap`: forms a new cluster together with other nodes.
//! * `discovery`: finds the other nodes with DNS, by a host name or by SRV records.
//! * `http_probe`: finds out whether an address serves HTTP.
//! * `join`: joins a cluster through nodes whose addresses are given.

mod bootstrap;
pub(crate) mod discovery;
mod http_probe;
mod join;

use std::sync::Arc;

use discovery::DnsDiscovery;
use sqlhttp_raft::{Credentials, Formation, Node, NodeStatus};

use super::auth::AuthFile;
use super::config::FormationConfig;

/// The way in which a node becomes a member of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The node has created a cluster of one node, or is a member already.
    Member,
    /// The node joins a cluster through the nodes of `-join`.
    Join,
    /// The node forms a new cluster together with others, or joins it if it exists already.
    Bootstrap,
}

/// The formation for a node with an empty directory. It creates a cluster of one node, unless its flags name other
/// nodes or a discovery. A read replica never creates a cluster.
pub(crate) fn of_new_node(config: &FormationConfig) -> Formation {
    let is_alone = config.join.is_empty() && config.discovery.is_none();
    if is_alone && !config.non_voter { Formation::Create } else { Formation::Await }
}

/// Makes the node a member of a cluster. Returns the last message of the process if that has failed for good.
pub(crate) async fn run(
    node: &Node,
    config: &FormationConfig,
    discovery: Option<&Arc<DnsDiscovery>>,
    auth: Option<&AuthFile>,
) -> Result<(), String> {
    let formed = async {
        http_probe::check(node, &config.join).await?;
        let way = way(config, &node.status())?;
        match way {
            Way::Member => Ok(()),
            Way::Join => join::run(node, config, credentials(config, auth)).await,
            Way::Bootstrap => bootstrap::run(node, config, discovery, credentials(config, auth)).await,
        }
    };
    formed.await.map_err(|why: String| format!("clustering failure: {why}"))
}

fn way(config: &FormationConfig, status: &NodeStatus) -> Result<Way, String> {
    if config.join.is_empty() && config.discovery.is_none() {
        if !status.is_member && config.non_voter {
            return Err("cannot create a new non-voting node without joining it to an existing cluster".to_owned());
        }
        return Ok(Way::Member);
    }
    if config.bootstrap_expect > 0 || config.discovery.is_some() {
        return Ok(Way::Bootstrap);
    }
    if status.is_member && status.members.len() == 1 {
        let text = "node is the only node in a single-node cluster, joining other clusters not supported";
        return Err(text.to_owned());
    }
    Ok(Way::Join)
}

/// Returns the credentials with which this node joins and leaves a cluster; `None` if `-join-as` is not given, or if
/// the auth file does not contain the password of that user in clear text.
pub(crate) fn credentials(config: &FormationConfig, auth: Option<&AuthFile>) -> Option<Credentials> {
    let username = config.join_as.clone()?;
    let password = auth.and_then(|auth| auth.clear_password(&username));
    if password.is_none() {
        tracing::warn!(
            target: "rqlited",
            "-join-as: the auth file has no password in clear text of user '{username}', joining without credentials"
        );
    }
    Some(Credentials { username, password: password? })
}

#[cfg(test)]
mod tests {
    use sqlhttp_raft::Member;

    use super::*;
    use crate::cluster::http::status::tests_support::{config, status};

    fn formation(flags: &str) -> FormationConfig {
        config(&flags.split_whitespace().collect::<Vec<_>>()).formation
    }

    fn member(name: &str) -> Member {
        let mut member = Member::default();
        (member.name, member.raft_address, member.voter) = (name.to_owned(), format!("{name}:1"), true);
        member
    }

    fn status_of(members: &[&str]) -> NodeStatus {
        let mut status = status();
        status.members = members.iter().map(|name| member(name)).collect();
        status.is_member = !members.is_empty();
        status
    }

    #[test]
    fn the_flags_and_the_state_determine_the_way() {
        let (none, alone, many) = (status_of(&[]), status_of(&["n1"]), status_of(&["n1", "n2"]));
        for (flags, status, way_wanted) in [
            ("", &alone, Way::Member),
            ("", &many, Way::Member),
            ("-bootstrap-expect 3", &alone, Way::Member),
            ("-join a:1", &none, Way::Join),
            ("-join a:1", &many, Way::Join),
            ("-join a:1 -raft-non-voter", &none, Way::Join),
            ("-join a:1 -bootstrap-expect 3", &none, Way::Bootstrap),
            ("-join a:1 -bootstrap-expect 3", &alone, Way::Bootstrap),
            ("-disco-mode dns -bootstrap-expect 3", &many, Way::Bootstrap),
            ("-disco-mode dns -raft-non-voter", &none, Way::Bootstrap),
            ("-raft-non-voter", &many, Way::Member),
        ] {
            assert_eq!(way(&formation(flags), status), Ok(way_wanted), "{flags}");
        }
        let only = way(&formation("-join a:1"), &alone).unwrap_err();
        assert!(only.starts_with("node is the only node in a single-node cluster"), "{only}");
        let replica = way(&formation("-raft-non-voter"), &none).unwrap_err();
        assert!(replica.starts_with("cannot create a new non-voting node"), "{replica}");
    }

    #[test]
    fn a_node_that_finds_others_first_creates_no_cluster() {
        for flags in ["", "-bootstrap-expect 3"] {
            assert_eq!(of_new_node(&formation(flags)), Formation::Create, "{flags}");
        }
        for flags in ["-join a:1", "-raft-non-voter", "-disco-mode dns -bootstrap-expect 3"] {
            assert_eq!(of_new_node(&formation(flags)), Formation::Await, "{flags}");
        }
    }
}
