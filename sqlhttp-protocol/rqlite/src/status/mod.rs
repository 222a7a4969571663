//! The document of `/status`.
//!
//! Each of the two servers has a document of its own: [`StandaloneStatus`] is that of a server with independent
//! databases, [`NodeStatus`] that of a node of a cluster. Both contain the keys that rqlite's tools read. Facts that
//! rqlite reports about Go, bbolt or features that do not exist here have constant values of the same type.
//!
//! The structs contain plain facts. The caller collects them: this module reads no clock, no file and no socket.
//! `encode` writes the document with its keys in ascending order.

mod document;
mod http;
mod network;
mod node;
mod process;
mod raft;
mod size;
mod sqlite;
mod standalone;
mod store;

pub use http::{Http, Peers, Queue, Tls};
pub use network::Interface;
pub use node::{Cluster, NodeStatus};
pub use process::Process;
pub use raft::{Member, Raft, RaftSettings};
pub use sqlite::{PRAGMAS, Sqlite};
pub use standalone::StandaloneStatus;
pub use store::{AutoVacuum, NEVER, Progress, Settings, Store};
