//! The document of a node of a cluster.

use serde_json::{Map, Value, json};

use super::document;
use super::http::Http;
use super::network::{self, Interface};
use super::process::Process;
use super::store::Store;

/// How long rqlite waits for the first byte of a connection between nodes, which names its purpose.
const MUX_TIMEOUT: &str = "30s";

/// The first bytes of connections between nodes that rqlite knows.
const MUX_HANDLERS: &str = "\u{2}\u{1}";

/// Facts about a node of a cluster.
#[derive(Debug, Clone, Default)]
pub struct NodeStatus {
    /// The process.
    pub process: Process,
    /// The HTTP API.
    pub http: Http,
    /// The addresses of the node.
    pub cluster: Cluster,
    /// The directory of extensions.
    pub extensions_dir: String,
    /// The network interfaces of the host.
    pub interfaces: Vec<Interface>,
    /// The time of the last backup, in RFC 3339 with nanoseconds. `None` if there was none since the start.
    pub last_backup_time: Option<String>,
    /// The store.
    pub store: Store,
}

/// How other nodes reach a node.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The address for Raft.
    pub addr: String,
    /// The address of the HTTP API.
    pub api_addr: String,
    /// Whether the HTTP API is encrypted.
    pub https: bool,
}

impl NodeStatus {
    /// Encodes the document, indented if `pretty`. If `key` is not empty, encodes only the value at that path of names
    /// separated by periods, such as `store.raft`.
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

/// Describes the port that nodes share for all purposes.
fn mux(addr: &str) -> Value {
    json!({
        "addr": addr,
        "handlers": MUX_HANDLERS,
        "timeout": MUX_TIMEOUT,
        "tls": "disabled",
    })
}
