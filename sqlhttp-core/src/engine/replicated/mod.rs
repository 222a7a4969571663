//! A database that applies a Raft log ([`crate::Writes::Log`]).
//!
//! * [`entry`]: the entries of the Raft log.
//! * [`work_item`]: the operations of log entries, each with its position in the Raft log.
//! * [`apply`]: applies the entries on the writer thread.
//! * [`chain`]: a running hash of the outcomes, which nodes compare.
//! * [`node_failure`]: handles failures that depend on this node alone.
//! * [`progress`]: the position in the Raft log up to which the database has applied entries.
//! * [`sync`]: makes applied entries durable.
//! * [`replace`]: replaces all content of the database with that of a file, in one transaction.
//! * [`snapshot`]: copies of the database for other nodes.
//! * [`install`]: replaces the file of an open database by a snapshot.
//! * [`swap`]: the file operations of that, and how a crash between them is recovered.

mod apply;
pub(super) mod chain;
pub(super) mod entry;
pub(super) mod install;
pub(super) mod node_failure;
pub(super) mod progress;
pub(super) mod replace;
pub(super) mod snapshot;
pub(super) mod swap;
pub(super) mod sync;
mod work_item;
