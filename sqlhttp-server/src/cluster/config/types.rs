//! The settings of a node.

use std::path::PathBuf;
use std::time::Duration;

use sqlhttp_text::duration;
use tracing::Level;

use crate::process::logging::LogFormat;
use crate::process::tls::TlsFiles;

/// The settings of a node. Addresses are `host:port` or `[host]:port`, as given on the command line;
/// [`super::address::split_host_port`] accepts all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The absolute path of the directory with all data of the node. It need not exist yet.
    pub data_dir: PathBuf,
    /// The unique name of the node in the cluster.
    pub node_id: String,
    /// The address where the HTTP API listens. The port may be the name of a service.
    pub http_addr: String,
    /// The advertised address of the HTTP API.
    pub http_adv_addr: String,
    /// The value of `Access-Control-Allow-Origin`.
    pub http_allow_origin: Option<String>,
    /// The hosts that HTTP requests may name; an empty list allows every host.
    pub http_allowed_hosts: Vec<String>,
    /// The file of users and permissions.
    pub auth_file: Option<PathBuf>,
    /// The certificate and the key of HTTPS; `None` serves plain HTTP.
    pub http_tls: Option<TlsFiles>,
    /// The authority that clients' certificates are verified against; `None` stands for those of the system.
    pub http_ca_cert: Option<PathBuf>,
    /// Whether clients must have a valid certificate.
    pub http_verify_client: bool,
    /// The Common Name that clients' certificates must have.
    pub http_verify_common_name: Option<String>,
    /// The time limit for receiving the body of a request; zero is no limit.
    pub http_body_timeout: Duration,
    /// The time that a new HTTP connection may remain without a request.
    pub http_first_request_timeout: Duration,
    /// The greatest size of a request body, in bytes, also after decompression.
    pub http_body_bytes_max: u64,
    /// The memory for all request bodies together, in bytes.
    pub http_all_bodies_bytes_max: u64,
    /// The greatest number of open HTTP connections.
    pub http_connections_max: usize,
    /// The greatest number of statements in one request.
    pub http_statements_max: usize,
    /// The address where this node listens for other nodes. The port is a number.
    pub raft_addr: String,
    /// The advertised Raft address. The port is a number.
    pub raft_adv_addr: String,
    /// The timeout of a connection to another node.
    pub cluster_connect_timeout: Duration,
    /// Whether foreign keys are enforced.
    pub foreign_keys: bool,
    /// The greatest number of reads that run at once; `None` is no limit.
    pub reads_max: Option<usize>,
    /// The time between two runs of VACUUM; `None` runs none.
    pub auto_vacuum_interval: Option<Duration>,
    /// The time between two runs of `PRAGMA optimize`; `None` runs none.
    pub auto_optimize_interval: Option<Duration>,
    /// The name of the database in ws4sqlite's API.
    pub db_name: String,
    /// The settings of Raft.
    pub raft: RaftConfig,
    /// The settings of queued writes.
    pub write_queue: WriteQueueConfig,
    /// The time limit of a read whose request sets none; `None` is no limit.
    pub query_timeout: Option<Duration>,
    /// The greatest number of steps of SQLite's virtual machine in a write; zero is no limit.
    pub write_steps_max: u64,
    /// The time between two checks of the database for damage; zero runs none.
    pub check_interval: Duration,
    /// Whether the process ends if the node has stopped because of a failure.
    pub exit_on_failure: bool,
    /// The greatest size of a text, a BLOB or a row, in bytes.
    pub value_bytes_max: u64,
    /// The greatest memory that SQLite uses for one request, in bytes.
    pub memory_bytes_max: u64,
    /// The settings of the log.
    pub log: LogConfig,
    /// The given flags that have no effect, each with the reason.
    pub ignored_flags: Vec<(&'static str, &'static str)>,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of log lines.
    pub format: LogFormat,
    /// The least severe level that is logged. Raft has a level of its own.
    pub level: Level,
    /// Whether a line is logged for each request.
    pub requests: bool,
    /// The time from which a request's SQL is logged as slow; `None` logs none.
    pub slow: Option<Duration>,
}

/// The settings of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// The least severe level that Raft logs.
    pub log_level: Level,
    /// The number of log entries since the last snapshot from which the next one is taken.
    pub snapshot_entries: u64,
    /// The size of SQLite's WAL, in bytes, from which a snapshot is taken; `None` is no limit.
    pub snapshot_wal_bytes: Option<u64>,
    /// The time between two checks whether a snapshot is due.
    pub snapshot_interval: Duration,
    /// The time without contact to the leader after which a follower starts an election.
    pub heartbeat_timeout: Duration,
    /// The time after which a candidate starts another election.
    pub election_timeout: Duration,
    /// The time without contact to a quorum after which a leader steps down.
    pub leader_lease_timeout: Duration,
    /// The time after which a leader sends the commit index to followers.
    pub commit_timeout: Duration,
    /// The time that a write may wait until it is appended to the log.
    pub apply_timeout: Duration,
    /// Whether Raft stops when this node is removed from the cluster.
    pub shutdown_on_remove: bool,
    /// The time after which an unreachable voting node is removed; `None` removes none.
    pub reap_voter_timeout: Option<Duration>,
    /// The time after which an unreachable read replica is removed; `None` removes none.
    pub reap_read_only_timeout: Option<Duration>,
}

impl RaftConfig {
    /// Checks that the timeouts are consistent: a leader without contact to a quorum must step down before the other
    /// nodes elect the next leader, and the election timeout must not be shorter than the heartbeat timeout. The errors
    /// have the texts of rqlited's Raft library.
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

/// The settings of queued writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteQueueConfig {
    /// The greatest number of queued writes that wait; at least 1.
    pub capacity: usize,
    /// The greatest number of queued writes in a batch; at least 1.
    pub batch_len: usize,
    /// The greatest time that a queued write waits for others.
    pub timeout: Duration,
    /// Whether the queued writes of a batch share a transaction.
    pub transaction: bool,
}
