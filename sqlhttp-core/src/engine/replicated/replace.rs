//! Replaces all content of a database by that of a file.
//!
//! The file is checked and normalized first ([`check`]), so that an unusable file replaces nothing. Then SQLite's
//! backup API writes its pages in one transaction ([`replace`]): readers keep their snapshots, and a crash leaves
//! either the old content or the new.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::progress::{self, Progress};
use crate::engine::error::{engine_error, sql_error};
use crate::engine::integrity::check::{self as integrity, Depth};
use crate::engine::sqlite::{functions, probe};
use crate::model::{Error, SqlError};

/// The number of pages that one call of SQLite's backup API writes.
const PAGES_PER_STEP: i32 = 4096;
/// How long to wait for the database's lock. No other process should hold it.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// The pause between two attempts to get the lock.
const BUSY_POLL: Duration = Duration::from_millis(5);

/// Checks that a file is a sound database, and normalizes it for [`replace`]: no files beside it, and pages of
/// `page_size` bytes.
///
/// # Errors
/// [`Error::Sqlite`] if the file is not a database, is damaged, or cannot be written.
pub(crate) fn check(file: &Path, page_size: u32) -> Result<(), Error> {
    let failed = |error| engine_error("check database file", error);
    normalize(file, page_size).map_err(failed)
}

/// Removes the record of another position, checks that the engine can create its own, and sets the page size.
fn normalize(file: &Path, page_size: u32) -> Result<(), SqlError> {
    let connection = open(file)?;
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(sql_error);
    // The quick check would accept an index that lacks rows, and the first DELETE of such a row would stop all nodes.
    integrity::require_sound(&connection, Depth::Full)?;
    text("PRAGMA journal_mode=DELETE")?;
    // A position in another log has no meaning here.
    progress::remove(&connection).map_err(sql_error)?;
    // The engine will create its table in it. If that is impossible (a view may have the name) it must fail now.
    progress::create(&connection).map_err(sql_error)?;
    progress::remove(&connection).map_err(sql_error)?;
    let referring = "SELECT name FROM sqlite_schema WHERE sql LIKE '%' || ?1 || '%' LIMIT 1";
    let found = connection.query_row(referring, [progress::TABLE], |row| row.get::<_, String>(0)).optional();
    if let Some(name) = found.map_err(sql_error)? {
        // Its foreign keys and triggers would run with each record of progress.
        let message = format!("'{name}' refers to {}, which no other object may", progress::TABLE);
        return Err(probe::error_of_code(rusqlite::ffi::SQLITE_CONSTRAINT, Some(&message)));
    }
    let actual: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(sql_error)?;
    if actual != page_size {
        connection.execute_batch(&format!("PRAGMA page_size={page_size}; VACUUM")).map_err(sql_error)?;
    }
    connection.close().map_err(|(_, error)| sql_error(error))
}

fn open(file: &Path) -> Result<Connection, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(sql_error)?;
    // After a crash the file is made again.
    connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF").map_err(sql_error)?;
    // Indexes and generated columns of the file may use these functions.
    functions::register_deterministic(&connection, || false).map_err(sql_error)?;
    Ok(connection)
}

/// Replaces all content of the database on `target` by that of a checked file. If the database applies a log, its
/// position becomes `progress`.
pub(crate) fn replace(target: &mut Connection, file: &Path, progress: Option<&Progress>) -> Result<(), SqlError> {
    let source = open(file)?;
    if let Some(progress) = progress {
        progress::create(&source).map_err(sql_error)?;
        progress::write(&source, progress)?;
    }
    // The backup API fails if a connection has cached statements.
    source.flush_prepared_statement_cache();
    target.flush_prepared_statement_cache();
    let backup = Backup::new(&source, target).map_err(sql_error)?;
    let mut give_up_at = Instant::now() + BUSY_MAX;
    loop {
        match backup.step(PAGES_PER_STEP).map_err(sql_error)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked if Instant::now() > give_up_at => {
                return Err(probe::error_of_code(rusqlite::ffi::SQLITE_BUSY, None));
            }
            StepResult::Busy | StepResult::Locked => std::thread::sleep(BUSY_POLL),
            _ => give_up_at = Instant::now() + BUSY_MAX,
        }
    }
}
