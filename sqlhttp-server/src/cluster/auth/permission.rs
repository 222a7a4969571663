//! What there is to be allowed.

use std::collections::HashSet;

/// What a user may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Everything.
    All,
    /// Download the database.
    Backup,
    /// Write.
    Execute,
    /// Join the cluster as a voter, and notify it of a bootstrap.
    Join,
    /// Join the cluster as a read replica.
    JoinReadOnly,
    /// Another name for [`Permission::JoinReadOnly`]: who has one has both.
    JoinReadReplica,
    /// Ask for the leader, and have it step down.
    LeaderOps,
    /// Load a database, and boot from one.
    Load,
    /// Read.
    Query,
    /// Ask whether the node is ready.
    Ready,
    /// Remove a node from the cluster.
    Remove,
    /// Take a snapshot, and reap old ones.
    Snapshot,
    /// See the node's state.
    Status,
    /// See the console's pages.
    Ui,
}

impl Permission {
    /// The permission of this name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Permission::All,
            "backup" => Permission::Backup,
            "execute" => Permission::Execute,
            "join" => Permission::Join,
            "join-read-only" => Permission::JoinReadOnly,
            "join-read-replica" => Permission::JoinReadReplica,
            "leader-ops" => Permission::LeaderOps,
            "load" => Permission::Load,
            "query" => Permission::Query,
            "ready" => Permission::Ready,
            "remove" => Permission::Remove,
            "snapshot" => Permission::Snapshot,
            "status" => Permission::Status,
            "ui" => Permission::Ui,
            _ => return None,
        })
    }

    fn without_synonyms(self) -> Self {
        if self == Permission::JoinReadReplica { Permission::JoinReadOnly } else { self }
    }
}

/// What somebody may do.
#[derive(Debug, Default)]
pub(super) struct Permissions(HashSet<Permission>);

impl Permissions {
    /// Those that are known by these names; others mean nothing.
    pub(super) fn from_names(names: &[String]) -> Self {
        let known = names.iter().filter_map(|name| Permission::from_name(name));
        Permissions(known.map(Permission::without_synonyms).collect())
    }

    /// Whether `needed` is among them.
    pub(super) fn include(&self, needed: Permission) -> bool {
        self.0.contains(&Permission::All) || self.0.contains(&needed.without_synonyms())
    }
}
