//! Detects that the files of an open database were removed, renamed or replaced.
//!
//! A process keeps writing to files that were removed or replaced after it opened them, and everything it writes there
//! is lost when it ends (<https://sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use>).
//! SQLite does not check for this in WAL mode.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The minimum time between two checks by [`FileWatch::check_when_due`].
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of a database and their identities when it was opened.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    files: Mutex<Vec<WatchedFile>>,
    /// The earliest time of the next check by [`FileWatch::check_when_due`], in milliseconds after the first check of
    /// this process.
    due_ms: AtomicU64,
}

#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    identity: Identity,
}

/// Returns the path of a database's write-ahead log.
pub(crate) fn wal_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

impl FileWatch {
    /// Records the identities of the files that exist now at these paths. A file whose metadata cannot be read is not
    /// watched.
    pub(crate) fn remember(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let files =
            paths.into_iter().filter_map(|path| Some(WatchedFile { identity: Identity::of(&path).ok()?, path }));
        self.lock().extend(files);
    }

    /// Stops watching all files.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Stops watching a file.
    pub(crate) fn forget(&self, path: &Path) {
        self.lock().retain(|file| file.path != path);
    }

    /// Compares the files that are now at the recorded paths with the recorded identities.
    ///
    /// # Errors
    /// A message for the operator, if a file is missing or another file is in its place.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.lock().iter().try_for_each(WatchedFile::check)
    }

    /// Calls [`FileWatch::check`] at most once per second; returns `Ok` in between.
    pub(crate) fn check_when_due(&self) -> Result<(), String> {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let now = FIRST.get_or_init(Instant::now).elapsed();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if now_ms < self.due_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.due_ms.store(now_ms.saturating_add(INTERVAL.as_millis() as u64), Ordering::Relaxed);
        self.check()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<WatchedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchedFile {
    fn check(&self) -> Result<(), String> {
        let what = match Identity::of(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => "was replaced by another file",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "was removed or renamed",
            // No permission, or a network file system that does not respond: the state of the file is unknown, which is
            // no error.
            Err(_) => return Ok(()),
        };
        let path = self.path.display();
        Err(format!("'{path}' {what} while the database was open; put the right files in place and restart"))
    }
}

/// The device and inode numbers of a file.
#[cfg(unix)]
#[derive(Debug, PartialEq, Eq)]
struct Identity(u64, u64);

#[cfg(unix)]
impl Identity {
    fn of(path: &Path) -> std::io::Result<Identity> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|metadata| Identity(metadata.dev(), metadata.ino()))
    }
}

/// A file's identity on systems without inode numbers. All identities are equal, so only the absence of a file is
/// detected.
#[cfg(not(unix))]
#[derive(Debug, PartialEq, Eq)]
struct Identity;

#[cfg(not(unix))]
impl Identity {
    fn of(path: &Path) -> std::io::Result<Identity> {
        std::fs::metadata(path).map(|_| Identity)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn watched(name: &str) -> (tempfile::TempDir, PathBuf, FileWatch) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, "1").unwrap();
        let watch = FileWatch::default();
        watch.remember([path.clone(), wal_of(&path)]);
        (directory, path, watch)
    }

    #[test]
    fn a_changed_file_is_the_same_file() {
        let (_directory, path, watch) = watched("a");
        std::fs::write(&path, "2").unwrap();
        assert_eq!(watch.check(), Ok(()));
        assert_eq!(watch.check_when_due(), Ok(()));
    }

    #[test]
    fn a_removed_or_replaced_file_is_detected() {
        let (directory, path, watch) = watched("a");
        std::fs::rename(&path, directory.path().join("b")).unwrap();
        let gone = watch.check().unwrap_err();
        assert!(gone.contains("was removed or renamed"), "{gone}");
        std::fs::write(&path, "1").unwrap();
        let replaced = watch.check().unwrap_err();
        assert!(replaced.contains("was replaced by another file"), "{replaced}");
        std::fs::rename(directory.path().join("b"), &path).unwrap();
        assert_eq!(watch.check(), Ok(()));
    }

    #[test]
    fn checks_are_at_least_a_second_apart() {
        let (_directory, path, watch) = watched("a");
        assert_eq!(watch.check_when_due(), Ok(()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watch.check_when_due(), Ok(()));
        watch.due_ms.store(0, Ordering::Relaxed);
        assert!(watch.check_when_due().is_err());
    }
}
