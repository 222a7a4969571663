//! The due times of the requests of an open loop.
//!
//! The schedule depends only on the rate, not on the responses. If a server stalls, requests continue to become due,
//! and the latency of each request is counted from its own due time. A generator that waits for a response before it
//! sends the next request omits the stall from its latencies. This error is known as coordinated omission.

use std::str::FromStr;
use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

/// The maximum rate, in requests per second.
const RATE_MAX: f64 = 10_000_000.0;

/// A number of requests per second. It is greater than 0 and at most 10 million.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

/// A schedule of evenly spaced requests, `rate` per second. The first one is due at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    rate: Rate,
    len: u64,
}

impl Rate {
    /// Creates a rate. Returns `None` if `per_second` is not greater than 0 and at most 10 million.
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second > 0.0 && per_second <= RATE_MAX).then_some(Rate(per_second))
    }

    /// Returns the rate in requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().map_err(|_| format!("'{text}' is not a number"))?;
        Rate::new(number).ok_or_else(|| format!("must be above 0 and at most {RATE_MAX} requests per second"))
    }
}

impl Schedule {
    /// Creates the schedule of the requests that are due within the time `time` at `rate`.
    pub fn new(rate: Rate, time: Duration) -> Self {
        let unbounded = Schedule { rate, len: u64::MAX };
        Schedule { rate, len: unbounded.due_before(time) }
    }

    /// Returns the number of requests in the schedule.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the schedule contains no requests.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the time at which request `index` (from 0) is due, counted from the start of the run.
    pub fn due_at(&self, index: u64) -> Duration {
        // The time is computed from the index on each call, so that rounding errors do not accumulate.
        Duration::from_nanos((index as f64 * NANOS_PER_SECOND / self.rate.0) as u64)
    }

    /// Returns the number of requests that are due at or before the time `elapsed` after the start.
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        self.due_before(elapsed.saturating_add(Duration::from_nanos(1)))
    }

    /// Returns the number of requests that are due before the time `elapsed` after the start.
    fn due_before(&self, elapsed: Duration) -> u64 {
        let estimate = (elapsed.as_nanos() as f64 * self.rate.0 / NANOS_PER_SECOND) as u64;
        // The estimate may be one too low or too high. It is corrected with `due_at`, so that the two functions always
        // agree.
        let first = estimate.saturating_sub(1);
        let count = (first..=estimate.saturating_add(1)).find(|&index| self.due_at(index) >= elapsed);
        count.unwrap_or(estimate).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, seconds: u64) -> Schedule {
        Schedule::new(Rate::new(rate).unwrap(), Duration::from_secs(seconds))
    }

    #[test]
    fn requests_are_evenly_spaced_from_the_start() {
        let schedule = schedule(1_000.0, 2);
        assert_eq!(schedule.len(), 2_000);
        assert_eq!(schedule.due_at(0), Duration::ZERO);
        assert_eq!(schedule.due_at(1), Duration::from_millis(1));
        assert_eq!(schedule.due_at(1_999), Duration::from_millis(1_999));
    }

    #[test]
    fn due_times_are_exact_after_a_day() {
        let schedule = schedule(30_000.0, 86_400);
        assert_eq!(schedule.len(), 30_000 * 86_400);
        assert_eq!(schedule.due_at(30_000 * 86_399), Duration::from_secs(86_399));
    }

    #[test]
    fn due_at_and_due_by_agree_for_odd_rates() {
        for rate in [0.3, 1.0, 7.0, 999.99, 33_333.3, 1e6] {
            let schedule = schedule(rate, 1_000);
            for index in (0..schedule.len()).step_by(997) {
                let due = schedule.due_at(index);
                assert_eq!(schedule.due_by(due), index + 1, "rate {rate}, request {index}");
                let just_before = due.saturating_sub(Duration::from_nanos(1));
                assert_eq!(schedule.due_by(just_before), if index == 0 { 1 } else { index }, "rate {rate}");
            }
        }
    }

    #[test]
    fn no_more_requests_are_due_than_the_schedule_has() {
        let schedule = schedule(10.0, 3);
        assert_eq!(schedule.due_by(Duration::from_secs(3_600)), 30);
        assert_eq!(schedule.due_by(Duration::from_millis(1_450)), 15);
    }

    #[test]
    fn a_rate_out_of_range_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, RATE_MAX * 2.0] {
            assert_eq!(Rate::new(rate), None);
        }
    }

    #[test]
    fn a_run_shorter_than_the_interval_still_has_its_first_request() {
        let schedule = Schedule::new(Rate(0.5), Duration::from_millis(10));
        assert_eq!(schedule.len(), 1);
        assert!(!schedule.is_empty());
    }
}
