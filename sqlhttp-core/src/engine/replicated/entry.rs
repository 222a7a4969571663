//! The entries of the log that a database applies.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Batch, Outcome};

/// An entry of a log. The same entries in the same order produce the same database, wherever and whenever they are
/// applied.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The term in which it was proposed.
    pub term: u64,
    /// Its index in the log.
    pub index: u64,
    /// The conditions under which its batches run; `None` for an entry of an older format, to which [`crate::Options`]
    /// apply.
    pub conditions: Option<Conditions>,
    /// Its operations, in order; may be empty.
    pub work: Vec<LogWork>,
}

/// Everything besides the database that the batches of an entry depend on. The node that proposes the entry sets it, so
/// that every node applies the entry alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The time that SQL sees, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// Whether foreign keys are enforced.
    pub foreign_keys: bool,
    /// The largest value or row, in bytes: see [`crate::Options::value_bytes_max`].
    pub value_bytes_max: u64,
}

/// An operation of a log entry.
#[derive(Debug, Clone)]
pub enum LogWork {
    /// Runs a batch. It must have a stamp.
    Batch {
        /// The batch.
        batch: Arc<Batch>,
        /// It must not share its transaction with others: see [`crate::Database::classify`].
        exclusive: bool,
        /// The approximate number of virtual-machine steps that it may take; 0 for no limit. A statement that exceeds
        /// it fails with [`crate::Failure::Timeout`], at the same step on every node.
        steps_max: u64,
    },
    /// Changes nothing. Its outcome shows that all entries before it have been applied.
    Barrier,
    /// Records the membership of the cluster, in the encoding of the log's owner.
    Membership(Vec<u8>),
    /// Replaces all content by that of a file: see [`crate::Database::check_image`].
    Replace(PathBuf),
}

/// A callback that receives the outcome of each batch, barrier and replacement of an entry, in order, as soon as it is
/// committed. It runs on the writer thread, so it must be quick.
pub type OnApplied = Box<dyn FnMut(Outcome) + Send>;
