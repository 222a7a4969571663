//! The events that a node reports to the program that runs it.
//!
//! This crate writes no log lines of its own: the program chooses their wording and their target. (openraft logs
//! through `tracing`, under its own targets.)

use std::path::Path;
use std::time::Duration;

use sqlhttp_core::Error;

/// Receives the events of a node. Every method does nothing by default.
///
/// The methods are called on the threads that do the work, some of them for each write, so they must return quickly.
pub trait Observer: Send + Sync {
    /// The log has been synced to disk. `took` is the duration of the fsync.
    fn log_synced(&self, took: Duration) {
        let _ = took;
    }

    /// Committed entries have been applied together to the database. `took` is the time from handing them to the writer
    /// thread to their commit.
    fn entries_applied(&self, took: Duration) {
        let _ = took;
    }

    /// Something has happened that an operator may want to read in a log.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Something that has happened to a node. Exhaustive, so that an observer that ignores a new event does not compile.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// This node has become leader, and has applied every entry that was acknowledged before.
    BecameLeader {
        /// Its name.
        name: &'a str,
        /// Its Raft address.
        raft_address: &'a str,
    },
    /// The membership contains an old name or address of this node, and could not be changed.
    MembershipNotUpdated {
        /// Why.
        error: &'a str,
    },
    /// Replication has ended because this node cannot go on.
    Stopped {
        /// Why.
        error: &'a str,
    },
    /// Replication did not shut down cleanly when the node was closed.
    ShutdownFailed {
        /// Why.
        error: &'a str,
    },
    /// The database could not be synced when the node was closed. The next start applies the missing entries from
    /// the log.
    CloseNotSynced {
        /// Why.
        error: &'a Error,
    },
    /// The node is closed while a long write is being applied. The write is interrupted, and applied again at the next
    /// start.
    WriteInterrupted,
    /// The clock is far behind the time of the last entry, so the time of entries runs backwards.
    ClockSetBack {
        /// How far the clock is behind.
        by: Duration,
    },
    /// An entry could not be applied, or has waited for long. The operator can make the node skip it with
    /// `raft/skip.json`.
    EntryNotApplied {
        /// The entry's index.
        index: u64,
        /// The digest that identifies the entry in `raft/skip.json`.
        digest: &'a str,
    },
    /// An entry is skipped because `raft/skip.json` names it.
    EntrySkipped {
        /// The entry's index.
        index: u64,
        /// The entry's digest.
        digest: &'a str,
    },
    /// `raft/skip.json` names an entry that the database has already applied or skipped.
    SkipFileObsolete {
        /// The file.
        file: &'a Path,
        /// The index that it names.
        index: u64,
        /// The index of the last entry that has been applied.
        applied_index: u64,
    },
    /// A snapshot cannot be taken at the moment, and is tried again.
    SnapshotDelayed {
        /// Why.
        reason: &'a str,
    },
    /// A snapshot that was due could not be taken.
    SnapshotFailed {
        /// Why.
        error: &'a Error,
    },
    /// A statement that the node runs periodically has failed.
    MaintenanceFailed {
        /// The statement, for example `VACUUM`.
        statement: &'a str,
        /// Why.
        error: &'a str,
    },
    /// The log cannot be written at the moment (a full disk, too many open files), and the write is tried again.
    LogDelayed {
        /// Why.
        error: &'a std::io::Error,
    },
    /// The log cannot be written any more. No write is acknowledged until the node is started again.
    LogFailed {
        /// Why.
        error: &'a std::io::Error,
    },
    /// At the start: the last segment of the log was created, but nothing was ever written to it.
    EmptySegment {
        /// The segment's file.
        file: &'a Path,
    },
    /// At the start: the last write to the log was torn. It was never acknowledged, and is removed.
    TornTail {
        /// The segment's file.
        file: &'a Path,
        /// Where the torn write begins, in bytes.
        offset: u64,
    },
}
