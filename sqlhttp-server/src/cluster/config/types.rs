//! The settings of a node.

use std::path::PathBuf;
use std::time::Duration;

use sqlhttp_text::duration;
use tracing::Level;

use crate::process::logging::LogFormat;
use crate::process::tls::TlsFiles;

/// What a node is told to do. Addresses are `host:port` (or `[host]:port`), as typed; [`super::address::split_host_port`]
/// takes them apart and does not fail on any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Where the node keeps everything; absolute. It need not exist yet.
    pub data_dir: PathBuf,
    /// The node's name in the cluster.
    pub node_id: String,
    /// Where the HTTP API listens. The port may be a service's name.
    pub http_addr: String,
    /// Where nodes and clients are told that the HTTP API is.
    pub http_adv_addr: String,
    /// The value of `Access-Control-Allow-Origin`.
    pub http_allow_origin: Option<String>,
    /// The hosts that HTTP requests may name; none is every host.
    pub http_allowed_hosts: Vec<String>,
    /// The file of users and permissions.
    pub auth_file: Option<PathBuf>,
    /// Serve HTTPS with this certificate and key.
    pub http_tls: Option<TlsFiles>,
    /// The authority that clients' certificates are checked against; without one, those of the host.
    pub http_ca_cert: Option<PathBuf>,
    /// Clients need a valid certificate.
    pub http_verify_client: bool,
    /// The Common Name that clients' certificates must have.
    pub http_verify_common_name: Option<String>,
    /// How long a client may take to send the body of a request; zero is no limit.
    pub http_body_timeout: Duration,
    /// How long a new HTTP connection may be without a request.
    pub http_first_request_timeout: Duration,
    /// Largest request body, in bytes, after decompression too.
    pub http_body_bytes_max: u64,
    /// Memory for all request bodies together, in bytes.
    pub http_all_bodies_bytes_max: u64,
    /// HTTP connections open at once.
    pub http_connections_max: usize,
    /// Statements in one request.
    pub http_statements_max: usize,
    /// Where other nodes reach this one. The port is a number.
    pub raft_addr: String,
    /// Where other nodes are told that they reach this one. The port is a number.
    pub raft_adv_addr: String,
    /// How long to wait for a connection to another node.
    pub cluster_connect_timeout: Duration,
    /// How often to try to join.
    pub join_attempts: u64,
    /// How long to wait between two attempts to join.
    pub join_interval: Duration,
    /// As which user this node joins.
    pub join_as: Option<String>,
    /// How many nodes make a new cluster; 0 is not to wait for others.
    pub bootstrap_expect: u64,
    /// How long the making of a new cluster may take.
    pub bootstrap_expect_timeout: Duration,
    /// Foreign keys are enforced.
    pub foreign_keys: bool,
    /// Reads that may run at once; `None` is no limit.
    pub reads_max: Option<usize>,
    /// How often to run VACUUM.
    pub auto_vacuum_interval: Option<Duration>,
    /// How often to run `PRAGMA optimize`.
    pub auto_optimize_interval: Option<Duration>,
    /// The name of the database in ws4sqlite's API.
    pub db_name: String,
    /// Raft's own settings.
    pub raft: RaftConfig,
    /// Queued writes.
    pub write_queue: WriteQueueConfig,
    /// How long a read may run that asks for no time limit of its own.
    pub query_timeout: Option<Duration>,
    /// How many steps of SQLite a write may take; zero is no limit.
    pub write_steps_max: u64,
    /// How often the database is checked for damage; zero is never.
    pub check_interval: Duration,
    /// Whether the process ends when the node has stopped by itself.
    pub exit_on_failure: bool,
    /// How many bytes a text, a BLOB or a row may have.
    pub value_bytes_max: u64,
    /// Memory that SQLite may use for one request, bytes.
    pub memory_bytes_max: u64,
    /// The settings of the log.
    pub log: LogConfig,
    /// The flags that were given and have no effect, each with the reason.
    pub ignored_flags: Vec<(&'static str, &'static str)>,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How log lines look.
    pub format: LogFormat,
    /// The least level that is logged, but for Raft's own lines.
    pub level: Level,
    /// Log a line for each request.
    pub requests: bool,
    /// Log requests whose SQL takes longer than this.
    pub slow: Option<Duration>,
}

/// Settings of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// The least level that Raft logs.
    pub log_level: Level,
    /// Log entries since the last snapshot that call for the next.
    pub snapshot_entries: u64,
    /// Bytes in SQLite's WAL that call for a snapshot.
    pub snapshot_wal_bytes: Option<u64>,
    /// How often to see whether it is time for a snapshot.
    pub snapshot_interval: Duration,
    /// How long a follower does without its leader.
    pub heartbeat_timeout: Duration,
    /// How long a candidate waits.
    pub election_timeout: Duration,
    /// How long a leader leads without hearing of a majority.
    pub leader_lease_timeout: Duration,
    /// How long a leader waits before it tells followers what is committed.
    pub commit_timeout: Duration,
    /// How long a write may wait to enter the log.
    pub apply_timeout: Duration,
    /// Raft stops when this node is removed.
    pub shutdown_on_remove: bool,
    /// The node leaves the cluster when it is stopped.
    pub remove_on_shutdown: bool,
    /// The leadership is handed over before stopping.
    pub stepdown_on_shutdown: bool,
    /// A voting node that was not reached for so long is removed.
    pub reap_voter_timeout: Option<Duration>,
    /// A read replica that was not reached for so long is removed.
    pub reap_read_only_timeout: Option<Duration>,
}

impl RaftConfig {
    /// Whether the timeouts fit each other: a leader without contact to a majority steps down before the others elect the next, and
    /// an election lasts at least as long as the silence that calls it. In the words of rqlited's Raft library.
    pub(crate) fn check_timeouts(&self) -> Result<(), String> {
        let heartbeat = duration::format(self.heartbeat_timeout);
        let why = if self.leader_lease_timeout > self.heartbeat_timeout {
            let lease = duration::format(self.leader_lease_timeout);
            format!("LeaderLeaseTimeout ({lease}) cannot be larger than heartbeat timeout ({heartbeat})")
        } else if self.election_timeout < self.heartbeat_timeout {
            let election = duration::format(self.election_timeout);
            format!("ElectionTimeout ({election}) must be equal or greater than Heartbeat Timeout ({heartbeat})")
        } else {
            return Ok(());
        };
        Err(format!("creating the raft system failed: {why}"))
    }
}

/// Settings of queued writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteQueueConfig {
    /// How many may wait; at least 1.
    pub capacity: usize,
    /// How many are written together; at least 1.
    pub batch_len: usize,
    /// How long one waits for others.
    pub timeout: Duration,
    /// Those that are written together share a transaction.
    pub transaction: bool,
}
