//! Snapshots: copies of a database that applies a Raft log, for other nodes.
//!
//! A snapshot is a single database file. Unlike a backup it contains the table of the position in the Raft log
//! ([`progress`]), so the node that receives it applies the log from there on. It does not contain the identity of the
//! log, which differs between nodes, nor the index of the last decision of the node alone, because the snapshot
//! contains the result of that decision.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::progress::{self, Progress};
use crate::engine::backup;
use crate::engine::error::{engine_error, io_error, sql_error};
use crate::engine::integrity::check::{self as integrity, Depth};
use crate::engine::shared::SharedState;
use crate::engine::sqlite::functions;
use crate::engine::watch::Cancel;
use crate::model::{Error, SqlError};

/// Copies the database to the new file `to`, and returns the position that the copy contains. The copy is not checked
/// for damage, because the node that receives it does that ([`check`]).
pub(crate) fn export(shared: &SharedState, to: &Path, cancel: &Cancel) -> Result<Progress, Error> {
    backup::run(shared, to, cancel, detach)
}

/// Clears the parts of the position that apply only to this node (`log`, `decision_index`) in a copy. Returns the
/// position that the copy contains. The caller syncs the copy.
fn detach(copy: &Path) -> Result<Progress, Error> {
    let failed = |error: SqlError| engine_error("export", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags).map_err(|error| failed(sql_error(error)))?;
    connection.execute_batch("PRAGMA synchronous=OFF").map_err(|error| failed(sql_error(error)))?;
    let progress = Progress { log: 0, decision_index: 0, ..recorded(&connection).map_err(failed)? };
    progress::write(&connection, &progress).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(sql_error(error)))?;
    Ok(progress)
}

/// Makes a file that [`super::replace::check`] has checked a snapshot at the position `progress`, and syncs it.
pub(crate) fn make(file: &Path, progress: &Progress) -> Result<(), Error> {
    let failed = |error: SqlError| engine_error("make snapshot", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(|error| failed(sql_error(error)))?;
    connection.execute_batch("PRAGMA synchronous=OFF").map_err(|error| failed(sql_error(error)))?;
    progress::create(&connection).map_err(|error| failed(sql_error(error)))?;
    progress::write(&connection, &Progress { log: 0, ..progress.clone() }).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(sql_error(error)))?;
    let synced = std::fs::File::open(file).and_then(|file| file.sync_all());
    synced.map_err(|source| io_error("sync", file, source))
}

/// Checks that a file is an undamaged snapshot. Returns the position that it contains.
///
/// # Errors
/// [`Error::Sqlite`] if the file is not a database, is damaged, or contains no position; [`Error::Unsupported`] if it
/// has a write-ahead log.
pub(crate) fn check(file: &Path) -> Result<Progress, Error> {
    let failed = |error: SqlError| engine_error("check snapshot", error);
    let connection = open(file, None).map_err(failed)?;
    require_single_file(&connection)?;
    // Indexes and generated columns may use these functions.
    functions::register_deterministic(&connection, || false).map_err(|error| failed(sql_error(error)))?;
    integrity::require_sound(&connection, Depth::Quick).map_err(failed)?;
    recorded(&connection).map_err(failed)
}

/// Reads the position that a snapshot contains, without checking the file for damage. `vfs` is the name of SQLite's
/// VFS; `None` for the default one.
///
/// # Errors
/// As [`check`].
pub(crate) fn position(file: &Path, vfs: Option<&str>) -> Result<Progress, Error> {
    let failed = |error: SqlError| engine_error("read snapshot", error);
    let connection = open(file, vfs).map_err(failed)?;
    require_single_file(&connection)?;
    recorded(&connection).map_err(failed)
}

fn open(file: &Path, vfs: Option<&str>) -> Result<Connection, SqlError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file, flags, vfs),
        None => Connection::open_with_flags(file, flags),
    };
    opened.map_err(sql_error)
}

/// Checks that the file is not in WAL mode. A write-ahead log beside it could contain a part of its content.
fn require_single_file(connection: &Connection) -> Result<(), Error> {
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    match mode.map_err(|error| engine_error("check snapshot", sql_error(error)))? {
        mode if mode == "delete" => Ok(()),
        mode => Err(Error::Unsupported(format!("the snapshot is in journal mode {mode}, so it may be incomplete"))),
    }
}

/// Reads the position. Fails if the database has no table for it, so that it is not a snapshot.
fn recorded(connection: &Connection) -> Result<Progress, SqlError> {
    Ok(progress::read(connection).map_err(sql_error)?.unwrap_or_default())
}
