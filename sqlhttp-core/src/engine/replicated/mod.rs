//! A database that applies a log ([`crate::Writes::Log`]).
//!
//! * [`entry`]: what an entry looks like to it; [`item`]: the pieces of work that entries consist of.
//! * [`apply`]: applies them on the writer's thread; [`local`]: failures of this node alone.
//! * [`progress`]: how far the database is; [`sync`]: makes that durable.
//! * [`replace`]: all of its content replaced at once.

mod apply;
pub(super) mod entry;
mod node_failure;
pub(super) mod progress;
pub(super) mod replace;
pub(super) mod sync;
mod work_item;
