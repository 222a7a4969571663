//! One backup: finds a free name, writes the copy, and removes the oldest backups.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use sqlhttp_core::{Database, Error};
use tokio::fs;

use super::rotation::BackupNaming;
use crate::process::metrics::LastBackup;

/// The greatest number that a backup gets to distinguish it from others of the same minute. A further backup fails.
const NUMBER_MAX: u32 = 999;

/// The reason why a backup, or the removal of older ones, failed.
#[derive(Debug)]
pub(crate) enum BackupError {
    /// The directory cannot be used.
    Directory(io::Error),
    /// A backup of this minute exists already.
    Exists(PathBuf),
    /// The copy failed.
    Copy(Error),
    /// The copy was written, but older backups could not be removed.
    Rotation(io::Error),
}

/// Backs up to a file that is named after this minute, and keeps `files_max` backups. If there is a backup of this
/// minute, a number is added to the name, provided that `may_number` is true.
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

/// Creates the directory if it is missing.
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

/// Returns `.` for an empty path, which means the working directory.
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
