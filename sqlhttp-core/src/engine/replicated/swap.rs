//! Replaces the file of a database that is not open by a snapshot.
//!
//! SQLite replays a write-ahead log (`-wal`) into whatever file has the matching name, and rolls back a journal
//! (`-journal`) in the same way. So such a file of the old database must never be found beside the snapshot
//! (<https://sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use>). The order of the steps
//! ensures that:
//!
//! 1. The files beside the old database are removed.
//! 2. The directory is synced.
//! 3. The snapshot is renamed to the name of the database.
//! 4. The directory is synced.
//!
//! Without step 2, a power cut could undo the removals but not the rename. With it, the rename happens only after the
//! removals are durable. The rename also removes the name of the snapshot. After a crash, [`finish`] decides by that
//! name which steps remain:
//!
//! | crash | snapshot | files beside the database | [`finish`] |
//! |---|---|---|---|
//! | before step 1 | exists | of the old database | all steps |
//! | during step 1, or before step 2 has ended | exists | any of the old database | all steps |
//! | before step 3 | exists | none | all steps |
//! | between 3 and 4, process only | is gone | none | step 4 |
//! | between 3 and 4, power | exists, or is gone | none | all steps, or step 4 |
//! | after step 4 | is gone | of the new database | step 4 |
//!
//! In the last case the files beside the database belong to the new content, and must stay: the database may have been
//! opened and written. The old content without its write-ahead log may be damaged, so after step 1 has begun in
//! [`finish`], the only way is forward. An installation in an open database checkpoints the old content first, so it
//! can go back until step 3 ([`super::install`]).

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The suffixes of the files that SQLite creates beside a database.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The file operations of an installation. Tests use a simulated disk.
pub(crate) trait FileSystem: Send + Sync {
    /// Returns whether a file exists.
    fn exists(&self, file: &Path) -> Result<bool>;
    /// Removes a file. Does nothing if it does not exist.
    fn remove(&self, file: &Path) -> Result<()>;
    /// Renames a file, and replaces the file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes the creations, removals and renames in a directory durable.
    fn sync_directory(&self, directory: &Path) -> Result<()>;
}

/// The file system of the operating system.
pub(crate) struct OsFileSystem;

impl FileSystem for OsFileSystem {
    fn exists(&self, file: &Path) -> Result<bool> {
        file.try_exists()
    }

    fn remove(&self, file: &Path) -> Result<()> {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        // The database keeps its permissions.
        if let Ok(metadata) = std::fs::metadata(to) {
            std::fs::set_permissions(from, metadata.permissions())?;
        }
        std::fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> Result<()> {
        std::fs::File::open(directory)?.sync_all()
    }
}

/// The replacement of a database file by a snapshot.
pub(crate) struct Swap<'a> {
    files: &'a dyn FileSystem,
    database: &'a Path,
    snapshot: &'a Path,
    directory: &'a Path,
}

impl<'a> Swap<'a> {
    /// Checks the paths.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the files are not in the same directory, because a rename is atomic only within a
    /// directory; or if the database is a symbolic link, because SQLite's files are then beside the target of the link.
    pub(crate) fn new(files: &'a dyn FileSystem, database: &'a Path, snapshot: &'a Path) -> Result<Swap<'a>> {
        let invalid = |message: &str| Error::new(ErrorKind::InvalidInput, message);
        let directory = database.parent().ok_or_else(|| invalid("the path of the database has no file name"))?;
        if snapshot.parent() != Some(directory) {
            return Err(invalid("the snapshot is not in the directory of the database"));
        }
        if std::fs::symlink_metadata(database).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(invalid("the database is a symbolic link"));
        }
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        Ok(Swap { files, database, snapshot, directory })
    }

    /// The path of the database.
    pub(crate) fn database(&self) -> &Path {
        self.database
    }

    /// Returns whether the snapshot still has its name, so that it is not the database.
    pub(crate) fn is_pending(&self) -> Result<bool> {
        self.files.exists(self.snapshot)
    }

    /// Returns whether the database has a write-ahead log.
    pub(crate) fn has_log(&self) -> Result<bool> {
        self.files.exists(&beside(self.database, "-wal"))
    }

    /// Steps 1 and 2: durably removes the files beside the database.
    pub(crate) fn clear(&self) -> Result<()> {
        for suffix in SUFFIXES {
            self.files.remove(&beside(self.database, suffix))?;
        }
        self.files.sync_directory(self.directory)
    }

    /// Step 3: makes the snapshot the database.
    pub(crate) fn rename(&self) -> Result<()> {
        self.files.rename(self.snapshot, self.database)
    }

    /// Step 4: makes the rename durable.
    pub(crate) fn settle(&self) -> Result<()> {
        self.files.sync_directory(self.directory)
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Finishes an installation that a crash has interrupted, before the database is opened. Returns whether the snapshot
/// has become the database now; if not, it had become the database before. May be called any number of times.
pub(crate) fn finish(files: &dyn FileSystem, database: &Path, snapshot: &Path) -> Result<bool> {
    let swap = Swap::new(files, database, snapshot)?;
    let pending = swap.is_pending()?;
    if pending {
        swap.clear()?;
        swap.rename()?;
    }
    swap.settle()?;
    Ok(pending)
}
