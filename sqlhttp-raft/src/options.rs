//! The options of a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::observer::{NoObserver, Observer};

/// The options of a node.
#[derive(Clone)]
pub struct NodeOptions {
    /// The directory that contains the log and the database. It is created if it does not exist.
    pub directory: PathBuf,
    /// The name that the operator has given to this node.
    pub name: String,
    /// The address at which other nodes reach this node, `host:port`.
    pub raft_address: String,
    /// The options of the database. The node sets `writes` to `Writes::Log`, and the journal mode to WAL.
    pub database: sqlhttp_core::Options,
    /// The minimum of the randomized election timeout (section 3.4 of the Raft dissertation); the maximum is twice as
    /// long. openraft adds the last leader's lease, which is as long as the maximum.
    pub election_timeout: Duration,
    /// The maximum time that a write waits until it is submitted to the log: for a leader, and for the writes before
    /// it.
    pub apply_timeout: Duration,
    /// The approximate maximum number of SQLite virtual machine steps that a write may take; 0 for no limit. VACUUM,
    /// CREATE INDEX, REINDEX, ANALYZE, ALTER TABLE and loads are exempt.
    pub write_steps_max: u64,
    /// When to take a snapshot.
    pub snapshots: SnapshotPolicy,
    /// The interval between VACUUMs; zero to disable them.
    pub vacuum_interval: Duration,
    /// The interval between runs of `PRAGMA optimize`; zero to disable them.
    pub optimize_interval: Duration,
    /// Receives the node's events and timings.
    pub observer: Arc<dyn Observer>,
}

/// When to take a snapshot. Entries before a snapshot are purged from the log (chapter 5 of the Raft dissertation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// The number of entries since the last snapshot after which the next one is due.
    pub entries: u64,
    /// The size of the database's write-ahead log, in bytes, from which a snapshot is due; 0 to ignore the size.
    pub wal_bytes: u64,
    /// The interval between checks whether a snapshot is due; zero to disable automatic snapshots.
    pub interval: Duration,
}

impl SnapshotPolicy {
    /// The number of entries before a snapshot that stay in the log, for followers that lag.
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
    /// Returns the default options for a node with this name and address, which stores everything in `directory`.
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
