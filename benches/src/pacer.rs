//! Releases the requests of an open loop to the connections at their due times.
//!
//! The pacer runs on its own thread and sleeps until the next due time. It does not use the timer of the async runtime,
//! whose resolution is only one millisecond. Any idle connection takes the next request, so that one slow response does
//! not delay the requests after it. If all connections are busy, requests accumulate and keep their due times.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::histogram::Histogram;
use crate::schedule::Schedule;

/// Releases the requests of a [`Schedule`] to the connections.
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    due: Semaphore,
    taken: AtomicU64,
}

impl Pacer {
    /// Creates a pacer. It releases no request until [`Pacer::run`] is called.
    pub fn new(schedule: Schedule) -> Self {
        Pacer { schedule, due: Semaphore::new(0), taken: AtomicU64::new(0) }
    }

    /// Waits until a request is due and takes it. Returns its due time, counted from the start of the run, or `None` at
    /// the end of the schedule.
    pub async fn next(&self) -> Option<Duration> {
        self.due.acquire().await.ok()?.forget();
        Some(self.schedule.due_at(self.taken.fetch_add(1, Ordering::Relaxed)))
    }

    /// Releases requests from `start` to `end` on the calling thread, and then ends the schedule. Returns how late the
    /// thread woke up each time. This lag is part of the measured latencies, but is not caused by the server.
    pub fn run(&self, start: Instant, end: Instant) -> Histogram {
        sharpen_sleep();
        let mut lag = Histogram::new();
        let mut released = 0;
        while released < self.schedule.len() {
            let next = start + self.schedule.due_at(released);
            sleep_until(next);
            let now = Instant::now();
            lag.record(now.duration_since(next));
            let due = self.schedule.due_by(now.duration_since(start));
            self.due.add_permits(usize::try_from(due - released).unwrap_or(Semaphore::MAX_PERMITS));
            released = due;
        }
        sleep_until(end);
        self.due.close();
        lag
    }

    /// Returns the number of requests that were due but not sent, because all connections were busy until the end.
    pub fn unsent(&self) -> u64 {
        self.schedule.len().saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Returns the number of requests in the schedule.
    pub fn len(&self) -> u64 {
        self.schedule.len()
    }

    /// Returns whether the schedule contains no requests.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_empty()
    }
}

fn sleep_until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

/// Sets the timer slack of this thread to 1 ns. The timer slack is the time by which the kernel may delay a wake-up to
/// save power (<https://man7.org/linux/man-pages/man2/PR_SET_TIMERSLACK.2const.html>); the default is 50 µs. If this
/// function fails, the reported lag of the pacer is larger.
fn sharpen_sleep() {
    let thread = fs::read_link("/proc/thread-self").ok();
    if let Some(id) = thread.as_deref().and_then(|path| path.file_name()?.to_str()) {
        let _ = fs::write(format!("/proc/{id}/timerslack_ns"), "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Rate;

    fn pacer(rate: f64, time: Duration) -> Pacer {
        Pacer::new(Schedule::new(Rate::new(rate).unwrap(), time))
    }

    fn take_all(pacer: &Pacer) -> Vec<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut taken = Vec::new();
            while let Some(due) = pacer.next().await {
                taken.push(due);
            }
            taken
        })
    }

    #[test]
    fn an_idle_connection_gets_every_request_in_order() {
        let pacer = pacer(1_000.0, Duration::from_millis(50));
        let start = Instant::now();
        let taken = thread::scope(|scope| {
            // The end is late enough for all requests to be taken, even on a busy machine.
            scope.spawn(|| pacer.run(start, start + Duration::from_secs(1)));
            take_all(&pacer)
        });
        assert_eq!(taken, (0..50).map(Duration::from_millis).collect::<Vec<_>>());
        assert_eq!(pacer.unsent(), 0);
    }

    #[test]
    fn requests_that_are_not_taken_are_unsent() {
        let pacer = pacer(1_000.0, Duration::from_millis(5));
        let start = Instant::now();
        assert!(!pacer.run(start, start).is_empty());
        assert_eq!(take_all(&pacer), []);
        assert_eq!((pacer.unsent(), pacer.len()), (5, 5));
    }

    #[test]
    fn delayed_requests_keep_their_due_times() {
        let pacer = pacer(100.0, Duration::from_millis(100));
        // The whole schedule is in the past, so all requests are due at once.
        let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let taken = thread::scope(|scope| {
            scope.spawn(|| pacer.run(start, start + Duration::from_secs(2)));
            take_all(&pacer)
        });
        assert_eq!(taken.first().zip(taken.last()), Some((&Duration::ZERO, &Duration::from_millis(90))));
    }
}
