//! A SQLite database that is replicated by Raft.
//!
//! Every write goes through a log that is on disk before anybody is told; the database applies the log through its one
//! writer and notes how far it is in the same transaction. So a crash at any moment costs the log's tail, never an
//! acknowledged write, and never a write applied twice.
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
//! 1. `Node::execute_batch` asks the database whether the batch must be alone, and stamps it: the only time and chance
//!    that any node will see for it.
//! 2. `command::EncodedOperation::new` encodes it, and `Proposer::propose` lets it wait.
//! 3. `propose::gather` puts everything that waits into one entry, `Raft::client_write` gives it a place in the log.
//! 4. `log::LogStore::append` hands it to the log's thread: one write and one sync for all that waits.
//! 5. When a quorum has synced it, openraft calls `StateMachine::apply`, and `Database::apply` runs it on the writer, many
//!    entries in one transaction, together with the note of how far the database is.
//! 6. Then every caller is told.
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | [`Node`] (`node`) | the way in: a [`sqlhttp_core::Backend`] |
//! | `start`, `runtime` | what is opened and checked first; the thread that replication runs on |
//! | `propose` | the way of work into the log |
//! | `command` | what an entry carries, and its format |
//! | `skip` | an operator's way past one entry |
//! | `log` | the log on disk |
//! | `machine` | the state machine, snapshots |
//! | `observer` | what the program that runs the node is told |
//! | `maintain` | snapshots, cuts of the log, VACUUM by the clock |
//! | `network` | the way to other nodes |
//! | `status` | what a node tells of itself |
//! | `types`, `raft` | openraft's types; this node's handle to it |
//! | `waiters` | the callers that wait for an entry |
//! | `leadership` | whether this node leads |
//!
//! openraft appears in no public signature.

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
