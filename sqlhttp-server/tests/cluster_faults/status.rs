//! The status of the nodes, as they report it.

use std::time::Duration;

use serde_json::{Value, json};

use super::common::{Request, Response};
use super::connection::Connection;
use super::network;
use super::nodes::Nodes;

/// The time limit of a request about the state of a node.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
impl Nodes {
    /// Sends a request on a connection of its own.
    pub fn ask(&self, node: usize, request: &Request, patience: Duration) -> std::io::Result<Response> {
        Connection::new(patience).send(network::http(node), request).map_err(|error| error.source)
    }

    /// A part of a node's status; null if it does not respond.
    pub fn status(&self, node: usize, key: &str) -> Value {
        if !self.responds(node) {
            return Value::Null;
        }
        let request = Request::new("GET", &format!("/status?key={key}"));
        let response = self.ask(node, &request, STATUS_PATIENCE);
        response.ok().and_then(|response| serde_json::from_slice(&response.body).ok()).unwrap_or(Value::Null)
    }

    /// The leader with the highest term, if there is one.
    pub fn leader(&self) -> Option<usize> {
        let terms = self.all().into_iter().filter_map(|node| {
            let raft = self.status(node, "store.raft");
            (raft["state"] == "Leader").then(|| (raft["term"].as_u64(), node))
        });
        terms.max().map(|(_, node)| node)
    }

    /// The highest term of all nodes.
    pub fn term(&self) -> u64 {
        self.all().into_iter().filter_map(|node| self.status(node, "store.raft.term").as_u64()).max().unwrap_or(0)
    }

    /// Asks the leader to hand over to a node.
    pub fn transfer(&self, from: usize, to: usize) {
        let request = Request::json("/leader?wait", json!({ "id": network::name(to) }));
        // The transfer may fail because of another fault.
        let _ = self.ask(from, &request, Duration::from_secs(5));
    }

    /// Whether a node reports that it was removed from the cluster.
    pub fn was_removed(&self, node: usize) -> bool {
        let response = self.ask(node, &Request::new("GET", "/readyz"), STATUS_PATIENCE);
        response.is_ok_and(|response| response.text().contains("removed from the cluster"))
    }

    /// Lines in the logs of all nodes that contain a text.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        let lines = |node: usize| {
            let log = self.log(node);
            let found = log.lines().filter(|line| line.contains(text));
            found.map(|line| format!("{}: {line}", network::name(node))).collect::<Vec<_>>()
        };
        self.all().into_iter().flat_map(lines).collect()
    }
}
