//! When the requests of an open loop are due.
//!
//! The schedule depends on the rate alone, never on the answers: a server that stalls finds all the requests that
//! came due meanwhile, and each of them has waited since its own moment. (A generator that waits for an answer before
//! it sends the next request would hide exactly the stalls it should measure.)

use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

/// The highest rate a schedule accepts, requests per second.
pub const RATE_MAX: f64 = 10_000_000.0;

/// Evenly spaced requests, `rate` per second, the first at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    rate: f64,
    len: u64,
}

impl Schedule {
    /// The requests that are due in the given time at `rate` per second; `None` unless the rate is positive and at most
    /// [`RATE_MAX`].
    pub fn new(rate: f64, time: Duration) -> Option<Self> {
        let accepted = rate.is_finite() && rate > 0.0 && rate <= RATE_MAX;
        let unbounded = Schedule { rate, len: u64::MAX };
        accepted.then(|| Schedule { rate, len: unbounded.due_before(time) })
    }

    /// How many requests there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When request `index` (from 0) is due, counted from the start.
    pub fn due_at(&self, index: u64) -> Duration {
        // From the index each time, so that no rounding error adds up.
        Duration::from_nanos((index as f64 * NANOS_PER_SECOND / self.rate) as u64)
    }

    /// How many requests are due at or before the moment `elapsed` after the start.
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        self.due_before(elapsed.saturating_add(Duration::from_nanos(1)))
    }

    /// How many requests are due before the moment `elapsed` after the start.
    fn due_before(&self, elapsed: Duration) -> u64 {
        let estimate = (elapsed.as_nanos() as f64 * self.rate / NANOS_PER_SECOND) as u64;
        // The estimate may be off by one either way; `due_at` decides, so that both always agree.
        let first = estimate.saturating_sub(1);
        let count = (first..=estimate.saturating_add(1)).find(|&index| self.due_at(index) >= elapsed);
        count.unwrap_or(estimate).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, seconds: u64) -> Schedule {
        Schedule::new(rate, Duration::from_secs(seconds)).unwrap()
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
    fn the_last_of_a_day_is_due_where_it_belongs() {
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
    fn never_more_than_there_are() {
        let schedule = schedule(10.0, 3);
        assert_eq!(schedule.due_by(Duration::from_secs(3_600)), 30);
        assert_eq!(schedule.due_by(Duration::from_millis(1_450)), 15);
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, RATE_MAX * 2.0] {
            assert_eq!(Schedule::new(rate, Duration::from_secs(1)), None);
        }
    }

    #[test]
    fn a_run_shorter_than_the_interval_still_has_its_first_request() {
        let schedule = Schedule::new(0.5, Duration::from_millis(10)).unwrap();
        assert_eq!(schedule.len(), 1);
        assert!(!schedule.is_empty());
    }
}
