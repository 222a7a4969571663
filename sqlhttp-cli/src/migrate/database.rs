//! Copies and checks database files. A source is opened read-only and is never changed.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::frozen::SchemaObject;
use crate::database_file;
use crate::partial_file::{publish, with_suffix};

/// The time for which a copy waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The error of an operation on a database file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("another process locks the database")]
    Locked,
    #[error("another process has changed the database during the copy")]
    Changed,
    #[error("the copy is damaged: {0}")]
    Damaged(String),
    #[error("the file exists already")]
    Exists,
}

/// Copies a database with SQLite's backup API, checks the copy, and gives it its name. The rowids and the page size are
/// those of the source. Returns the size of the copy in bytes. If the copy fails, no file remains.
pub(crate) fn copy(source: &Path, target: &Path) -> Result<u64, DatabaseError> {
    if target.exists() {
        return Err(DatabaseError::Exists);
    }
    let partial = with_suffix(target, ".partial");
    let copied = copy_to(source, &partial).and_then(|()| complete(&partial, target));
    if copied.is_err() {
        remove(&partial);
    }
    copied
}

fn copy_to(source: &Path, partial: &Path) -> Result<(), DatabaseError> {
    remove(partial);
    let before = state(source)?;
    let from = open_source(source, before.has_wal)?;
    // The copy has the permissions of the source before it has any content.
    File::create(partial)?.set_permissions(writable(fs::metadata(source)?.permissions()))?;
    let mut to = Connection::open(partial)?;
    let backup = Backup::new(&from, &mut to)?;
    // One step copies all pages, so that no other process writes between two steps.
    match backup.step(-1)? {
        StepResult::Done => {}
        _ => return Err(DatabaseError::Locked),
    }
    drop(backup);
    // Without a WAL the source was read without locks: no process may have written to it.
    if !before.has_wal && state(source)? != before {
        return Err(DatabaseError::Changed);
    }
    Ok(())
}

/// Returns permissions with which SQLite can write the copy.
fn writable(mut permissions: fs::Permissions) -> fs::Permissions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        permissions.set_mode(permissions.mode() | 0o600);
    }
    #[cfg(not(unix))]
    permissions.set_readonly(false);
    permissions
}

/// The state of a database file. It changes when a process writes to the file.
#[derive(PartialEq, Eq)]
struct FileState {
    size: u64,
    modified: std::time::SystemTime,
    has_wal: bool,
}

fn state(source: &Path) -> io::Result<FileState> {
    let metadata = fs::metadata(source)?;
    let has_wal = ["-wal", "-journal"].iter().any(|suffix| with_suffix(source, suffix).exists());
    Ok(FileState { size: metadata.len(), modified: metadata.modified()?, has_wal })
}

/// Opens the source of a copy. Without a WAL or a journal, no process has uncommitted or recent changes: the file is
/// opened as immutable, because SQLite would otherwise create a WAL for a database in WAL mode.
fn open_source(source: &Path, has_wal: bool) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let uri = database_file::uri(&std::path::absolute(source)?);
    let immutable = if has_wal { "" } else { database_file::IMMUTABLE };
    let connection = Connection::open_with_flags(uri + immutable, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Checks an incomplete copy, fsyncs it, and renames it. Returns its size in bytes.
fn complete(partial: &Path, target: &Path) -> Result<u64, DatabaseError> {
    check(partial)?;
    publish(partial, target)?;
    Ok(fs::metadata(target)?.len())
}

/// Checks that a file is a complete database, and that it is not damaged.
pub(crate) fn check(copy: &Path) -> Result<(), DatabaseError> {
    let checked = database_file::check_length(copy).and_then(|()| database_file::check_content(copy));
    checked.map_err(DatabaseError::Damaged)
}

/// Removes an incomplete copy and the files that SQLite creates beside it. They may not exist.
fn remove(partial: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(with_suffix(partial, suffix));
    }
}

/// Returns the schema of a database file to which no process writes.
pub(crate) fn schema_of(file: &Path) -> Result<Vec<SchemaObject>, DatabaseError> {
    Ok(schema(&open_source(file, false)?)?)
}

/// The query for the rows of [`schema`].
pub(crate) const SCHEMA_SQL: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL";

/// Returns the schema of a database.
pub(crate) fn schema(connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    let mut statement = connection.prepare(SCHEMA_SQL)?;
    let rows = statement.query_map([], |row| {
        Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and contents of the files in a directory.
    fn contents(directory: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries.map(|it| (it.file_name(), fs::read(it.path()).unwrap())).collect();
        files.sort();
        files
    }

    fn count(file: &Path) -> i64 {
        Connection::open(file).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    fn create(file: &Path, mode: &str) -> Connection {
        let connection = Connection::open(file).unwrap();
        connection
            .execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)"))
            .unwrap();
        connection
    }

    #[test]
    fn a_database_without_a_wal_is_copied_and_its_directory_is_not_changed() {
        for mode in ["DELETE", "WAL"] {
            let directory = tempfile::tempdir().unwrap();
            let (from, to) = (tempfile::tempdir_in(&directory).unwrap(), tempfile::tempdir_in(&directory).unwrap());
            let source = from.path().join("a%?#.db");
            drop(create(&source, mode));
            let before = contents(from.path());
            let target = to.path().join("b.db");
            let size = copy(&source, &target).unwrap();
            assert_eq!(contents(from.path()), before, "{mode}");
            assert_eq!(contents(to.path()).len(), 1, "{mode}");
            assert_eq!(size, fs::metadata(&target).unwrap().len());
            assert_eq!(count(&target), 2);
        }
    }

    #[test]
    fn the_content_of_a_wal_is_copied_and_neither_file_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a.db"), directory.path().join("b.db"));
        let writer = create(&source, "WAL");
        let files = || [source.clone(), with_suffix(&source, "-wal")].map(|file| fs::read(file).unwrap());
        let before = files();
        copy(&source, &target).unwrap();
        assert_eq!(files(), before);
        assert_eq!(count(&target), 2);
        drop(writer);
    }

    #[test]
    fn a_copy_that_fails_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a.db"), directory.path().join("b.db"));
        assert!(matches!(copy(&source, &target), Err(DatabaseError::Io(_))));
        fs::write(&source, "this is no database, although it is long enough to be one").unwrap();
        assert!(matches!(copy(&source, &target), Err(DatabaseError::Sqlite(_))));
        fs::remove_file(&source).unwrap();
        // A page that belongs to nothing is damage.
        drop(create(&source, "DELETE"));
        let mut bytes = fs::read(&source).unwrap();
        bytes[28..32].copy_from_slice(&3_u32.to_be_bytes());
        bytes.resize(3 * 4096, 0);
        fs::write(&source, bytes).unwrap();
        assert!(matches!(copy(&source, &target), Err(DatabaseError::Damaged(_))));
        assert_eq!(contents(directory.path()).len(), 1);
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a.db"), directory.path().join("b.db"));
        drop(create(&source, "DELETE"));
        fs::write(&target, "kept").unwrap();
        assert!(matches!(copy(&source, &target), Err(DatabaseError::Exists)));
        assert_eq!(fs::read(&target).unwrap(), b"kept");
    }
}
