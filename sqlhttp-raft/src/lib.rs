//! A SQLite database that is replicated by Raft.
//!
//! Every write goes through a Raft log, which is synced to disk before the caller receives an acknowledgement. The
//! database applies the log on its single writer thread. It records the index of the last applied entry in the
//! transaction that writes the data. A crash can lose only the tail of the log that was not acknowledged. It never
//! loses an acknowledged write, and no write is ever applied twice.
//!
//! ```
//! use sqlhttp_core::{Backend, Batch, Deadline, ReadLevel, Step};
//! use sqlhttp_raft::{Node, NodeOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let directory = dir.path();
//! let node = Node::start(NodeOptions::new(directory, "n1", "localhost:4002")).await?;
//! let batch = Batch::transaction(vec![
//!     Step::execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ()),
//!     Step::execute("INSERT INTO users(name) VALUES (?)", ["Ada"]),
//! ]);
//! let outcome = node.execute(batch, Deadline::NEVER).await?.whole().await?;
//! assert!(outcome.log_index > 0);
//!
//! let read = Batch::one(Step::query("SELECT name FROM users", ()));
//! let outcome = node.query(read, ReadLevel::Linearizable, Deadline::NEVER).await?.whole().await?;
//! assert_eq!(outcome.steps.len(), 1);
//! node.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The life of a write
//!
//! 1. `Node::execute_batch` classifies the batch (may it share a transaction with other batches?) and stamps it with a
//!    timestamp and a random seed. Every node runs the batch with this stamp, so that all nodes compute the same
//!    values.
//! 2. `command::EncodedOperation::new` encodes the batch, and `Proposer::propose` queues it.
//! 3. `propose::gather` combines the queued operations into one log entry. `propose::replicate` registers their callers
//!    in `waiters`, and `Raft::client_write` appends the entry to the log.
//! 4. `log::LogStore::append` passes the entry to the log thread, which writes all queued entries and syncs them
//!    together.
//! 5. When a quorum has synced the entry, openraft calls `StateMachine::apply`. `Database::apply` then runs the
//!    committed entries on the writer thread, many of them in one transaction. The same transaction records the index
//!    of the last applied entry.
//! 6. The writer thread sends each caller its outcome as soon as the transaction is committed.
//!
//! # Limits
//!
//! Clusters have a single node for now. This crate depends on an alpha version of openraft (0.10) and pins it exactly.
//! No public signature contains a type of openraft.
//!
//! # Map
//!
//! | module | contents |
//! |---|---|
//! | [`Node`] (`node`) | the public interface: a [`sqlhttp_core::Backend`] |
//! | `start`, `runtime` | opens and checks the files, and starts Raft; the thread on which replication runs |
//! | `leadership` | tracks whether this node is leader |
//! | `propose`, `waiters` | queues operations and proposes entries; the callers that wait for their outcomes |
//! | `command` | the contents of a Raft log entry, and their encoding |
//! | `skip` | `raft/skip.json`, which makes a node skip an entry of the Raft log |
//! | `log` | the Raft log on disk |
//! | `machine` | the state machine and its snapshots |
//! | `membership` | the encoding of the cluster membership |
//! | `maintain` | periodic snapshots, VACUUM and `PRAGMA optimize` |
//! | `network` | connections to other nodes (a stub) |
//! | [`Observer`] (`observer`) | the events that a node reports |
//! | `status` | the status of a node |
//! | `timer` | a timer that all waiting writes share |
//! | `types`, `raft` | openraft's type parameters; this node's handle to openraft |

mod bootstrap;
mod cluster;
mod command;
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
mod runtime;
#[cfg(test)]
mod scripts;
mod skip;
mod snapshots;
mod start;
mod status;
mod timer;
mod types;
mod waiters;
mod writes;

pub use bootstrap::BootstrapState;
pub use cluster::{ClusterError, Joined, PeerInfo};
pub use forward::{Authorizer, Credentials, PermitAll};
pub use network::{BoxedStream, PeerSecurity, PeerStream, SecuredStream};
pub use node::{BootError, Node, NodeUser};
pub use observer::{Event, NoObserver, Observer};
pub use options::{Formation, NodeOptions, SnapshotPolicy};
pub use start::StartError;
pub use status::{LogStats, Member, NodeStatus, Role, Totals};
