//! From what was typed to what it means. What was typed has been validated.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use super::typed::Typed;
use super::validate::advertised;
use super::{ClusterConfig, LogConfig, RaftConfig, WriteQueueConfig};
use crate::process::flags::hosts;
use crate::process::logging::LogFormat;
use crate::process::tls::TlsFiles;

/// Those of Raft when none are given, or zero.
const LEADER_LEASE: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_secs(1);
const ELECTION: Duration = Duration::from_secs(1);

/// The settings of the node. The error ends the start.
pub(crate) fn resolve(typed: &Typed, data_dir: &str) -> Result<ClusterConfig, String> {
    let raft_adv_addr = advertised(typed, "raft");
    Ok(ClusterConfig {
        data_dir: absolute(data_dir)?,
        node_id: typed.text_opt("node-id").unwrap_or_else(|| raft_adv_addr.clone()),
        http_addr: typed.text("http-addr"),
        http_adv_addr: advertised(typed, "http"),
        http_allow_origin: typed.text_opt("http-allow-origin"),
        http_allowed_hosts: hosts(&typed.text("allowed-hosts")),
        auth_file: path(typed, "auth"),
        http_tls: http_tls(typed),
        http_ca_cert: path(typed, "http-ca-cert"),
        http_verify_client: typed.bool("http-verify-client"),
        http_verify_common_name: typed.text_opt("http-verify-common-name"),
        http_body_timeout: typed.duration("body-timeout"),
        http_first_request_timeout: typed.duration("first-request-timeout"),
        http_body_bytes_max: typed.count("max-body"),
        http_all_bodies_bytes_max: typed.count("max-bodies"),
        http_connections_max: usize_of(typed.count("max-connections")),
        http_statements_max: usize_of(typed.count("max-statements")),
        query_timeout: typed.duration_opt("query-timeout"),
        write_steps_max: typed.count("write-steps-max"),
        check_interval: typed.duration("check-interval"),
        exit_on_failure: typed.bool("exit-on-failure"),
        value_bytes_max: typed.count("max-value-bytes"),
        memory_bytes_max: typed.count("max-statement-memory"),
        raft_addr: typed.text("raft-addr"),
        raft_adv_addr,
        cluster_connect_timeout: typed.duration("cluster-connect-timeout"),
        join_attempts: typed.count("join-attempts"),
        join_interval: typed.duration("join-interval"),
        join_as: typed.text_opt("join-as"),
        bootstrap_expect: typed.count("bootstrap-expect"),
        bootstrap_expect_timeout: typed.duration("bootstrap-expect-timeout"),
        foreign_keys: typed.bool("fk"),
        reads_max: Some(usize_of(typed.count("db-max-ro-conns"))).filter(|max| *max > 0),
        auto_vacuum_interval: typed.duration_opt("auto-vacuum-int"),
        auto_optimize_interval: typed.duration_opt("auto-optimize-int"),
        db_name: typed.text("db-name"),
        raft: raft(typed)?,
        write_queue: write_queue(typed),
        log: log(typed),
        idle_flags: typed.idle(),
    })
}

fn log(typed: &Typed) -> LogConfig {
    let json = typed.bool("log-json") || typed.text("log-format") == "json";
    LogConfig {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        // One of the words that the flag takes.
        level: typed.text("log-level").parse().unwrap_or(Level::INFO),
        requests: typed.bool("log-requests"),
        slow: typed.duration_opt("log-slow"),
    }
}

fn raft(typed: &Typed) -> Result<RaftConfig, String> {
    Ok(RaftConfig {
        log_level: log_level(&typed.text("raft-log-level"))?,
        snapshot_entries: typed.count("raft-snap"),
        snapshot_wal_bytes: Some(typed.count("raft-snap-wal-size")).filter(|bytes| *bytes > 0),
        snapshot_interval: typed.duration("raft-snap-int"),
        heartbeat_timeout: typed.duration_opt("raft-heartbeat-timeout").unwrap_or(HEARTBEAT),
        election_timeout: typed.duration_opt("raft-election-timeout").unwrap_or(ELECTION),
        leader_lease_timeout: typed.duration_opt("raft-leader-lease-timeout").unwrap_or(LEADER_LEASE),
        commit_timeout: typed.duration("raft-commit-timeout"),
        apply_timeout: typed.duration("raft-apply-timeout"),
        shutdown_on_remove: typed.bool("raft-remove-shutdown"),
        remove_on_shutdown: typed.bool("raft-cluster-remove-shutdown"),
        stepdown_on_shutdown: typed.bool("raft-shutdown-stepdown"),
        reap_voter_timeout: typed.duration_opt("raft-reap-node-timeout"),
        reap_read_only_timeout: typed.duration_opt("raft-reap-read-only-node-timeout"),
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

/// A queue without room for one write would take none.
fn write_queue(typed: &Typed) -> WriteQueueConfig {
    WriteQueueConfig {
        capacity: usize_of(typed.count("write-queue-capacity").max(1)),
        batch_len: usize_of(typed.count("write-queue-batch-size").max(1)),
        timeout: typed.duration("write-queue-timeout"),
        transaction: typed.bool("write-queue-tx"),
    }
}

fn http_tls(typed: &Typed) -> Option<TlsFiles> {
    Some(TlsFiles { cert: path(typed, "http-cert")?, key: path(typed, "http-key")? })
}

fn path(typed: &Typed, name: &str) -> Option<PathBuf> {
    typed.text_opt(name).map(PathBuf::from)
}

/// As Go's `filepath.Abs`: `..` is taken away without a look at the file system.
fn absolute(typed: &str) -> Result<PathBuf, String> {
    let failed = |why| format!("failed to determine absolute data path: {why}");
    let path = std::path::absolute(Path::new(typed)).map_err(failed)?;
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
