//! The one writer of a database.
//!
//! * [`queue`]: what waits for it, bounded.
//! * [`thread`]: takes what waits and runs it; at its own pace, without timers: while one group syncs, the next gathers.
//! * [`group`]: several batches in one transaction and one fsync, each as if it were alone; [`driver`]: one of them.
//! * [`space`]: gives space back to a full disk.
//! * [`owner`]: what the database's owner asks for: scripts, VACUUM, checkpoints.
//!
//! [`super::replicated`] applies the entries of a log, where that is what is written.

pub(super) mod driver;
mod group;
mod owner;
pub(super) mod queue;
pub(super) mod space;
pub(super) mod thread;
