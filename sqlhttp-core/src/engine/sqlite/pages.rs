//! How many pages a connection reads, also while a statement runs.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// The number of pages that the connection has read from its files because they were not in its cache.
pub(crate) fn read_by(connection: &Connection) -> u64 {
    // SAFETY: the handle is valid as long as the connection lives.
    read(unsafe { connection.handle() })
}

/// Calls a handler every `steps` steps of SQLite, with the number of pages that the connection has read. The statement is
/// interrupted if it returns true. Replaces the connection's progress handler.
pub(crate) fn on_progress(
    connection: &mut Connection,
    steps: c_int,
    mut handler: impl FnMut(u64) -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    // SAFETY: the handle is used below only.
    let handle = Handle(unsafe { connection.handle() });
    connection.progress_handler(steps, Some(move || handler(handle.pages())))
}

struct Handle(*mut ffi::sqlite3);

// SAFETY: the handle moves to another thread only as part of its connection, which owns the progress handler.
unsafe impl Send for Handle {}

impl Handle {
    /// To be called in the progress handler only: then the connection is alive, and in use on this thread.
    fn pages(&self) -> u64 {
        read(self.0)
    }
}

/// `db` is a connection that is alive and used by no other thread.
fn read(db: *mut ffi::sqlite3) -> u64 {
    let (mut current, mut highwater): (c_int, c_int) = (0, 0);
    // SAFETY: the connection is valid, as callers promise; both out-parameters are ours. The question changes nothing, so
    // a progress handler may ask it.
    let code =
        unsafe { ffi::sqlite3_db_status(db, ffi::SQLITE_DBSTATUS_CACHE_MISS, &raw mut current, &raw mut highwater, 0) };
    // SQLite's counter has 32 bits here; what is beyond them only lets a check pause less.
    if code == ffi::SQLITE_OK { u64::from(current.cast_unsigned()) } else { 0 }
}
