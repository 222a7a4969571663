//! Makes the applied entries of the Raft log durable.
//!
//! With [`crate::Writes::Log`], commits are not synced individually. A power cut may lose the most recent commits, but
//! never an earlier commit without all later ones (<https://sqlite.org/pragma.html#pragma_synchronous>, NORMAL in WAL
//! mode). Syncing SQLite's write-ahead log once makes all earlier commits durable. Pages that a checkpoint has copied
//! into the database file were synced by that checkpoint.

use super::progress::Progress;
use crate::engine::connection_config::Role;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::session::Session;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::probe;
use crate::model::{Error, SqlError};

/// Syncs SQLite's write-ahead log. Returns a position in the Raft log: all entries up to it survive a power cut.
///
/// # Errors
/// If the connection for the sync cannot be opened (no file descriptor, no memory), nothing was synced, and the call
/// may be repeated. If the sync itself fails, the database rejects all further writes.
pub(crate) fn run(shared: &SharedState) -> Result<Progress, Error> {
    if let Some(why) = shared.poisoned() {
        return Err(Error::Poisoned(why));
    }
    // The position is read before the sync, because the sync need not include commits that are made while it runs.
    let progress = shared.progress();
    let mut session = open_log(shared).map_err(|error| Error::Unavailable(format!("begin sync: {error}").into()))?;
    probe::sync_journal(session.connection()).map_err(|error| {
        // After a failed sync the operating system may have dropped the pages that it could not write.
        shared.poison(&format!("sync: {} ({})", error.message, error.code));
        engine_error("sync", error)
    })?;
    session.rollback().map_err(|error| engine_error("end sync", error))?;
    Ok(progress)
}

/// Opens a separate connection, and opens the write-ahead log on it. The writer can go on meanwhile: a sync applies to
/// the whole file, whichever connection requests it.
fn open_log(shared: &SharedState) -> Result<Session, SqlError> {
    let mut session = Session::open(&shared.config, Role::Reader)?;
    session.begin()?;
    // BEGIN alone does not open the write-ahead log.
    let read = session.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(sql_error)?;
    Ok(session)
}
