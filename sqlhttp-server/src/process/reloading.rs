//! A value that is loaded from files, and reloaded when one of these files changes.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

/// The minimum time between two checks by [`Reloading::reload_if_due`] whether the files have changed.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The result of checking whether the files of a value have changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The files have not changed, or loading them failed with the same error as before. The old value stays in use.
    Unchanged,
    /// The files have changed, and the new value is in use.
    Replaced,
    /// The files have changed but cannot be loaded. The old value stays in use. The string is the error message. The
    /// same error is returned only once in a row.
    Rejected(String),
}

/// The metadata of a file. It differs if the file has been changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Fingerprint { modified: metadata.modified().ok(), bytes: metadata.len(), inode: inode(&metadata) })
    }
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value, and the files from which it is loaded.
pub(crate) struct Reloading<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    current: ArcSwap<T>,
    last_check: Mutex<LastCheck>,
}

/// The state after the last check whether the files have changed.
struct LastCheck {
    /// The fingerprints of the files when the value in use was loaded; `None` for a file that did not exist.
    fingerprints: Vec<Option<Fingerprint>>,
    /// The error message of the last attempt to load changed files; `None` if that attempt succeeded.
    problem: Option<String>,
    checked_at: Instant,
}

impl<T> Reloading<T> {
    /// Loads the value for the first time. `load` reads the files at `paths`. Fails if `load` fails.
    pub(crate) fn new<E: Display>(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // The fingerprints are taken before the files are read. So the next check detects a change between the two.
        let fingerprints = fingerprints_of(&paths);
        let current = ArcSwap::from_pointee(load()?);
        let load: Load<T> = Box::new(move || load().map_err(|error| error.to_string()));
        let last_check = Mutex::new(LastCheck { fingerprints, problem: None, checked_at: Instant::now() });
        Ok(Reloading { paths, load, current, last_check })
    }

    /// Returns the value in use.
    pub(crate) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Checks the files and reloads the value if they have changed. Does nothing if the last check was less than
    /// [`CHECK_INTERVAL`] before `now`, or if another thread is checking the files.
    pub(crate) fn reload_if_due(&self, now: Instant) -> Reload {
        let mut last_check = match self.last_check.try_lock() {
            Ok(last_check) => last_check,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return Reload::Unchanged,
        };
        if now.saturating_duration_since(last_check.checked_at) < CHECK_INTERVAL {
            return Reload::Unchanged;
        }
        last_check.checked_at = now;
        self.check(last_check)
    }

    /// Checks the files immediately and reloads the value if they have changed.
    pub(crate) fn reload_if_changed(&self) -> Reload {
        self.check(self.last_check.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks the files and reloads the value if they have changed. If loading fails, it is tried again at each check,
    /// because the error may be temporary.
    fn check(&self, mut last_check: MutexGuard<'_, LastCheck>) -> Reload {
        let fingerprints = fingerprints_of(&self.paths);
        if fingerprints == last_check.fingerprints {
            last_check.problem = None;
            return Reload::Unchanged;
        }
        match (self.load)() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                last_check.fingerprints = fingerprints;
                last_check.problem = None;
                Reload::Replaced
            }
            Err(problem) if last_check.problem.as_ref() == Some(&problem) => Reload::Unchanged,
            Err(problem) => {
                last_check.problem = Some(problem.clone());
                Reload::Rejected(problem)
            }
        }
    }
}

fn fingerprints_of(paths: &[PathBuf]) -> Vec<Option<Fingerprint>> {
    paths.iter().map(|path| Fingerprint::of(path)).collect()
}

impl<T> std::fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading").field("paths", &self.paths).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_in(path: PathBuf) -> Reloading<u64> {
        let load = {
            let path = path.clone();
            move || std::fs::read_to_string(&path).map_err(|error| error.to_string())?.parse().map_err(|_| "bad".into())
        };
        Reloading::new::<String>(vec![path], load).unwrap()
    }

    #[test]
    fn a_change_is_loaded_and_an_error_is_returned_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let number = number_in(path.clone());
        assert_eq!((number.reload_if_changed(), *number.current()), (Reload::Unchanged, 1));
        std::fs::write(&path, "22").unwrap();
        assert_eq!((number.reload_if_changed(), *number.current()), (Reload::Replaced, 22));
        std::fs::write(&path, "oh no").unwrap();
        assert_eq!((number.reload_if_changed(), *number.current()), (Reload::Rejected("bad".into()), 22));
        assert_eq!(number.reload_if_changed(), Reload::Unchanged);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(number.reload_if_changed(), Reload::Rejected(_)));
        std::fs::write(&path, "333").unwrap();
        assert_eq!((number.reload_if_changed(), *number.current()), (Reload::Replaced, 333));
    }

    #[test]
    fn a_replaced_file_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("number"), dir.path().join("new"));
        std::fs::write(&path, "1").unwrap();
        std::fs::write(&new, "2").unwrap();
        // Both files have the same length and modification time. Only the inode differs.
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
        let number = number_in(path.clone());
        std::fs::rename(&new, &path).unwrap();
        assert_eq!((number.reload_if_changed(), *number.current()), (Reload::Replaced, 2));
    }

    #[test]
    fn files_are_checked_once_per_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let number = number_in(path.clone());
        let start = Instant::now() + CHECK_INTERVAL;
        assert_eq!(number.reload_if_due(start), Reload::Unchanged);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(number.reload_if_due(start + CHECK_INTERVAL / 2), Reload::Unchanged);
        assert_eq!(number.reload_if_due(start + CHECK_INTERVAL), Reload::Replaced);
    }
}
