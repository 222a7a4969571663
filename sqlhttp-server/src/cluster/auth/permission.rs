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

/// All permissions, each with its name in the file.
const NAMES: [(&str, Permission); 14] = [
    ("all", Permission::All),
    ("backup", Permission::Backup),
    ("execute", Permission::Execute),
    ("join", Permission::Join),
    ("join-read-only", Permission::JoinReadOnly),
    ("join-read-replica", Permission::JoinReadReplica),
    ("leader-ops", Permission::LeaderOps),
    ("load", Permission::Load),
    ("query", Permission::Query),
    ("ready", Permission::Ready),
    ("remove", Permission::Remove),
    ("snapshot", Permission::Snapshot),
    ("status", Permission::Status),
    ("ui", Permission::Ui),
];

impl Permission {
    /// The permission of this name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, permission)| *permission)
    }

    /// The names of all permissions, for people.
    pub(crate) fn all_names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    fn without_synonyms(self) -> Self {
        if self == Permission::JoinReadReplica { Permission::JoinReadOnly } else { self }
    }
}

/// What somebody may do.
#[derive(Debug, Default)]
pub(crate) struct Permissions(HashSet<Permission>);

impl Permissions {
    /// Those of these names.
    ///
    /// # Errors
    /// The first name that is no permission's.
    pub(crate) fn from_names(names: &[String]) -> Result<Self, &str> {
        let known = |name| Permission::from_name(name).map(Permission::without_synonyms).ok_or(name);
        names.iter().map(String::as_str).map(known).collect::<Result<_, _>>().map(Permissions)
    }

    /// Whether `needed` is among them.
    pub(crate) fn include(&self, needed: Permission) -> bool {
        self.0.contains(&Permission::All) || self.0.contains(&needed.without_synonyms())
    }
}
