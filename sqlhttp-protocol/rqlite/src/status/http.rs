//! The section `http` of `/status`: the HTTP API of the server.

use std::time::Duration;

use serde_json::{Value, json};
use sqlhttp_text::duration;

/// The facts about the HTTP API that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Http {
    /// Whether clients have to authenticate.
    pub auth: bool,
    /// The address on which the HTTP API listens.
    pub bind_addr: String,
    /// The origin from which browsers may send requests (CORS). `None` if no origin is configured.
    pub allow_origin: Option<String>,
    /// The queue of writes that clients send with the parameter `queue`.
    pub queue: Queue,
    /// Whether and how the HTTP connections are encrypted.
    pub tls: Tls,
    /// How this node connects to other nodes. `None` for a standalone server.
    pub peers: Option<Peers>,
}

/// The facts about the queue of writes that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// The maximum number of queued writes that are executed together.
    pub batch_len: usize,
    /// The maximum number of writes that may wait in the queue.
    pub capacity: usize,
    /// The sequence number of the last queued write that was executed.
    pub sequence_number: i64,
    /// How long a write waits in the queue for further writes, with which it is executed.
    pub timeout: Duration,
}

/// Whether and how HTTP connections are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// Connections are not encrypted.
    #[default]
    Disabled,
    /// Connections are encrypted, and `/status` contains no details about that.
    Enabled,
    /// Connections are encrypted, and `/status` contains these details.
    Described {
        /// The file with the certificate authorities for client certificates. Empty if the authorities of the host are
        /// used.
        ca_file: String,
        /// The file with the certificate chain of the server.
        cert_file: String,
        /// The policy for client certificates under its Go name: `NoClientCert` or `RequireAndVerifyClientCert`.
        client_auth: &'static str,
        /// The file with the private key of the server.
        key_file: String,
        /// The application protocols that the server offers (ALPN).
        next_protos: Vec<&'static str>,
    },
}

/// The facts about this node's connections with other nodes that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// The address of this node to which other nodes connect.
    pub local_node_addr: String,
    /// The time limit for opening a connection with another node.
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
    /// Describes the encryption. The value of `enabled` is a string rather than a boolean, as in rqlite.
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
