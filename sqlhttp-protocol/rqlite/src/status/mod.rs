//! The document of `/status`.
//!
//! Each of the two servers has its own document. [`StandaloneStatus`] is the document of a standalone server with
//! independent databases, and [`NodeStatus`] is that of a node of a cluster. Both contain the keys that rqlite's tools
//! read. rqlite also reports facts about Go, about bbolt, and about features that do not exist here. For these, the
//! document contains constants of the same type.
//!
//! The structs contain plain values, which the caller collects: this module reads no clock, no file and no socket. The
//! method `encode` of each struct writes the document with its keys in ascending order.

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
pub use node::{Cluster, Discovery, DiscoveryQuery, NodeStatus};
pub use process::Process;
pub use raft::{Raft, RaftMember, RaftSettings};
pub use sqlite::{PRAGMAS, Sqlite};
pub use standalone::StandaloneStatus;
pub use store::{AutoVacuum, NEVER, Progress, Settings, Store};
