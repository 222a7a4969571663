//! The writer of a database: one thread that runs all writes.
//!
//! * [`queue`]: the bounded queue of tasks.
//! * [`thread`]: the thread's loop. It takes all queued tasks at once and needs no timers: while one group syncs, the
//!   next one queues.
//! * [`group`]: runs several batches in one transaction with one fsync, each as if it were alone.
//! * [`driver`]: runs one batch inside a transaction.
//! * [`owner`]: the tasks of the database's owner: scripts, VACUUM, checkpoints.
//! * [`space`]: frees space on a full disk.
//!
//! [`super::replicated`] runs on this thread too, if the database applies a log.

pub(super) mod driver;
mod group;
mod owner;
pub(super) mod queue;
pub(super) mod space;
pub(super) mod thread;
