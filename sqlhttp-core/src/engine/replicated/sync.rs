//! Makes the applied entries of a log durable.
//!
//! With [`crate::Writes::Log`] commits are not synced individually. A power cut loses the last of them, never some in
//! the middle (<https://sqlite.org/pragma.html#pragma_synchronous>, NORMAL in WAL mode). Syncing the write-ahead log
//! once makes all earlier commits durable; pages that were copied into the database file were synced by the checkpoint.

use super::progress::Progress;
use crate::engine::connection_config::Role;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::session::Session;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::probe;
use crate::model::{Error, SqlError};

/// Syncs the write-ahead log. Returns the position that the database has at least after a power cut.
///
/// # Errors
/// If the connection for the sync cannot be opened (no file descriptor, no memory), nothing was attempted and the call
/// may be repeated. If the sync fails, the database takes no more writes.
pub(crate) fn run(shared: &SharedState) -> Result<Progress, Error> {
    if let Some(why) = shared.poisoned() {
        return Err(Error::Poisoned(why));
    }
    // Read before the sync, which need not cover commits made while it runs.
    let progress = shared.progress();
    let mut session = open_log(shared).map_err(|error| Error::Unavailable(format!("begin sync: {error}").into()))?;
    probe::sync_journal(session.connection()).map_err(|error| {
        // After a failed sync the system may have dropped the pages that it could not write.
        shared.poison(&format!("sync: {} ({})", error.message, error.code));
        engine_error("sync", error)
    })?;
    session.rollback().map_err(|error| engine_error("end sync", error))?;
    Ok(progress)
}

/// Opens a separate connection with the write-ahead log, so that the writer need not wait: a sync applies to the file,
/// whichever connection requests it.
fn open_log(shared: &SharedState) -> Result<Session, SqlError> {
    let mut session = Session::open(&shared.config, Role::Reader)?;
    session.begin()?;
    // BEGIN alone does not open the log.
    let read = session.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(sql_error)?;
    Ok(session)
}
