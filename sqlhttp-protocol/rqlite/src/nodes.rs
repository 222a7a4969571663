//! Encodes the replies of `/nodes` and `GET /leader`: the members of the cluster as JSON.

use std::time::Duration;

use sqlhttp_text::{duration, number};

use crate::json;
use crate::reply::Reply;

/// The facts about a cluster member that `/nodes` reports, as determined by the node that handles the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// The name of the member.
    pub id: String,
    /// The URL of the member's HTTP API. `None` if the member did not respond.
    pub api_addr: Option<String>,
    /// The member's Raft address, to which the other nodes connect.
    pub addr: String,
    /// The version of the member. Empty if the member did not respond.
    pub version: String,
    /// Whether the member has a vote.
    pub voter: bool,
    /// Whether the member responded.
    pub reachable: bool,
    /// Whether the member is the leader of the cluster.
    pub leader: bool,
    /// The time between the request to the member and its response. `None` if this is not known.
    pub time: Option<Duration>,
    /// The reason why the member did not respond. `None` if it responded.
    pub error: Option<String>,
}

/// Encodes cluster members as a JSON object whose keys are their names, or as a JSON array (`ver=2`). Both are sorted
/// by name.
pub fn encode_nodes(nodes: &[NodeInfo], as_list: bool, pretty: bool) -> Reply {
    let mut sorted: Vec<&NodeInfo> = nodes.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let mut out = b"{".to_vec();
    if as_list {
        json::write_key(&mut out, "nodes");
        out.push(b'[');
        for (index, node) in sorted.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_node(&mut out, node);
        }
        out.push(b']');
    } else {
        for node in sorted {
            json::write_key(&mut out, &node.id);
            write_node(&mut out, node);
        }
    }
    out.push(b'}');
    Reply::json(out, pretty)
}

/// Encodes one cluster member as a JSON object.
pub fn encode_node(node: &NodeInfo, pretty: bool) -> Reply {
    let mut out = Vec::new();
    write_node(&mut out, node);
    Reply::json(out, pretty)
}

fn write_node(out: &mut Vec<u8>, node: &NodeInfo) {
    let text = |out: &mut Vec<u8>, key, text: &str| {
        json::write_key(out, key);
        json::write_string(out, text);
    };
    let flag = |out: &mut Vec<u8>, key, flag| {
        json::write_key(out, key);
        out.extend_from_slice(if flag { b"true" } else { b"false" });
    };
    let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    out.push(b'{');
    text(out, "id", &node.id);
    if let Some(api_addr) = present(&node.api_addr) {
        text(out, "api_addr", &api_addr);
    }
    text(out, "addr", &node.addr);
    text(out, "version", &node.version);
    flag(out, "voter", node.voter);
    flag(out, "reachable", node.reachable);
    flag(out, "leader", node.leader);
    if let Some(time) = node.time.filter(|time| !time.is_zero()) {
        json::write_key(out, "time");
        number::write_real(out, time.as_secs_f64());
        text(out, "time_s", &duration::format(time));
    }
    if let Some(error) = present(&node.error) {
        text(out, "error", &error);
    }
    out.push(b'}');
}
