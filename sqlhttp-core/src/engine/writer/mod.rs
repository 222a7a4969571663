//! The one writer of a database.
//!
//! * [`queue`]: what waits for it, bounded.
//! * [`thread`]: takes what waits and runs it; at its own pace, without timers: while one group syncs, the next gathers.
//! * [`group`]: several batches in one transaction and one fsync, each as if it were alone.
//! * [`apply`]: the entries of a log, where that is what is written; [`local`]: failures of this node alone.
//! * [`space`]: gives space back to a full disk.
//! * [`owner`]: what the database's owner asks for: scripts, VACUUM, checkpoints.

mod apply;
mod group;
mod local;
mod owner;
mod queue;
mod space;
mod thread;

pub(crate) use group::stop_error;
pub(crate) use queue::{Job, LogTask, OwnerTask, Task};
pub(crate) use thread::{Shared, run};
