//! The node of this process, which is opened after the HTTP API has begun to listen.

use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{Answer, Backend, Batch, BoxFuture, Deadline, Error, ReadLevel};
use sqlhttp_raft::{Credentials, Node, NodeUser};
use tokio::sync::SetOnce;

use crate::api::exchange::RequestBackend;

/// The maximum time that a request waits until the node is open.
const OPEN_WAIT: Duration = Duration::from_secs(5);

/// A place for the node of this process. It is empty until the node is open.
#[derive(Default)]
pub(crate) struct NodeSlot(SetOnce<OpenNode>);

struct OpenNode {
    node: Node,
    /// The node for requests without credentials, for each value of [`LeaderPermissions`].
    anonymous: [NodeUser; 5],
}

/// The permissions that a request needs on the leader if this node forwards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaderPermissions {
    Execute,
    Query,
    QueryAndExecute,
    Load,
    Backup,
}

impl LeaderPermissions {
    const ALL: [LeaderPermissions; 5] = [
        LeaderPermissions::Execute,
        LeaderPermissions::Query,
        LeaderPermissions::QueryAndExecute,
        LeaderPermissions::Load,
        LeaderPermissions::Backup,
    ];

    /// Returns the names of the permissions in the auth file.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            LeaderPermissions::Execute => &["execute"],
            LeaderPermissions::Query => &["query"],
            LeaderPermissions::QueryAndExecute => &["query", "execute"],
            LeaderPermissions::Load => &["load"],
            LeaderPermissions::Backup => &["backup"],
        }
    }
}

impl NodeSlot {
    /// Stores the node. Has no effect if the slot has a node already.
    pub(crate) fn fill(&self, node: Node) {
        let anonymous = LeaderPermissions::ALL.map(|permissions| node.on_behalf_of(None, permissions.names()));
        let _ = self.0.set(OpenNode { node, anonymous });
    }

    /// Returns the node; `None` if it is not open yet.
    pub(crate) fn get(&self) -> Option<&Node> {
        self.0.get().map(|open| &open.node)
    }

    /// Waits until the node is open.
    pub(crate) async fn opened(&self) -> &Node {
        &self.0.wait().await.node
    }

    /// Waits until the node is open, but for at most [`OPEN_WAIT`]. Clients of rqlite take the response of a node that
    /// is not open for a success, because its status is 200.
    pub(crate) async fn opened_soon(&self) {
        if self.0.get().is_none() {
            // After the time limit, the request gets the error of a node that is not open.
            let _ = tokio::time::timeout(OPEN_WAIT, self.0.wait()).await;
        }
    }

    /// Returns the backend of a client's request. A batch that the node forwards carries the credentials to the leader,
    /// which checks that the client has the permissions. Returns `None` if the node is not open yet.
    pub(crate) fn of_client(
        &self,
        credentials: Option<Credentials>,
        permissions: LeaderPermissions,
    ) -> Option<RequestBackend<'_>> {
        let open = self.0.get()?;
        Some(match credentials {
            None => RequestBackend::Shared(&open.anonymous[permissions as usize]),
            credentials => RequestBackend::Own(Box::new(open.node.on_behalf_of(credentials, permissions.names()))),
        })
    }
}

/// The backend of batches that the node runs for itself, such as queued writes, which were authorized when they were
/// queued. All batches fail with [`Error::Closed`] until the node is open.
pub(crate) struct OwnBackend(pub(crate) Arc<NodeSlot>);

impl Backend for OwnBackend {
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.0.get().map_or_else(not_open, |node| node.request(batch, level, deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.0.get().map_or_else(not_open, |node| node.write_batch(batch, deadline))
    }

    fn read_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.0.get().map_or_else(not_open, |node| node.read_batch(batch, level, deadline))
    }
}

fn not_open<'a>() -> BoxFuture<'a, Result<Answer, Error>> {
    Box::pin(async { Err(Error::Closed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_in_the_order_of_their_values() {
        for (index, permissions) in LeaderPermissions::ALL.into_iter().enumerate() {
            assert_eq!(permissions as usize, index);
        }
    }
}
