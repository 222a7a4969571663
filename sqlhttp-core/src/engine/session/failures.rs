//! Converts SQLite's error codes on a session to errors and failures.

use rusqlite::limits::Limit;

use super::connection::Session;
use crate::engine::sqlite::triggers::Triggers;
use crate::engine::sqlite::{heap, probe};
use crate::model::{Failure, SqlError};

impl Session {
    /// The error of the connection's last call, which returned `code`.
    pub(crate) fn error(&self, code: i32) -> SqlError {
        self.with_limit(probe::last_error(&self.connection, code))
    }

    /// The failure of a statement's step: SQLite's error, or the action that the policy forbade while it ran.
    pub(crate) fn failure(&self, code: i32) -> Failure {
        if self.triggers_are_stopped() {
            return Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None));
        }
        let refused = if code & 0xff == rusqlite::ffi::SQLITE_AUTH { self.recorder.refused() } else { None };
        refused.map_or_else(|| Failure::Sql(self.error(code)), Failure::NotAllowed)
    }

    /// Returns the code of a failed call, or SQLITE_INTERRUPT if it failed because the run must end: the allocator
    /// refused memory, or triggers were forbidden to fire.
    pub(crate) fn true_code(&self, code: i32) -> i32 {
        let stopped = match code & 0xff {
            rusqlite::ffi::SQLITE_NOMEM => heap::refused() == Some(heap::Refused::Stop),
            rusqlite::ffi::SQLITE_ERROR => self.triggers_are_stopped(),
            _ => false,
        };
        if stopped { rusqlite::ffi::SQLITE_INTERRUPT } else { code }
    }

    /// Adds the exceeded limit to the message of an error.
    pub(super) fn with_limit(&self, mut error: SqlError) -> SqlError {
        if error.primary_code() == rusqlite::ffi::SQLITE_TOOBIG {
            let most = self.connection.limit(Limit::SQLITE_LIMIT_LENGTH).unwrap_or_default();
            error.message = format!("{}: the limit is {most} bytes ({})", error.generic, self.value_bytes_max_name);
        }
        if error.primary_code() == rusqlite::ffi::SQLITE_NOMEM
            && let Some(refused) = heap::refused()
        {
            error = self.without_memory(error, refused);
        }
        error
    }

    /// Returns whether an error means that a statement needs more memory than a statement may have.
    pub(crate) fn is_own_memory_limit(&self, error: &SqlError) -> bool {
        error.primary_code() == rusqlite::ffi::SQLITE_NOMEM && error.message == self.own_memory_limit()
    }

    fn own_memory_limit(&self) -> String {
        let (most, name) = (self.memory_bytes_max, self.memory_bytes_max_name);
        format!("out of memory: the limit of a statement is {most} bytes ({name})")
    }

    fn without_memory(&self, error: SqlError, refused: heap::Refused) -> SqlError {
        let message = match refused {
            heap::Refused::Run => self.own_memory_limit(),
            heap::Refused::Process => "out of memory: the statements that run now use too much together".to_owned(),
            heap::Refused::Stop => return probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None),
        };
        SqlError { message, ..error }
    }

    /// The failure of a statement whose row exceeds [`Session::row_bytes_max`].
    pub(crate) fn row_too_long(&self) -> Failure {
        let mut error = probe::error_of_code(rusqlite::ffi::SQLITE_TOOBIG, None);
        let most = self.value_bytes_max;
        error.message = format!("{}: the limit is {most} bytes ({})", error.generic, self.value_bytes_max_name);
        Failure::Sql(error)
    }

    /// The failure of a statement for whose row SQLite has no memory.
    pub(crate) fn no_memory_for_row(&self) -> Failure {
        Failure::Sql(self.with_limit(probe::error_of_code(rusqlite::ffi::SQLITE_NOMEM, None)))
    }

    fn triggers_are_stopped(&self) -> bool {
        self.triggers.as_ref().is_some_and(Triggers::are_stopped)
    }
}
