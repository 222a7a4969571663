//! A database that applies a log ([`crate::Writes::Log`]).
//!
//! * [`entry`]: the entries of the log.
//! * [`work_item`]: the operations of entries, each with its position.
//! * [`apply`]: applies them on the writer thread.
//! * [`node_failure`]: handles failures that depend on this node alone.
//! * [`progress`]: the position of the database in the log.
//! * [`sync`]: makes applied entries durable.
//! * [`replace`]: replaces all content at once.

mod apply;
pub(super) mod entry;
pub(super) mod node_failure;
pub(super) mod progress;
pub(super) mod replace;
pub(super) mod sync;
mod work_item;
