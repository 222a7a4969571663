//! Checks that all nodes have the same content.
//!
//! The nodes compute digests of their content ([`sqlhttp_core::ContentDigest`]) directly after the same entry of the
//! Raft log, while writes continue. Any node can coordinate a verification:
//!
//! 1. The coordinator chooses an index a little above the last entry of the log, and asks each member to keep its
//!    content directly after that entry ([`sessions`]). If a member has passed the index already, the coordinator
//!    chooses a larger one.
//! 2. It appends barriers to the log until the log has reached the index.
//! 3. Each member computes the digest. The coordinator compares them ([`coordinator`]).
//! 4. The coordinator sends each member the verdict. A node whose content is not that of a majority of the voters
//!    records that durably ([`mark`]).
//! 5. Where digests differ, the coordinator finds the rows: it compares the digests of the tables, of buckets of rows,
//!    and of the rows of a bucket ([`search`], [`compare`]).
//!
//! Beside that, the leader compares a running hash of the outcomes of all nodes ([`outcomes`]), and verifies when they
//! differ.
//!
//! On request ([`repair`]), the leader then sends its content to each follower that differs ([`reseed`]).

mod compare;
mod coordinator;
mod mark;
mod messages;
mod outcomes;
mod repair;
mod reseed;
mod search;
mod sessions;

use std::collections::BTreeMap;

use sqlhttp_core::{Error, RowKey};

pub(crate) use mark::DifferenceMark;
pub(crate) use messages::{BucketsCall, EndCall, PinCall, RowsCall, StateCall, VerdictCall};
pub(crate) use outcomes::{OutcomeCall, OutcomeWatch, OutcomesCall};
pub(crate) use reseed::{ReseedCall, SeedCall};
pub(crate) use sessions::VerifySessions;

/// The options of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Whether each node also runs an integrity check, which compares the indexes with the tables.
    pub deep: bool,
    /// Whether the leader replaces the content of each follower that differs from the majority, and the nodes then are
    /// compared again.
    pub repair: bool,
}

impl VerifyOptions {
    /// Creates the default options: no integrity check and no repair.
    pub const fn new() -> VerifyOptions {
        VerifyOptions { deep: false, repair: false }
    }

    /// Sets [`VerifyOptions::deep`](#structfield.deep).
    #[must_use]
    pub const fn deep(self, deep: bool) -> VerifyOptions {
        VerifyOptions { deep, ..self }
    }

    /// Sets [`VerifyOptions::repair`](#structfield.repair).
    #[must_use]
    pub const fn repair(self, repair: bool) -> VerifyOptions {
        VerifyOptions { repair, ..self }
    }
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verification {
    /// The index of the Raft log at which the content was compared.
    pub index: u64,
    /// Whether all nodes have responded, have the same content, and no integrity check has found damage.
    pub equal: bool,
    /// Whether a majority of the voters has responded.
    pub has_quorum: bool,
    /// The results of the nodes, by name.
    pub nodes: BTreeMap<String, NodeDigest>,
    /// The differences that were found; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// The names of the followers whose content the leader has replaced.
    pub repaired: Vec<String>,
}

/// The maximum number of differences in the result of a verification.
pub const DIFFERENCES_MAX: usize = 100;

/// The result of one node in a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NodeDigest {
    /// The digest of the node's content; `None` if the node has computed none.
    pub digest: Option<u128>,
    /// Why the node has computed no digest, or the damage that its integrity check has found.
    pub error: Option<String>,
}

/// A row, or a table, in which a node differs from the majority. Without a majority, the nodes are compared with the
/// one whose digest is most frequent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name of the node.
    pub node: String,
    /// The name of the table.
    pub table: String,
    /// The key of the row; `None` if only one of the nodes has the table, or if the rows could not be compared.
    pub row: Option<RowKey>,
}

/// Why the content of the nodes could not be compared.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The coordinator or another node is verifying already.
    #[error("a verification is running already")]
    Running,
    /// There is no leader, or the log has no quorum.
    #[error(transparent)]
    Log(#[from] Error),
    /// The log grew so fast that the nodes could not agree on an index.
    #[error("the nodes passed the chosen index each time; try again when there are fewer writes")]
    TooBusy,
}
