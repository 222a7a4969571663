//! Faults that are put into the code on purpose, to show that the invariants detect them.

/// A fault of the code. It exists only in a simulation that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A restarted leader leads again without an election, and serves reads from a database that lacks commits.
    LeaderRestore,
    /// The state machine applies entries that this node has not synced.
    ApplyBeforeDurable,
    /// A vote is sent before it is synced.
    UnsyncedVote,
    /// The rename of an installed snapshot is not synced before the log is purged.
    UnsyncedInstall,
    /// A leader serves weak reads without a lease.
    StaleWeakRead,
    /// A write whose outcome is unknown is sent again.
    RetryUnknown,
    /// A snapshot contains entries after the position that it names.
    SnapshotAhead,
    /// A failed batch of a log entry is not rolled back.
    KeepFailedBatch,
    /// A linearizable read does not confirm the leadership.
    UnconfirmedRead,
    /// The log is not synced before entries and votes are reported as durable.
    UnsyncedLog,
    /// A snapshot is installed without a record, so that a crash leaves a log that does not fit the database.
    InstallWithoutRecord,
    /// A small file is not synced when it is replaced.
    UnsyncedFile,
    /// A leader that has transferred its leadership serves reads while it holds its lease.
    ReadyAfterTransfer,
    /// A leader that is not a voter any more serves reads while it holds its lease.
    ReadyWithoutVote,
    /// The response to a request for entries also confirms later requests that end with the same entry.
    SharedResponse,
    /// A node votes as soon as it is started, although it may have confirmed a leader just before.
    VoteAfterStart,
    /// A node that needs no snapshot confirms the leadership of its sender, although it has voted for a later leader.
    SnapshotConfirms,
    /// A node that installs a snapshot first removes all entries that it does not know to be committed.
    TruncateCommitted,
}

impl Mutation {
    /// All faults.
    pub const ALL: [Mutation; 18] = [
        Mutation::LeaderRestore,
        Mutation::ApplyBeforeDurable,
        Mutation::UnsyncedVote,
        Mutation::UnsyncedInstall,
        Mutation::StaleWeakRead,
        Mutation::RetryUnknown,
        Mutation::SnapshotAhead,
        Mutation::KeepFailedBatch,
        Mutation::UnconfirmedRead,
        Mutation::UnsyncedLog,
        Mutation::InstallWithoutRecord,
        Mutation::UnsyncedFile,
        Mutation::ReadyAfterTransfer,
        Mutation::ReadyWithoutVote,
        Mutation::SharedResponse,
        Mutation::VoteAfterStart,
        Mutation::SnapshotConfirms,
        Mutation::TruncateCommitted,
    ];

    /// The corresponding fault of the database engine; `None` if the fault is in this crate.
    pub(super) fn of_engine(self) -> Option<sqlhttp_core::simulation::Mutation> {
        match self {
            Mutation::UnsyncedInstall => Some(sqlhttp_core::simulation::Mutation::UnsyncedInstall),
            Mutation::KeepFailedBatch => Some(sqlhttp_core::simulation::Mutation::KeepFailedBatch),
            _ => None,
        }
    }
}

/// Returns whether the code that runs has this fault.
pub(crate) fn is_mutated(mutation: Mutation) -> bool {
    super::machine().is_some_and(|machine| machine.mutation == Some(mutation))
}
