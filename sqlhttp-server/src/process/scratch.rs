//! Scratch files: copies of a database that clients download, and database files that clients upload. A scratch file is
//! created beside the database, so on the same file system, and is removed when its guard is dropped.
//!
//! A process that is killed leaves its scratch files behind. The name of a scratch file contains the process id, so a
//! later start of the server can remove the files of processes that have ended. (The names that the crate `tempfile`
//! generates do not contain the process id.)

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlhttp_core::Location;

/// The suffixes of the names of a database file and of the files that SQLite creates beside it.
const COMPANIONS: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// The number that the next scratch file of this process gets in its name.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The purpose of a scratch file. It is part of the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The file is a copy of the database that a client downloads.
    Download,
    /// The file is a database that will replace the content of the served database.
    Load,
    /// The file is a database from which a node starts.
    Boot,
}

/// Drop guard: a path that no other process and no other request uses. The caller creates the file at this path.
/// Dropping the guard removes the file.
#[derive(Debug)]
pub(crate) struct ScratchFile(PathBuf);

impl Purpose {
    const ALL: [Purpose; 3] = [Purpose::Download, Purpose::Load, Purpose::Boot];

    fn name(self) -> &'static str {
        match self {
            Purpose::Download => "download",
            Purpose::Load => "load",
            Purpose::Boot => "boot",
        }
    }
}

impl ScratchFile {
    /// Returns an unused path beside a database, or in the system's temporary directory if the database is in memory.
    pub(crate) fn beside(location: &Location, purpose: Purpose) -> ScratchFile {
        let suffix = format!("-{}", unique(purpose));
        ScratchFile(match location {
            Location::File(path) => {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                name.into()
            }
            Location::Memory => std::env::temp_dir().join(format!("sqlhttp{suffix}")),
        })
    }

    /// Returns an unused path in a directory.
    pub(crate) fn in_directory(directory: &Path, purpose: Purpose) -> ScratchFile {
        ScratchFile(directory.join(unique(purpose)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Best effort: the file may not exist, and the next start of the server removes files that remain.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unique(purpose: Purpose) -> String {
    format!("{}-{}-{}", purpose.name(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the scratch files beside a database that were left behind by processes that have ended. Returns the paths of
/// the removed files.
pub(crate) fn remove_leftovers(database: &Path) -> Vec<PathBuf> {
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = database.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_leftover = |file: &str| process_of(file, name).is_some_and(has_ended);
    let leftovers = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|entry| entry.file_name().to_str().is_some_and(is_leftover))
        .map(|entry| entry.path());
    leftovers.filter(|path| std::fs::remove_file(path).is_ok()).collect()
}

/// Returns the id of the process that created the scratch file `file` of a database. `None` if `file` is not the name
/// of a scratch file.
fn process_of(file: &str, database: &str) -> Option<u32> {
    let rest = file.strip_prefix(database)?.strip_prefix('-')?;
    let rest = Purpose::ALL.iter().find_map(|purpose| rest.strip_prefix(purpose.name())?.strip_prefix('-'))?;
    let (process, rest) = rest.split_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, companion) = rest.split_at(digits);
    let known = !number.is_empty() && COMPANIONS.contains(&companion);
    (known && process.bytes().all(|byte| byte.is_ascii_digit())).then(|| process.parse().ok())?
}

/// Returns whether it is certain that a process has ended. A file with the id of the current process counts as left by
/// an earlier process: this process has not created a scratch file yet, and in a container the process has the same id
/// after each start.
#[cfg(target_os = "linux")]
fn has_ended(process: u32) -> bool {
    let directory = Path::new("/proc").join(process.to_string());
    process == std::process::id() || (Path::new("/proc/self").exists() && !directory.exists())
}

#[cfg(not(target_os = "linux"))]
fn has_ended(process: u32) -> bool {
    process == std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_this_database_are_recognised() {
        assert_eq!(process_of("x.db-load-12-3", "x.db"), Some(12));
        assert_eq!(process_of("x.db-download-12-3", "x.db"), Some(12));
        for companion in COMPANIONS {
            assert_eq!(process_of(&format!("x.db-load-12-3{companion}"), "x.db"), Some(12));
        }
        for other in [
            "x.db",
            "x.db-wal",
            "x.db-load",
            "x.db-load-12",
            "x.db-load-12-",
            "x.db-load-a-3",
            "x.db-load-12-3.db",
            "y.db-load-12-3",
            "xx.db-load-12-3",
            "x.db-load-12-3-copy",
            "x.db-load--3",
            "x.db-load-12-b",
        ] {
            assert_eq!(process_of(other, "x.db"), None, "{other}");
        }
    }

    #[test]
    fn a_dropped_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = ScratchFile::in_directory(dir.path(), Purpose::Boot);
        let other = ScratchFile::in_directory(dir.path(), Purpose::Boot);
        assert_ne!(file.path(), other.path());
        std::fs::write(file.path(), "x").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_of_processes_that_have_ended_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (ended, alive) = (child.id(), std::os::unix::process::parent_id());
        let names = |pid: u32| {
            [format!("x.db-load-{pid}-0"), format!("x.db-load-{pid}-0-journal"), format!("y.db-load-{pid}-0")]
        };
        for name in [names(ended), names(alive)].concat() {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(dir.path().join(format!("x.db-load-{ended}-1"))).unwrap();
        let mut removed = remove_leftovers(&dir.path().join("x.db"));
        removed.sort();
        assert_eq!(removed, [0, 1].map(|index| dir.path().join(&names(ended)[index])));
        assert!(names(alive).iter().all(|name| dir.path().join(name).exists()));
        assert!(dir.path().join(&names(ended)[2]).exists(), "a file of another database");
        assert!(remove_leftovers(Path::new("/nonexistent/x.db")).is_empty());
    }
}
