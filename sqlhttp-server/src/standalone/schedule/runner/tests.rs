use std::sync::Mutex;

use tokio::sync::Notify;

use super::*;

/// A clock for tests. It advances only in a sleep, and while a job runs. A sleep past `end` never returns.
struct FakeClock {
    now: Mutex<DateTime<Utc>>,
    end: DateTime<Utc>,
    ended: Notify,
}

impl FakeClock {
    fn new(minutes: i64) -> Arc<Self> {
        let start = utc("2026-01-01T00:00:00Z");
        Arc::new(FakeClock { now: Mutex::new(start), end: start + TimeDelta::minutes(minutes), ended: Notify::new() })
    }

    fn advance(&self, by: TimeDelta) -> bool {
        let mut now = self.now.lock().unwrap();
        *now += by;
        *now <= self.end
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.advance(TimeDelta::from_std(duration).unwrap()) {
                self.ended.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

fn quiet() -> ReportFailure {
    Arc::new(|_| {})
}

/// Runs one job, whose runs take `run_for`, until the end of the fake clock. Returns the times at which it ran.
async fn run_times(expression: &str, minutes: i64, run_for: TimeDelta) -> Vec<String> {
    let clock = FakeClock::new(minutes);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let job = {
        let (clock, seen) = (Arc::clone(&clock), Arc::clone(&seen));
        ScheduledJob::new(Schedule::parse(&format!("TZ=UTC {expression}")).unwrap(), move |now| {
            seen.lock().unwrap().push(now.format("%H:%M:%S").to_string());
            clock.advance(run_for);
            async { Vec::new() }
        })
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(vec![job], clock.clone(), quiet(), stop.clone()));
    clock.ended.notified().await;
    stop.cancel();
    running.await.unwrap();
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn a_job_runs_at_its_times() {
    assert_eq!(run_times("*/20 * * * *", 65, TimeDelta::zero()).await, ["00:20:00", "00:40:00", "01:00:00"]);
    assert_eq!(run_times("@every 90s", 5, TimeDelta::zero()).await, ["00:01:30", "00:03:00", "00:04:30"]);
}

#[tokio::test]
async fn times_that_pass_during_a_run_are_skipped() {
    let ran = run_times("* * * * *", 8, TimeDelta::seconds(150)).await;
    assert_eq!(ran, ["00:01:00", "00:04:00", "00:07:00"]);
}

#[tokio::test]
async fn failures_are_reported_and_the_job_goes_on() {
    let clock = FakeClock::new(3);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let report: ReportFailure = {
        let lines = Arc::clone(&lines);
        Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()))
    };
    let job = ScheduledJob::new(Schedule::every(Duration::from_secs(60)), |_| async { vec!["broken".to_owned()] });
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(vec![job], clock.clone(), report, stop.clone()));
    clock.ended.notified().await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["broken", "broken", "broken"]);
}

#[tokio::test]
async fn stopping_ends_a_running_job() {
    let started = Arc::new(Notify::new());
    let job = {
        let started = Arc::clone(&started);
        ScheduledJob::new(Schedule::every(Duration::from_secs(1)), move |_| {
            started.notify_one();
            std::future::pending()
        })
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(vec![job], FakeClock::new(10), quiet(), stop.clone()));
    started.notified().await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn without_jobs_the_runner_ends() {
    run(Vec::new(), FakeClock::new(1), quiet(), CancellationToken::new()).await;
}

#[tokio::test]
async fn a_schedule_without_a_next_time_ends_the_job() {
    let job = ScheduledJob::new(Schedule::parse("0 0 30 2 *").unwrap(), |_| async { Vec::new() });
    run(vec![job], FakeClock::new(1), quiet(), CancellationToken::new()).await;
}

#[test]
fn a_clock_that_lags_does_not_repeat_a_run() {
    let served = utc("2026-01-01T00:05:00Z");
    assert_eq!(search_from(served, utc("2026-01-01T00:04:59Z")), served);
    assert_eq!(search_from(served, utc("2026-01-01T00:06:00Z")), utc("2026-01-01T00:06:00Z"));
    assert_eq!(search_from(served, utc("2025-12-01T00:00:00Z")), utc("2025-12-01T00:00:00Z"));
}
