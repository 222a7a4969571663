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
    /// Whether the traffic between nodes is encrypted.
    pub node_tls: bool,
    /// The directory of the SQLite extensions.
    pub extensions_dir: String,
    /// The network interfaces of the host.
    pub interfaces: Vec<Interface>,
    /// The time of the last backup, in RFC 3339 with nanoseconds. `None` if there was no backup since the process
    /// started.
    pub last_backup_time: Option<String>,
    /// The search for the other nodes with DNS. `None` if the node does not search for them.
    pub discovery: Option<Discovery>,
    /// The facts about the store: the Raft log and the database. `None` if the store is not open yet.
    pub store: Option<Store>,
}

/// The DNS name by which a node finds the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryQuery {
    /// The IP addresses of a host name.
    Host {
        /// The host name.
        name: String,
        /// The Raft port of the nodes at these addresses.
        port: u16,
    },
    /// The SRV records of a service.
    Service {
        /// The domain.
        name: String,
        /// The name of the service, without the underscore.
        service: String,
    },
}

/// The facts about the search for the other nodes with DNS that `/status` reports.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The name and the type of the DNS records.
    pub query: DiscoveryQuery,
    /// The time of the last successful lookup, in RFC 3339 with nanoseconds. `None` if there was none.
    pub last_contact: Option<String>,
    /// The addresses that the last successful lookup has found.
    pub last_addresses: Vec<String>,
    /// The error of the last lookup. `None` if it was successful.
    pub last_error: Option<String>,
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
            ("mux", mux(addr, self.node_tls)),
            ("network", json!({ "interfaces": network::document(&self.interfaces) })),
            ("store", self.store.as_ref().map_or_else(|| json!({ "open": false }), Store::document)),
        ];
        all.extend(sections.map(|(name, section)| (name.to_owned(), section)));
        if let Some(discovery) = &self.discovery {
            all.insert("disco".to_owned(), discovery.document());
        }
        if let Some(time) = &self.last_backup_time {
            all.insert("last_backup_time".to_owned(), json!(time));
        }
        document::encode(&Value::Object(all), pretty, key)
    }
}

impl Discovery {
    fn document(&self) -> Value {
        let mut disco = match &self.query {
            DiscoveryQuery::Host { name, port } => json!({ "mode": "dns", "name": name, "port": port }),
            // The colon in the last key is rqlite's.
            DiscoveryQuery::Service { name, service } => json!({
                "mode": "dns-srv",
                "name": name,
                "service": service,
                "dns_name:": format!("_{service}._tcp.{name}."),
            }),
        };
        if let Some(time) = &self.last_contact {
            disco["last_contact"] = json!(time);
            disco["last_addresses"] = json!(self.last_addresses);
        }
        if let Some(error) = &self.last_error {
            disco["last_error"] = json!(error);
        }
        disco
    }
}

/// Describes the port that the nodes use for all connections among themselves.
fn mux(addr: &str, tls: bool) -> Value {
    json!({
        "addr": addr,
        "handlers": MUX_HANDLERS,
        "timeout": MUX_TIMEOUT,
        "tls": if tls { "enabled" } else { "disabled" },
    })
}
