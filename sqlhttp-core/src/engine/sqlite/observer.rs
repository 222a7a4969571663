//! For tests: the statements that SQLite runs on the connections that write, in their order.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use rusqlite::ffi;

/// Receives the path of a database file and the text of a statement that begins to run. It is called on the thread that
/// runs the statement, which waits until it returns.
pub type StatementObserver = fn(file: &str, sql: &str);

static OBSERVER: OnceLock<StatementObserver> = OnceLock::new();

/// Calls `observer` for each statement on a connection that writes, of every database of this process. Only the first
/// call has an effect.
pub fn observe_statements(observer: StatementObserver) {
    OBSERVER.get_or_init(|| observer);
}

/// Reports a statement that begins.
///
/// # Safety
/// The statement must be valid, and `text` must end in a NUL.
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
