//! The part of `/status` about the store of a node: its database and Raft.

use std::time::{Duration, SystemTime};

use sqlhttp_raft::{Node, NodeStatus, Role, SnapshotPolicy, Totals};
use sqlhttp_rqlite::status::{AutoVacuum, NEVER, Progress, Raft, RaftMember, RaftSettings, Settings, Sqlite, Store};

use crate::api::context::AppContext;
use crate::api::rqlite::status::rfc3339;
use crate::cluster::config::ClusterConfig;
use crate::cluster::context::ClusterContext;
use crate::cluster::http::readyz::is_ready;

/// `PRAGMA synchronous` of the connection that writes: NORMAL. The database file is synced at checkpoints only. That
/// is sufficient, because a write is already durable in the Raft log.
const WRITER_SYNCHRONOUS: u8 = 1;

/// Collects the part of `/status` about the store. `sqlite` is its part about the database.
pub(crate) fn store(
    context: &AppContext,
    cluster: &ClusterContext,
    node: &Node,
    directory_bytes: u64,
    sqlite: Sqlite,
) -> Store {
    let (config, status) = (&cluster.config, node.status());
    let ready = is_ready(node) && !context.is_stopping();
    let auto_vacuum =
        config.auto_vacuum_interval.map(|interval| auto_vacuum(interval, context.identity.started_at, &status.totals));
    Store {
        settings: settings(config),
        progress: progress(&status, ready, directory_bytes),
        raft: raft(config, &status),
        sqlite: Sqlite { writer_synchronous: WRITER_SYNCHRONOUS, ..sqlite },
        auto_vacuum,
    }
}

fn settings(config: &ClusterConfig) -> Settings {
    let raft = &config.raft;
    Settings {
        addr: config.raft_adv_addr.clone(),
        dir: config.data_dir.to_string_lossy().into_owned(),
        foreign_keys: config.foreign_keys,
        readers_max: config.reads_max.unwrap_or(0),
        apply_timeout: raft.apply_timeout,
        reap_read_only_timeout: raft.reap_read_only_timeout.unwrap_or_default(),
        reap_timeout: raft.reap_voter_timeout.unwrap_or_default(),
        trailing_logs: SnapshotPolicy::default().entries(raft.snapshot_entries).trailing(),
    }
}

fn progress(status: &NodeStatus, ready: bool, directory_bytes: u64) -> Progress {
    Progress {
        write_index: status.write_index,
        command_index: status.command_index,
        ready,
        dir_bytes: directory_bytes,
        snapshot_name: status.snapshot_name.clone(),
    }
}

fn raft(config: &ClusterConfig, status: &NodeStatus) -> Raft {
    // A leader that has lost contact with the quorum does not count as one, although it has not learned of another yet.
    let leads = status.role == Role::Leader && status.leader().is_some();
    let role = if status.role == Role::Leader && !leads { Role::Follower } else { status.role };
    Raft {
        state: role.name(),
        leads,
        last_contact: status.last_contact,
        term: status.term,
        commit_index: status.commit_index,
        applied_index: status.applied_index,
        last_log_index: status.log.last_index,
        last_log_term: status.log.last_term,
        log_bytes: status.log.bytes,
        snapshot_index: status.snapshot_index,
        snapshot_term: status.snapshot_term,
        members: status.members.iter().map(member).collect(),
        removed: status.removed,
        differs: status.differs.clone(),
        settings: raft_settings(config),
    }
}

fn member(member: &sqlhttp_raft::Member) -> RaftMember {
    RaftMember {
        id: member.name.clone(),
        addr: member.raft_address.clone(),
        voter: member.voter,
        leader: member.leader,
    }
}

fn raft_settings(config: &ClusterConfig) -> RaftSettings {
    let raft = &config.raft;
    RaftSettings {
        node_id: config.node_id.clone(),
        commit_timeout: raft.commit_timeout,
        election_timeout: raft.election_timeout,
        heartbeat_timeout: raft.heartbeat_timeout,
        leader_lease_timeout: raft.leader_lease_timeout,
        log_level: raft.log_level.as_str().to_owned(),
        shutdown_on_remove: raft.shutdown_on_remove,
        snapshot_interval: raft.snapshot_interval,
        snapshot_entries: raft.snapshot_entries,
    }
}

/// Computes the times of the last and the next VACUUM. VACUUM is attempted once per interval, counted from the start
/// of the node.
fn auto_vacuum(interval: Duration, started_at: SystemTime, totals: &Totals) -> AutoVacuum {
    let attempts = totals.vacuums.saturating_add(totals.vacuums_failed);
    let after = |intervals: u64| {
        let since = interval.checked_mul(u32::try_from(intervals).unwrap_or(u32::MAX));
        since.and_then(|since| started_at.checked_add(since)).map_or_else(|| NEVER.to_owned(), rfc3339)
    };
    AutoVacuum { last: (totals.vacuums > 0).then(|| after(attempts)), next: after(attempts.saturating_add(1)) }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{config, status};
    use super::*;

    #[test]
    fn facts_of_one_node() {
        let (config, status) = (config(&[]), status());
        let settings = settings(&config);
        assert_eq!((settings.apply_timeout, settings.trailing_logs), (Duration::from_secs(10), 10240));
        assert_eq!((settings.foreign_keys, settings.readers_max), (false, 256));
        let progress = progress(&status, true, 69632);
        assert_eq!((progress.command_index, progress.write_index, progress.ready), (7, 5, true));
        assert_eq!(progress.snapshot_name, "2-6-1700000000000");
        let raft = raft(&config, &status);
        assert_eq!((raft.state, raft.leads, raft.commit_index, raft.applied_index), ("Leader", true, 9, 8));
        assert_eq!((raft.log_bytes, raft.settings.log_level.as_str()), (32768, "WARN"));
        assert_eq!(raft.settings.heartbeat_timeout, Duration::from_secs(1));
        let leader = raft.members.iter().find(|member| member.leader).unwrap();
        assert_eq!((leader.id.as_str(), leader.addr.as_str(), leader.voter), ("n1", "127.0.0.1:4002", true));
    }

    #[test]
    fn a_leader_without_a_quorum_is_shown_as_a_follower() {
        let mut status = status();
        status.members.iter_mut().for_each(|member| member.leader = false);
        let raft = raft(&config(&[]), &status);
        assert_eq!((raft.state, raft.leads), ("Follower", false));
    }

    #[test]
    fn times_of_vacuums() {
        let of = |vacuums, vacuums_failed| {
            let mut totals = Totals::default();
            (totals.vacuums, totals.vacuums_failed) = (vacuums, vacuums_failed);
            auto_vacuum(Duration::from_secs(60), SystemTime::UNIX_EPOCH, &totals)
        };
        let after = |minutes: u32| format!("1970-01-01T00:{minutes:02}:00.000000000Z");
        assert_eq!(of(0, 0), AutoVacuum { last: None, next: after(1) });
        assert_eq!(of(0, 1), AutoVacuum { last: None, next: after(2) });
        assert_eq!(of(2, 1), AutoVacuum { last: Some(after(3)), next: after(4) });
    }
}
