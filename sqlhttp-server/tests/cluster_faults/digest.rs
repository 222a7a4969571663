//! Two comparisons of the nodes' content. The first one is independent of the product's comparison: a digest of the SQL
//! dump of each node, at the same applied index. The second one is `GET /verify` of the product. Both must find the
//! contents equal.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::common::Request;
use super::network;
use super::nodes::Nodes;

/// The time limit for the nodes to agree on a leader and to apply the same entries after all faults have ended.
const SETTLE: Duration = Duration::from_secs(90);
/// The time limit of a dump.
const DUMP: Duration = Duration::from_secs(30);
/// The time limit of a request to `/verify`.
const VERIFY: Duration = Duration::from_secs(60);
/// How often the nodes are asked while they are behind.
const INTERVAL: Duration = Duration::from_millis(100);
/// The time without membership after which a removed node is started again.
const MEMBERLESS_MAX: Duration = Duration::from_secs(10);

/// Waits until one node leads, all vote, and all have applied the same entries. Returns the digest of their content;
/// an error if they do not settle or if their contents differ. With `deep`, the nodes also compare their indexes with
/// their tables.
pub fn await_equal(nodes: &mut Nodes, deep: bool) -> Result<String, String> {
    let digest = await_equal_dumps(nodes)?;
    await_verified(nodes, deep)?;
    Ok(digest)
}

fn await_equal_dumps(nodes: &mut Nodes) -> Result<String, String> {
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

/// Waits until a verification by the product finds the contents equal. A node may not respond in time on a busy
/// machine, and another verification may be running, so such results are no error before the deadline. A difference is.
fn await_verified(nodes: &Nodes, deep: bool) -> Result<(), String> {
    let deadline = Instant::now() + SETTLE;
    let request = Request::new("GET", if deep { "/verify?deep" } else { "/verify" });
    for node in nodes.all().into_iter().cycle() {
        let verdict = match nodes.ask(node, &request, VERIFY) {
            Ok(response) => verdict(response.status, &response.text(), nodes.count()),
            Err(error) => Verdict::Open(error.to_string()),
        };
        match verdict {
            Verdict::Equal => return Ok(()),
            Verdict::Differ(why) => return Err(format!("/verify finds a difference: {why}")),
            Verdict::Open(why) if Instant::now() > deadline => return Err(format!("/verify does not succeed: {why}")),
            Verdict::Open(_) => std::thread::sleep(INTERVAL),
        }
    }
    Err("no node".to_owned())
}

/// The result of a verification.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// All nodes have the same digest.
    Equal,
    /// Contents differ.
    Differ(String),
    /// Not all nodes have been compared.
    Open(String),
}

fn verdict(status: u16, text: &str, count: usize) -> Verdict {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let digests = || body["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let digests: Vec<&Value> = digests().map(|node| &node["digest"]).filter(|digest| digest.is_string()).collect();
    let same = digests.iter().all(|digest| *digest == digests[0]);
    let differs = !same || body["differences"].as_array().is_some_and(|found| !found.is_empty());
    match body["equal"].as_bool() {
        _ if differs => Verdict::Differ(text.to_owned()),
        Some(true) if status == 200 && digests.len() == count => Verdict::Equal,
        _ => Verdict::Open(format!("status {status}: {text}")),
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

    #[test]
    fn a_verification_must_compare_all_nodes() {
        let body = |equal: bool, digests: [&str; 3], differences: Value| {
            let digest = |text: &str| if text.is_empty() { json!({"error": "no"}) } else { json!({ "digest": text }) };
            let [a, b, c] = digests.map(digest);
            json!({"equal": equal, "nodes": {"a": a, "b": b, "c": c}, "differences": differences}).to_string()
        };
        let row = json!([{"node": "c", "table": "t", "row": 1}]);
        assert_eq!(verdict(200, &body(true, ["1", "1", "1"], json!([])), 3), Verdict::Equal);
        for text in [body(false, ["1", "1", "2"], json!([])), body(false, ["1", "1", ""], row.clone())] {
            assert_eq!(verdict(200, &text, 3), Verdict::Differ(text.clone()));
        }
        // The product must not call contents equal that have other digests.
        assert!(matches!(verdict(200, &body(true, ["1", "1", "2"], json!([])), 3), Verdict::Differ(_)));
        let open = [(200, body(false, ["1", "1", ""], json!([]))), (503, "no leader".to_owned())];
        for (status, text) in open.into_iter().chain([(200, body(true, ["1", "1", ""], json!([])))]) {
            assert!(matches!(verdict(status, &text, 3), Verdict::Open(_)), "{text}");
        }
        assert!(matches!(verdict(200, &body(true, ["1", "1", "1"], json!([])), 5), Verdict::Open(_)));
    }
}
