//! Makes one backup: finds a free file name, copies the database, and removes the oldest backups.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use sqlhttp_core::{Database, Error};
use tokio::fs;

use super::rotation::BackupNaming;
use crate::process::metrics::LastBackup;

/// The maximum number that is added to the name of a backup to distinguish it from other backups of the same minute.
/// If it is used already, a further backup in that minute fails.
const NUMBER_MAX: u32 = 999;

/// The reason for which a backup, or the removal of older ones, has failed.
#[derive(Debug)]
pub(crate) enum BackupError {
    /// The directory of the backups cannot be created or read.
    Directory(io::Error),
    /// A backup with the time of this minute already exists, at this path.
    Exists(PathBuf),
    /// The database could not be copied.
    Copy(Error),
    /// The backup was written, but older backups could not be removed.
    Rotation(io::Error),
}

/// Copies the database to a new file, and removes old backups so that `files_max` remain. The name of the file
/// contains the time `now`, in minutes. If a backup of this minute exists and `may_number` is true, a number is added
/// to the name; if `may_number` is false, the backup fails.
pub(crate) async fn back_up(
    database: &Database,
    naming: &BackupNaming,
    files_max: usize,
    last_backup: &LastBackup,
    now: DateTime<Local>,
    may_number: bool,
) -> Result<PathBuf, BackupError> {
    create_directory(&naming.dir).await.map_err(BackupError::Directory)?;
    let target = free_name(naming, now, may_number).await?;
    database.backup(&target).await.map_err(BackupError::Copy)?;
    last_backup.record();
    rotate(naming, &target, files_max).await.map_err(BackupError::Rotation)?;
    Ok(target)
}

/// Creates the directory of the backups if it does not exist.
async fn create_directory(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(current_dir_if_empty(dir)).await
}

async fn free_name(naming: &BackupNaming, now: DateTime<Local>, may_number: bool) -> Result<PathBuf, BackupError> {
    let number = naming.next_number(&names_in(&naming.dir).await.map_err(BackupError::Directory)?, now);
    let path = naming.path(now, number);
    if number > if may_number { NUMBER_MAX } else { 0 } {
        return Err(BackupError::Exists(naming.path(now, 0)));
    }
    Ok(path)
}

async fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut entries = fs::read_dir(current_dir_if_empty(dir)).await?;
    while let Some(entry) = entries.next_entry().await? {
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Returns the path, or `.` if it is empty, because an empty path stands for the working directory.
fn current_dir_if_empty(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

async fn rotate(naming: &BackupNaming, newest: &Path, files_max: usize) -> io::Result<()> {
    let names = names_in(&naming.dir).await?;
    let newest = newest.file_name().unwrap_or_default().to_string_lossy();
    for name in naming.surplus(&names, &newest, files_max) {
        fs::remove_file(current_dir_if_empty(&naming.dir).join(name)).await?;
    }
    Ok(())
}
