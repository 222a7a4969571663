//! The counters of the SQL that requests to one database execute.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sqlhttp_core::{Error, Failure};

/// The counters of the SQL that requests to one database execute.
#[derive(Debug, Default)]
pub(crate) struct SqlCounters {
    statements_failed: AtomicU64,
    rows_returned: AtomicU64,
    rows_changed: AtomicU64,
    interrupted: [AtomicU64; INTERRUPTED.len()],
    requests_failed: [AtomicU64; REASONS.len()],
}

/// The reason why the SQL of a request was interrupted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InterruptReason {
    /// The time limit of the SQL has passed.
    Timeout,
    /// The client has disconnected.
    ClientGone,
}

/// The values of the metric label for [`InterruptReason`], in the order of its variants.
const INTERRUPTED: [&str; 2] = ["timeout", "client_gone"];

/// The values of the metric label for the variants of [`Error`]. [`reason`] returns the index of a variant's value.
const REASONS: [&str; 15] = [
    "overloaded",
    "timeout",
    "busy",
    "closed",
    "no_leader",
    "leadership_lost",
    "read_only",
    "poisoned",
    "sqlite",
    "io",
    "unsupported",
    "unavailable",
    "unknown",
    "unauthorized",
    "failed",
];

/// Returns the index in [`REASONS`] of the label value for an error.
fn reason(error: &Error) -> usize {
    match error {
        Error::Overloaded(_) => 0,
        Error::Timeout => 1,
        Error::Busy(_) => 2,
        Error::Closed => 3,
        Error::NoLeader | Error::Removed => 4,
        Error::LeadershipLost => 5,
        Error::ReadOnly => 6,
        Error::Poisoned(_) => 7,
        Error::Sqlite { .. } => 8,
        Error::Io { .. } => 9,
        Error::Unsupported(_) => 10,
        Error::Unavailable(_) => 11,
        Error::Unknown => 12,
        Error::Unauthorized => 13,
        // The servers run batches of their own databases, in which a failed statement is no error.
        Error::Failed { .. } | Error::Row(_) | Error::ConnectionLost(_) => 14,
    }
}

impl SqlCounters {
    pub(crate) fn rows_returned(&self, count: usize) {
        add(&self.rows_returned, count as u64);
    }

    pub(crate) fn rows_changed(&self, count: u64) {
        add(&self.rows_changed, count);
    }

    pub(crate) fn statement_failed(&self, failure: &Failure) {
        add(&self.statements_failed, 1);
        if matches!(failure, Failure::Timeout) {
            self.interrupted(InterruptReason::Timeout);
        }
    }

    pub(crate) fn request_failed(&self, error: &Error) {
        add(&self.requests_failed[reason(error)], 1);
        if matches!(error, Error::Timeout) {
            self.interrupted(InterruptReason::Timeout);
        }
    }

    pub(crate) fn interrupted(&self, why: InterruptReason) {
        add(&self.interrupted[why as usize], 1);
    }
}

/// Adds `count` to a counter. An addition of zero is skipped: most requests add zero to most counters, and writing an
/// atomic that other threads also write is slow.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// A metric: its name, its help text, and the function that returns its counter.
type Series = (&'static str, &'static str, fn(&SqlCounters) -> &AtomicU64);

const SERIES: [Series; 3] = [
    ("sql_errors", "Statements that failed, by database: the clients' mistakes", |it| &it.statements_failed),
    ("rows_returned", "Rows of results", |it| &it.rows_returned),
    ("rows_changed", "Rows that statements inserted, updated or deleted", |it| &it.rows_changed),
];

/// Encodes the counters of all databases. Each counter has the id of its database as a label.
pub(crate) fn encode<'a>(
    databases: impl Iterator<Item = (&'a str, &'a SqlCounters)> + Clone,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    for (name, help, counter) in SERIES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (id, counters) in databases.clone() {
            let count = counter(counters).load(Ordering::Relaxed);
            family.encode_family(&[("database", id)])?.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
    }
    let help = "SQL that was interrupted, by database and reason";
    encode_by_reason("sql_interrupted", help, &INTERRUPTED, databases.clone(), |it| &it.interrupted, encoder)?;
    let help = "Requests whose SQL has no outcome, by database and reason: failures of the server";
    encode_by_reason("server_failures", help, &REASONS, databases, |it| &it.requests_failed, encoder)
}

fn encode_by_reason<'a, const N: usize>(
    name: &str,
    help: &str,
    reasons: &[&'static str; N],
    databases: impl Iterator<Item = (&'a str, &'a SqlCounters)>,
    counters: fn(&SqlCounters) -> &[AtomicU64; N],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (id, counted) in databases {
        for (reason, count) in reasons.iter().zip(counters(counted)) {
            let labels = [("database", id), ("reason", *reason)];
            let count = count.load(Ordering::Relaxed);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_reason() {
        assert_eq!(REASONS[reason(&Error::Timeout)], "timeout");
        assert_eq!(REASONS[reason(&Error::NoLeader)], "no_leader");
        assert_eq!(REASONS[reason(&Error::Unsupported(String::new()))], "unsupported");
    }

    #[test]
    fn a_time_limit_interrupts() {
        let counters = SqlCounters::default();
        counters.statement_failed(&Failure::Timeout);
        counters.request_failed(&Error::Timeout);
        counters.statement_failed(&Failure::NotAllowed("ATTACH".to_owned()));
        assert_eq!(counters.interrupted[InterruptReason::Timeout as usize].load(Ordering::Relaxed), 2);
        assert_eq!(counters.statements_failed.load(Ordering::Relaxed), 2);
        assert_eq!(INTERRUPTED[InterruptReason::ClientGone as usize], "client_gone");
    }
}
