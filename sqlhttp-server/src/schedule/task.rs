//! One run of a task: VACUUM, then the backup, then the statements.

use chrono::{DateTime, Local};
use sqlhttp_core::{Atomicity, Batch, Database, Error, Step, StepOutcome};

use super::backup::{BackupError, back_up};
use super::rotation::Naming;
use crate::config::{BackupConfig, TaskConfig};
use crate::text;

/// Runs a task and returns what went wrong, a line for each failure.
///
/// A failed VACUUM hints at a damaged file, so no backup is made then that would push an older, good one out. The
/// statements run whatever happened before.
pub(crate) async fn run(database: &Database, task: &TaskConfig, now: DateTime<Local>) -> Vec<String> {
    let mut failures = Vec::new();
    if let Err(failure) = vacuum_and_back_up(database, task, now).await {
        failures.push(format!("sched. task {failure}"));
    }
    for (index, sql) in task.statements.iter().enumerate() {
        if let Err(failure) = run_script(database, sql).await {
            failures.push(format!("sched. task (statement #{index}): {failure}"));
        }
    }
    failures
}

async fn vacuum_and_back_up(database: &Database, task: &TaskConfig, now: DateTime<Local>) -> Result<(), String> {
    if task.vacuum {
        database.vacuum().await.map_err(|error| format!("(vacuum): {}", text::database_error(&error)))?;
    }
    match &task.backup {
        Some(backup) => run_backup(database, backup, now).await,
        None => Ok(()),
    }
}

async fn run_backup(database: &Database, backup: &BackupConfig, now: DateTime<Local>) -> Result<(), String> {
    let naming = Naming::of_template(&backup.template);
    let result = back_up(database, &naming, backup.files_max, now, true).await;
    result.map(drop).map_err(|error| match error {
        BackupError::Directory(error) => format!("(backup prep): {error}"),
        BackupError::Exists(path) => format!("(backup): output file already exists: {}", path.display()),
        BackupError::Copy(error) => format!("(backup): {}", text::database_error(&error)),
        BackupError::Rotation(error) => format!("(pruning bkp files): {error}"),
    })
}

/// Runs the owner's SQL; the error is for people.
pub(crate) async fn run_script(database: &Database, sql: &str) -> Result<(), String> {
    match database.run_script(sql).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(text::sql_error(&error)),
        Err(Error::ReadOnly) => run_reading(database, sql).await,
        Err(error) => Err(text::database_error(&error)),
    }
}

/// A read-only database has no writer to run a script, but statements that read are as good there as elsewhere.
async fn run_reading(database: &Database, sql: &str) -> Result<(), String> {
    let batch = Batch { atomicity: Atomicity::Each, ..Batch::transaction(vec![Step::execute(sql, ())]) };
    let outcome = database.execute(batch).await.map_err(|error| text::database_error(&error))?;
    match outcome.steps.last() {
        Some(StepOutcome::Failed(failure)) => Err(text::failure(failure)),
        _ => Ok(()),
    }
}
