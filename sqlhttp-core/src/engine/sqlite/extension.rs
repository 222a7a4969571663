//! Loads extensions of SQLite (<https://sqlite.org/loadext.html>).

use std::ffi::c_int;
use std::path::Path;

use rusqlite::{Connection, ffi};

use crate::engine::error::sql_error;
use crate::engine::sqlite::probe;
use crate::model::SqlError;

/// Loads a shared library as an extension of a connection. Afterwards, statements cannot load extensions.
///
/// # Errors
/// The message names the file.
pub(crate) fn load(connection: &Connection, path: &Path, entry_point: Option<&str>) -> Result<(), SqlError> {
    allow_loading(connection, true)?;
    // SAFETY: the owner of the database has named the library, and vouches for its code.
    let loaded = unsafe { connection.load_extension(path, entry_point) };
    allow_loading(connection, false)?;
    loaded.map_err(|error| {
        let message = format!("cannot load the extension {}: {}", path.display(), sql_error(error).message);
        probe::error_of_code(ffi::SQLITE_ERROR, Some(&message))
    })
}

/// Allows the C function that loads extensions, but not the SQL function `load_extension()`
/// (<https://sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfigenableloadextension>).
fn allow_loading(connection: &Connection, allow: bool) -> Result<(), SqlError> {
    let allow = c_int::from(allow);
    let unused = std::ptr::null_mut::<c_int>();
    // SAFETY: the connection is open. This option takes an `int` and a pointer to an `int`, which may be null.
    let code = unsafe {
        ffi::sqlite3_db_config(connection.handle(), ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, allow, unused)
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(probe::last_error(connection, code)) }
}
