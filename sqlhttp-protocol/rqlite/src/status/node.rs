//! The document of `/status` on a node of a cluster.

use serde_json::{Map, Value, json};

use super::document;
use super::http::Http;
use super::network::{self, Interface};
use super::process::Process;
use super::store::Store;

/// The timeout that rqlite reports in the section `mux`: how long it waits for the first byte of a connection between
/// nodes. That byte names the purpose of the connection.
const MUX_TIMEOUT: &str = "30s";

/// The first bytes of connections between nodes that rqlite accepts. Each stands for a purpose of the connection.
const MUX_HANDLERS: &str = "\u{2}\u{1}";

/// The facts about a node of a cluster that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct NodeStatus {
    /// The facts about the server process.
    pub process: Process,
    /// The facts about the HTTP API.
    pub http: Http,
    /// The addresses of the node, to which other nodes and clients connect.
    pub cluster: Cluster,
    /// The directory of the SQLite extensions.
    pub extensions_dir: String,
    /// The network interfaces of the host.
    pub interfaces: Vec<Interface>,
    /// The time of the last backup, in RFC 3339 with nanoseconds. `None` if there was no backup since the process
    /// started.
    pub last_backup_time: Option<String>,
    /// The facts about the store: the Raft log and the database.
    pub store: Store,
}

/// The addresses at which other nodes and clients connect to a node.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The address for connections between nodes (Raft).
    pub addr: String,
    /// The address of the HTTP API.
    pub api_addr: String,
    /// Whether the HTTP API is served over HTTPS.
    pub https: bool,
}

impl NodeStatus {
    /// Encodes the document as JSON, indented if `pretty`. If `key` is not empty, encodes only the value at the path
    /// `key`. A path consists of names separated by periods, such as `store.raft`.
    pub fn encode(&self, pretty: bool, key: &str) -> Vec<u8> {
        let mut all = Map::new();
        self.process.add_to(&mut all);
        let Cluster { addr, api_addr, https } = &self.cluster;
        let sections = [
            ("cluster", json!({ "addr": addr, "api_addr": api_addr, "https": https.to_string() })),
            ("extensions", json!({ "dir": self.extensions_dir, "names": [] })),
            ("http", self.http.document()),
            ("mux", mux(addr)),
            ("network", json!({ "interfaces": network::document(&self.interfaces) })),
            ("store", self.store.document()),
        ];
        all.extend(sections.map(|(name, section)| (name.to_owned(), section)));
        if let Some(time) = &self.last_backup_time {
            all.insert("last_backup_time".to_owned(), json!(time));
        }
        document::encode(&Value::Object(all), pretty, key)
    }
}

/// Describes the port that the nodes use for all connections among themselves.
fn mux(addr: &str) -> Value {
    json!({
        "addr": addr,
        "handlers": MUX_HANDLERS,
        "timeout": MUX_TIMEOUT,
        "tls": "disabled",
    })
}
