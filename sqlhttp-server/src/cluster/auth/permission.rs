//! The permissions of users, with rqlite's names.

use std::collections::HashSet;

/// A permission of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// All operations.
    All,
    /// Download the database.
    Backup,
    /// Execute statements that write.
    Execute,
    /// Join the cluster as a voter, and notify it of a bootstrap.
    Join,
    /// Join the cluster as a read replica.
    JoinReadOnly,
    /// Another name for [`Permission::JoinReadOnly`]: each includes the other.
    JoinReadReplica,
    /// See the leader, and transfer the leadership.
    LeaderOps,
    /// Load a database, and boot the node from one.
    Load,
    /// Execute statements that read.
    Query,
    /// See whether the node is ready.
    Ready,
    /// Remove a node from the cluster.
    Remove,
    /// Take a snapshot, and reap old ones.
    Snapshot,
    /// See the state of the node.
    Status,
    /// Use the console.
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
    /// Returns the permission of this name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, permission)| *permission)
    }

    /// Returns the names of all permissions, for an error text.
    pub(crate) fn all_names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// Replaces a synonym by the permission that it stands for.
    fn without_synonyms(self) -> Self {
        if self == Permission::JoinReadReplica { Permission::JoinReadOnly } else { self }
    }
}

/// The permissions of a user.
#[derive(Debug, Default)]
pub(crate) struct Permissions(HashSet<Permission>);

impl Permissions {
    /// Makes the permissions of these names.
    ///
    /// # Errors
    /// The first name that is not the name of a permission.
    pub(crate) fn from_names(names: &[String]) -> Result<Self, &str> {
        let known = |name| Permission::from_name(name).map(Permission::without_synonyms).ok_or(name);
        names.iter().map(String::as_str).map(known).collect::<Result<_, _>>().map(Permissions)
    }

    /// Returns whether `needed` is granted.
    pub(crate) fn include(&self, needed: Permission) -> bool {
        self.0.contains(&Permission::All) || self.0.contains(&needed.without_synonyms())
    }
}
