//! A SQLite database that Raft replicates to the nodes of a cluster, for programs that embed it.
//!
//! Every write goes through a Raft log, which a quorum has synced to disk before the caller receives an
//! acknowledgement. Each node accepts reads and writes: it forwards writes to the leader, and runs reads on its own
//! database. The database applies the log on its single writer thread. It records the index of the last applied entry
//! in the transaction that writes the data. A crash can lose only the tail of the log that was not acknowledged. It
//! never loses an acknowledged write, and no write is ever applied twice.
//!
//! ```
//! use sqlhttp_core::{CallOptions, Executor as _, Failure, ReadLevel, Step, params};
//! use sqlhttp_raft::{Node, NodeOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let directory = dir.path();
//! // The only node of its cluster. `examples/three_nodes.rs` starts a cluster of three nodes.
//! let node = Node::start(NodeOptions::new(directory, "n1", "localhost:4002")).await?;
//! node.execute("CREATE TABLE accounts(id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER)", ()).await?;
//! for (owner, balance) in [("Ada", 100), ("Grace", 0)] {
//!     node.execute("INSERT INTO accounts(owner, balance) VALUES (?, ?)", params![owner, balance]).await?;
//! }
//!
//! // A batch is one transaction, on every node. The Raft log contains SQL and no closures, so a step has a condition.
//! let transfer = |amount: i64| {
//!     let take = "UPDATE accounts SET balance = balance - ?1 WHERE owner = 'Ada' AND balance >= ?1";
//!     let give = "UPDATE accounts SET balance = balance + ?1 WHERE owner = 'Grace'";
//!     node.batch(vec![
//!         Step::execute(take, [amount]).expect_changed(1),
//!         Step::execute(give, [amount]).expect_changed(1),
//!     ])
//! };
//! transfer(30).await?;
//! let short = transfer(200).await.unwrap_err();
//! assert!(matches!(short.failure(), Some(Failure::UnexpectedRows { .. })));
//!
//! let newest = CallOptions::new().level(ReadLevel::Linearizable);
//! let sql = "SELECT owner, balance FROM accounts ORDER BY id";
//! let balances: Vec<(String, i64)> = node.with(newest).query_all(sql, ()).await?;
//! assert_eq!(balances, [("Ada".to_owned(), 70), ("Grace".to_owned(), 30)]);
//! node.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | call |
//! |---|---|
//! | start a node, with the files of its directory | [`Node::start`] |
//! | add a node to a cluster; form a cluster of several new nodes | [`Node::join`], [`Node::bootstrap`] |
//! | run SQL | the methods of [`Executor`](sqlhttp_core::Executor) |
//! | handle the failure of each statement, in a server | [`Backend`](sqlhttp_core::Backend), [`Node::on_behalf_of`] |
//! | choose the consistency of a read | [`ReadLevel`](sqlhttp_core::ReadLevel), in the options of a call |
//! | find the leader, and see how far a node is | [`Node::leader`], [`Node::status`] |
//! | stop a node, and give the leadership to another one before | [`Node::transfer_leadership`], [`Node::close`] |
//! | compare the content of all nodes | [`Node::verify`] |
//! | copy the database; replace its content | [`Database::backup`](sqlhttp_core::Database::backup), [`Node::load`] |
//!
//! # When to use it
//!
//! Use this crate if a Rust program and its database must continue when a machine fails, and no acknowledged write may
//! be lost. Use something else in other cases:
//!
//! * [sqlhttp-core](sqlhttp_core): one machine is enough. A database without a Raft log takes closures as transactions,
//!   and its writes cost less.
//! * The program `sqlhttp-cluster` of the crate `sqlhttp-server`, or [rqlite](https://rqlite.io): the clients are
//!   programs in any language, and use HTTP.
//! * [hiqlite](https://docs.rs/hiqlite): a replicated SQLite for Rust programs, too, which also has caches, locks and
//!   notifications.
//! * [openraft](https://docs.rs/openraft): the replicated state is no SQLite database. A program that uses openraft
//!   directly implements the log on disk, the state machine and the network.
//!
//! The crate contains no protocol for clients, no HTTP, no discovery of nodes, and no TLS; the program can supply TLS
//! ([`PeerSecurity`]). The log on disk needs Unix.
//!
//! # Costs
//!
//! | call | waits for |
//! |---|---|
//! | a write on the leader | an fsync on a quorum of nodes, shared with other writes; the transaction that applies it |
//! | a write on another node | the same, and two round trips to the leader: for the newest schema, and with the write |
//! | a read at level `None` | nothing; its result may be out of date |
//! | a read at level `Weak`, the default | on the leader nothing; on another node a round trip to the leader |
//! | a read at level `Linearizable` | a quorum, which confirms the leader; on another node also a round trip to it |
//! | a read at level `Strong` | an entry of the Raft log, like a write |
//!
//! * [`Backend::write_batch`](sqlhttp_core::Backend::write_batch) on another node than the leader needs one round trip
//!   to the leader, not two: it does not find out first whether the batch writes.
//! * Reads that wait at the same time share the question to the leader, and the confirmation by a quorum.
//! * On another node than the leader, a read also waits until the node has applied the entries up to the read index
//!   that the leader has returned. If that takes longer than half a second, the leader runs the read.
//! * In a cluster of one node, no call waits for another node.
//!
//! # Threads
//!
//! | work | thread |
//! |---|---|
//! | encoding writes; short reads | the thread of the caller, in a Tokio runtime with timers |
//! | Raft, its messages to and from other nodes | `sqlhttp-raft`, one for each node |
//! | requests that other nodes forward, snapshots, loaded files | `sqlhttp-peers`, one for each node |
//! | appending to the Raft log, and its fsync | `sqlhttp-log`; often `sqlhttp-raft` in a cluster of one node |
//! | applying entries; longer reads | the writer thread and the reader threads of the database ([`sqlhttp_core`]) |
//! | opening and checking files, checking permissions | Tokio's threads for blocking work |
//!
//! Work on the runtime of the program therefore delays no heartbeat.
//!
//! # The life of a write
//!
//! 1. `Node::execute_for` finds the leader. On another node, `Node::forward` sends the batch there, and
//!    `Node::run_forwarded` continues on the leader. `Node::execute_classified` stamps the batch with a timestamp and a
//!    random seed. Every node runs the batch with this stamp, so that all nodes compute the same values.
//! 2. `command::EncodedOperation::new` encodes the batch, and `Proposer::propose` queues it.
//! 3. `propose::gather` combines the queued operations into one log entry. `propose::replicate` registers their callers
//!    in `waiters`, and `Raft::client_write` appends the entry to the log.
//! 4. `log::LogStore::append` passes the entry to the log thread, which writes all queued entries and syncs them
//!    together. At the same time, `network::append` sends the entry to each follower, which does the same.
//! 5. When a quorum has synced the entry, openraft calls `StateMachine::apply`. `Database::apply_and_notify` then runs
//!    the committed entries on the writer thread, many of them in one transaction. The same transaction records the
//!    index of the last applied entry.
//! 6. The writer thread sends each caller its outcome as soon as the transaction is committed.
//!
//! # The life of a read
//!
//! 1. `Node::read_for` selects the wait of the read by its consistency level and the role of the node.
//! 2. `ReadIndexes::next` returns the read index of a round that the read shares with others. A follower asks the
//!    leader for it, which confirms its leadership.
//! 3. When this node has applied the log up to the read index, the read runs on the local database.
//!
//! # Limits
//!
//! This crate depends on an alpha version of openraft (0.10) and pins it exactly. No public signature contains a type
//! of openraft.
//!
//! # Map
//!
//! | module | contents |
//! |---|---|
//! | [`Node`] (`node`) | the public interface: a [`sqlhttp_core::Backend`] |
//! | `start`, `runtime` | opens and checks the files, and starts Raft; the threads on which a node runs its tasks |
//! | `identity` | `node.json`: the identity of the node and of its cluster |
//! | `leadership` | tracks which node is leader, and whether this node can serve requests; the times of elections |
//! | `stall` | leaves the leadership to other nodes while this node cannot write to its disk |
//! | `writes`, `forward` | the path of a write; the requests that a follower forwards to the leader |
//! | `reads`, `read_index` | the path of a read; read indexes, which reads share |
//! | `cluster`, `members` | the node as a member; the changes of the membership that the leader makes |
//! | `removal` | finds out whether this node was removed from its cluster |
//! | `bootstrap` | forms a cluster of nodes that know only each other's addresses |
//! | `loads` | loads of database files through any node |
//! | `snapshots` | copies of the database for followers that need entries that are no longer in the log |
//! | `verify` | checks that all nodes have the same content; replaces the content of a node that differs |
//! | `recovery` | `raft/peers.json`, which recovers a cluster without a quorum |
//! | `propose`, `waiters` | queues operations and proposes entries; the callers that wait for their outcomes |
//! | `command`, `byte_string` | the contents of a Raft log entry, and their encoding |
//! | `skip` | `raft/skip.json`, which makes a node skip an entry of the Raft log |
//! | `files` | small files that are replaced or removed durably |
//! | `clock` | the clocks and the random numbers of a node |
//! | `log` | the Raft log on disk |
//! | `machine` | the state machine and its snapshots |
//! | `membership` | the encoding of the cluster membership |
//! | `maintain` | periodic snapshots, VACUUM and `PRAGMA optimize` |
//! | `network`, `peer_service` | connections to other nodes; the responses to their requests |
//! | [`Observer`] (`observer`) | the events that a node reports |
//! | `status` | the status of a node |
//! | `sim` (with the feature `sim`) | a simulation of a whole cluster, driven by one seed |
//! | `timer` | a timer that all waiting writes share |
//! | `types`, `raft` | openraft's type parameters; this node's handle to openraft |

/// Returns whether the code that runs has the named fault of `sim::Mutation`. Without the feature `sim`, the value is
/// `false` at compile time.
macro_rules! mutated {
    ($mutation:ident) => {{
        #[cfg(feature = "sim")]
        let mutated = crate::sim::is_mutated(crate::sim::Mutation::$mutation);
        #[cfg(not(feature = "sim"))]
        let mutated = false;
        mutated
    }};
}

mod bootstrap;
mod byte_string;
mod clock;
mod cluster;
mod command;
mod files;
mod forward;
mod identity;
mod leadership;
mod loads;
mod log;
mod machine;
mod maintain;
mod members;
mod membership;
mod network;
mod node;
mod observer;
mod options;
mod peer_service;
mod propose;
mod raft;
mod read_index;
mod reads;
mod recovery;
mod removal;
mod runtime;
#[cfg(test)]
mod scripts;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
mod skip;
mod snapshots;
mod stall;
mod start;
mod status;
mod timer;
mod types;
mod verify;
mod waiters;
mod writes;

pub use bootstrap::BootstrapState;
pub use cluster::{ClusterError, Joined, PeerInfo};
pub use forward::{Authorizer, Credentials, PermitAll};
pub use network::{BoxedStream, HTTP_PROBE, PeerSecurity, PeerStream, SecuredStream};
pub use node::{BootError, Node, NodeUser};
pub use observer::{Event, NoObserver, Observer};
pub use options::{Formation, NodeOptions, SnapshotPolicy};
pub use start::StartError;
pub use status::{LogStats, Member, NodeStatus, Role, Totals};
pub use verify::{DIFFERENCES_MAX, Difference, NodeDigest, Verification, VerifyError, VerifyOptions};
