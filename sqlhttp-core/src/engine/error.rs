//! Converts SQLite's errors to the error types of `crate::model`.

use std::path::Path;
use std::sync::Arc;

use super::sqlite::probe;
use crate::model::{Error, SqlError};

/// Converts an error of rusqlite to an [`SqlError`], which contains SQLite's code and message.
pub(crate) fn sql_error(error: rusqlite::Error) -> SqlError {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => probe::error_of_code(error.extended_code, message.as_deref()),
        other => probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&other.to_string())),
    }
}

/// Converts an error of the engine's own SQL, as opposed to a client's statement. SQLITE_BUSY becomes [`Error::Busy`],
/// any other code [`Error::Sqlite`]. `action` says what failed.
pub(crate) fn engine_error(action: &'static str, source: SqlError) -> Error {
    if source.primary_code() == rusqlite::ffi::SQLITE_BUSY {
        return Error::Busy(source);
    }
    Error::Sqlite { action, source }
}

/// Converts an error of a file operation. `action` says what failed.
pub(crate) fn io_error(action: &'static str, file: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: file.display().to_string(), source: Arc::new(source) }
}
