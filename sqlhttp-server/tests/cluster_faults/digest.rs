//! The comparison of the nodes' content: a digest of the SQL dump of each node, at the same applied index.

use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::common::Request;
use super::network;
use super::nodes::Nodes;

/// The time limit for the nodes to agree on a leader and to apply the same entries after all faults have ended.
const SETTLE: Duration = Duration::from_secs(90);
/// The time limit of a dump.
const DUMP: Duration = Duration::from_secs(30);
/// How often the nodes are asked while they are behind.
const INTERVAL: Duration = Duration::from_millis(100);
/// The time without membership after which a removed node is started again.
const MEMBERLESS_MAX: Duration = Duration::from_secs(10);

/// Waits until one node leads, all vote, and all have applied the same entries. Returns the digest of their content;
/// an error if they do not settle or if their contents differ.
pub fn await_equal(nodes: &mut Nodes) -> Result<String, String> {
    let deadline = Instant::now() + SETTLE;
    let mut last_start = Instant::now();
    loop {
        let state = settled(nodes);
        if let Ok(index) = state {
            let digests = all(nodes)?;
            // Entries may have been applied while the dumps were made.
            if settled(nodes) == Ok(index) {
                return compare(&digests, index);
            }
        }
        if Instant::now() > deadline {
            return Err(format!("the nodes do not settle: {}", state.err().unwrap_or_default()));
        }
        if last_start.elapsed() > MEMBERLESS_MAX {
            last_start = Instant::now();
            restart_removed(nodes);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The applied index of all nodes, or the reason why they have not settled.
fn settled(nodes: &mut Nodes) -> Result<u64, String> {
    if nodes.note_ends() {
        nodes.heal();
    }
    let mut found = None;
    for node in nodes.all() {
        let name = network::name(node);
        let store = nodes.status(node, "store");
        let raft = &store["raft"];
        let leader = store["leader"]["node_id"].as_str().unwrap_or_default().to_owned();
        let applied = raft["applied_index"].as_u64().unwrap_or(0);
        let members = store["nodes"].as_array().map_or(0, Vec::len);
        if leader.is_empty() || raft["voter"] != true || members != nodes.count() {
            return Err(format!("{name} names the leader '{leader}' and {members} members: {raft}"));
        }
        let state = (leader, applied);
        match &found {
            None => found = Some(state),
            Some(first) if *first == state => {}
            Some(first) => return Err(format!("{name} has the leader and applied index {state:?}, not {first:?}")),
        }
    }
    found.map(|(_, applied)| applied).ok_or_else(|| "no node".to_owned())
}

fn restart_removed(nodes: &mut Nodes) {
    for node in nodes.all() {
        if nodes.was_removed(node) {
            nodes.kill(node);
            nodes.start(node);
        }
    }
}

/// The digest of each node's content. Also checks each database.
fn all(nodes: &Nodes) -> Result<Vec<String>, String> {
    nodes.all().into_iter().map(|node| of(nodes, node)).collect()
}

fn of(nodes: &Nodes, node: usize) -> Result<String, String> {
    let name = network::name(node);
    let check = Request::json("/db/query?level=none", json!(["PRAGMA integrity_check"]));
    let checked = nodes.ask(node, &check, DUMP).map_err(|e| format!("{name}: {e}"))?;
    if !checked.text().contains("[[\"ok\"]]") {
        return Err(format!("{name}: integrity_check: {}", checked.text()));
    }
    let dump = Request::new("GET", "/db/backup?fmt=sql&noleader");
    let dump = nodes.ask(node, &dump, DUMP).map_err(|e| format!("{name}: {e}"))?;
    if dump.status != 200 {
        return Err(format!("{name}: no dump: {} {}", dump.status, dump.text()));
    }
    let hash = Sha256::digest(&dump.body);
    Ok(hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn compare(digests: &[String], index: u64) -> Result<String, String> {
    match digests {
        [first, rest @ ..] if rest.iter().all(|digest| digest == first) => Ok(first.clone()),
        _ => Err(format!("the nodes' contents differ at index {index}: {digests:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_with_another_content_is_an_error() {
        let digests = |all: [&str; 3]| all.map(str::to_owned);
        assert_eq!(compare(&digests(["a", "a", "a"]), 7), Ok("a".to_owned()));
        for other in [["b", "a", "a"], ["a", "b", "a"], ["a", "a", "b"]] {
            assert!(compare(&digests(other), 7).unwrap_err().contains("differ at index 7"));
        }
    }
}
