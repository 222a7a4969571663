//! The events that a node reports to the program that runs it.
//!
//! This crate writes no log messages of its own: the program that runs the node chooses their wording and their
//! destination. (openraft writes log messages through `tracing`, under its own targets.)

use std::path::Path;
use std::time::Duration;

use sqlhttp_core::Error;

/// Receives the events of a node. By default, every method does nothing.
///
/// The node calls these methods on the threads that do its work, some of them for each write, so they must return
/// quickly.
pub trait Observer: Send + Sync {
    /// The Raft log has been synced to disk. `took` is the duration of the fsync.
    fn log_synced(&self, took: Duration) {
        let _ = took;
    }

    /// Committed entries of the Raft log have been applied to the database together. `took` is the time from passing
    /// them to the writer thread until it has committed them.
    fn entries_applied(&self, took: Duration) {
        let _ = took;
    }

    /// Something has happened that an operator may want to read in the log messages of the program.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Something that has happened to a node. The enum is not `#[non_exhaustive]`: when an event is added, an observer that
/// does not handle it no longer compiles.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// This node has become leader, and has applied every entry that was acknowledged before.
    BecameLeader {
        /// The name of this node.
        name: &'a str,
        /// The address at which other nodes connect to this node, as `host:port`.
        raft_address: &'a str,
    },
    /// The cluster membership contains an old name or address of this node, and could not be updated.
    MembershipNotUpdated {
        /// Why the membership could not be updated.
        error: &'a str,
    },
    /// The leader has added a node to the cluster. The event is reported on the leader.
    MemberAdded {
        /// The name of the added node.
        name: &'a str,
        /// The address at which other nodes connect to the added node, as `host:port`.
        raft_address: &'a str,
    },
    /// The leader has made a member a voter, because it has caught up. The event is reported on the leader.
    MemberPromoted {
        /// The name of the member.
        name: &'a str,
    },
    /// The leader has removed a member from the cluster. The event is reported on the leader.
    MemberRemoved {
        /// The name of the removed member.
        name: &'a str,
    },
    /// This node was removed from its cluster. It starts no elections, and serves only reads at level `none`.
    RemovedFromCluster,
    /// This node was added to its cluster again after it had been removed.
    AddedAgain,
    /// Raft has stopped on this node, because it was removed from its cluster ([`crate::Node::watch_for_removal`]).
    ShutDownAfterRemoval,
    /// A connection to the port for other nodes was refused.
    PeerRefused {
        /// The address of the peer.
        address: &'a str,
        /// Why the connection was refused.
        reason: &'a str,
    },
    /// Replication has ended because of an error. The node cannot continue.
    Stopped {
        /// Why replication has ended.
        error: &'a str,
    },
    /// Replication did not shut down cleanly when the node was closed. The node is closed anyway.
    ShutdownFailed {
        /// Why the shutdown of replication failed.
        error: &'a str,
    },
    /// The database could not be synced when the node was closed. If entries are missing in the database at the next
    /// start, they are applied again from the Raft log.
    CloseNotSynced {
        /// Why the database could not be synced.
        error: &'a Error,
    },
    /// [`crate::Node::close`] has interrupted a long write that was being applied. The next start applies it again.
    WriteInterrupted,
    /// The system clock is more than ten seconds behind the time of the last Raft log entry. The next entry gets the
    /// time of the clock, so the time of entries runs backwards.
    ClockSetBack {
        /// How far the system clock is behind the last entry.
        by: Duration,
    },
    /// An entry of the Raft log could not be applied, or has been waiting for at least 10 seconds to be applied. The
    /// operator can make all nodes skip the entry with `raft/skip.json`.
    EntryNotApplied {
        /// The index of the entry, counted from 1.
        index: u64,
        /// The digest that identifies the entry in `raft/skip.json`.
        digest: &'a str,
    },
    /// An entry of the Raft log has been running for at least a minute, and all later writes wait for it. If it never
    /// ends, the operator can make all nodes skip it with `raft/skip.json`.
    EntryRunsLong {
        /// The index of the entry, counted from 1.
        index: u64,
        /// The digest that identifies the entry in `raft/skip.json`.
        digest: &'a str,
        /// How long the entry has been running.
        running: Duration,
    },
    /// This node does not apply an entry of the Raft log, because `raft/skip.json` names it, and waits until all nodes
    /// agree to skip it.
    SkipWaits {
        /// The index of the entry, counted from 1.
        index: u64,
        /// Why this node waits: the nodes that do not agree yet.
        reason: &'a str,
    },
    /// This node skips an entry of the Raft log, because `raft/skip.json` names it on all nodes.
    EntrySkipped {
        /// The index of the entry, counted from 1.
        index: u64,
        /// The digest of the entry's command.
        digest: &'a str,
    },
    /// Found when the node was started: `raft/skip.json` names an entry that the database has already applied or
    /// skipped.
    SkipFileObsolete {
        /// The path of `raft/skip.json`.
        file: &'a Path,
        /// The index that `raft/skip.json` names.
        index: u64,
        /// The index of the last entry that the database has applied or skipped.
        applied_index: u64,
    },
    /// The node has replaced the cluster membership by that in `raft/peers.json`, and has renamed the file.
    ClusterRecovered {
        /// The former path of the file.
        file: &'a Path,
    },
    /// This node was leader, could not write to its disk or has differing content, and has transferred the leadership
    /// to another node.
    LeadershipLeft {
        /// Why the node has left the leadership.
        reason: &'a str,
    },
    /// A member has computed another outcome for an entry of the Raft log than this node, which is leader. The content
    /// of all nodes is verified next.
    OutcomesDiffer {
        /// The name of the member.
        name: &'a str,
        /// The index of the first such entry, counted from 1.
        index: u64,
    },
    /// A verification has found that the content of this node differs from that of the majority of the voters. The node
    /// serves no reads until its content is equal.
    ContentDiffers {
        /// The index, the digests and the remedy, as a sentence.
        reason: &'a str,
    },
    /// A verification has found that the content of this node, which differed before, is equal to that of the majority.
    ContentEqual {
        /// The index of the Raft log at which the content was compared.
        index: u64,
    },
    /// A snapshot of the leader has replaced the database of this node.
    SnapshotInstalled {
        /// The index of the last Raft log entry that the snapshot contains.
        index: u64,
    },
    /// A snapshot cannot be taken or installed at the moment. The node tries again.
    SnapshotDelayed {
        /// Why the snapshot cannot be taken yet.
        reason: &'a str,
    },
    /// The content of a database file that is being loaded cannot be written to the disk of this node at the moment.
    /// The node tries again.
    LoadDelayed {
        /// The error of the write.
        error: &'a std::io::Error,
    },
    /// A periodic snapshot could not be taken.
    SnapshotFailed {
        /// Why the snapshot could not be taken.
        error: &'a Error,
    },
    /// Files that are no longer needed could not be removed. The node tries again.
    CleanUpFailed {
        /// Why the files could not be removed.
        error: &'a std::io::Error,
    },
    /// A statement that the node runs periodically has failed.
    MaintenanceFailed {
        /// The statement, for example `VACUUM`.
        statement: &'a str,
        /// Why the statement has failed.
        error: &'a str,
    },
    /// The Raft log cannot be written at the moment because of a temporary error (a full disk, too many open files).
    /// The node repeats the write until it succeeds.
    LogDelayed {
        /// The temporary error of the write.
        error: &'a std::io::Error,
    },
    /// The Raft log can no longer be written. No write is acknowledged until the node is restarted.
    LogFailed {
        /// The error because of which the log can no longer be written.
        error: &'a std::io::Error,
    },
    /// Found when the node was started: the last segment of the Raft log was created, but nothing was ever written to
    /// it.
    EmptySegment {
        /// The file of the segment.
        file: &'a Path,
    },
    /// Found when the node was started: the last write to the Raft log was torn. The write was never acknowledged, and
    /// is removed.
    TornTail {
        /// The file of the segment.
        file: &'a Path,
        /// The offset in the file at which the torn write begins, in bytes.
        offset: u64,
    },
}
