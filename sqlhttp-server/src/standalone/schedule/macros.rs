//! Runs the macros and directory backups of sqliterg. They run when the database is created, at start, periodically,
//! or on a request over HTTP.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use sqlhttp_core::{Atomicity, Batch, Database, Ending, Error, Failure, Location, Outcome, Step, StepOutcome};

use super::backup::{self, BackupError};
use super::rotation::BackupNaming;
use super::task::{run_script, run_scripts};
use crate::process::metrics::LastBackup;
use crate::standalone::config::{DatabaseConfig, DirectoryBackupConfig, MacroConfig};
use crate::standalone::messages;

const SQLITE_AUTH: i32 = 23;

/// The reason for which a macro has failed.
#[derive(Debug)]
pub enum MacroError {
    /// A statement failed. The number is the index of the statement, counted from 0, or -1 if COMMIT failed; the
    /// string is the message.
    Statement(i64, String),
    /// The database returned an error instead of the outcomes of the statements.
    Database(Error),
}

/// The reason for which a directory backup has failed.
#[derive(Debug)]
pub enum DirectoryBackupError {
    /// A backup with the time of this minute already exists, at this path.
    Exists(PathBuf),
    /// The backup failed with this message.
    Failed(String),
}

impl std::fmt::Display for MacroError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MacroError::Statement(-1, why) => f.write_str(why),
            MacroError::Statement(index, why) => write!(f, "statement #{index}: {why}"),
            MacroError::Database(error) => f.write_str(&messages::database_error(error)),
        }
    }
}

impl std::fmt::Display for DirectoryBackupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DirectoryBackupError::Exists(path) => write!(f, "File '{}' already exists", path.display()),
            DirectoryBackupError::Failed(why) => f.write_str(why),
        }
    }
}

/// Runs a macro on a request of a client. Returns the number of rows that each statement changed. In a macro without a
/// transaction, a statement that clients must not run is run as a script of the operator.
pub async fn run_macro(database: &Database, config: &MacroConfig) -> Result<Vec<u64>, MacroError> {
    if config.disable_transaction {
        return run_without_transaction(database, &config.statements).await;
    }
    let steps = config.statements.iter().map(|sql| Step::execute(sql.as_str(), ())).collect();
    let outcome = database.run(Batch::transaction(steps)).await.map_err(MacroError::Database)?;
    changed_rows(outcome)
}

/// Runs a macro that no client has requested: at creation, at start or periodically. The statements of a macro without
/// a transaction run as a script of the operator, so that PRAGMAs in it apply to all connections.
pub async fn run_macro_unattended(database: &Database, config: &MacroConfig) -> Result<(), MacroError> {
    if !config.disable_transaction {
        return run_macro(database, config).await.map(drop);
    }
    let failures =
        run_scripts(database, &config.statements, false).await.map_err(|why| MacroError::Statement(-1, why))?;
    match failures.into_iter().next() {
        Some((index, why)) => Err(MacroError::Statement(i64::try_from(index).unwrap_or(-1), why)),
        None => Ok(()),
    }
}

async fn run_without_transaction(database: &Database, statements: &[String]) -> Result<Vec<u64>, MacroError> {
    let mut counts = Vec::new();
    for (index, sql) in (0..).zip(statements) {
        let batch = Batch { atomicity: Atomicity::Each, ..Batch::transaction(vec![Step::execute(sql.as_str(), ())]) };
        let outcome = database.run(batch).await.map_err(MacroError::Database)?;
        if outcome.steps.last().is_some_and(is_refused_to_clients) {
            // Clients must not run this statement (for example VACUUM). A macro may, because the operator has written
            // it.
            run_script(database, sql).await.map_err(|why| MacroError::Statement(index, why))?;
            counts.push(0);
        } else {
            counts.extend(changed_rows(outcome).map_err(|error| error.with_index(index))?);
        }
    }
    Ok(counts)
}

/// Returns whether a statement failed because clients must not run it.
fn is_refused_to_clients(step: &StepOutcome) -> bool {
    match step {
        StepOutcome::Failed(Failure::NotAllowed(_) | Failure::TransactionControl(_)) => true,
        StepOutcome::Failed(Failure::Sql(error)) => error.primary_code() == SQLITE_AUTH,
        _ => false,
    }
}

impl MacroError {
    /// Sets the index of the failed statement, for a statement that ran in a batch of its own and therefore had index
    /// 0.
    fn with_index(self, index: i64) -> Self {
        match self {
            MacroError::Statement(_, why) => MacroError::Statement(index, why),
            other => other,
        }
    }
}

fn changed_rows(outcome: Outcome) -> Result<Vec<u64>, MacroError> {
    if let Ending::NotCommitted(failure) = &outcome.ending {
        return Err(MacroError::Statement(-1, messages::failure(failure)));
    }
    let count = |(index, step): (i64, &StepOutcome)| match step {
        StepOutcome::Changed(changed) => Ok(changed.rows),
        StepOutcome::Rows(rows) => Ok(rows.changed.rows),
        StepOutcome::ChangedEach(each) => Ok(each.iter().map(|changed| changed.rows).sum()),
        StepOutcome::Failed(failure) => Err(MacroError::Statement(index, messages::failure(failure))),
    };
    (0..).zip(&outcome.steps).map(count).collect()
}

/// Backs up a database into the directory that its setting `backup` names.
pub async fn run_directory_backup(
    database: &Database,
    config: &DatabaseConfig,
    backup: &DirectoryBackupConfig,
    last_backup: &LastBackup,
    now: DateTime<Local>,
) -> Result<PathBuf, DirectoryBackupError> {
    let naming = directory_naming(config, &backup.dir);
    let result = backup::back_up(database, &naming, backup.files_max, last_backup, now, false).await;
    result.map_err(|error| match error {
        BackupError::Exists(path) => DirectoryBackupError::Exists(path),
        BackupError::Directory(error) => {
            DirectoryBackupError::Failed(format!("backup directory '{}': {error}", backup.dir.display()))
        }
        BackupError::Copy(error) => DirectoryBackupError::Failed(messages::database_error(&error)),
        BackupError::Rotation(error) => {
            DirectoryBackupError::Failed(format!("the backup is done, but older ones could not be removed: {error}"))
        }
    })
}

fn directory_naming(config: &DatabaseConfig, dir: &Path) -> BackupNaming {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    match &config.location {
        Location::File(path) => {
            let stem = text(path.file_stem()).unwrap_or_else(|| config.id.clone());
            BackupNaming::in_directory(dir, &stem, text(path.extension()).as_deref())
        }
        Location::Memory => BackupNaming::in_directory(dir, &file_name_of(&config.id), None),
    }
}

/// Replaces the characters of a database's id that are not allowed in a file name.
fn file_name_of(id: &str) -> String {
    id.replace(['/', '\\', '\0'], "_")
}
