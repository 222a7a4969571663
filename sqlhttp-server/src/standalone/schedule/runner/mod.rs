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
const NAP_MAX: TimeDelta = TimeDelta::minutes(1);

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
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

type Work = Box<dyn Fn(DateTime<Utc>) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// Something that is done by the clock.
pub struct Job {
    schedule: Schedule,
    work: Work,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

impl Job {
    /// A job whose work returns what went wrong, a line for each failure.
    fn new<F>(schedule: Schedule, work: impl Fn(DateTime<Utc>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        Job { schedule, work: Box::new(move |now| Box::pin(work(now))) }
    }
}

/// The jobs of a database: its scheduled tasks, and macros and backups with a period.
pub fn jobs_of(config: &Arc<DatabaseConfig>, database: &Database, last_backup: &LastBackup) -> Vec<Job> {
    let tasks = (0..config.tasks.len()).filter_map(|index| task_job(config, index, database, last_backup));
    let macros = config.macros.iter().filter_map(|one| macro_job(&config.id, one, database));
    let backup = config.backup.iter().filter_map(|backup| backup_job(config, backup, database, last_backup));
    tasks.chain(macros).chain(backup).collect()
}

fn task_job(config: &Arc<DatabaseConfig>, index: usize, database: &Database, last_backup: &LastBackup) -> Option<Job> {
    // The start has accepted the schedule already.
    let schedule = Schedule::parse(config.tasks.get(index)?.schedule.as_deref()?).ok()?;
    let (config, database, last_backup) = (Arc::clone(config), database.clone(), last_backup.clone());
    Some(Job::new(schedule, move |now| {
        let (config, database, last_backup) = (Arc::clone(&config), database.clone(), last_backup.clone());
        async move {
            let Some(task) = config.tasks.get(index) else { return Vec::new() };
            task::run(&database, (&config.id, index), task, &last_backup, now.with_timezone(&Local)).await
        }
    }))
}

fn macro_job(db: &str, config: &MacroConfig, database: &Database) -> Option<Job> {
    let schedule = Schedule::every(config.execution.period?);
    let what = format!("in database '{db}', macro '{}'", config.id);
    let (config, database) = (Arc::new(config.clone()), database.clone());
    Some(Job::new(schedule, move |_| {
        let (config, database, what) = (Arc::clone(&config), database.clone(), what.clone());
        async move {
            let result = macros::perform_macro(&database, &config).await;
            result.err().map(|error| format!("{what}: {error}")).into_iter().collect()
        }
    }))
}

fn backup_job(
    config: &Arc<DatabaseConfig>,
    backup: &DirectoryBackupConfig,
    database: &Database,
    last_backup: &LastBackup,
) -> Option<Job> {
    let schedule = Schedule::every(backup.execution.period?);
    let (config, backup, database) = (Arc::clone(config), Arc::new(backup.clone()), database.clone());
    let last_backup = last_backup.clone();
    Some(Job::new(schedule, move |now| {
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
pub async fn run(jobs: Vec<Job>, clock: Arc<dyn Clock>, report: Report, stop: CancellationToken) {
    let mut loops = JoinSet::new();
    for job in jobs {
        let (clock, report, stop) = (Arc::clone(&clock), Arc::clone(&report), stop.clone());
        loops.spawn(async move {
            tokio::select! {
                () = repeat(&job, &*clock, &report) => {}
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

async fn repeat(job: &Job, clock: &dyn Clock, report: &Report) {
    let mut from = clock.now();
    while let Some(moment) = job.schedule.next_after(from) {
        sleep_until(clock, moment).await;
        for failure in (job.work)(clock.now()).await {
            report(&failure);
        }
        from = next_from(moment, clock.now());
    }
}

async fn sleep_until(clock: &dyn Clock, moment: DateTime<Utc>) {
    loop {
        let left = moment - clock.now();
        match left.min(NAP_MAX).to_std() {
            Ok(nap) if !nap.is_zero() => clock.sleep(nap).await,
            _ => return,
        }
    }
}

/// From when on the next moment is looked for. A clock that is a little behind the moment just served must not serve
/// it again; one that was set back for good starts over.
fn next_from(served: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    if served - now < NAP_MAX { now.max(served) } else { now }
}

#[cfg(test)]
mod tests;
