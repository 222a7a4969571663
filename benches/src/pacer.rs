//! Tells the connections of an open loop when the next request is due.
//!
//! A thread of its own sleeps from one moment to the next, because an async runtime's timer only counts milliseconds. Any
//! connection that is idle takes the next request, so that one slow answer does not hold up the requests after it; if
//! all are busy, requests pile up and keep the moment at which they were due.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::histogram::Histogram;
use crate::schedule::Schedule;

/// Hands out the requests of a [`Schedule`].
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    due: Semaphore,
    taken: AtomicU64,
}

impl Pacer {
    /// For this schedule. Nothing is due until [`Pacer::run`] runs.
    pub fn new(schedule: Schedule) -> Self {
        Pacer { schedule, due: Semaphore::new(0), taken: AtomicU64::new(0) }
    }

    /// Waits for the next request; when it was due, counted from the start, or `None` if the schedule is over.
    pub async fn next(&self) -> Option<Duration> {
        self.due.acquire().await.ok()?.forget();
        Some(self.schedule.due_at(self.taken.fetch_add(1, Ordering::Relaxed)))
    }

    /// Makes requests due from `start` to `end`, on the calling thread, and then ends the schedule. How late the thread
    /// woke up, each time: part of every latency that is measured, and not the server's fault.
    pub fn run(&self, start: Instant, end: Instant) -> Histogram {
        sharpen_sleep();
        let mut lag = Histogram::new();
        let mut made_due = 0;
        while made_due < self.schedule.len() {
            let next = start + self.schedule.due_at(made_due);
            sleep_until(next);
            let now = Instant::now();
            lag.record(now.duration_since(next));
            let due = self.schedule.due_by(now.duration_since(start));
            self.due.add_permits(usize::try_from(due - made_due).unwrap_or(Semaphore::MAX_PERMITS));
            made_due = due;
        }
        sleep_until(end);
        self.due.close();
        lag
    }

    /// How many requests were due and never sent, because all connections were busy until the end.
    pub fn unsent(&self) -> u64 {
        self.schedule.len().saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// How many requests there were.
    pub fn len(&self) -> u64 {
        self.schedule.len()
    }

    /// Whether there were none.
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

/// Asks the kernel to wake this thread as exactly as it can; by default it may be 50 µs late to save power. Where that
/// cannot be asked, the lag that is reported is larger.
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
            // The end is far enough for the requests to be taken however busy the machine is.
            scope.spawn(|| pacer.run(start, start + Duration::from_secs(1)));
            take_all(&pacer)
        });
        assert_eq!(taken, (0..50).map(Duration::from_millis).collect::<Vec<_>>());
        assert_eq!(pacer.unsent(), 0);
    }

    #[test]
    fn what_nobody_takes_is_unsent() {
        let pacer = pacer(1_000.0, Duration::from_millis(5));
        let start = Instant::now();
        assert!(!pacer.run(start, start).is_empty());
        assert_eq!(take_all(&pacer), []);
        assert_eq!((pacer.unsent(), pacer.len()), (5, 5));
    }

    #[test]
    fn requests_keep_the_moment_at_which_they_were_due() {
        let pacer = pacer(100.0, Duration::from_millis(100));
        // The whole schedule lies in the past: all of it is due at once.
        let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let taken = thread::scope(|scope| {
            scope.spawn(|| pacer.run(start, start + Duration::from_secs(2)));
            take_all(&pacer)
        });
        assert_eq!(taken.first().zip(taken.last()), Some((&Duration::ZERO, &Duration::from_millis(90))));
    }
}
