//! `store`: the node, its cluster, and its database.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sqlhttp_raft::{NodeStatus, SnapshotPolicy, Totals};
use sqlhttp_rqlite::format_duration;

use super::{raft, zeros};
use crate::api::context::State;
use crate::api::rqlite::status::{friendly, rfc3339};
use crate::cluster::config::ClusterConfig;
use crate::cluster::member::Member;

/// Go's zero time: never.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What a pool of connections tells.
const POOL: [&str; 9] = [
    "idle",
    "in_use",
    "max_idle_closed",
    "max_idle_time_closed",
    "max_lifetime_closed",
    "max_open_connections",
    "open_connections",
    "wait_count",
    "wait_duration",
];

/// The node. `sqlite3` is what its database tells by itself.
pub(crate) fn store(state: &State, member: &Member, directory_bytes: u64, sqlite3: Value) -> Value {
    let status = member.node.status();
    let mut store = describe(&member.config, &status, state.is_stopping(), directory_bytes, sqlite3);
    if let Some(interval) = member.config.auto_vacuum_interval {
        store["auto_vacuum"] = auto_vacuum(interval, state.node.started_at, &status.totals);
    }
    store
}

/// VACUUM by the clock is tried once an interval, from the start on: the time of the last try, if one has succeeded, and of
/// the next one.
fn auto_vacuum(interval: Duration, started_at: SystemTime, totals: &Totals) -> Value {
    let tried = totals.vacuums.saturating_add(totals.vacuums_failed);
    let after = |intervals: u64| {
        let since = interval.checked_mul(u32::try_from(intervals).unwrap_or(u32::MAX));
        since.and_then(|since| started_at.checked_add(since)).map_or_else(|| NEVER.to_owned(), rfc3339)
    };
    let mut times = json!({ "next_vacuum_after": after(tried.saturating_add(1)) });
    if totals.vacuums > 0 {
        times["last_vacuum"] = json!(after(tried));
    }
    times
}

fn describe(
    config: &ClusterConfig,
    status: &NodeStatus,
    stopping: bool,
    directory_bytes: u64,
    sqlite3: Value,
) -> Value {
    let mut store = settings(config);
    let applied = status.command_index > 0;
    let updated = if applied { sqlite3["last_modified"].clone() } else { json!(NEVER) };
    store["db_applied_index"] = json!(status.write_index);
    store["dir_size"] = json!(directory_bytes);
    store["dir_size_friendly"] = json!(friendly(directory_bytes));
    store["fsm_index"] = json!(status.command_index);
    store["fsm_term"] = json!(if applied { status.term } else { 0 });
    store["fsm_update_time"] = updated;
    store["leader"] = leader(status);
    store["nodes"] = nodes(status);
    store["raft"] = raft::raft(config, status);
    store["ready"] = json!(status.ready && !stopping);
    store["snapshot_store"] = snapshots(config, status);
    store["sqlite3"] = database(config, sqlite3);
    store
}

/// What does not change while the node runs.
fn settings(config: &ClusterConfig) -> Value {
    let raft = &config.raft;
    let reap = |timeout: Option<Duration>| format_duration(timeout.unwrap_or_default());
    json!({
        "addr": config.raft_adv_addr,
        "apply_timeout": format_duration(raft.apply_timeout),
        "cdc": { "enabled": false, "registered": false },
        "commit_timeout": format_duration(raft.commit_timeout),
        "db_conf": { "fk_constraints": config.foreign_keys },
        "dir": config.data_dir.to_string_lossy(),
        "election_timeout": format_duration(raft.election_timeout),
        "heartbeat_timeout": format_duration(raft.heartbeat_timeout),
        "leader_appended_at_time": NEVER,
        "no_freelist_sync": false,
        "node_id": config.node_id,
        "observer": { "dropped": 0, "observed": 0 },
        "open": {},
        "reap_read_only_timeout": reap(raft.reap_read_only_timeout),
        "reap_timeout": reap(raft.reap_voter_timeout),
        "request_marshaler": { "compression_batch": 0, "compression_size": 0, "force_compression": false },
        "snapshot_cas": { "owner": null },
        "snapshot_interval": format_duration(raft.snapshot_interval),
        "snapshot_threshold": raft.snapshot_entries,
        "strong_read_term": 0,
        "trailing_logs": SnapshotPolicy { entries: raft.snapshot_entries, ..SnapshotPolicy::default() }.trailing(),
    })
}

/// Clients read both names, whether a leader is known or not.
fn leader(status: &NodeStatus) -> Value {
    let known = status.leader().map(|leader| (leader.raft_address.as_str(), leader.name.as_str()));
    let (address, name) = known.unwrap_or_default();
    json!({ "addr": address, "node_id": name })
}

fn nodes(status: &NodeStatus) -> Value {
    let node = |member: &sqlhttp_raft::Member| {
        let suffrage = if member.voter { "voter" } else { "nonvoter" };
        json!({ "addr": member.raft_address, "id": member.name, "suffrage": suffrage })
    };
    status.members.iter().map(node).collect()
}

/// The snapshot is the database itself, so it takes no room of its own.
fn snapshots(config: &ClusterConfig, status: &NodeStatus) -> Value {
    let names: Vec<&str> = Some(status.snapshot_name.as_str()).filter(|name| !name.is_empty()).into_iter().collect();
    json!({ "dir": config.data_dir.to_string_lossy(), "dir_size": 0, "snapshots": names })
}

/// Adds what a reader's connection cannot tell: the writer, and how both are opened.
fn database(config: &ClusterConfig, mut sqlite3: Value) -> Value {
    let path = sqlite3["path"].as_str().unwrap_or_default();
    let foreign_keys = config.foreign_keys;
    let readers = format!("file:{path}?_fk={foreign_keys}&_journal=WAL&_query_only=true&mode=ro");
    let writer = format!("file:{path}?_fk={foreign_keys}&_journal=WAL&_sync=1");
    sqlite3["conn_pool_stats"] = json!({ "ro": pool(config.reads_max.unwrap_or(0)), "rw": pool(1) });
    sqlite3["pragmas"]["rw"] = writer_pragmas(foreign_keys);
    sqlite3["ro_dsn"] = json!(readers);
    sqlite3["rw_dsn"] = json!(writer);
    sqlite3
}

fn pool(max: usize) -> Value {
    let mut pool = zeros(&POOL);
    pool["idle"] = json!(1);
    pool["max_open_connections"] = json!(max);
    pool["open_connections"] = json!(1);
    pool
}

/// The writer syncs at checkpoints only: what makes a write durable is the log.
fn writer_pragmas(foreign_keys: bool) -> Value {
    json!({
        "busy_timeout": "5000",
        "foreign_keys": if foreign_keys { "1" } else { "0" },
        "journal_mode": "wal",
        "synchronous": "1",
        "wal_autocheckpoint": "1000",
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{config, status};
    use super::*;

    fn sqlite3() -> Value {
        json!({
            "last_modified": "2026-11-21T00:47:10.482503194Z",
            "path": "/data/db.sqlite",
            "pragmas": { "ro": { "synchronous": "2" }, "rw": { "synchronous": "2" } },
        })
    }

    #[test]
    fn of_one_node() {
        let store = describe(&config(&[]), &status(), false, 69632, sqlite3());
        assert_eq!(store["leader"], json!({ "addr": "127.0.0.1:4002", "node_id": "n1" }));
        assert_eq!(store["nodes"], json!([{ "addr": "127.0.0.1:4002", "id": "n1", "suffrage": "voter" }]));
        assert_eq!((&store["fsm_index"], &store["db_applied_index"]), (&json!(7), &json!(5)));
        assert_eq!(store["fsm_update_time"], "2026-11-21T00:47:10.482503194Z");
        assert_eq!(store["dir_size_friendly"], "70 kB");
        assert_eq!(store["snapshot_store"]["snapshots"], json!(["2-6-1700000000000"]));
        assert_eq!((&store["ready"], &store["open"]), (&json!(true), &json!({})));
        assert_eq!((&store["apply_timeout"], &store["commit_timeout"]), (&json!("10s"), &json!("50ms")));
        assert_eq!((&store["snapshot_threshold"], &store["trailing_logs"]), (&json!(8192), &json!(10240)));
        assert_eq!(store["sqlite3"]["pragmas"]["ro"], json!({ "synchronous": "2" }));
        assert_eq!(store["sqlite3"]["pragmas"]["rw"], writer_pragmas(false));
        assert_eq!(store["sqlite3"]["conn_pool_stats"]["ro"]["max_open_connections"], 256);
    }

    #[test]
    fn vacuums_by_the_clock() {
        let of = |vacuums, vacuums_failed| {
            let totals = Totals { vacuums, vacuums_failed, ..Totals::default() };
            auto_vacuum(Duration::from_secs(60), SystemTime::UNIX_EPOCH, &totals)
        };
        let next = |minute: u32| format!("1970-01-01T00:{minute:02}:00.000000000Z");
        assert_eq!(of(0, 0), json!({ "next_vacuum_after": next(1) }));
        assert_eq!(of(0, 1), json!({ "next_vacuum_after": next(2) }));
        assert_eq!(of(2, 1), json!({ "last_vacuum": next(3), "next_vacuum_after": next(4) }));
    }

    #[test]
    fn a_leader_that_is_unknown_has_empty_names() {
        let mut status = status();
        status.members.clear();
        (status.snapshot_name, status.command_index) = (String::new(), 0);
        let store = describe(&config(&["-fk"]), &status, true, 0, sqlite3());
        assert_eq!(store["leader"], json!({ "addr": "", "node_id": "" }));
        assert_eq!((&store["nodes"], &store["snapshot_store"]["snapshots"]), (&json!([]), &json!([])));
        assert_eq!((&store["ready"], &store["fsm_update_time"]), (&json!(false), &json!(NEVER)));
        assert_eq!(store["db_conf"]["fk_constraints"], true);
        assert_eq!(store["sqlite3"]["pragmas"]["rw"]["foreign_keys"], "1");
    }
}
