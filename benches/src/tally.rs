//! What the connections of one thread have seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::http::ExchangeError;
use crate::workload::OperationKind;

/// Requests that failed, over the whole run, warm-up included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErrorCounts {
    /// Answers with a status other than 200, by status.
    pub status: BTreeMap<u16, u64>,
    /// Answers with status 200 that were too short to hold what was asked for.
    pub short: u64,
    /// Connections that could not be made.
    pub connect: u64,
    /// Connections that broke while an answer was due.
    pub broken: u64,
    /// Answers that were not HTTP.
    pub malformed: u64,
    /// Answers that had not come when the run was over and the grace had passed.
    pub timeout: u64,
}

/// What the connections of one thread have seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How long good answers took whose requests began in the measured time, by kind.
    pub latencies: [Histogram; OperationKind::ALL.len()],
    /// Good answers that came in the measured time, by kind.
    pub answered: [u64; OperationKind::ALL.len()],
    /// Bytes of the bodies of these answers.
    pub bytes: u64,
    /// What went wrong.
    pub errors: ErrorCounts,
    /// Rows that the server says it has inserted, over the whole run.
    pub rows_acknowledged: u64,
    /// Rows that were sent and never acknowledged; the server may have inserted them or not.
    pub rows_in_doubt: u64,
}

impl ErrorCounts {
    /// Counts an exchange that has no reply.
    pub fn count_failed_exchange(&mut self, error: &ExchangeError) {
        match error {
            ExchangeError::Io(_) => self.broken += 1,
            ExchangeError::Malformed(_) => self.malformed += 1,
        }
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.status.values().sum::<u64>() + self.short + self.connect + self.broken + self.malformed + self.timeout
    }

    fn merge(&mut self, other: &ErrorCounts) {
        for (status, count) in &other.status {
            *self.status.entry(*status).or_default() += count;
        }
        self.short += other.short;
        self.connect += other.connect;
        self.broken += other.broken;
        self.malformed += other.malformed;
        self.timeout += other.timeout;
    }
}

impl Tally {
    /// A request is about to be sent.
    pub fn record_sent(&mut self, kind: OperationKind) {
        self.rows_in_doubt += kind.rows_written();
    }

    /// The server has said that it did what was asked.
    pub fn record_acknowledged(&mut self, kind: OperationKind) {
        self.rows_in_doubt -= kind.rows_written();
        self.rows_acknowledged += kind.rows_written();
    }

    /// A good answer came in the measured time.
    pub fn record_answer(&mut self, kind: OperationKind, body_len: u64) {
        self.answered[kind.index()] += 1;
        self.bytes += body_len;
    }

    /// A good answer to a request that began in the measured time took this long.
    pub fn record_latency(&mut self, kind: OperationKind, latency: Duration) {
        self.latencies[kind.index()].record(latency);
    }

    /// Adds what another thread has seen.
    pub fn merge(&mut self, other: &Tally) {
        for (own, others) in self.latencies.iter_mut().zip(&other.latencies) {
            own.merge(others);
        }
        for (own, others) in self.answered.iter_mut().zip(other.answered) {
            *own += others;
        }
        self.bytes += other.bytes;
        self.errors.merge(&other.errors);
        self.rows_acknowledged += other.rows_acknowledged;
        self.rows_in_doubt += other.rows_in_doubt;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_everything() {
        let mut one = Tally::default();
        one.record_sent(OperationKind::Batch);
        one.record_sent(OperationKind::Insert);
        one.record_acknowledged(OperationKind::Insert);
        one.record_answer(OperationKind::Insert, 10);
        one.record_latency(OperationKind::Insert, Duration::from_millis(1));
        one.errors.status.insert(500, 2);
        one.errors.timeout = 1;
        let mut both = one.clone();
        both.merge(&one);
        assert_eq!((both.rows_acknowledged, both.rows_in_doubt, both.bytes), (2, 200, 20));
        assert_eq!(both.answered[OperationKind::Insert.index()], 2);
        assert_eq!(both.latencies[OperationKind::Insert.index()].len(), 2);
        assert_eq!((both.errors.status[&500], both.errors.total()), (4, 6));
    }
}
