//! What may be chosen when a node is started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::observer::{NoObserver, Observer};

/// What may be chosen when a node is started.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where everything is kept; made if it does not exist.
    pub directory: PathBuf,
    /// What the operator calls this node.
    pub name: String,
    /// Where other nodes reach it, `host:port`.
    pub raft_address: String,
    /// How the database is opened. That a log writes it is set by the node.
    pub database: sqlhttp_core::Options,
    /// How long a follower does without hearing from the leader before it stands for election.
    pub election_timeout: Duration,
    /// How long a write waits for its place in the log: for a leader, and for the writes before it.
    pub apply_timeout: Duration,
    /// How many steps of SQLite's virtual machine a write may take, about; 0 for no limit. VACUUM, CREATE INDEX, REINDEX,
    /// ANALYZE, ALTER TABLE and loads are exempt.
    pub write_steps_max: u64,
    /// When to take a snapshot.
    pub snapshots: SnapshotPolicy,
    /// How often to VACUUM; zero: never.
    pub vacuum_interval: Duration,
    /// How often to run `PRAGMA optimize`; zero: never.
    pub optimize_interval: Duration,
    /// Receives the node's events and timings.
    pub observer: Arc<dyn Observer>,
}

/// When to take a snapshot, after which the log is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// After this many entries.
    pub entries: u64,
    /// When the database's write-ahead log has this many bytes; 0: never for that reason.
    pub wal_bytes: u64,
    /// How often to look; zero: never.
    pub interval: Duration,
}

impl SnapshotPolicy {
    /// How many entries the log keeps behind a snapshot, for nodes that lag.
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
    /// A node with this name and address, that keeps everything in this directory.
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>, raft_address: impl Into<String>) -> Self {
        NodeOptions {
            directory: directory.into(),
            name: name.into(),
            raft_address: raft_address.into(),
            database: sqlhttp_core::Options::default(),
            election_timeout: Duration::from_secs(1),
            apply_timeout: Duration::from_secs(10),
            write_steps_max: 20_000_000_000,
            snapshots: SnapshotPolicy::default(),
            vacuum_interval: Duration::ZERO,
            optimize_interval: Duration::from_secs(24 * 60 * 60),
            observer: Arc::new(NoObserver),
        }
    }
}
