//! The periodic tasks of a node: snapshots, compaction of the Raft log, VACUUM and `PRAGMA optimize`.
//!
//! A snapshot is the database itself, synced to disk ([`crate::machine`]). Taking one costs one sync, and no write
//! waits for it. VACUUM and `PRAGMA optimize` are replicated through the Raft log, so that every node runs them at the
//! same index.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlhttp_core::{Ending, Error, Outcome, StepOutcome};

use crate::loads;
use crate::node::{BACKGROUND_TIMEOUT, Counters, Node, NodeInner};
use crate::observer::Event;
use crate::raft::stopped;
use crate::runtime::{blocking, engine};
use crate::snapshots::InstallRecord;
use crate::types::index_of;
use openraft::async_runtime::WatchReceiver as _;

impl Node {
    /// Takes a snapshot, and purges the entries before it from the Raft log, except for the last `trailing` ones (by
    /// default [`crate::SnapshotPolicy::trailing`]). Returns `false`, and takes no snapshot, if no command has been
    /// applied since the last one.
    ///
    /// # Errors
    /// * [`Error::Sqlite`]: the disk failed.
    /// * [`Error::Timeout`]: the snapshot took longer than 10 seconds.
    /// * [`Error::Poisoned`]: the node has stopped because of an error.
    /// * [`Error::Closed`]: the node has been closed.
    pub async fn snapshot(&self, trailing: Option<u64>) -> Result<bool, Error> {
        let (before, applied) = (self.inner.machine.last_snapshot(), self.inner.database.progress());
        // A node that has not joined a cluster has applied no entry.
        if applied.index == 0 || before.is_some_and(|taken| taken.index >= applied.command_index) {
            return Ok(false);
        }
        let upto = match trailing {
            Some(trailing) => self.inner.database.progress().index.saturating_sub(trailing),
            None => self.purgeable(),
        };
        let result = self.take_snapshot(upto).await;
        let counters = &self.inner.counters;
        let counter = if result.is_ok() { &counters.snapshots } else { &counters.snapshots_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result.map(|()| true)
    }

    /// Returns the index up to which entries may be purged from the Raft log after a periodic snapshot. The last
    /// entries stay: a number of entries, and in a cluster of several nodes also a number of bytes, so that a follower
    /// that was away for a minute receives entries instead of the whole database. Entries above a length of the log are
    /// purged in any case.
    fn purgeable(&self) -> u64 {
        let applied = self.inner.database.progress().index;
        let upto = applied.saturating_sub(self.inner.options.snapshots.trailing());
        // A load of a database file consists of large entries, so a number of entries is no limit of the length.
        let keeping = |bytes| self.inner.log.index_keeping(bytes).min(applied);
        if self.inner.leadership.is_sole() {
            return upto.max(keeping(KEPT_BYTES_MIN));
        }
        let half = self.inner.database.status().file_bytes / 2;
        let kept = half.clamp(KEPT_BYTES_MIN, LOG_BYTES_MAX);
        upto.min(keeping(kept)).max(keeping(LOG_BYTES_MAX))
    }

    /// Takes a snapshot, even if no entry has been applied since the last one, and purges the entries up to the index
    /// `upto` from the Raft log.
    pub(crate) async fn take_snapshot(&self, upto: u64) -> Result<(), Error> {
        let raft = &self.inner.raft;
        let progress = self.inner.database.progress();
        let wanted = progress.index;
        let mut metrics = raft.data_metrics();
        let mut last = metrics.borrow_watched().snapshot;
        raft.trigger().snapshot().await.map_err(|fatal| stopped(&self.inner.database, &fatal))?;
        let reached = |index: Option<u64>| index.is_some_and(|index| index >= wanted);
        let taken = async {
            loop {
                let snapshot = metrics.borrow_and_update().snapshot;
                if reached(snapshot.map(|id| index_of(&id))) {
                    return Ok::<(), Error>(());
                }
                if snapshot != last {
                    // openraft ignores a request for a snapshot while another one is being taken. The new snapshot is
                    // such an earlier one, and is too old, so the request is repeated.
                    last = snapshot;
                    raft.trigger().snapshot().await.map_err(|fatal| stopped(&self.inner.database, &fatal))?;
                }
                if metrics.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(BACKGROUND_TIMEOUT, taken).await.map_err(|_| Error::Timeout)??;
        // After a crash the database has at least this position. The entries of a load that is open there are needed to
        // complete it.
        let before_load = progress.load_index.checked_sub(1).unwrap_or(u64::MAX);
        self.purge_log(upto.min(wanted).min(before_load)).await
    }

    async fn purge_log(&self, upto: u64) -> Result<(), Error> {
        if self.inner.machine.is_reseeding() {
            return Ok(());
        }
        if self.inner.difference.is_marked() && self.inner.log.status().bytes_on_disk <= LOG_BYTES_MAX {
            // The entries are applied again to the copy that replaces the content of this node.
            return Ok(());
        }
        // Entries after a snapshot that is being sent stay in the log, unless the log has become too long.
        let kept = self.inner.exports.purgeable_index();
        let upto = if self.inner.log.status().bytes_on_disk > LOG_BYTES_MAX { upto } else { upto.min(kept) };
        if upto == 0 || self.inner.log.status().purged_index >= upto {
            return Ok(());
        }
        // openraft counts indexes from 0.
        self.inner.raft.trigger().purge_log(upto - 1).await.map_err(|fatal| stopped(&self.inner.database, &fatal))
    }

    /// Takes a snapshot that an operator has requested, like [`Node::snapshot`], and counts it in
    /// [`crate::Totals::snapshots_by_request`].
    ///
    /// # Errors
    /// The errors of [`Node::snapshot`].
    pub async fn snapshot_by_request(&self, trailing: Option<u64>) -> Result<bool, Error> {
        let taken = self.snapshot(trailing).await?;
        self.inner.counters.snapshots_by_request.fetch_add(u64::from(taken), Ordering::Relaxed);
        Ok(taken)
    }

    /// Checkpoints the database: copies its SQLite write-ahead log into the database file. Returns `false` if the
    /// write-ahead log was empty.
    ///
    /// # Errors
    /// [`Error::Sqlite`]: the disk failed.
    pub async fn checkpoint(&self) -> Result<bool, Error> {
        let had_wal = self.inner.database.status().wal_bytes > 0;
        engine(self.inner.database.checkpoint()).await?;
        Ok(had_wal)
    }
}

/// The statement that a node runs periodically. The bit 0x10000 checks all tables, not only those that this connection
/// has queried, which differ from node to node. The bit 0x02 runs ANALYZE where it is needed, and 0x10 limits the rows
/// that ANALYZE reads. See <https://sqlite.org/pragma.html#pragma_optimize>.
const OPTIMIZE: &str = "PRAGMA optimize=0x10012";

/// Returns the interval at which the files of snapshots that are no longer needed are removed. It is shorter in a
/// simulation, in which nodes do not run for long.
fn clean_up_interval() -> Duration {
    #[cfg(feature = "sim")]
    if crate::sim::machine().is_some() {
        return Duration::from_millis(500);
    }
    Duration::from_secs(5)
}

/// The minimum number of bytes of the last entries that stay in the Raft log of a cluster of several nodes; the maximum
/// on a node without others.
const KEPT_BYTES_MIN: u64 = 64 << 20;
/// The length of the Raft log from which entries are purged although a follower may need them, in bytes.
const LOG_BYTES_MAX: u64 = 2 << 30;
/// The length of the Raft log from which a snapshot is due, in bytes: a few large entries may be as long as that.
const LOG_BYTES_DUE: u64 = LOG_BYTES_MAX + (1 << 30);

/// The periodic tasks of a node.
pub(crate) struct Maintenance {
    // A weak reference, so that the periodic tasks do not keep the node alive.
    node: Weak<NodeInner>,
}

impl Maintenance {
    /// Starts the periodic tasks on the runtime of the node. A task whose interval is zero is not started.
    pub(crate) fn start(node: &Node) {
        let options = &node.inner.options;
        let maintenance = || Maintenance { node: Arc::downgrade(&node.inner) };
        let runtime = &node.inner.runtime;
        runtime.spawn(maintenance().clean_up());
        if !options.snapshots.interval.is_zero() {
            runtime.spawn(maintenance().take_snapshots(options.snapshots.interval));
        }
        if !options.vacuum_interval.is_zero() {
            runtime.spawn(maintenance().vacuum(options.vacuum_interval));
        }
        if !options.optimize_interval.is_zero() {
            runtime.spawn(maintenance().optimize(options.optimize_interval));
        }
    }

    fn node(&self) -> Option<Node> {
        self.node.upgrade().map(|inner| Node { inner })
    }

    /// Removes the files of snapshots that are no longer needed, and ends a load that an earlier leader has begun.
    async fn clean_up(self) {
        loop {
            tokio::time::sleep(clean_up_interval()).await;
            let Some(node) = self.node() else { return };
            let purged = node.inner.log.durably_purged_index();
            let (directory, observer) = (node.inner.options.directory.clone(), node.inner.options.observer.clone());
            let removed = blocking(move || {
                node.inner.exports.clean_up(purged);
                loads::remove_old_uploads(&directory)?;
                // The log no longer ends before the installed snapshot, also after a power cut.
                let record = InstallRecord::read(&directory)?;
                let is_done = record.is_some_and(|record| record.last_entry().map_or(0, |id| index_of(&id)) <= purged);
                if is_done { InstallRecord::remove(&directory) } else { Ok(()) }
            });
            // The next round, or the next start, tries again.
            if let Err(error) = removed.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
                observer.event(&Event::CleanUpFailed { error: &error });
            }
            let Some(node) = self.node() else { return };
            node.abort_stale_load().await;
        }
    }

    async fn take_snapshots(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(node) = self.node() else { return };
            if node.stopped().is_some() {
                // The observer knows the reason already.
                continue;
            }
            let taken = if has_local_decision(&node) {
                node.take_snapshot(u64::MAX).await
            } else if is_due(&node) {
                node.snapshot(None).await.map(drop)
            } else {
                Ok(())
            };
            if let Err(error) = taken {
                node.inner.options.observer.event(&Event::SnapshotFailed { error: &error });
            }
        }
    }

    async fn vacuum(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(node) = self.node() else { return };
            if is_ready_leader(&node) {
                let Counters { vacuums, vacuums_failed, .. } = &node.inner.counters;
                let ended = node.replicate_statement("VACUUM").await.map(statement_result);
                record(&node, ended, "VACUUM", vacuums, vacuums_failed);
            }
        }
    }

    async fn optimize(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(node) = self.node() else { return };
            if is_ready_leader(&node) {
                let Counters { optimizes, optimizes_failed, .. } = &node.inner.counters;
                let ended = node.replicate_statement(OPTIMIZE).await.map(statement_result);
                record(&node, ended, "PRAGMA optimize", optimizes, optimizes_failed);
            }
        }
    }
}

fn is_ready_leader(node: &Node) -> bool {
    node.inner.leadership.is_ready()
}

/// Returns whether the Raft log contains an entry whose result includes a failure that only this node had. Nodes that
/// join later must not apply such an entry, because it could succeed on them. A snapshot removes it from the log.
fn has_local_decision(node: &Node) -> bool {
    node.inner.database.status().decision_index > node.inner.log.status().purged_index
}

/// Returns whether a snapshot is due: enough entries have been applied since the last one, or the SQLite write-ahead
/// log or the Raft log has become large.
fn is_due(node: &Node) -> bool {
    let policy = node.inner.options.snapshots;
    let last = node.inner.machine.last_snapshot().map_or(node.inner.log.status().purged_index, |taken| taken.index);
    let progress = node.inner.database.progress();
    let entries = progress.index.saturating_sub(last);
    let wal = policy.wal_bytes > 0 && node.inner.database.status().wal_bytes >= policy.wal_bytes;
    let is_long = node.inner.log.status().bytes_on_disk >= LOG_BYTES_DUE;
    entries >= policy.entries || (wal || is_long) && progress.command_index > last
}

fn statement_result(outcome: Outcome) -> Result<(), String> {
    match (outcome.ending, outcome.steps.into_iter().next()) {
        (Ending::Done, Some(StepOutcome::Failed(failure))) => Err(failure.to_string()),
        (Ending::Done, _) => Ok(()),
        (ending, _) => Err(format!("{ending:?}")),
    }
}

fn record(
    node: &Node,
    ended: Result<Result<(), String>, Error>,
    statement: &str,
    done: &AtomicU64,
    failed: &AtomicU64,
) {
    let why = match ended {
        Ok(Ok(())) => {
            done.fetch_add(1, Ordering::Relaxed);
            return;
        }
        Ok(Err(why)) => why,
        Err(error) => error.to_string(),
    };
    failed.fetch_add(1, Ordering::Relaxed);
    node.inner.options.observer.event(&Event::MaintenanceFailed { statement, error: &why });
}
