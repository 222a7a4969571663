//! The type parameters of openraft, and conversions between its log ids and indexes.

use sqlhttp_core::Outcome;

use crate::command::Command;

openraft::declare_raft_types!(
    /// The types with which openraft is instantiated. A term has at most one leader, so a log id consists of a term and
    /// an index, as in the Raft dissertation.
    pub(crate) TypeConfig:
        D = Command,
        R = EntryOutcomes,
        NodeId = u64,
        Node = MemberInfo,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = crate::runtime::RaftRuntime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type CommittedLeaderId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, MemberInfo>;

/// A member of the cluster. The cluster membership stores it under the Raft id of the node. A Raft id is never reused;
/// a name may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MemberInfo {
    /// The name that the operator has given to this member.
    pub(crate) name: String,
    /// The address at which other nodes connect to this member, as `host:port`.
    pub(crate) raft_address: String,
    /// Whether this member never votes (a read replica). Another member without a vote becomes a voter when it has
    /// caught up with the leader.
    pub(crate) non_voter: bool,
    /// A random number that identifies the directory of this member; 0 for a member that an older version has added.
    pub(crate) instance: u128,
}

/// The outcomes of the operations of one Raft log entry, in order. Empty for an entry that contains no command.
#[derive(Debug, Default)]
pub(crate) struct EntryOutcomes {
    pub(crate) outcomes: Vec<Outcome>,
}

/// Returns the index of the entry with this log id, counted from 1 as in the Raft dissertation. openraft counts from 0.
pub(crate) fn index_of(id: &LogId) -> u64 {
    id.index + 1
}

/// Returns the log id of the entry at `index`, which is counted from 1. Returns `None` for 0, the index before the
/// first entry.
pub(crate) fn id_at(term: u64, index: u64) -> Option<LogId> {
    index.checked_sub(1).map(|index| log_id(term, index))
}

/// Returns the log id of the entry at `index`, which is counted from 0, as in openraft.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}
