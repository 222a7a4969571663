//! Makes durable what a database has applied of its log.
//!
//! Commits are not synced one by one then ([`crate::Writes::Log`]); a power cut takes the last of them, never some out of
//! the middle (<https://sqlite.org/pragma.html#pragma_synchronous>, NORMAL in WAL mode). Syncing the write-ahead log's
//! file once makes all durable that was committed before; what was moved into the database file meanwhile, the checkpoint
//! has synced.

use super::Progress;
use super::session::{Role, Session, engine_error};
use super::sqlite::probe;
use super::writer::Shared;
use crate::model::{Error, SqlError};

/// Syncs, and tells up to where in the log the database certainly is after a power cut.
pub(crate) fn run(shared: &Shared) -> Result<Progress, Error> {
    if let Some(why) = shared.poisoned() {
        return Err(Error::Poisoned(why));
    }
    // Read before the sync: what is committed while it runs may come too late for it.
    let progress = shared.progress();
    // On a connection of its own, so that the writer goes on meanwhile: a sync concerns the file, whoever asks for it.
    let session = open(shared).map_err(|error| engine_error("open the write-ahead log", error))?;
    probe::sync_journal(session.connection()).map_err(|error| {
        // After a failed sync the system may have thrown away what it could not write.
        shared.poison(&format!("sync: {} ({})", error.message, error.code));
        engine_error("sync", error)
    })?;
    Ok(progress)
}

/// A session that has the write-ahead log open. A failure here says nothing about what the disk holds.
fn open(shared: &Shared) -> Result<Session, SqlError> {
    let mut session = Session::open(&shared.blueprint, Role::Reader)?;
    session.begin()?;
    let read = session.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(super::session::sql_error)?;
    Ok(session)
}
