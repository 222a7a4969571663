//! Writes log messages about the events of a node. For events that rqlited has too, the messages have rqlited's
//! wording and components.

use std::sync::Arc;
use std::time::Duration;

use sqlhttp_raft::{Event, Observer};

use super::collector::LogTimes;

/// Writes log messages about the events of a node, and adds the durations of Raft log syncs and of applying entries to
/// the metrics.
pub(crate) struct RqliteLog {
    times: Arc<LogTimes>,
}

impl RqliteLog {
    pub(crate) fn new(times: Arc<LogTimes>) -> Self {
        RqliteLog { times }
    }
}

impl Observer for RqliteLog {
    fn log_synced(&self, took: Duration) {
        self.times.syncs.observe(took);
    }

    fn entries_applied(&self, took: Duration) {
        self.times.applies.observe(took);
    }

    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::BecameLeader { name, raft_address } => {
                tracing::info!(target: "store", "this node (ID={name}, addr={raft_address}) is now Leader");
            }
            Event::MembershipNotUpdated { error } => {
                tracing::warn!(target: "store", "the membership still has this node's old name and address: {error}");
            }
            Event::MemberAdded { name, raft_address } => {
                tracing::info!(target: "store", "node with ID {name}, at {raft_address}, joined successfully");
            }
            Event::MemberPromoted { name } => {
                tracing::info!(target: "store", "node with ID {name} has caught up and is a voter now");
            }
            Event::MemberRemoved { name } => {
                tracing::info!(target: "store", "node {name} removed successfully");
            }
            Event::RemovedFromCluster => tracing::warn!(
                target: "store",
                "this node was removed from the cluster. It serves only reads with level=none. Stop it; to add it again, \
                 start it with -join"
            ),
            Event::AddedAgain => tracing::info!(target: "store", "this node is a member of the cluster again"),
            Event::ShutDownAfterRemoval => {
                tracing::warn!(target: "store", "Raft has stopped, because this node was removed (-raft-remove-shutdown)");
            }
            Event::PeerRefused { address, reason } => {
                tracing::warn!(target: "mux", "connection from {address} refused: {reason}");
            }
            Event::Stopped { error } => {
                tracing::error!(target: "store", "this node has stopped and no longer serves requests: {error}");
            }
            Event::ShutdownFailed { error } => {
                tracing::error!(target: "raft", "replication has not shut down cleanly: {error}");
            }
            Event::CloseNotSynced { error } => {
                tracing::error!(target: "store", "the database was not synced: {error}");
            }
            Event::WriteInterrupted => {
                tracing::warn!(target: "store", "interrupting the write that is being applied");
            }
            Event::ClockSetBack { by } => tracing::warn!(
                target: "store",
                "the clock is {} s behind the last entry of the log: the timestamps of new entries are earlier",
                by.as_secs()
            ),
            Event::EntryNotApplied { index, digest } => tracing::error!(
                target: "store",
                "entry {index} of the log could not be applied. If it cannot be applied at all, stop all nodes, write \
                 {{\"index\": {index}, \"digest\": \"{digest}\"}} to raft/skip.json on each of them, and start them \
                 again: the entry is then passed over, and its writes are lost"
            ),
            Event::EntryRunsLong { index, digest, running } => tracing::warn!(
                target: "store",
                "entry {index} of the log has been running for {} s, and all later writes wait for it. If it never ends, \
                 stop all nodes, write {{\"index\": {index}, \"digest\": \"{digest}\"}} to raft/skip.json on each of \
                 them, and start them again: the entry is then passed over, and its writes are lost",
                running.as_secs()
            ),
            Event::SkipWaits { index, reason } => tracing::warn!(
                target: "store",
                "entry {index} of the log is passed over only if all nodes agree; waiting for {reason}"
            ),
            Event::EntrySkipped { index, digest } => tracing::error!(
                target: "store",
                "entry {index} of the log (digest {digest}) is passed over: skip.json names it"
            ),
            Event::SkipFileObsolete { file, index, applied_index } => tracing::warn!(
                target: "store",
                "{} names entry {index}, and the database has applied entry {applied_index}: remove the file",
                file.display()
            ),
            Event::ClusterRecovered { file } => {
                tracing::warn!(target: "store", "the cluster was recovered as {} asks", file.display());
            }
            Event::LeadershipLeft { reason } => {
                tracing::warn!(target: "store", "this node has handed over the leadership, because it cannot serve: {reason}");
            }
            Event::OutcomesDiffer { name, index } => tracing::error!(
                target: "store",
                "node {name} has computed another outcome for entry {index} of the log than this node; \
                 the content of all nodes is compared now"
            ),
            Event::ContentDiffers { reason } => tracing::error!(target: "store", "{reason}"),
            Event::ContentEqual { index } => {
                tracing::info!(target: "store", "the content of this node is that of the majority again (index {index})");
            }
            Event::SnapshotInstalled { index } => {
                tracing::info!(target: "store", "the database was replaced by the leader's snapshot at index {index}");
            }
            Event::LoadDelayed { error } => {
                tracing::error!("a database file that is being loaded cannot be written, retrying: {error}");
            }
            Event::SnapshotDelayed { reason } => {
                tracing::warn!(target: "snapshot-store", "the snapshot is delayed: {reason}");
            }
            Event::SnapshotFailed { error } => {
                tracing::error!(target: "snapshot-store", "the snapshot has failed: {error}");
            }
            Event::CleanUpFailed { error } => {
                tracing::warn!(target: "store", "files that are no longer needed cannot be removed: {error}");
            }
            Event::MaintenanceFailed { statement, error } => {
                tracing::error!(target: "store", "{statement} failed: {error}");
            }
            Event::LogDelayed { error } => tracing::warn!(target: "raft", "writing the log is delayed: {error}"),
            Event::LogFailed { error } => tracing::error!(target: "raft", "the log cannot be written: {error}"),
            Event::EmptySegment { file } => {
                tracing::warn!(target: "raft", "{} is an empty segment", file.display());
            }
            Event::TornTail { file, offset } => tracing::warn!(
                target: "raft",
                "{}: the last write is torn at offset {offset}. It was never acknowledged, and is truncated",
                file.display()
            ),
        }
    }
}
