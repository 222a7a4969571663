//! The options of a node.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::forward::{Authorizer, PermitAll};
use crate::network::PeerSecurity;
use crate::observer::{NoObserver, Observer};

/// The options of a node.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The directory that contains the Raft log and the database. It is created if it does not exist.
    pub directory: PathBuf,
    /// The name that the operator has given to this node.
    pub name: String,
    /// The address at which other nodes connect to this node, as `host:port`.
    pub raft_address: String,
    /// The options of the database. The node overrides some of them: it sets `writes` to `Writes::Log` and the journal
    /// mode to WAL, creates the database if it does not exist, opens it for writing, and does not allow ATTACH.
    pub database: sqlhttp_core::Options,
    /// The base URL of this node's HTTP API, which other nodes show to their clients; empty if it has none.
    pub api_url: String,
    /// The version of the program that runs the node, which other nodes show to their clients.
    pub version: String,
    /// The time without a message of the leader after which a follower starts an election. The leader sends a
    /// heartbeat ten times within this time.
    pub heartbeat_timeout: Duration,
    /// Whether this node never votes (a read replica).
    pub non_voter: bool,
    /// Selects between creating a cluster and waiting for one, for a node with an empty directory.
    pub formation: Formation,
    /// The socket on which this node accepts the connections of other nodes. Without it, no other node can reach this
    /// one.
    pub listener: Option<Arc<TcpListener>>,
    /// The time within which a connection to another node must be established.
    pub connect_timeout: Duration,
    /// Encrypts the connections between nodes; `None` for plain TCP.
    pub security: Option<Arc<dyn PeerSecurity>>,
    /// Checks the permissions of requests that other nodes forward to this one.
    pub authorizer: Arc<dyn Authorizer>,
    /// The time without a response after which the leader removes a voter; `None` to keep it.
    pub reap_voters_after: Option<Duration>,
    /// The time without a response after which the leader removes a member that never votes; `None` to keep it.
    pub reap_non_voters_after: Option<Duration>,
    /// The maximum time that a write waits, for a leader and for the writes before it, until it is submitted to the
    /// Raft log. A write that has not been submitted by then fails.
    pub apply_timeout: Duration,
    /// The approximate maximum number of SQLite virtual machine steps that a write may execute; 0 for no maximum. A
    /// write that exceeds it is interrupted and fails. VACUUM, CREATE INDEX, REINDEX, ANALYZE, ALTER TABLE and loads of
    /// database files are exempt.
    pub write_steps_max: u64,
    /// Determines when this node takes snapshots.
    pub snapshots: SnapshotPolicy,
    /// The interval at which this node, if it is leader, runs VACUUM on every node; zero to disable this.
    pub vacuum_interval: Duration,
    /// The interval at which this node, if it is leader, runs `PRAGMA optimize` on every node; zero to disable this.
    pub optimize_interval: Duration,
    /// Receives the events of this node, and the durations of its syncs and commits.
    pub observer: Arc<dyn Observer>,
}

/// The start of a node with an empty directory. A node whose directory is not empty continues as the member
/// that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Formation {
    /// The node creates a cluster, of which it is the only member.
    #[default]
    Create,
    /// The node waits until it is added to a cluster ([`crate::Node::join`], [`crate::Node::bootstrap`]).
    Await,
}

/// Determines when a node takes a snapshot. Entries before a snapshot are purged from the Raft log (chapter 5 of the
/// Raft dissertation), except for the last ones: see [`SnapshotPolicy::trailing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotPolicy {
    /// A snapshot is due when this many entries have been applied since the last one.
    pub entries: u64,
    /// A snapshot is due when the SQLite write-ahead log of the database has this size, in bytes; 0 to ignore the size.
    pub wal_bytes: u64,
    /// The interval at which the node checks whether a snapshot is due; zero to disable automatic snapshots.
    pub interval: Duration,
}

impl SnapshotPolicy {
    /// The number of entries before a snapshot that are not purged from the Raft log, so that followers that lag can
    /// still receive them.
    pub fn trailing(&self) -> u64 {
        self.entries.saturating_add(self.entries / 4)
    }
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { entries: 8192, wal_bytes: 4 << 20, interval: Duration::from_secs(10) }
    }
}

impl NodeOptions {
    /// Returns the default options of a node with this name and address. The node stores everything in `directory`.
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>, raft_address: impl Into<String>) -> Self {
        NodeOptions {
            directory: directory.into(),
            name: name.into(),
            raft_address: raft_address.into(),
            database: sqlhttp_core::Options::default(),
            api_url: String::new(),
            version: String::new(),
            heartbeat_timeout: Duration::from_secs(1),
            non_voter: false,
            formation: Formation::Create,
            listener: None,
            connect_timeout: Duration::from_secs(5),
            security: None,
            authorizer: Arc::new(PermitAll),
            reap_voters_after: None,
            reap_non_voters_after: None,
            apply_timeout: Duration::from_secs(10),
            write_steps_max: 3_000_000_000,
            snapshots: SnapshotPolicy::default(),
            vacuum_interval: Duration::ZERO,
            optimize_interval: Duration::from_secs(24 * 60 * 60),
            observer: Arc::new(NoObserver),
        }
    }
}

sqlhttp_core::setters! {
    NodeOptions {
        database: sqlhttp_core::Options,
        api_url: String,
        version: String,
        heartbeat_timeout: Duration,
        non_voter: bool,
        formation: Formation,
        listener: Option<Arc<TcpListener>>,
        connect_timeout: Duration,
        security: Option<Arc<dyn PeerSecurity>>,
        authorizer: Arc<dyn Authorizer>,
        reap_voters_after: Option<Duration>,
        reap_non_voters_after: Option<Duration>,
        apply_timeout: Duration,
        write_steps_max: u64,
        snapshots: SnapshotPolicy,
        vacuum_interval: Duration,
        optimize_interval: Duration,
        observer: Arc<dyn Observer>,
    }
}

sqlhttp_core::setters! {
    SnapshotPolicy {
        entries: u64,
        wal_bytes: u64,
        interval: Duration,
    }
}
