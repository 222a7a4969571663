//! Reads the number of pages that a connection has read, also while a statement runs.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// The number of pages that the connection has read from its files because they were not in its cache.
pub(crate) fn read_by(connection: &Connection) -> u64 {
    // SAFETY: the handle is valid as long as the connection lives.
    read(unsafe { connection.handle() })
}

/// Sets the progress handler of the connection: `handler` is called every `steps` virtual-machine steps, with the
/// number of pages that the connection has read. If it returns true, the statement is interrupted.
pub(crate) fn on_progress(
    connection: &mut Connection,
    steps: c_int,
    mut handler: impl FnMut(u64) -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    // SAFETY: the handle is only used inside the connection's own progress handler, while the connection is open.
    let handle = Handle(unsafe { connection.handle() });
    connection.progress_handler(steps, Some(move || handler(handle.pages())))
}

struct Handle(*mut ffi::sqlite3);

// SAFETY: the handle moves to another thread only together with its connection, which owns the progress handler.
unsafe impl Send for Handle {}

impl Handle {
    /// The number of pages that the connection has read. Must only be called by the progress handler: the connection is
    /// then open and in use on this thread.
    fn pages(&self) -> u64 {
        read(self.0)
    }
}

/// Reads SQLite's counter of the pages that were not in the connection's cache. `db` must be an open connection that no
/// other thread uses.
fn read(db: *mut ffi::sqlite3) -> u64 {
    let (mut current, mut highwater): (c_int, c_int) = (0, 0);
    // SAFETY: callers guarantee that the connection is open; both out-parameters are local variables. The call changes
    // nothing, so a progress handler may make it.
    let code =
        unsafe { ffi::sqlite3_db_status(db, ffi::SQLITE_DBSTATUS_CACHE_MISS, &raw mut current, &raw mut highwater, 0) };
    // SQLite's counter has 32 bits. If it overflows, an integrity check pauses less often.
    if code == ffi::SQLITE_OK { u64::from(current.cast_unsigned()) } else { 0 }
}
