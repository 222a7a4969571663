//! A histogram of durations with three significant digits. Its size does not depend on the number of recorded
//! durations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The maximum duration of a histogram, in nanoseconds (10 minutes). A longer duration is recorded as this one.
const MAX_NS: u64 = 600 * 1_000_000_000;

/// A histogram of durations. The width of a bucket is at most 0.1 % of its durations.
#[derive(Debug, Clone)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

/// A summary of a [`Histogram`]. All fields are in microseconds. All are 0 if nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// The arithmetic mean of the durations.
    pub mean: f64,
    /// The median: 50 % of the durations are at most this long.
    pub p50: f64,
    /// The 90th percentile: 90 % of the durations are at most this long.
    pub p90: f64,
    /// The 99th percentile: 99 % of the durations are at most this long.
    pub p99: f64,
    /// The 99.9th percentile: 99.9 % of the durations are at most this long.
    pub p999: f64,
    /// The maximum duration.
    pub max: f64,
}

impl Histogram {
    /// Creates an empty histogram.
    #[expect(clippy::expect_used, reason = "the library accepts these constant bounds")]
    pub fn new() -> Self {
        Histogram(hdrhistogram::Histogram::new_with_max(MAX_NS, 3).expect("valid bounds"))
    }

    /// Records a duration.
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all durations of another histogram to this one.
    pub fn merge(&mut self, other: &Histogram) {
        self.0 += &other.0;
    }

    /// Returns the number of recorded durations.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Returns whether no duration was recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the duration that is not exceeded by the fraction `share` (0 to 1) of the recorded durations.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// Returns the mean, the usual percentiles and the maximum.
    pub fn summary(&self) -> LatencySummary {
        let at = |share| micros(self.quantile(share));
        LatencySummary {
            mean: self.0.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(Duration::from_nanos(self.0.max())),
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        micros.into_iter().for_each(|us| histogram.record(Duration::from_micros(us)));
        histogram
    }

    fn near(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() <= expected * 0.001
    }

    #[test]
    fn percentiles_of_one_to_a_hundred_thousand() {
        let latency = of(1..=100_000).summary();
        assert!(near(latency.p50, 50_000.0), "{latency:?}");
        assert!(near(latency.p90, 90_000.0), "{latency:?}");
        assert!(near(latency.p99, 99_000.0), "{latency:?}");
        assert!(near(latency.p999, 99_900.0), "{latency:?}");
        assert!(near(latency.max, 100_000.0), "{latency:?}");
        assert!(near(latency.mean, 50_000.5), "{latency:?}");
    }

    #[test]
    fn one_outlier_shows_in_the_maximum_and_not_in_the_median() {
        let mut histogram = of(std::iter::repeat_n(130, 999));
        histogram.record(Duration::from_secs(4));
        let latency = histogram.summary();
        assert!(near(latency.p50, 130.0), "{latency:?}");
        assert!(near(latency.p99, 130.0), "{latency:?}");
        assert!(near(latency.max, 4_000_000.0), "{latency:?}");
    }

    #[test]
    fn merging_equals_recording_together() {
        let mut left = of(1..=500);
        left.merge(&of(501..=1_000));
        assert_eq!(left.len(), 1_000);
        assert_eq!(left.summary(), of(1..=1_000).summary());
    }

    #[test]
    fn an_empty_one_is_all_zero_and_a_huge_value_is_cut() {
        assert!(Histogram::new().is_empty());
        assert_eq!(Histogram::new().summary(), LatencySummary::default());
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_secs(100_000));
        assert!(near(histogram.summary().max, 600e6));
    }
}
