//! A database that applies a log: what an entry looks like to it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Batch, Outcome};

/// An entry of a log, to be applied. The same entries in the same order make the same database, wherever and whenever
/// they are applied.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The term in which it was proposed.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
    /// Under which conditions its batches run; `None` for an entry of an older format, which runs under those of
    /// [`crate::Options`].
    pub conditions: Option<Conditions>,
    /// What it does, in this order; nothing, perhaps.
    pub work: Vec<LogWork>,
}

/// Everything that the batches of an entry depend on besides the database. It is decided once, by the node that proposes the entry, so
/// that every node applies it alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The time that SQL sees, milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// Whether foreign keys are enforced.
    pub foreign_keys: bool,
    /// The longest value or row, bytes: see [`crate::Options::value_bytes_max`].
    pub value_bytes_max: u64,
}

/// Something that an entry of a log does.
#[derive(Debug, Clone)]
pub enum LogWork {
    /// Runs a batch. It must have a stamp.
    Batch {
        /// The batch.
        batch: Arc<Batch>,
        /// It must not share its transaction with others: see [`crate::Database::classify`].
        exclusive: bool,
        /// How many steps of SQLite's virtual machine it may take, about; 0 for no limit. A statement that exceeds it fails with
        /// [`crate::Failure::Timeout`], on every node at the same step.
        steps_max: u64,
    },
    /// Takes its place in the log, and changes nothing: whoever waits for it knows that all before it is applied.
    Barrier,
    /// Remembers who belongs to the cluster, in the owner's own encoding.
    Membership(Vec<u8>),
    /// Replaces all content by that of a file: see [`crate::Database::check_image`].
    Replace(PathBuf),
}

/// Told what came of each batch, barrier and replacement of an entry, in their order, as soon as it is committed. It runs on
/// the writer's thread, so it must be quick.
pub type OnApplied = Box<dyn FnMut(Outcome) + Send>;
