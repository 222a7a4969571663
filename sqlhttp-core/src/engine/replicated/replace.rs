//! Replaces all content of a database with that of a file.
//!
//! First the file is checked and normalized ([`check`]); if it is unusable, the old content stays. Then SQLite's backup
//! API writes the pages of the file to the database in one transaction ([`replace`]). Readers keep their snapshots, and
//! a crash leaves either the old content or the new.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::progress::{self, Progress};
use crate::engine::custom;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::integrity::check::{self as integrity, Depth};
use crate::engine::options::Options;
use crate::engine::rowids;
use crate::engine::sqlite::{functions, probe};
use crate::model::{Error, SqlError};

/// The number of pages that one call of SQLite's backup API writes.
const PAGES_PER_STEP: i32 = 4096;
/// The maximum time to wait for the lock of the database, which no other process should hold. After that the
/// replacement fails with `SQLITE_BUSY`.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// The pause between two attempts to get the lock of the database.
const BUSY_POLL: Duration = Duration::from_millis(5);

/// Checks that a file is an undamaged database, and normalizes it for [`replace`]: afterwards the file has no
/// write-ahead log or journal beside it, and its pages have `page_size` bytes.
///
/// # Errors
/// [`Error::Sqlite`] if the file is not a database, is damaged, or cannot be written.
pub(crate) fn check(file: &Path, page_size: u32, options: &Options) -> Result<(), Error> {
    let failed = |error| engine_error("check database file", error);
    normalize(file, page_size, options).map_err(failed)
}

/// Checks and normalizes a file. Removes a position in another Raft log, checks that the engine can create its own
/// table for the position, and sets the page size.
fn normalize(file: &Path, page_size: u32, options: &Options) -> Result<(), SqlError> {
    let connection = open(file, options)?;
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(sql_error);
    // The quick check would accept an index that lacks rows, and the first DELETE of such a row would stop all nodes.
    integrity::require_sound(&connection, Depth::Full)?;
    text("PRAGMA journal_mode=DELETE")?;
    // The file may contain a position in another Raft log, which has no meaning in this one.
    progress::remove(&connection).map_err(sql_error)?;
    // The engine will create its table of the position in the file. If that is impossible (a view may have the same
    // name), the check must fail now.
    progress::create(&connection).map_err(sql_error)?;
    progress::remove(&connection).map_err(sql_error)?;
    let referring = "SELECT name FROM sqlite_schema WHERE sql LIKE '%' || ?1 || '%' LIMIT 1";
    let found = connection.query_row(referring, [progress::TABLE], |row| row.get::<_, String>(0)).optional();
    if let Some(name) = found.map_err(sql_error)? {
        // The foreign keys and triggers of such an object would run each time the position is recorded.
        let message = format!("'{name}' refers to {}, which no other object may", progress::TABLE);
        return Err(probe::error_of_code(rusqlite::ffi::SQLITE_CONSTRAINT, Some(&message)));
    }
    rowids::check_file(&connection)?;
    let actual: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(sql_error)?;
    if actual != page_size {
        connection.execute_batch(&format!("PRAGMA page_size={page_size}; VACUUM")).map_err(sql_error)?;
    }
    connection.close().map_err(|(_, error)| sql_error(error))
}

fn open(file: &Path, options: &Options) -> Result<Connection, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(sql_error)?;
    // No sync is needed: after a crash the file is created again.
    connection.execute_batch("PRAGMA synchronous=OFF").map_err(sql_error)?;
    // The functions of extensions are usually not innocuous, so the indexes of the file could not use them.
    if options.extensions.is_empty() {
        connection.execute_batch("PRAGMA trusted_schema=OFF").map_err(sql_error)?;
    }
    // Indexes and generated columns in the file may use these functions.
    functions::register_deterministic(&connection, || false).map_err(sql_error)?;
    custom::register_all(&connection, options)?;
    Ok(connection)
}

/// Replaces all content of the database of `target` with that of a file that [`check`] has checked. If the database
/// applies a Raft log, its position becomes `progress`; `None` if it does not.
pub(crate) fn replace(
    target: &mut Connection,
    file: &Path,
    options: &Options,
    progress: Option<&Progress>,
) -> Result<(), SqlError> {
    let source = open(file, options)?;
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
