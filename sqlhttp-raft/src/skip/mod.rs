//! Skips an entry of the Raft log that the nodes cannot apply. An operator names the entry in `raft/skip.json`, on each
//! node.
//!
//! A node that skips an entry and a node that applies it have different content. Therefore the nodes agree, in the two
//! phases of an atomic commit:
//!
//! 1. A node that reaches the entry, or is asked by another one, records durably that it is willing to skip the entry
//!    (`raft/skipped.json`). From then on it never applies the entry, even if the operator removes `raft/skip.json`.
//! 2. The leader asks all members of the cluster, voters and read replicas. When all of them are willing, it records
//!    the decision durably, and skips the entry. The other nodes ask for the decision. If a node has applied the entry,
//!    the nodes that should skip it stop with an error.
//!
//! Only the leader decides, because its log contains all members that may have received the entry (leader completeness,
//! section 3.6.3 of the Raft dissertation). A node that joins later receives the recorded decisions before it receives
//! the log.

mod agreement;
mod file;
mod records;

use serde::{Deserialize, Serialize};

pub(crate) use agreement::{AdoptSkipsCall, Scope, SkipCall, Skips};

/// An entry of the Raft log to skip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkipEntry {
    /// The index of the entry, counted from 1.
    pub(crate) index: u64,
    /// The digest of the entry's command, as returned by [`crate::command::Command::digest`].
    pub(crate) digest: String,
}
