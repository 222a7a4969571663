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
    /// What it does, in this order; nothing, perhaps.
    pub work: Vec<LogWork>,
}

/// Something that an entry of a log does.
#[derive(Debug, Clone)]
pub enum LogWork {
    /// Runs a batch. It must have a stamp.
    Batch {
        /// The batch.
        batch: Arc<Batch>,
        /// It must not share its transaction with others: see [`crate::Database::writes`].
        alone: bool,
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
