//! The replication of a database, as far as the request handlers of both protocols depend on it.

use std::time::Duration;

use sqlhttp_core::{BoxFuture, Deadline, Error, ReadLevel};

/// The replication of a database. A database of the standalone server has none.
pub(crate) trait Replication: Send + Sync {
    /// Returns whether this node is open. A node serves HTTP before it is open.
    fn is_open(&self) -> bool;

    /// Returns whether this node is the leader.
    fn is_leader(&self) -> bool;

    /// Returns the address at which other nodes connect to the leader, as `host:port`; `None` if no leader is known.
    fn leader_address(&self) -> Option<String>;

    /// Requests the URL of the leader's HTTP API from the leader. Returns `None` if no leader is known or it does not
    /// respond within `timeout`.
    fn leader_url(&self, timeout: Duration) -> BoxFuture<'_, Option<String>>;

    /// Returns whether reads at this level are answered from this node's database, without the leader, even if this
    /// node is not the leader.
    fn reads_locally(&self, level: ReadLevel) -> bool;

    /// Returns whether this node, which is not the leader, has had no contact with the leader for longer than
    /// `freshness`. If `strict` is set, also returns true if the node has not applied all entries that it knows to be
    /// committed, and the last applied one is older than `freshness`.
    fn is_stale(&self, freshness: Duration, strict: bool) -> bool;

    /// Waits until this node has applied every entry of the Raft log that was committed when this function was called.
    fn catch_up(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>>;
}
