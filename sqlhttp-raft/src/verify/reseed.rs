//! Replaces the content of a follower by that of the leader, although the follower has applied all entries.
//!
//! Raft's own snapshots cannot do that, because a follower ignores a snapshot that is not newer than its content. The
//! leader sends a copy of its database ([`crate::snapshots`]). The follower pauses the application of entries, installs
//! the copy, and applies the entries between the copy and its former position again from its own log. While the content
//! of a node is known to differ, it purges no entries from its log, so they are there. A crash in between leaves either
//! the old content or the copy; the next start applies the entries after it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Database, Deadline, Progress};
use tokio::time::Instant;

use crate::forward::Authorization;
use crate::network::{Request, Target};
use crate::node::Node;
use crate::runtime::blocking;
use crate::snapshots;

/// The error of a node that is asked for its content, but is not leader.
pub(super) const NOT_LEADER: &str = "this node is not leader";
/// The time within which a follower must apply the entries that a copy contains.
const APPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The permission to replace the content of a node.
const ALL: &str = "all";

/// Asks the leader to replace the content of a follower by its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SeedCall {
    /// The Raft id of the follower.
    pub(crate) node: u64,
    /// The user who has requested the repair.
    pub(crate) authorization: Authorization,
}

impl Request for SeedCall {
    const KIND: u8 = 45;
    type Response = Result<(), String>;
}

/// Asks a follower to replace its content by a copy that it has received completely.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReseedCall {
    pub(crate) id: u128,
}

impl Request for ReseedCall {
    const KIND: u8 = 46;
    type Response = Result<(), String>;
}

impl Node {
    /// Sends a copy of the database of this node, which is leader, to a follower, and waits until it is the content of
    /// the follower.
    pub(crate) async fn seed(&self, call: SeedCall) -> Result<(), String> {
        if !self.inner.leadership.is_ready() {
            return Err(NOT_LEADER.to_owned());
        }
        if !self.permits(&call.authorization, Some(ALL)).await {
            return Err("unauthorized".to_owned());
        }
        if call.node == self.inner.leadership.own_id() {
            return Err("a leader cannot replace its own content".to_owned());
        }
        let index_min = self.inner.database.progress().index;
        let export = self.inner.exports.get(index_min).await.map_err(|error| error.to_string())?;
        let install = ReseedCall { id: export.id };
        let (peers, exports) = (&self.inner.peers, &self.inner.exports);
        let sent = snapshots::send(peers, exports, Target::Node(call.node), &export, &install).await;
        sent.map_err(|error| error.to_string())
    }

    /// Replaces the content of this node by a copy that it has received completely.
    pub(crate) async fn reseed(&self, call: ReseedCall) -> Result<(), String> {
        if !self.inner.difference.is_marked() {
            // This node serves reads, which must not see the older content of the copy.
            return Err("the content of this node is not known to differ".to_owned());
        }
        let node = self.clone();
        let checked = blocking(move || {
            let file = node.inner.receiver.finish(call.id).map_err(|error| error.to_string())?;
            let checked = Database::check_snapshot(&file).inspect_err(|_| node.inner.receiver.end(&file));
            checked.map(|progress| (progress, file)).map_err(|error| format!("the copy is not usable: {error}"))
        });
        let (progress, file) = checked.await.map_err(|error| error.to_string())??;
        let replaced = self.replace_content(file.clone(), progress).await;
        let node = self.clone();
        let _ = blocking(move || node.inner.receiver.end(&file)).await;
        replaced
    }

    async fn replace_content(&self, file: PathBuf, progress: Progress) -> Result<(), String> {
        // The copy may be newer than the content of this node.
        let applied =
            self.wait_until_applied(progress.index, Deadline::after(Instant::now().into_std(), APPLY_TIMEOUT)).await;
        applied.map_err(|error| error.to_string())?;
        self.inner.exports.invalidate();
        self.inner.machine.reseed(file, &progress).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::options::NodeOptions;

    #[tokio::test]
    async fn a_node_that_serves_reads_does_not_go_back_to_a_copy() {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::start(NodeOptions::new(directory.path(), "n1", "localhost:1")).await.unwrap();
        let refused = node.reseed(ReseedCall { id: 7 }).await;
        assert_eq!(refused, Err("the content of this node is not known to differ".to_owned()));
        node.close().await.unwrap();
    }
}
