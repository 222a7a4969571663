//! Runs each job at the times of its schedule. A job never runs twice at the same time: times that pass while the job
//! still runs are skipped.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta, Utc};
use sqlhttp_core::{BoxFuture, Database};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Schedule, macros, task};
use crate::process::metrics::LastBackup;
use crate::standalone::config::{DatabaseConfig, DirectoryBackupConfig, MacroConfig};

/// The maximum duration of a sleep. The clock is then read again, because the system clock may have been set in the
/// meantime.
const SLEEP_MAX: TimeDelta = TimeDelta::minutes(1);

/// The clock that determines when jobs run. Tests replace it.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> DateTime<Utc>;

    /// Sleeps for `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A function that reports a failure of a job, given as one line of text.
pub type ReportFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// A function that runs a job, at the given time. Returns a line for each failure.
type JobFn = Box<dyn Fn(DateTime<Utc>) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// A job with the schedule by which it runs.
pub struct ScheduledJob {
    schedule: Schedule,
    run: JobFn,
}

impl std::fmt::Debug for ScheduledJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

impl ScheduledJob {
    /// Creates a job. `run` runs the job at the given time and returns a line for each failure.
    fn new<F>(schedule: Schedule, run: impl Fn(DateTime<Utc>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        ScheduledJob { schedule, run: Box::new(move |now| Box::pin(run(now))) }
    }
}

/// Returns the jobs of a database: its tasks with a schedule, its macros with a period, and its backup if that has a
/// period.
pub fn jobs_of(config: &Arc<DatabaseConfig>, database: &Database, last_backup: &LastBackup) -> Vec<ScheduledJob> {
    let tasks = (0..config.tasks.len()).filter_map(|index| task_job(config, index, database, last_backup));
    let macros = config.macros.iter().filter_map(|one| macro_job(&config.id, one, database));
    let backup = config.backup.iter().filter_map(|backup| backup_job(config, backup, database, last_backup));
    tasks.chain(macros).chain(backup).collect()
}

fn task_job(
    config: &Arc<DatabaseConfig>,
    index: usize,
    database: &Database,
    last_backup: &LastBackup,
) -> Option<ScheduledJob> {
    // Parsing cannot fail, because `config::resolve` has already parsed this schedule.
    let schedule = Schedule::parse(config.tasks.get(index)?.schedule.as_deref()?).ok()?;
    let (config, database, last_backup) = (Arc::clone(config), database.clone(), last_backup.clone());
    Some(ScheduledJob::new(schedule, move |now| {
        let (config, database, last_backup) = (Arc::clone(&config), database.clone(), last_backup.clone());
        async move {
            let Some(task) = config.tasks.get(index) else { return Vec::new() };
            task::run(&database, (&config.id, index), task, &last_backup, now.with_timezone(&Local)).await
        }
    }))
}

fn macro_job(db: &str, config: &MacroConfig, database: &Database) -> Option<ScheduledJob> {
    let schedule = Schedule::every(config.execution.period?);
    let what = format!("in database '{db}', macro '{}'", config.id);
    let (config, database) = (Arc::new(config.clone()), database.clone());
    Some(ScheduledJob::new(schedule, move |_| {
        let (config, database, what) = (Arc::clone(&config), database.clone(), what.clone());
        async move {
            let result = macros::run_macro_unattended(&database, &config).await;
            result.err().map(|error| format!("{what}: {error}")).into_iter().collect()
        }
    }))
}

fn backup_job(
    config: &Arc<DatabaseConfig>,
    backup: &DirectoryBackupConfig,
    database: &Database,
    last_backup: &LastBackup,
) -> Option<ScheduledJob> {
    let schedule = Schedule::every(backup.execution.period?);
    let (config, backup, database) = (Arc::clone(config), Arc::new(backup.clone()), database.clone());
    let last_backup = last_backup.clone();
    Some(ScheduledJob::new(schedule, move |now| {
        let (config, backup, database) = (Arc::clone(&config), Arc::clone(&backup), database.clone());
        let last_backup = last_backup.clone();
        async move {
            let now = now.with_timezone(&Local);
            let result = macros::run_directory_backup(&database, &config, &backup, &last_backup, now).await;
            let line = |error| format!("in database '{}', backup: {error}", config.id);
            result.err().map(line).into_iter().collect()
        }
    }))
}

/// Runs jobs by their schedules until `stop` is cancelled. The future of a job that runs at that time is dropped, so
/// the remaining steps of the job do not run.
pub async fn run(jobs: Vec<ScheduledJob>, clock: Arc<dyn Clock>, report: ReportFailure, stop: CancellationToken) {
    let mut loops = JoinSet::new();
    for job in jobs {
        let (clock, report, stop) = (Arc::clone(&clock), Arc::clone(&report), stop.clone());
        loops.spawn(async move {
            tokio::select! {
                () = run_repeatedly(&job, &*clock, &report) => {}
                () = stop.cancelled() => {}
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            report(&format!("a scheduled job ended: {error}"));
        }
    }
}

async fn run_repeatedly(job: &ScheduledJob, clock: &dyn Clock, report: &ReportFailure) {
    let mut from = clock.now();
    while let Some(due) = job.schedule.next_after(from) {
        sleep_until(clock, due).await;
        for failure in (job.run)(clock.now()).await {
            report(&failure);
        }
        from = search_from(due, clock.now());
    }
}

async fn sleep_until(clock: &dyn Clock, due: DateTime<Utc>) {
    loop {
        let left = due - clock.now();
        match left.min(SLEEP_MAX).to_std() {
            Ok(pause) if !pause.is_zero() => clock.sleep(pause).await,
            _ => return,
        }
    }
}

/// Returns the time after which the next run of a job is due. `served` is the time that was due for the run that has
/// just ended. If the clock is less than a minute behind it, the result is `served`, so that the same run does not
/// happen again. If the clock was set back further, the new time of the clock applies.
fn search_from(served: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    if served - now < SLEEP_MAX { now.max(served) } else { now }
}

#[cfg(test)]
mod tests;
