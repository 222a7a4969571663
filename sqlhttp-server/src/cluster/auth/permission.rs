//! The permissions that users may have. Their names are rqlite's.

use std::collections::HashSet;

/// A permission of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Permits all operations.
    All,
    /// Permits a client to download the database.
    Backup,
    /// Permits a client to execute statements that write.
    Execute,
    /// Permits a node to join the cluster as a voter.
    Join,
    /// Permits a node to join the cluster as a read replica.
    JoinReadOnly,
    /// A synonym of [`Permission::JoinReadOnly`]: a user that has one of them has both.
    JoinReadReplica,
    /// Permits a client to see which node is the leader, and to transfer the leadership.
    LeaderOps,
    /// Permits a client to load a database, and to boot the node from a database file.
    Load,
    /// Permits a client to execute statements that read.
    Query,
    /// Permits a client to see whether the node is ready.
    Ready,
    /// Permits a client to remove a node from the cluster.
    Remove,
    /// Permits a client to take a snapshot, and to reap old snapshots.
    Snapshot,
    /// Permits a client to see the state of the node.
    Status,
    /// Permits a client to use the web console.
    Ui,
}

/// All permissions, each with its name in the auth file.
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
    /// Returns the permission with this name in the auth file; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, permission)| *permission)
    }

    /// Returns the names of all permissions, separated by commas, for an error message.
    pub(crate) fn all_names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// Replaces a synonym with the permission that it stands for. Returns any other permission unchanged.
    fn without_synonyms(self) -> Self {
        if self == Permission::JoinReadReplica { Permission::JoinReadOnly } else { self }
    }
}

/// The permissions of a user.
#[derive(Debug, Default)]
pub(crate) struct Permissions(HashSet<Permission>);

impl Permissions {
    /// Creates the permissions with these names.
    ///
    /// # Errors
    /// Returns the first name that is not the name of a permission.
    pub(crate) fn from_names(names: &[String]) -> Result<Self, &str> {
        let known = |name| Permission::from_name(name).map(Permission::without_synonyms).ok_or(name);
        names.iter().map(String::as_str).map(known).collect::<Result<_, _>>().map(Permissions)
    }

    /// Returns whether the user has the permission `needed`.
    pub(crate) fn include(&self, needed: Permission) -> bool {
        self.0.contains(&Permission::All) || self.0.contains(&needed.without_synonyms())
    }
}
