//! Conversion of SQLite's errors to those of the model.

use super::sqlite::probe;
use crate::model::{Error, SqlError};

/// Converts an error of rusqlite to SQLite's code and message.
pub(crate) fn sql_error(error: rusqlite::Error) -> SqlError {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => probe::error_of_code(error.extended_code, message.as_deref()),
        other => probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(&other.to_string())),
    }
}

/// Converts an error of the engine's own SQL, as opposed to a client's statement. `action` says what failed.
pub(crate) fn engine_error(action: &'static str, source: SqlError) -> Error {
    if source.primary_code() == rusqlite::ffi::SQLITE_BUSY {
        return Error::Busy(source);
    }
    Error::Sqlite { action, source }
}
