//! The entries of the Raft log that a database applies.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::time_zone::NamedZone;
use crate::model::{Batch, Outcome, SqlError};

/// An entry of the Raft log. The same entries in the same order produce the same database, on every node and at any
/// time.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The term in which the entry was proposed.
    pub term: u64,
    /// The index of the entry in the Raft log.
    pub index: u64,
    /// The conditions under which the batches of the entry run. `None` if the entry has an older format; its batches
    /// run with the stamp of the batch and with [`crate::Options`] instead.
    pub conditions: Option<Conditions>,
    /// The operations of the entry, in order; may be empty.
    pub work: Vec<LogWork>,
}

/// The inputs of an entry's batches other than the content of the database. The node that proposes the entry sets them,
/// so that every node gets the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The current time for the SQL of the batches, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
    /// Whether foreign keys are enforced.
    pub foreign_keys: bool,
    /// The maximum size of a value or a row, in bytes: see [`crate::Options::value_bytes_max`].
    pub value_bytes_max: u64,
    /// The time zone of the modifiers `localtime` and `utc`; `None` for UTC.
    pub time_zone: Option<NamedZone>,
}

/// An operation of a log entry.
#[derive(Debug, Clone)]
pub enum LogWork {
    /// Runs a batch. The batch must have a stamp.
    Batch {
        /// The batch.
        batch: Arc<Batch>,
        /// Whether the batch must have a transaction of its own: see [`crate::Database::classify`]. If not, it may
        /// share one with other operations.
        exclusive: bool,
        /// The approximate maximum number of virtual-machine steps; 0 for no limit. A statement that exceeds the limit
        /// fails with [`crate::Failure::Timeout`], at the same step on every node.
        steps_max: u64,
    },
    /// Changes nothing. When this operation has an outcome, all entries before it have been applied.
    Barrier,
    /// Records the membership of the cluster. The bytes are encoded by the code that keeps the Raft log; the database
    /// does not interpret them.
    Membership(Vec<u8>),
    /// Replaces all content of the database with that of a file, which must have been checked by
    /// [`crate::Database::check_image`].
    Replace(PathBuf),
    /// Records which load of a database file is open at this position of the log ([`crate::Progress::load_index`]).
    /// Changes nothing else.
    Load {
        /// The index of the entry that began the open load; 0 if no load is open.
        load_index: u64,
        /// Why the step of the load has no effect; `None` if it has one. The failure is the ending of the outcome.
        refusal: Option<SqlError>,
    },
}

/// A callback for the outcomes of one entry. It is called once for each operation of the entry except memberships, in
/// order, as soon as that operation is committed. It runs on the writer thread, so it must be quick.
pub type OnApplied = Box<dyn FnMut(Outcome) + Send>;
