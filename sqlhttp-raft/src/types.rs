//! The types that openraft works with here. Nothing of this is public: openraft appears in no public signature.

use serde::{Deserialize, Serialize};
use sqlhttp_core::Outcome;

use crate::command::Command;

openraft::declare_raft_types!(
    /// What this cluster consists of. A log id is a term and an index, as in the Raft dissertation.
    pub(crate) TypeConfig:
        D = Command,
        R = EntryOutcomes,
        NodeId = u64,
        Node = MemberInfo,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type CommittedLeaderId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, MemberInfo>;

/// A node of the cluster, as the membership names it. Its Raft id is a number that is never used again; what its
/// operator calls it may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct MemberInfo {
    /// What the operator calls it.
    pub(crate) name: String,
    /// Where other nodes reach it, `host:port`.
    pub(crate) raft_address: String,
}

/// What came of an entry: an outcome for each of its works; none for an entry that carries no command.
#[derive(Debug, Default)]
pub(crate) struct EntryOutcomes {
    pub(crate) outcomes: Vec<Outcome>,
}

/// The index of an entry as everybody but openraft counts, as the Raft dissertation does: from 1. openraft begins at 0.
pub(crate) fn index_of(id: &LogId) -> u64 {
    id.index + 1
}

/// The log id of an entry that has this index when counted from 1; `None` for 0, before the first.
pub(crate) fn id_at(term: u64, index: u64) -> Option<LogId> {
    index.checked_sub(1).map(|index| log_id(term, index))
}

/// The log id of this term and index, as openraft counts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}
