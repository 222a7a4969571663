//! One backup: find a name, write the copy, remove those that are too old.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use sqlhttp_core::{Database, Error};
use tokio::fs;

use super::rotation::BackupNaming;
use crate::process::metrics::LastBackup;

/// How many backups of one minute get a number before we give up.
const NUMBER_MAX: u32 = 999;

/// Why there is no backup, or no good order among them.
#[derive(Debug)]
pub(crate) enum BackupError {
    /// The directory cannot be used.
    Directory(io::Error),
    /// There is a backup of this minute already.
    Exists(PathBuf),
    /// The copy failed.
    Copy(Error),
    /// The copy is there, but older ones could not be removed.
    Rotation(io::Error),
}

/// Backs up to the name of this minute. A name that is taken gets a number, if `number` allows that.
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

/// An empty path is the working directory.
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
