//! A SQLite database that is replicated by Raft.
//!
//! Every write goes through a Raft log, which is synced to disk before the caller receives an acknowledgement. The
//! database applies the log through its single writer thread, and records the index of the last applied entry in the
//! same transaction. A crash at any moment can lose only the unacknowledged tail of the log; it never loses an
//! acknowledged write, and never applies a write twice.
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
//! 1. `Node::execute_batch` classifies the batch (may it share a transaction with others?) and stamps it with a
//!    timestamp and a random seed. Every node runs the batch with this stamp, so that all compute the same values.
//! 2. `command::EncodedOperation::new` encodes the batch, and `Proposer::propose` queues it.
//! 3. `propose::gather` puts the queued operations into one entry, registers their callers in `waiters`, and
//!    `Raft::client_write` appends the entry to the log.
//! 4. `log::LogStore::append` passes the entry to the log thread, which writes and syncs all queued entries together.
//! 5. When a quorum has synced the entry, openraft calls `StateMachine::apply`, and `Database::apply` runs committed
//!    entries on the writer thread, many in one transaction, together with the index that has been applied.
//! 6. The writer thread answers each caller as soon as the transaction is committed.
//!
//! # Limits
//!
//! Clusters have a single node for now. openraft is used in an alpha version (0.10), which this crate pins. It appears
//! in no public signature.
//!
//! # Map
//!
//! | module | contents |
//! |---|---|
//! | [`Node`] (`node`) | the public interface: a [`sqlhttp_core::Backend`] |
//! | `start`, `runtime` | opens and checks the files, starts Raft; the thread that replication runs on |
//! | `leadership` | tracks whether this node is leader |
//! | `propose`, `waiters` | queues operations and proposes entries; the callers that wait for them |
//! | `command` | the contents of an entry, and their encoding |
//! | `skip` | `raft/skip.json`, which makes a node skip an entry |
//! | `log` | the log on disk |
//! | `machine` | the state machine and its snapshots |
//! | `membership` | the encoding of the cluster membership |
//! | `maintain` | periodic snapshots, VACUUM and `PRAGMA optimize` |
//! | `network` | connections to other nodes (a stub) |
//! | [`Observer`] (`observer`) | the events that a node reports |
//! | `status` | the status of a node |
//! | `timer` | a timeout that many requests share |
//! | `types`, `raft` | openraft's type parameters; this node's handle to openraft |

mod command;
mod leadership;
mod log;
mod machine;
mod maintain;
mod membership;
mod network;
mod node;
mod observer;
mod options;
mod propose;
mod raft;
mod runtime;
#[cfg(test)]
mod scripts;
mod skip;
mod start;
mod status;
mod timer;
mod types;
mod waiters;

pub use node::{BootError, Node};
pub use observer::{Event, NoObserver, Observer};
pub use options::{NodeOptions, SnapshotPolicy};
pub use start::StartError;
pub use status::{LogStats, Member, NodeStatus, Role, Totals};
