//! Small queries and changes of a connection's state that rusqlite does not provide.

use std::ffi::{CStr, c_int};

use rusqlite::{Connection, ffi};

use crate::model::SqlError;

/// Returns whether a deferred foreign key constraint is violated at the moment, so that COMMIT would fail.
///
/// RELEASE of an inner savepoint does not check the constraints, so the engine calls this function before RELEASE
/// (`SQLITE_DBSTATUS_DEFERRED_FKS`, <https://sqlite.org/c3ref/c_dbstatus_options.html>).
pub(crate) fn deferred_foreign_keys_open(connection: &Connection) -> bool {
    let (mut current, mut highwater): (c_int, c_int) = (0, 0);
    // SAFETY: the handle is valid as long as the connection lives, and both out-parameters are local variables.
    let code = unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut current,
            &raw mut highwater,
            0,
        )
    };
    code == ffi::SQLITE_OK && current != 0
}

/// Sets the result of `last_insert_rowid()` (<https://sqlite.org/c3ref/set_last_insert_rowid.html>).
pub(crate) fn set_last_insert_rowid(connection: &Connection, rowid: i64) {
    // SAFETY: the handle is valid as long as the connection lives.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), rowid) }
}

/// Returns whether the INTEGER PRIMARY KEY of a table is AUTOINCREMENT; `false` if the table does not exist
/// (<https://sqlite.org/c3ref/table_column_metadata.html>).
pub(crate) fn is_autoincrement(connection: &Connection, database: &CStr, table: &CStr) -> bool {
    let mut autoincrement = 0;
    // SAFETY: the handle is valid as long as the connection lives, the names end in a NUL, and SQLite accepts null for
    // the results that are not wanted. `rowid` is the INTEGER PRIMARY KEY unless a column has this name.
    let code = unsafe {
        ffi::sqlite3_table_column_metadata(
            connection.handle(),
            database.as_ptr(),
            table.as_ptr(),
            c"rowid".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut autoincrement,
        )
    };
    code == ffi::SQLITE_OK && autoincrement != 0
}

/// Returns whether a table of the main database has a row with this rowid. `column` is any column of the table.
///
/// Unlike SQL, this also works if the table's columns have all names of the rowid.
pub(crate) fn has_row(connection: &Connection, table: &CStr, column: &CStr, rowid: i64) -> Result<bool, SqlError> {
    let mut blob = std::ptr::null_mut();
    // SAFETY: the handle is valid as long as the connection lives, the names end in a NUL, and `blob` is a local
    // variable. SQLite sets it to null unless the call succeeds, and `sqlite3_blob_close` accepts null.
    let code = unsafe {
        let (main, table, column) = (c"main".as_ptr(), table.as_ptr(), column.as_ptr());
        ffi::sqlite3_blob_open(connection.handle(), main, table, column, rowid, 0, &raw mut blob)
    };
    let error = last_error(connection, code);
    // SAFETY: see above.
    unsafe { ffi::sqlite3_blob_close(blob) };
    match code {
        ffi::SQLITE_OK => Ok(true),
        _ if error.message.starts_with("no such rowid") => Ok(false),
        // The row exists, but its value is neither TEXT nor a BLOB.
        _ if error.message.starts_with("cannot open value of type") => Ok(true),
        _ => Err(error),
    }
}

/// Syncs the file of the database's write-ahead log or rollback journal (`SQLITE_FCNTL_JOURNAL_POINTER`,
/// <https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html>).
pub(crate) fn sync_journal(connection: &Connection) -> Result<(), SqlError> {
    let Some(file) = file_of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)? else { return Ok(()) };
    // SAFETY: `file_of` returns files with methods. The connection owns the file and keeps it open during a
    // transaction, and only this thread uses the connection.
    let code = unsafe { (*(*file).pMethods).xSync.map_or(ffi::SQLITE_OK, |sync| sync(file, ffi::SQLITE_SYNC_NORMAL)) };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(error_of_code(code, None)) }
}

/// Returns a file of the main database (`SQLITE_FCNTL_FILE_POINTER`), or the file of its write-ahead log or rollback
/// journal (`SQLITE_FCNTL_JOURNAL_POINTER`); `None` if that file is not open.
pub(super) fn file_of(connection: &Connection, which: c_int) -> Result<Option<*mut ffi::sqlite3_file>, SqlError> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the handle is valid as long as the connection lives. SQLite stores null or a pointer to a file of the
    // connection in `file`. A file that is not open has no methods.
    let (code, is_open) = unsafe {
        let code = ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), which, (&raw mut file).cast());
        (code, !file.is_null() && !(*file).pMethods.is_null())
    };
    match code {
        ffi::SQLITE_OK => Ok(is_open.then_some(file)),
        code => Err(error_of_code(code, None)),
    }
}

/// The error of the latest call of an SQLite function on the connection. `code` is the value that the call returned.
pub(crate) fn last_error(connection: &Connection, code: c_int) -> SqlError {
    // SAFETY: the handle is valid as long as the connection lives. `sqlite3_errmsg` returns a NUL-terminated string
    // that is valid until the next call on the connection; it is copied at once.
    unsafe {
        let db = connection.handle();
        let extended = ffi::sqlite3_extended_errcode(db);
        // If the call failed before it reached the connection (a misuse), the connection's code is an older one.
        let code = if extended & 0xff == code & 0xff { extended } else { code };
        let offset = ffi::sqlite3_error_offset(db);
        SqlError {
            code,
            generic: generic_text(code),
            message: text(ffi::sqlite3_errmsg(db)),
            offset: u32::try_from(offset).ok(),
        }
    }
}

/// Creates an error with this result code. If `message` is `None`, the message is SQLite's generic text for the code.
pub(crate) fn error_of_code(code: c_int, message: Option<&str>) -> SqlError {
    let generic = generic_text(code);
    let message = message.map_or_else(|| generic.clone(), str::to_owned);
    SqlError { code, generic, message, offset: None }
}

/// The text that `sqlite3_errstr` returns for a code.
fn generic_text(code: c_int) -> String {
    // SAFETY: `sqlite3_errstr` accepts any number and returns a static string.
    unsafe { text(ffi::sqlite3_errstr(code)) }
}

/// Copies a C string, with invalid UTF-8 replaced with U+FFFD; empty for a null pointer.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives until this function returns.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the pointer is not null here, and the caller guarantees that it points to such a string.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
