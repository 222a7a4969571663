//! The writer of a database: one thread that runs all writes.
//!
//! * [`queue`]: the bounded queue of the tasks that the writer runs.
//! * [`thread`]: the loop of the writer thread. It takes all queued batches at once as a group (batches that share a
//!   transaction). The loop needs no timers: while one group syncs, the batches of the next group queue up.
//! * [`group`]: runs several batches in one transaction with one fsync. Each batch has the same result as in a
//!   transaction of its own.
//! * [`driver`]: runs one batch inside a transaction.
//! * [`owner`]: runs tasks that the process embedding the database requests, as opposed to its clients: scripts,
//!   VACUUM, checkpoints, replacing the content.
//! * [`transaction`]: runs the transactions of closures.
//! * [`space`]: frees disk space after a write that failed because the disk was full.
//!
//! If the database applies a Raft log, [`super::replicated`] runs on this thread too.

pub(super) mod driver;
mod group;
mod owner;
pub(super) mod queue;
pub(super) mod space;
pub(super) mod thread;
mod transaction;
