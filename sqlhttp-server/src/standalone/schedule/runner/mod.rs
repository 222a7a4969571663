//! Waits for the next moment of each job and runs it. One run of a job at a time: a moment that passes while the
//! job still runs is skipped.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta, Utc};
use sqlhttp_core::{BoxFuture, Database};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Schedule, macros, task};
use crate::process::metrics::LastBackup;
use crate::standalone::config::{DatabaseConfig, DirectoryBackupConfig, MacroConfig};

/// The wall clock may be set; nobody sleeps for longer without looking at it again.
const SLEEP_MAX: TimeDelta = TimeDelta::minutes(1);

/// The time, and how to wait.
pub trait Clock: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> DateTime<Utc>;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The time of the system.
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

/// Where failures are told.
pub type ReportFailure = Arc<dyn Fn(&str) + Send + Sync>;

type JobFn = Box<dyn Fn(DateTime<Utc>) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// Something that is done by the clock.
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
    /// A job whose work returns what went wrong, a line for each failure.
    fn new<F>(schedule: Schedule, run: impl Fn(DateTime<Utc>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        ScheduledJob { schedule, run: Box::new(move |now| Box::pin(run(now))) }
    }
}

/// The jobs of a database: its scheduled tasks, and macros and backups with a period.
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
    // The start has accepted the schedule already.
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

/// Runs jobs until `stop` is cancelled. A run that is under way then is given up at its next step.
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

/// From when on the next moment is looked for. A clock that is a little behind the moment just served must not serve
/// it again; one that was set back for good starts over.
fn search_from(served: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    if served - now < SLEEP_MAX { now.max(served) } else { now }
}

#[cfg(test)]
mod tests;
