//! Makes a consistent copy of a database while writes continue: a backup, or a snapshot for another node
//! ([`super::replicated::snapshot`]).
//!
//! SQLite's backup API (<https://sqlite.org/backup.html>) copies the pages in one read transaction, so the writer does
//! not wait and the copy never starts over. The write-ahead log grows until all pages have been copied, because the
//! read transaction prevents that it is reused. The copy is written next to its final name, finished (a backup is
//! checked for damage), synced, and only then renamed. A backup of a damaged database is therefore an error and leaves
//! no file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::background::spawn_low_priority;
use super::connection_config::Role;
use super::custom;
use super::error::{engine_error, io_error, sql_error};
use super::integrity::check::{self as integrity, Depth};
use super::options::Options;
use super::script::Script;
use super::session::Session;
use super::sessions::Sessions;
use super::shared::SharedState;
use super::sqlite::clock::Stamped;
use super::sqlite::{functions, pages, probe};
use super::stamps;
use super::statement_info::Author;
use super::text::is_white;
use super::watch::{Cancel, StopReason, stop_error};
use crate::model::{Error, SqlError};

/// The number of pages copied between two checks whether the backup was cancelled.
const PAGES_PER_STEP: i32 = 256;
/// The number of virtual-machine steps between two checks whether the backup was cancelled, while the finished copy is
/// checked for damage.
const CHECK_STEPS_PER_POLL: i32 = 10_000;
/// The maximum size of a copy that gets the full integrity check, in bytes. The full check takes about three seconds
/// per 100 MiB, the copy itself less than one. Larger copies get the quick check, which does not compare index entries
/// with rows; [`Database::check_integrity`](crate::Database::check_integrity) does that on the open database.
const FULL_CHECK_BYTES_MAX: u64 = 256 << 20;
/// The size of the page cache for the integrity check of a copy, in KiB. The full check looks up each row in each
/// index, in the order of the table, so it reads index pages in random order.
const CHECK_CACHE_KIB: i64 = 64 << 10;

/// Starts a backup on a thread of its own.
pub(crate) fn spawn(
    shared: Arc<SharedState>,
    to: PathBuf,
    cancel: Cancel,
    reply: oneshot::Sender<Result<(), Error>>,
) -> Result<(), Error> {
    spawn_low_priority("sqlhttp-backup", move || {
        // The send fails if the caller has dropped the future. That is no error.
        let options = &shared.config.options;
        let _ = reply.send(run(&shared, &to, &cancel, |copy| check_copy(copy, options, &cancel)));
    })
}

/// Copies the database to the new file `to`. Before the copy gets this name, calls `finish` with its path, and returns
/// the result of that call.
pub(crate) fn run<T>(
    shared: &SharedState,
    to: &Path,
    cancel: &Cancel,
    finish: impl FnOnce(&Path) -> Result<T, Error>,
) -> Result<T, Error> {
    let exists = || io_error("back up to", to, ErrorKind::AlreadyExists.into());
    if to.exists() {
        return Err(exists());
    }
    let unfinished = UnfinishedName::new(to).ok_or_else(exists)?;
    remove_leftover(&unfinished.0)?;
    let result = copy(shared, &unfinished.0, cancel).and_then(|()| {
        let finished = finish(&unfinished.0)?;
        publish(&unfinished.0, to)?;
        Ok(finished)
    });
    if result.is_err() {
        // Best effort: an error of the removal is ignored, because the caller receives the error of the backup.
        let _ = std::fs::remove_file(&unfinished.0);
    }
    result
}

/// The temporary name of a backup file until the copy is complete. While an `UnfinishedName` exists, no other backup of
/// this process uses the name. So a file that already has this name is a leftover of a crash.
struct UnfinishedName(PathBuf);

/// The temporary names of all backups that this process is making now.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl UnfinishedName {
    /// Returns `None` if another backup to this file is running.
    fn new(to: &Path) -> Option<Self> {
        let mut name = to.as_os_str().to_owned();
        name.push("~");
        let name = PathBuf::from(name);
        let taken = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        // `then`, not `then_some`: `then_some` would create the `UnfinishedName` in any case, and dropping it would
        // release the name.
        taken.then(|| UnfinishedName(name))
    }
}

impl Drop for UnfinishedName {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn remove_leftover(unfinished: &Path) -> Result<(), Error> {
    match std::fs::remove_file(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove leftover", unfinished, error)),
        _ => Ok(()),
    }
}

/// Copies the database to the new file `unfinished`.
fn copy(shared: &SharedState, unfinished: &Path, cancel: &Cancel) -> Result<(), Error> {
    let failed = |error: SqlError| engine_error("back up", error);
    let rollback_lock =
        (!shared.config.snapshots()).then(|| shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
    let mut source = Session::open(&shared.config, Role::Copier).map_err(failed)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(unfinished, flags).map_err(|e| failed(sql_error(e)))?;
    // The whole file is synced once, at the end: each sync of a growing file delays the syncs of other files.
    target.execute_batch("PRAGMA synchronous=OFF").map_err(|e| failed(sql_error(e)))?;
    source.begin().map_err(failed)?;
    let gate = shared.config.gate();
    copy_pages(&source, &mut target, || {
        if gate.is_evicting() {
            return Err(stop_error(StopReason::FileReplaced));
        }
        if cancel.is_set() { Err(Error::Closed) } else { Ok(()) }
    })?;
    source.rollback().map_err(failed)?;
    drop((source, rollback_lock));
    target.close().map_err(|(_, e)| failed(sql_error(e)))?;
    leave_wal_mode(unfinished)
}

/// Changes the copy's journal mode to DELETE. A copy of a WAL database is itself in WAL mode, but a single file without
/// `-wal` and `-shm` is easier to keep. This function opens a new connection, because the connection that wrote the
/// copy may have cached the old mode.
fn leave_wal_mode(copy: &Path) -> Result<(), Error> {
    let failed = |error| engine_error("back up", sql_error(error));
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous=OFF").map_err(failed)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0)).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    if mode == "delete" {
        return Ok(());
    }
    let message = format!("the copy stays in journal mode {mode}");
    Err(engine_error("back up", probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&message))))
}

/// Checks the copy for damage. The copy is damaged if the database is.
///
/// # Errors
/// SQLITE_CORRUPT if the copy is damaged; [`Error::Closed`] if the backup was cancelled.
fn check_copy(copy: &Path, options: &Options, cancel: &Cancel) -> Result<(), Error> {
    if cancel.is_set() {
        return Err(Error::Closed);
    }
    let failed = |error| engine_error("back up", sql_error(error));
    let mut connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    connection.execute_batch(&format!("PRAGMA cache_size=-{CHECK_CACHE_KIB}")).map_err(failed)?;
    // Indexes and generated columns may use these functions.
    functions::register_deterministic(&connection, || false).map_err(failed)?;
    custom::register_all(&connection, options).map_err(|error| engine_error("back up", error))?;
    let cancelled = cancel.clone();
    pages::on_progress(&mut connection, CHECK_STEPS_PER_POLL, move |_| cancelled.is_set()).map_err(failed)?;
    integrity::require_sound(&connection, check_depth(copy)?)
        .map_err(|error| if cancel.is_set() { Error::Closed } else { engine_error("back up", error) })?;
    connection.close().map_err(|(_, error)| failed(error))
}

fn check_depth(copy: &Path) -> Result<Depth, Error> {
    let metadata = std::fs::metadata(copy).map_err(|error| io_error("look at the copy", copy, error))?;
    Ok(if metadata.len() <= FULL_CHECK_BYTES_MAX { Depth::Full } else { Depth::Quick })
}

/// Copies all pages. Between two steps, calls `may_continue`, whose error ends the copy.
fn copy_pages(
    source: &Session,
    target: &mut Connection,
    may_continue: impl Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error| engine_error("back up", sql_error(error));
    // BEGIN alone does not open a snapshot; the first read does.
    source.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    let backup = Backup::new(source.connection(), target).map_err(failed)?;
    loop {
        match backup.step(PAGES_PER_STEP).map_err(failed)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked => std::thread::yield_now(),
            _ => {}
        }
        may_continue()?;
    }
}

/// Syncs the finished copy and moves it to its final name. Fails if a file of that name has been created meanwhile.
fn publish(unfinished: &Path, to: &Path) -> Result<(), Error> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(unfinished).map_err(|e| io_error("sync backup", unfinished, e))?;
    match std::fs::hard_link(unfinished, to) {
        Ok(()) => std::fs::remove_file(unfinished).map_err(|e| io_error("remove", unfinished, e))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(io_error("back up to", to, error)),
        // The file system has no hard links.
        Err(_) => std::fs::rename(unfinished, to).map_err(|e| io_error("rename backup to", to, e))?,
    }
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(directory).map_err(|e| io_error("sync directory", directory, e))
}

/// Writes the content of the database file `copy` to the new file `to`, without free pages (VACUUM INTO).
pub(crate) fn vacuum_copy(copy: &Path, to: &Path) -> Result<(), Error> {
    let failed = |error| engine_error("vacuum copy", sql_error(error));
    let path = to.to_str().ok_or_else(|| Error::Unsupported("the file's path is not UTF-8".to_owned()))?;
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    functions::register_deterministic(&connection, || false).map_err(failed)?;
    connection.execute("VACUUM INTO ?", [path]).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// Returns whether an SQL text is a single VACUUM statement, with or without INTO.
pub(crate) fn is_vacuum(sessions: &Sessions, sql: &str) -> bool {
    let Ok(mut session) = sessions.take(false) else { return false };
    let is_vacuum = Script::new(&mut session, sql, Author::Owner).is_ok_and(|mut script| {
        let first = script.next(&mut session);
        let outside = first.is_ok_and(|first| first.is_some_and(|prepared| prepared.info.outside_transaction));
        outside && is_white(script.rest())
    });
    sessions.put_back(session);
    is_vacuum
}

/// Runs the owner's statement on a connection of its own if it is VACUUM INTO. VACUUM INTO reads one snapshot and does
/// not block the writer. Returns `None` for any other statement, which has then had no effect.
///
/// SQLite does not report whether a VACUUM has an INTO. But on a read-only connection VACUUM INTO succeeds, and VACUUM
/// fails with SQLITE_READONLY.
pub(crate) fn vacuum_into(shared: &SharedState, sql: &str) -> Option<Result<(), SqlError>> {
    let _stamped = Stamped::new(stamps::new(), shared.config.options.zone());
    let mut session = Session::open(&shared.config, Role::Copier).ok()?;
    let mut script = Script::new(&mut session, sql, Author::Owner).ok()?;
    let mut prepared = script.next(&mut session).ok()??;
    if !prepared.info.outside_transaction || !is_white(script.rest()) {
        return None;
    }
    let result = loop {
        match prepared.statement.step() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(code) => break Err(session.error(code)),
        }
    };
    match result {
        Err(error) if error.primary_code() == rusqlite::ffi::SQLITE_READONLY => None,
        result => Some(result),
    }
}
