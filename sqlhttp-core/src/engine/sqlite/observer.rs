//! For tests: reports each statement that SQLite runs on a connection that writes, in order.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use rusqlite::ffi;

/// A callback that receives the path of a database file and the SQL text of a statement that begins to run. It is
/// called on the thread that runs the statement; the statement runs after the callback has returned.
pub type StatementObserver = fn(file: &str, sql: &str);

static OBSERVER: OnceLock<StatementObserver> = OnceLock::new();

/// From now on `observer` is called for each statement on a connection that writes, for every database of this process.
/// Only the first call of this function has an effect.
pub fn observe_statements(observer: StatementObserver) {
    OBSERVER.get_or_init(|| observer);
}

/// Calls the observer, if there is one, for a statement that begins to run.
///
/// # Safety
/// The statement must be valid, and `text` must be its SQL text, ending in a NUL.
pub(super) unsafe fn statement_begins(statement: *mut ffi::sqlite3_stmt, text: *const c_char) {
    let Some(observer) = OBSERVER.get() else { return };
    // SAFETY: the caller guarantees both. A valid statement has a connection, and the name of its file ends in a NUL
    // and stays valid until the database is detached.
    let (file, sql) = unsafe {
        let file = ffi::sqlite3_db_filename(ffi::sqlite3_db_handle(statement), c"main".as_ptr());
        (if file.is_null() { c"" } else { CStr::from_ptr(file) }, CStr::from_ptr(text))
    };
    observer(&file.to_string_lossy(), &sql.to_string_lossy());
}
