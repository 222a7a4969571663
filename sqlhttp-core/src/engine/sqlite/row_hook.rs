//! Reports the rows that SQLite changes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

/// The kind of a change of a row, as SQLite reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOperation {
    Insert,
    Update,
    Delete,
}

/// A row that has been inserted, updated or deleted.
pub(crate) struct WrittenRow<'r> {
    pub(crate) operation: RowOperation,
    /// The name of the database: `main`, `temp`, or that of an attached file.
    pub(crate) database: &'r CStr,
    pub(crate) table: &'r CStr,
    pub(crate) rowid: i64,
}

type Callback = Box<dyn Fn(WrittenRow<'_>) + Send>;

/// A callback for the rows that a connection writes. A `RowHook` must be dropped after its connection.
pub(crate) struct RowHook {
    callback: NonNull<Callback>,
}

// SAFETY: the callback is `Send`, and only the connection uses it.
unsafe impl Send for RowHook {}

impl Drop for RowHook {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `Box::leak`, and is freed only here. The connection, which has used it, is
        // closed.
        drop(unsafe { Box::from_raw(self.callback.as_ptr()) });
    }
}

impl std::fmt::Debug for RowHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowHook").finish_non_exhaustive()
    }
}

impl RowHook {
    /// From now on `callback` is called for each row that a statement of the connection inserts, updates or deletes,
    /// before the statement continues. Not reported are tables without rowids, the rows that SQLite itself writes to
    /// its own tables, and the rows that a DELETE without WHERE or a REPLACE deletes
    /// (<https://sqlite.org/c3ref/update_hook.html>).
    pub(crate) fn install(connection: &Connection, callback: impl Fn(WrittenRow<'_>) + Send + 'static) -> RowHook {
        let callback: Box<Callback> = Box::new(Box::new(callback));
        let callback = NonNull::from(Box::leak(callback));
        // SAFETY: the connection is open. The callback lives until `RowHook` is dropped, after the connection.
        unsafe { ffi::sqlite3_update_hook(connection.handle(), Some(written), callback.as_ptr().cast()) };
        RowHook { callback }
    }
}

unsafe extern "C" fn written(
    context: *mut c_void,
    operation: c_int,
    database: *const c_char,
    table: *const c_char,
    rowid: ffi::sqlite3_int64,
) {
    let operation = match operation {
        ffi::SQLITE_INSERT => RowOperation::Insert,
        ffi::SQLITE_DELETE => RowOperation::Delete,
        _ => RowOperation::Update,
    };
    // SAFETY: the context is the callback that `RowHook::install` registered; it is dropped after the connection.
    // SQLite passes NUL-terminated names that are valid during the call.
    let (callback, database, table) =
        unsafe { (&*context.cast::<Callback>(), CStr::from_ptr(database), CStr::from_ptr(table)) };
    callback(WrittenRow { operation, database, table, rowid });
}
