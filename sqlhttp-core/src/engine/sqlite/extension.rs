//! Loads extensions of SQLite (<https://sqlite.org/loadext.html>).

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
    // SAFETY: the owner of the database has named the library, and vouches for its code. No statement runs while
    // loading is enabled.
    let loaded = unsafe {
        connection.load_extension_enable().map_err(sql_error)?;
        connection.load_extension(path, entry_point)
    };
    connection.load_extension_disable().map_err(sql_error)?;
    loaded.map_err(|error| {
        let message = format!("cannot load the extension {}: {}", path.display(), sql_error(error).message);
        probe::error_of_code(ffi::SQLITE_ERROR, Some(&message))
    })
}
