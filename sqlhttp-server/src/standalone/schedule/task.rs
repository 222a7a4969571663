//! Runs a task of `scheduledTasks` once: VACUUM, then the backup, then the statements.

use chrono::{DateTime, Local};
use sqlhttp_core::{Atomicity, Batch, Database, Error, Step, StepOutcome};

use super::backup::{BackupError, back_up};
use super::rotation::BackupNaming;
use crate::process::metrics::LastBackup;
use crate::standalone::config::{BackupConfig, TaskConfig};
use crate::standalone::messages;

/// Runs a task once. Returns a line for each failure, with the id of the database and the index of the task.
///
/// If VACUUM fails, no backup is made. The file may be damaged then, and its backup would cause the removal of an
/// older, intact backup. The statements run even if VACUUM or the backup has failed.
pub(crate) async fn run(
    database: &Database,
    (id, index): (&str, usize),
    task: &TaskConfig,
    last_backup: &LastBackup,
    now: DateTime<Local>,
) -> Vec<String> {
    let name = |failure: String| format!("{failure} [task {index} of database '{id}']");
    run_steps(database, task, last_backup, now).await.into_iter().map(name).collect()
}

async fn run_steps(
    database: &Database,
    task: &TaskConfig,
    last_backup: &LastBackup,
    now: DateTime<Local>,
) -> Vec<String> {
    let mut failures = Vec::new();
    if let Err(failure) = vacuum_and_back_up(database, task, last_backup, now).await {
        failures.push(format!("sched. task {failure}"));
    }
    match run_scripts(database, &task.statements, true).await {
        Ok(failed) => {
            let line = |(index, failure)| format!("sched. task (statement #{index}): {failure}");
            failures.extend(failed.into_iter().map(line));
        }
        Err(error) => failures.push(format!("sched. task (statements): {error}")),
    }
    failures
}

async fn vacuum_and_back_up(
    database: &Database,
    task: &TaskConfig,
    last_backup: &LastBackup,
    now: DateTime<Local>,
) -> Result<(), String> {
    if task.vacuum {
        database.vacuum().await.map_err(|error| format!("(vacuum): {}", messages::database_error(&error)))?;
    }
    match &task.backup {
        Some(backup) => run_backup(database, backup, last_backup, now).await,
        None => Ok(()),
    }
}

async fn run_backup(
    database: &Database,
    backup: &BackupConfig,
    last_backup: &LastBackup,
    now: DateTime<Local>,
) -> Result<(), String> {
    let naming = BackupNaming::of_template(&backup.template);
    let result = back_up(database, &naming, backup.files_max, last_backup, now, true).await;
    result.map(drop).map_err(|error| match error {
        BackupError::Directory(error) => format!("(backup prep): {error}"),
        BackupError::Exists(path) => format!("(backup): output file already exists: {}", path.display()),
        BackupError::Copy(error) => format!("(backup): {}", messages::database_error(&error)),
        BackupError::Rotation(error) => format!("(pruning bkp files): {error}"),
    })
}

/// Runs the operator's SQL scripts as if on one connection: a transaction may begin in one script and end in another.
/// Stops at the first failure unless `keep_going` is true. Returns the index of each script that failed, with its
/// message.
///
/// If the database is read-only, each script runs on its own, and only statements that read succeed.
pub(crate) async fn run_scripts(
    database: &Database,
    scripts: &[String],
    keep_going: bool,
) -> Result<Vec<(usize, String)>, String> {
    match database.run_scripts(scripts, keep_going).await {
        Ok(failures) => Ok(failures.iter().map(|(index, error)| (*index, messages::sql_error(error))).collect()),
        Err(Error::ReadOnly) => Ok(run_all_on_reader(database, scripts, keep_going).await),
        Err(error) => Err(messages::database_error(&error)),
    }
}

async fn run_all_on_reader(database: &Database, scripts: &[String], keep_going: bool) -> Vec<(usize, String)> {
    let mut failures = Vec::new();
    for (index, sql) in scripts.iter().enumerate() {
        if let Err(failure) = run_on_reader(database, sql).await {
            failures.push((index, failure));
            if !keep_going {
                break;
            }
        }
    }
    failures
}

/// Runs one SQL script of the operator. The error is the message of its failure.
pub(crate) async fn run_script(database: &Database, sql: &str) -> Result<(), String> {
    match database.run_script(sql).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(messages::sql_error(&error)),
        Err(Error::ReadOnly) => run_on_reader(database, sql).await,
        Err(error) => Err(messages::database_error(&error)),
    }
}

/// Runs one SQL statement on a read-only database, which has no writer thread for scripts. Only a statement that reads
/// succeeds.
async fn run_on_reader(database: &Database, sql: &str) -> Result<(), String> {
    let batch = Batch { atomicity: Atomicity::Each, ..Batch::transaction(vec![Step::execute(sql, ())]) };
    let outcome = database.run(batch).await.map_err(|error| messages::database_error(&error))?;
    match outcome.steps.last() {
        Some(StepOutcome::Failed(failure)) => Err(messages::failure(failure)),
        _ => Ok(()),
    }
}
