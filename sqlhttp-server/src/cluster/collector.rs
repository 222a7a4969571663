//! The metrics of a node: its role, the state of its Raft log, and how long syncing the log and applying entries
//! takes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sqlhttp_raft::NodeStatus;

use super::context::ClusterContext;
use crate::process::metrics::LatencyHistogram;

/// The durations of syncs of the Raft log, and of applying committed entries.
#[derive(Debug, Default)]
pub(crate) struct LogTimes {
    pub(crate) syncs: LatencyHistogram,
    pub(crate) applies: LatencyHistogram,
}

/// Encodes the metrics of a node.
pub(crate) struct NodeCollector {
    pub(crate) cluster: Arc<ClusterContext>,
    pub(crate) times: Arc<LogTimes>,
}

/// The name, the help text, the type and the value of a metric.
type Series = (&'static str, &'static str, MetricType, fn(&NodeStatus) -> u64);

const SERIES: &[Series] = &[
    ("raft_leader", "1 if this node is the leader and serves requests", MetricType::Gauge, |s| u64::from(s.ready)),
    ("raft_term", "The current term", MetricType::Gauge, |s| s.term),
    ("raft_commit_index", "The last index known to be committed", MetricType::Gauge, |s| s.commit_index),
    ("raft_applied_index", "The last index applied", MetricType::Gauge, |s| s.applied_index),
    ("raft_first_index", "The first index in the log", MetricType::Gauge, |s| s.log.first_index),
    ("raft_last_index", "The last index in the log", MetricType::Gauge, |s| s.log.last_index),
    ("raft_snapshot_index", "The index of the last snapshot", MetricType::Gauge, |s| s.snapshot_index),
    ("raft_log_size_bytes", "Size of the log", MetricType::Gauge, |s| s.log.bytes),
    ("raft_members", "Nodes of the cluster", MetricType::Gauge, |s| s.members.len() as u64),
    ("raft_proposals_waiting", "Writes that are not in the log yet", MetricType::Gauge, |s| s.proposals_waiting),
    ("raft_entries", "Entries appended to the log", MetricType::Counter, |s| s.log.entries),
    ("raft_snapshots", "Snapshots taken", MetricType::Counter, |s| s.totals.snapshots),
    ("raft_snapshots_installed", "Snapshots of other nodes installed", MetricType::Counter, |s| {
        s.totals.snapshots_installed
    }),
    ("raft_snapshot_received_bytes", "Bytes of snapshots received", MetricType::Counter, |s| {
        s.totals.snapshot_bytes_received
    }),
    (
        "raft_snapshot_resumes",
        "Transfers of a snapshot that continued after an interruption",
        MetricType::Counter,
        |s| s.totals.snapshot_resumes,
    ),
    (
        "raft_content_differs",
        "1 if the content of this node differs from that of the majority",
        MetricType::Gauge,
        |s| u64::from(s.differs.is_some()),
    ),
    ("raft_stopped", "1 if this node has stopped because of a failure", MetricType::Gauge, |s| {
        u64::from(s.stopped.is_some())
    }),
];

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(node) = self.cluster.node() else { return Ok(()) };
        let status = node.status();
        for (name, help, metric_type, read) in SERIES {
            let mut metric = encoder.encode_descriptor(name, help, None, *metric_type)?;
            match metric_type {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&read(&status), None)?,
                _ => metric.encode_gauge(&read(&status))?,
            }
        }
        let histogram = MetricType::Histogram;
        let help = "Duration of a sync of the log, seconds";
        self.times.syncs.encode(encoder.encode_descriptor("raft_sync_duration_seconds", help, None, histogram)?)?;
        let help = "Duration of applying the entries that were committed together, seconds";
        self.times.applies.encode(encoder.encode_descriptor("raft_apply_duration_seconds", help, None, histogram)?)
    }
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}
