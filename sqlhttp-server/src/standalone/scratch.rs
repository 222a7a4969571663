//! Files for what clients load: beside their database, named after it, and removed when they have served.
//!
//! A process that is killed leaves them behind, so a later start removes those whose process has ended.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlhttp_core::Location;

/// The part between the database's name and the numbers.
const MARK: &str = "-load-";

/// What SQLite adds to a file's name while it is open.
const COMPANIONS: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// A name for a file that is to be loaded, which no other process or request uses.
pub(crate) fn file_for(location: &Location) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let suffix = format!("{MARK}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    match location {
        Location::File(path) => {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            name.into()
        }
        Location::Memory => std::env::temp_dir().join(format!("sqlhttp{suffix}")),
    }
}

/// Removes the files that processes which have ended left beside a database. Returns them.
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

/// The process that made a file for loading into the database of this name; `None` for any other file.
fn process_of(file: &str, database: &str) -> Option<u32> {
    let rest = file.strip_prefix(database)?.strip_prefix(MARK)?;
    let (process, rest) = rest.split_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, companion) = rest.split_at(digits);
    let known = !number.is_empty() && COMPANIONS.contains(&companion);
    (known && process.bytes().all(|byte| byte.is_ascii_digit())).then(|| process.parse().ok())?
}

/// Whether it is certain that no process has this id. The own id belongs to an earlier process, as in a container, where
/// every start has the same: this process has not made a file yet.
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
        assert!(dir.path().join(&names(ended)[2]).exists(), "another database's");
        assert!(remove_leftovers(Path::new("/nonexistent/x.db")).is_empty());
    }
}
