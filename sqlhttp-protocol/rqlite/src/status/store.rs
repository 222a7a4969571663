//! The section `store` of `/status` on a cluster node: the settings of the node, its progress, its Raft log and its
//! database.

use std::time::Duration;

use serde_json::{Value, json};
use sqlhttp_text::duration;

use super::raft::{Raft, RaftMember};
use super::size::friendly;
use super::sqlite::Sqlite;

/// Go's zero time. The document contains it as the time of an event that has not happened yet.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// The facts about the store of a node that `/status` reports.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The settings of the node, except for those in `raft`.
    pub settings: Settings,
    /// How far the node has applied the Raft log, and whether it is ready.
    pub progress: Progress,
    /// The facts about Raft on this node.
    pub raft: Raft,
    /// The facts about the database.
    pub sqlite: Sqlite,
    /// The times of the regular VACUUMs. `None` if regular VACUUMs are not configured.
    pub auto_vacuum: Option<AutoVacuum>,
}

/// The settings of a node, except for the settings that [`Raft`] contains.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The address of the node to which other nodes connect.
    pub addr: String,
    /// The data directory of the node.
    pub dir: String,
    /// Whether the database enforces foreign keys.
    pub foreign_keys: bool,
    /// The maximum number of connections that read; 0 if there is no limit.
    pub readers_max: usize,
    /// The time limit for applying an entry of the Raft log.
    pub apply_timeout: Duration,
    /// How long a read-only node may be unreachable before it is removed from the cluster. Zero if it is never removed.
    pub reap_read_only_timeout: Duration,
    /// How long a voter may be unreachable before it is removed from the cluster. Zero if it is never removed.
    pub reap_timeout: Duration,
    /// The number of Raft log entries that are kept after a snapshot.
    pub trailing_logs: u64,
}

/// How far a node has applied the Raft log, and what is on its disk.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The index of the last applied Raft log entry that could change the database.
    pub write_index: u64,
    /// The index of the last applied Raft log entry that contained a command; 0 if none was applied.
    pub command_index: u64,
    /// Whether the node can serve requests.
    pub ready: bool,
    /// The size of the data directory, in bytes.
    pub dir_bytes: u64,
    /// The name of the last snapshot. Empty if there is no snapshot.
    pub snapshot_name: String,
}

/// The times of the regular VACUUMs, in RFC 3339 with nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoVacuum {
    /// The time of the last attempt. `None` if no regular VACUUM has succeeded yet.
    pub last: Option<String>,
    /// The time of the next attempt to run VACUUM.
    pub next: String,
}

impl Store {
    pub(super) fn document(&self) -> Value {
        let Store { settings, progress, raft, sqlite, auto_vacuum } = self;
        let applied = progress.command_index > 0;
        let mut store = self.settings_document();
        store["db_applied_index"] = json!(progress.write_index);
        store["dir_size"] = json!(progress.dir_bytes);
        store["dir_size_friendly"] = json!(friendly(progress.dir_bytes));
        store["fsm_index"] = json!(progress.command_index);
        store["fsm_term"] = json!(if applied { raft.term } else { 0 });
        store["fsm_update_time"] = json!(if applied { sqlite.last_modified.as_str() } else { NEVER });
        store["leader"] = leader(&raft.members);
        store["nodes"] = raft.members.iter().map(node).collect();
        store["raft"] = raft.document();
        store["ready"] = json!(progress.ready);
        store["snapshot_store"] = self.snapshots();
        store["sqlite3"] = sqlite.replicated_document(settings.foreign_keys, settings.readers_max);
        if let Some(auto_vacuum) = auto_vacuum {
            store["auto_vacuum"] = auto_vacuum.document();
        }
        store
    }

    /// The members of `store` whose values do not change while the node runs.
    fn settings_document(&self) -> Value {
        let Settings { addr, dir, foreign_keys, trailing_logs, .. } = &self.settings;
        let raft = &self.raft.settings;
        json!({
            "addr": addr,
            "apply_timeout": duration::format(self.settings.apply_timeout),
            "cdc": { "enabled": false, "registered": false },
            "commit_timeout": duration::format(raft.commit_timeout),
            "db_conf": { "fk_constraints": foreign_keys },
            "dir": dir,
            "election_timeout": duration::format(raft.election_timeout),
            "heartbeat_timeout": duration::format(raft.heartbeat_timeout),
            "leader_appended_at_time": NEVER,
            "no_freelist_sync": false,
            "node_id": raft.node_id,
            "observer": { "dropped": 0, "observed": 0 },
            "open": {},
            "reap_read_only_timeout": duration::format(self.settings.reap_read_only_timeout),
            "reap_timeout": duration::format(self.settings.reap_timeout),
            "request_marshaler": { "compression_batch": 0, "compression_size": 0, "force_compression": false },
            "snapshot_cas": { "owner": null },
            "snapshot_interval": duration::format(raft.snapshot_interval),
            "snapshot_threshold": raft.snapshot_entries,
            "strong_read_term": 0,
            "trailing_logs": trailing_logs,
        })
    }

    /// Describes the snapshots. Their size is given as zero, because a snapshot is the database file itself.
    fn snapshots(&self) -> Value {
        let name = &self.progress.snapshot_name;
        let names: Vec<&str> = if name.is_empty() { Vec::new() } else { vec![name] };
        json!({ "dir": self.settings.dir, "dir_size": 0, "snapshots": names })
    }
}

/// Describes the leader with its address and name. Both are empty if the leader is not known. They are always present,
/// because clients read both.
fn leader(members: &[RaftMember]) -> Value {
    let leader = members.iter().find(|member| member.leader);
    let (addr, id) = leader.map(|member| (member.addr.as_str(), member.id.as_str())).unwrap_or_default();
    json!({ "addr": addr, "node_id": id })
}

fn node(member: &RaftMember) -> Value {
    let suffrage = if member.voter { "voter" } else { "nonvoter" };
    json!({ "addr": member.addr, "id": member.id, "suffrage": suffrage })
}

impl AutoVacuum {
    fn document(&self) -> Value {
        let mut times = json!({ "next_vacuum_after": self.next });
        if let Some(last) = &self.last {
            times["last_vacuum"] = json!(last);
        }
        times
    }
}
