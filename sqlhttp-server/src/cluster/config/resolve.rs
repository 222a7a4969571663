//! Converts validated flags to the settings of a node.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use super::flag_values::FlagValues;
use super::validate::advertised_address;
use super::{ClusterConfig, DiscoveryConfig, DiscoveryMode, FormationConfig, LogConfig, RaftConfig, WriteQueueConfig};
use crate::process::flags::hosts;
use crate::process::logging::LogFormat;
use crate::process::tls::{PeerTlsOptions, TlsFiles};

/// The values of Raft's timeouts if their flags are zero.
const LEADER_LEASE: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_secs(1);
const ELECTION: Duration = Duration::from_secs(1);

/// Converts the flags to the settings of the node. If it returns an error, the process ends with that message.
pub(crate) fn resolve(flags: &FlagValues, data_dir: &str) -> Result<ClusterConfig, String> {
    let raft_adv_addr = advertised_address(flags, "raft");
    Ok(ClusterConfig {
        data_dir: absolute(data_dir)?,
        node_id: flags.text_opt("node-id").unwrap_or_else(|| raft_adv_addr.clone()),
        http_addr: flags.text("http-addr"),
        http_adv_addr: advertised_address(flags, "http"),
        http_allow_origin: flags.text_opt("http-allow-origin"),
        http_allowed_hosts: hosts(&flags.text("allowed-hosts")),
        auth_file: path(flags, "auth"),
        http_tls: http_tls(flags),
        http_ca_cert: path(flags, "http-ca-cert"),
        http_verify_client: flags.bool("http-verify-client"),
        http_verify_common_name: flags.text_opt("http-verify-common-name"),
        http_body_timeout: flags.duration("body-timeout"),
        http_first_request_timeout: flags.duration("first-request-timeout"),
        http_body_bytes_max: flags.count("max-body"),
        load_bytes_max: flags.count("max-load"),
        http_all_bodies_bytes_max: flags.count("max-bodies"),
        http_connections_max: usize_of(flags.count("max-connections")),
        http_statements_max: usize_of(flags.count("max-statements")),
        query_timeout: flags.duration_opt("query-timeout"),
        write_steps_max: flags.count("write-steps-max"),
        check_interval: flags.duration("check-interval"),
        exit_on_failure: flags.bool("exit-on-failure"),
        value_bytes_max: flags.count("max-value-bytes"),
        memory_bytes_max: flags.count("max-statement-memory"),
        raft_addr: flags.text("raft-addr"),
        raft_adv_addr,
        node_tls: node_tls(flags),
        cluster_connect_timeout: flags.duration("cluster-connect-timeout"),
        formation: formation(flags),
        foreign_keys: flags.bool("fk"),
        time_zone: flags.text("time-zone").parse().map_err(|why| format!("-time-zone: {why}"))?,
        reads_max: Some(usize_of(flags.count("db-max-ro-conns"))).filter(|max| *max > 0),
        auto_vacuum_interval: flags.duration_opt("auto-vacuum-int"),
        auto_optimize_interval: flags.duration_opt("auto-optimize-int"),
        db_name: flags.text("db-name"),
        raft: raft(flags)?,
        write_queue: write_queue(flags),
        log: log(flags),
        ignored_flags: flags.ignored(),
    })
}

fn formation(flags: &FlagValues) -> FormationConfig {
    let addresses = flags.text("join");
    let discovery = flags.text_opt("disco-mode").map(|mode| DiscoveryConfig {
        // The other modes are refused before.
        mode: if mode == "dns-srv" { DiscoveryMode::DnsSrv } else { DiscoveryMode::Dns },
        settings: flags.text_opt("disco-config"),
    });
    FormationConfig {
        join: addresses.split(',').filter(|address| !address.is_empty()).map(str::to_owned).collect(),
        join_attempts: flags.count("join-attempts").max(1),
        join_interval: flags.duration("join-interval"),
        join_as: flags.text_opt("join-as"),
        bootstrap_expect: usize_of(flags.count("bootstrap-expect")),
        bootstrap_expect_timeout: flags.duration("bootstrap-expect-timeout"),
        discovery,
        non_voter: flags.bool("raft-non-voter"),
    }
}

fn log(flags: &FlagValues) -> LogConfig {
    let json = flags.bool("log-json") || flags.text("log-format") == "json";
    LogConfig {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        // `-log-level` accepts only valid levels.
        level: flags.text("log-level").parse().unwrap_or(Level::INFO),
        requests: flags.bool("log-requests"),
        slow: flags.duration_opt("log-slow"),
    }
}

fn raft(flags: &FlagValues) -> Result<RaftConfig, String> {
    Ok(RaftConfig {
        log_level: log_level(&flags.text("raft-log-level"))?,
        snapshot_entries: flags.count("raft-snap"),
        snapshot_wal_bytes: Some(flags.count("raft-snap-wal-size")).filter(|bytes| *bytes > 0),
        snapshot_interval: flags.duration("raft-snap-int"),
        heartbeat_timeout: flags.duration_opt("raft-heartbeat-timeout").unwrap_or(HEARTBEAT),
        election_timeout: flags.duration_opt("raft-election-timeout").unwrap_or(ELECTION),
        leader_lease_timeout: flags.duration_opt("raft-leader-lease-timeout").unwrap_or(LEADER_LEASE),
        commit_timeout: flags.duration("raft-commit-timeout"),
        apply_timeout: flags.duration("raft-apply-timeout"),
        shutdown_on_remove: flags.bool("raft-remove-shutdown"),
        leave_on_stop: flags.bool("raft-cluster-remove-shutdown"),
        step_down_on_stop: flags.bool("raft-shutdown-stepdown"),
        reap_voter_timeout: flags.duration_opt("raft-reap-node-timeout"),
        reap_read_only_timeout: flags.duration_opt("raft-reap-read-only-node-timeout"),
    })
}

fn log_level(word: &str) -> Result<Level, String> {
    match word.to_ascii_uppercase().as_str() {
        "ERROR" => Ok(Level::ERROR),
        "WARN" => Ok(Level::WARN),
        "INFO" => Ok(Level::INFO),
        "DEBUG" => Ok(Level::DEBUG),
        _ => Err("-raft-log-level must be one of ERROR, WARN, INFO, or DEBUG".to_owned()),
    }
}

/// Returns the settings of queued writes. If the capacity or the batch size is less than 1, it is set to 1.
fn write_queue(flags: &FlagValues) -> WriteQueueConfig {
    WriteQueueConfig {
        capacity: usize_of(flags.count("write-queue-capacity").max(1)),
        batch_len: usize_of(flags.count("write-queue-batch-size").max(1)),
        timeout: flags.duration("write-queue-timeout"),
        transaction: flags.bool("write-queue-tx"),
    }
}

fn http_tls(flags: &FlagValues) -> Option<TlsFiles> {
    Some(TlsFiles { cert: path(flags, "http-cert")?, key: path(flags, "http-key")? })
}

fn node_tls(flags: &FlagValues) -> Option<PeerTlsOptions> {
    Some(PeerTlsOptions {
        files: TlsFiles { cert: path(flags, "node-cert")?, key: path(flags, "node-key")? },
        ca: path(flags, "node-ca-cert"),
        no_verify: flags.bool("node-no-verify"),
        verify_client: flags.bool("node-verify-client"),
        server_name: flags.text_opt("node-verify-server-name"),
        common_name: flags.text_opt("node-verify-common-name"),
    })
}

fn path(flags: &FlagValues, name: &str) -> Option<PathBuf> {
    flags.text_opt(name).map(PathBuf::from)
}

/// Makes a path absolute. Like Go's `filepath.Abs`, removes `..` without reading the file system.
fn absolute(path: &str) -> Result<PathBuf, String> {
    let failed = |why| format!("failed to determine absolute data path: {why}");
    let path = std::path::absolute(Path::new(path)).map_err(failed)?;
    Ok(path.components().fold(PathBuf::new(), |mut clean, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
        clean
    }))
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
