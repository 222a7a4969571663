//! The counts of a run: responses, errors and latencies. A successful response has status 200 and a body of about the
//! expected length.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::http::ExchangeError;
use crate::workload::OperationKind;

/// The numbers of failed requests in the whole run, including the warm-up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErrorCounts {
    /// The number of responses with a status other than 200, by status.
    pub status: BTreeMap<u16, u64>,
    /// The number of responses with status 200 whose body is too short for a successful response.
    pub short: u64,
    /// The number of failed attempts to open a connection.
    pub connect: u64,
    /// The number of connections that failed before the response to a request was complete.
    pub broken: u64,
    /// The number of responses that were not valid HTTP.
    pub malformed: u64,
    /// The number of requests that had no response at the end of the grace.
    pub timeout: u64,
}

/// The counts for the connections of one thread, or of all threads after [`Tally::merge`].
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The latencies by kind of operation. They are those of successful responses to requests that began within the
    /// measured time.
    pub latencies: [Histogram; OperationKind::ALL.len()],
    /// The number of successful responses that arrived within the measured time, by kind of operation.
    pub answered: [u64; OperationKind::ALL.len()],
    /// The total length of the bodies of these responses, in bytes.
    pub bytes: u64,
    /// The numbers of failed requests.
    pub errors: ErrorCounts,
    /// The number of rows that the server acknowledged in the whole run.
    pub rows_acknowledged: u64,
    /// The number of rows that were sent but not acknowledged. The server may or may not have inserted them.
    pub rows_in_doubt: u64,
}

impl ErrorCounts {
    /// Counts a request whose exchange failed, by the kind of `error`.
    pub fn count_failed_exchange(&mut self, error: &ExchangeError) {
        match error {
            ExchangeError::Io(_) => self.broken += 1,
            ExchangeError::Malformed(_) => self.malformed += 1,
        }
    }

    /// Returns the number of all failed requests.
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
    /// Records that a request is about to be sent. Its rows are in doubt until the response arrives.
    pub fn record_sent(&mut self, kind: OperationKind) {
        self.rows_in_doubt += kind.rows_written();
    }

    /// Records a successful response, whenever it arrives: the rows of its request are acknowledged.
    pub fn record_acknowledged(&mut self, kind: OperationKind) {
        self.rows_in_doubt -= kind.rows_written();
        self.rows_acknowledged += kind.rows_written();
    }

    /// Records a successful response that arrived within the measured time.
    pub fn record_answer(&mut self, kind: OperationKind, body_len: u64) {
        self.answered[kind.index()] += 1;
        self.bytes += body_len;
    }

    /// Records the latency of a successful response to a request that began within the measured time.
    pub fn record_latency(&mut self, kind: OperationKind, latency: Duration) {
        self.latencies[kind.index()].record(latency);
    }

    /// Adds the counts of another thread to these counts.
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
