//! The settings of a node, from its command line.

use std::path::PathBuf;
use std::time::Duration;

use sqlhttp_core::TimeZone;
use sqlhttp_text::duration;
use tracing::Level;

use crate::process::logging::LogFormat;
use crate::process::tls::{PeerTlsOptions, TlsFiles};

/// The settings of a node. Addresses are `host:port` or `[host]:port`, as given on the command line;
/// [`super::address::split_host_port`] can split all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The absolute path of the directory with all data of the node. The directory need not exist yet.
    pub data_dir: PathBuf,
    /// The name of the node, which is unique in the cluster.
    pub node_id: String,
    /// The address where the HTTP API listens. The port may be the name of a service.
    pub http_addr: String,
    /// The address of the HTTP API that is shown to clients and other nodes.
    pub http_adv_addr: String,
    /// The value of the response header `Access-Control-Allow-Origin`; if `None`, responses do not have this header.
    pub http_allow_origin: Option<String>,
    /// The hosts that the `Host` header of a request may name; an empty list allows every host.
    pub http_allowed_hosts: Vec<String>,
    /// The JSON file of users and their permissions, the auth file; if `None`, every client may do everything.
    pub auth_file: Option<PathBuf>,
    /// The certificate and the private key for HTTPS; if `None`, the node serves plain HTTP.
    pub http_tls: Option<TlsFiles>,
    /// The certificate authority that clients' certificates are verified against; if `None`, the authorities of the
    /// operating system.
    pub http_ca_cert: Option<PathBuf>,
    /// Whether clients must present a valid certificate.
    pub http_verify_client: bool,
    /// The Common Name that clients' certificates must have; if `None`, any.
    pub http_verify_common_name: Option<String>,
    /// The time within which the body of a request must be received; zero is no limit.
    pub http_body_timeout: Duration,
    /// The time within which the first request must arrive on a new HTTP connection; if zero, 2 minutes.
    pub http_first_request_timeout: Duration,
    /// The maximum size of a request body, in bytes, before and after decompression.
    pub http_body_bytes_max: u64,
    /// The maximum size of a database file that is sent to `/db/load`, in bytes, after decompression.
    pub load_bytes_max: u64,
    /// The maximum memory for the bodies of all requests together, in bytes.
    pub http_all_bodies_bytes_max: u64,
    /// The maximum number of open HTTP connections.
    pub http_connections_max: usize,
    /// The maximum number of statements in one request.
    pub http_statements_max: usize,
    /// The address where this node listens for other nodes. The port is a number.
    pub raft_addr: String,
    /// The address of this node that is shown to other nodes. The port is a number.
    pub raft_adv_addr: String,
    /// The encryption of the traffic between nodes; if `None`, it is not encrypted.
    pub node_tls: Option<PeerTlsOptions>,
    /// The time within which a connection to another node must be established.
    pub cluster_connect_timeout: Duration,
    /// How this node becomes a member of a cluster.
    pub formation: FormationConfig,
    /// Whether SQLite enforces foreign keys.
    pub foreign_keys: bool,
    /// The time zone of the modifiers `localtime` and `utc` of SQL.
    pub time_zone: TimeZone,
    /// The maximum number of reads that run at the same time; `None` is no limit.
    pub reads_max: Option<usize>,
    /// The time between two runs of `VACUUM`; if `None`, it is never run.
    pub auto_vacuum_interval: Option<Duration>,
    /// The time between two runs of `PRAGMA optimize`; if `None`, it is never run.
    pub auto_optimize_interval: Option<Duration>,
    /// The name of the database in ws4sqlite's API, where it is the path of the URL.
    pub db_name: String,
    /// The settings of Raft.
    pub raft: RaftConfig,
    /// The settings of queued writes.
    pub write_queue: WriteQueueConfig,
    /// The time limit of a read whose request sets no time limit; `None` is no limit.
    pub query_timeout: Option<Duration>,
    /// The maximum number of steps of SQLite's virtual machine in a write; zero is no limit.
    pub write_steps_max: u64,
    /// The time between two checks of the database for damage; if zero, it is never checked.
    pub check_interval: Duration,
    /// Whether the process ends when the node has stopped because of a failure.
    pub exit_on_failure: bool,
    /// The maximum size of a TEXT value, a BLOB value or a row, in bytes.
    pub value_bytes_max: u64,
    /// The maximum memory that SQLite uses for one request, in bytes.
    pub memory_bytes_max: u64,
    /// The settings of log messages.
    pub log: LogConfig,
    /// The given flags that have no effect, each with the reason.
    pub ignored_flags: Vec<(&'static str, &'static str)>,
}

impl ClusterConfig {
    /// Returns the URL of the node's HTTP API, with the advertised address.
    pub(crate) fn api_url(&self) -> String {
        let scheme = if self.http_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.http_adv_addr)
    }
}

/// How a node becomes a member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormationConfig {
    /// The Raft addresses of the nodes through which this node joins a cluster; empty if none are given.
    pub join: Vec<String>,
    /// The number of times that the addresses of `join` are tried; at least 1.
    pub join_attempts: u64,
    /// The time between two attempts to join.
    pub join_interval: Duration,
    /// The user of the auth file with whose credentials this node joins and leaves a cluster.
    pub join_as: Option<String>,
    /// The number of voters that form a new cluster together; 0 if this node forms no cluster with others.
    pub bootstrap_expect: usize,
    /// The time within which a new cluster must have a leader.
    pub bootstrap_expect_timeout: Duration,
    /// How the other nodes are found if `join` is empty; `None` if they are not searched for.
    pub discovery: Option<DiscoveryConfig>,
    /// Whether this node never votes: it is a read replica.
    pub non_voter: bool,
}

/// How a node finds the other nodes of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// The type of the DNS records.
    pub mode: DiscoveryMode,
    /// The settings of the lookup: JSON, or the path of a file with JSON; `None` for the defaults.
    pub settings: Option<String>,
}

/// The type of the DNS records by which a node finds the other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryMode {
    /// The IP addresses of a host name.
    Dns,
    /// The SRV records of a service.
    DnsSrv,
}

/// The settings of log messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of log lines.
    pub format: LogFormat,
    /// The least severe level of log messages that is written. Raft messages have [`RaftConfig::log_level`] instead.
    pub level: Level,
    /// Whether a line is logged for each request.
    pub requests: bool,
    /// The duration from which a request's SQL is logged as slow; if `None`, no SQL is logged.
    pub slow: Option<Duration>,
}

/// The settings of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// The least severe level of Raft's log messages that is written.
    pub log_level: Level,
    /// The number of Raft log entries after the last snapshot from which the next snapshot is taken.
    pub snapshot_entries: u64,
    /// The size of SQLite's WAL, in bytes, from which a snapshot is taken; if `None`, snapshots do not depend on the
    /// size of the WAL.
    pub snapshot_wal_bytes: Option<u64>,
    /// The time between two checks of whether a snapshot must be taken.
    pub snapshot_interval: Duration,
    /// The time without contact with the leader after which a follower starts an election.
    pub heartbeat_timeout: Duration,
    /// The time after which a candidate that has not won an election starts another one. Only checked and shown: the
    /// heartbeat timeout determines it.
    pub election_timeout: Duration,
    /// The time without contact with a quorum after which a leader steps down. Only checked and shown: the heartbeat
    /// timeout determines it.
    pub leader_lease_timeout: Duration,
    /// The time after which a leader sends the commit index to followers. Only checked and shown: a leader sends it at
    /// once.
    pub commit_timeout: Duration,
    /// The time that a write may wait until it is appended to the Raft log.
    pub apply_timeout: Duration,
    /// Whether Raft stops on this node when the node is removed from the cluster.
    pub shutdown_on_remove: bool,
    /// Whether this node leaves the cluster when its process is stopped.
    pub leave_on_stop: bool,
    /// Whether this node, if it is the leader, transfers the leadership before it stops.
    pub step_down_on_stop: bool,
    /// The time after which an unreachable voter is removed from the cluster; if `None`, voters are not removed.
    pub reap_voter_timeout: Option<Duration>,
    /// The time after which an unreachable read replica is removed from the cluster; if `None`, read replicas are not
    /// removed.
    pub reap_read_only_timeout: Option<Duration>,
}

impl RaftConfig {
    /// Checks that the timeouts are consistent. A leader without contact with a quorum must step down before the other
    /// nodes elect the next leader. The election timeout must not be shorter than the heartbeat timeout. The error
    /// texts are those of rqlited's Raft library.
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

/// The settings of queued writes, which are written in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteQueueConfig {
    /// The maximum number of queued writes that wait; at least 1.
    pub capacity: usize,
    /// The maximum number of queued writes in a batch; at least 1.
    pub batch_len: usize,
    /// The maximum time that a queued write waits for further writes of its batch.
    pub timeout: Duration,
    /// Whether the queued writes of a batch share a transaction.
    pub transaction: bool,
}
