//! Makes durable what a database has applied of its log.
//!
//! Commits are not synced one by one then ([`crate::Writes::Log`]); a power cut takes the last of them, never some out of
//! the middle (<https://sqlite.org/pragma.html#pragma_synchronous>, NORMAL in WAL mode). Syncing the write-ahead log's
//! file once makes all durable that was committed before; what was moved into the database file meanwhile, the checkpoint
//! has synced.

use super::progress::Progress;
use crate::engine::connection_config::Role;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::session::Session;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::probe;
use crate::model::{Error, SqlError};

/// Syncs. Returns how far in its log the database certainly is after a power cut.
///
/// # Errors
/// If the connection for it cannot be opened (no file descriptor, no memory), nothing was attempted: the call may be
/// repeated. If the sync itself fails, the database takes no more writes.
pub(crate) fn run(shared: &SharedState) -> Result<Progress, Error> {
    if let Some(why) = shared.poisoned() {
        return Err(Error::Poisoned(why));
    }
    // Read before the sync: it may not cover commits that are made while it runs.
    let progress = shared.progress();
    let mut session = open_log(shared).map_err(|error| Error::Unavailable(format!("begin sync: {error}").into()))?;
    probe::sync_journal(session.connection()).map_err(|error| {
        // After a failed sync the system may have thrown away what it could not write.
        shared.poison(&format!("sync: {} ({})", error.message, error.code));
        engine_error("sync", error)
    })?;
    session.rollback().map_err(|error| engine_error("end sync", error))?;
    Ok(progress)
}

/// A connection of its own with the write-ahead log open, so that the writer goes on meanwhile: a sync concerns the file,
/// whichever connection asks for it.
fn open_log(shared: &SharedState) -> Result<Session, SqlError> {
    let mut session = Session::open(&shared.config, Role::Reader)?;
    session.begin()?;
    // BEGIN alone does not open it.
    let read = session.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(sql_error)?;
    Ok(session)
}
