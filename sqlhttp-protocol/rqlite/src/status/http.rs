//! `http`: the listener of the HTTP API.

use std::time::Duration;

use serde_json::{Value, json};
use sqlhttp_text::duration;

/// Facts about the HTTP API.
#[derive(Debug, Clone, Default)]
pub struct Http {
    /// Whether clients have to authenticate.
    pub auth: bool,
    /// The address that the server listens on.
    pub bind_addr: String,
    /// The origin that browsers may send requests from, if one is configured.
    pub allow_origin: Option<String>,
    /// The queue of writes.
    pub queue: Queue,
    /// The encryption of the connections.
    pub tls: Tls,
    /// How the node reaches other nodes. `None` for a server that is not a node of a cluster.
    pub peers: Option<Peers>,
}

/// Facts about the queue of writes.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// The number of writes that are executed together.
    pub batch_len: usize,
    /// The maximum number of writes that wait.
    pub capacity: usize,
    /// The sequence number of the last write that was executed.
    pub sequence_number: i64,
    /// How long the queue waits for further writes.
    pub timeout: Duration,
}

/// The encryption of HTTP connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// Connections are not encrypted.
    #[default]
    Disabled,
    /// Connections are encrypted. The document contains no details.
    Enabled,
    /// Connections are encrypted, and the document contains the details.
    Described {
        /// The file with the authorities of client certificates. Empty for the authorities of the host.
        ca_file: String,
        /// The file with the certificate chain.
        cert_file: String,
        /// Go's name of the policy for client certificates: `NoClientCert` or `RequireAndVerifyClientCert`.
        client_auth: &'static str,
        /// The file with the private key.
        key_file: String,
        /// The application protocols that the server offers (ALPN).
        next_protos: Vec<&'static str>,
    },
}

/// Facts about the connections to other nodes.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// The address of this node for other nodes.
    pub local_node_addr: String,
    /// The time limit for opening a connection.
    pub timeout: Duration,
}

impl Http {
    pub(super) fn document(&self) -> Value {
        let mut http = json!({
            "auth": if self.auth { "enabled" } else { "disabled" },
            "bind_addr": self.bind_addr,
            "queue": { "_default": self.queue.document() },
            "tls": self.tls.document(),
        });
        if let Some(peers) = &self.peers {
            http["cluster"] = peers.document();
        }
        if let Some(origin) = &self.allow_origin {
            http["allow_origin"] = json!(origin);
        }
        http
    }
}

impl Queue {
    fn document(&self) -> Value {
        json!({
            "batch_size": self.batch_len,
            "max_size": self.capacity,
            "sequence_number": self.sequence_number,
            "timeout": duration::format(self.timeout),
        })
    }
}

impl Tls {
    /// The member `enabled` is a text, as in rqlite.
    fn document(&self) -> Value {
        match self {
            Tls::Disabled => json!({ "enabled": "false" }),
            Tls::Enabled => json!({ "enabled": "true" }),
            Tls::Described { ca_file, cert_file, client_auth, key_file, next_protos } => json!({
                "ca_file": ca_file,
                "cert_file": cert_file,
                "client_auth": client_auth,
                "enabled": "true",
                "key_file": key_file,
                "next_protos": next_protos,
            }),
        }
    }
}

impl Peers {
    fn document(&self) -> Value {
        json!({ "local_node_addr": self.local_node_addr, "timeout": duration::format(self.timeout) })
    }
}
