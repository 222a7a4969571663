//! `store` of a node: the settings of the node, its progress, its log and its database.

use std::time::Duration;

use serde_json::{Value, json};
use sqlhttp_text::duration;

use super::raft::{Member, Raft};
use super::size::friendly;
use super::sqlite::Sqlite;

/// Go's zero time. The document contains it instead of a time that has not come.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Facts about the store of a node.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The settings.
    pub settings: Settings,
    /// The progress.
    pub progress: Progress,
    /// Raft.
    pub raft: Raft,
    /// The database.
    pub sqlite: Sqlite,
    /// The VACUUMs at regular intervals. `None` if they are not configured.
    pub auto_vacuum: Option<AutoVacuum>,
}

/// The settings of a node that [`Raft`] does not contain.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The address of the node for other nodes.
    pub addr: String,
    /// The data directory.
    pub dir: String,
    /// Whether the database enforces foreign keys.
    pub foreign_keys: bool,
    /// The maximum number of connections that read; 0 if there is no limit.
    pub readers_max: usize,
    /// The time limit for applying an entry.
    pub apply_timeout: Duration,
    /// How long a read-only node may be unreachable before it is removed; zero for ever.
    pub reap_read_only_timeout: Duration,
    /// How long a voter may be unreachable before it is removed; zero for ever.
    pub reap_timeout: Duration,
    /// The number of entries that stay in the log behind a snapshot.
    pub trailing_logs: u64,
}

/// The progress of a node.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The index of the last entry that could change the database.
    pub write_index: u64,
    /// The index of the last entry that carried a command; 0 if none was applied.
    pub command_index: u64,
    /// Whether the node can serve requests.
    pub ready: bool,
    /// The size of the data directory, in bytes.
    pub dir_bytes: u64,
    /// The name of the last snapshot. Empty if there is none.
    pub snapshot_name: String,
}

/// The VACUUMs at regular intervals, in RFC 3339 with nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoVacuum {
    /// The time of the last attempt. `None` if no VACUUM has succeeded.
    pub last: Option<String>,
    /// The time of the next attempt.
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

    /// The facts that do not change while the node runs.
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

    /// Describes the snapshots. Their size is zero because a snapshot is the database itself.
    fn snapshots(&self) -> Value {
        let name = &self.progress.snapshot_name;
        let names: Vec<&str> = if name.is_empty() { Vec::new() } else { vec![name] };
        json!({ "dir": self.settings.dir, "dir_size": 0, "snapshots": names })
    }
}

/// Describes the leader. Clients read both members, so they are empty if the leader is not known.
fn leader(members: &[Member]) -> Value {
    let leader = members.iter().find(|member| member.leader);
    let (addr, id) = leader.map(|member| (member.addr.as_str(), member.id.as_str())).unwrap_or_default();
    json!({ "addr": addr, "node_id": id })
}

fn node(member: &Member) -> Value {
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
