//! Converts SQLite's error codes on a session to errors and failures.

use rusqlite::limits::Limit;

use super::connection::Session;
use crate::engine::sqlite::triggers::Triggers;
use crate::engine::sqlite::{heap, probe};
use crate::model::{Failure, SqlError};

impl Session {
    /// Returns the error of the connection's last call, which returned `code`.
    pub(crate) fn error(&self, code: i32) -> SqlError {
        self.with_limit(probe::last_error(&self.connection, code))
    }

    /// Returns the failure of a call of `sqlite3_step` that returned `code`: the action that the policy refused while
    /// the statement ran, or otherwise SQLite's error.
    pub(crate) fn failure(&self, code: i32) -> Failure {
        if self.triggers_are_stopped() {
            return Failure::Sql(probe::error_of_code(rusqlite::ffi::SQLITE_INTERRUPT, None));
        }
        let refused = if code & 0xff == rusqlite::ffi::SQLITE_AUTH { self.recorder.refused() } else { None };
        refused.map_or_else(|| Failure::Sql(self.error(code)), Failure::NotAllowed)
    }

    /// Returns SQLITE_INTERRUPT if a call failed because the run must end: the allocator then refuses memory, or
    /// triggers may not fire. Otherwise returns `code`.
    pub(crate) fn true_code(&self, code: i32) -> i32 {
        let stopped = match code & 0xff {
            rusqlite::ffi::SQLITE_NOMEM => heap::refused() == Some(heap::Refused::Stop),
            rusqlite::ffi::SQLITE_ERROR => self.triggers_are_stopped(),
            _ => false,
        };
        if stopped { rusqlite::ffi::SQLITE_INTERRUPT } else { code }
    }

    /// Adds the limit that was exceeded, and the name of its option, to the message of an error.
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

    /// Returns whether an error means that a statement exceeded the memory that one statement may use.
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

    /// Returns the failure of a statement with a result row that exceeds [`Session::row_bytes_max`].
    pub(crate) fn row_too_long(&self) -> Failure {
        let mut error = probe::error_of_code(rusqlite::ffi::SQLITE_TOOBIG, None);
        let most = self.value_bytes_max;
        error.message = format!("{}: the limit is {most} bytes ({})", error.generic, self.value_bytes_max_name);
        Failure::Sql(error)
    }

    /// Returns the failure of a statement for whose result row SQLite has no memory.
    pub(crate) fn no_memory_for_row(&self) -> Failure {
        Failure::Sql(self.with_limit(probe::error_of_code(rusqlite::ffi::SQLITE_NOMEM, None)))
    }

    fn triggers_are_stopped(&self) -> bool {
        self.triggers.as_ref().is_some_and(Triggers::are_stopped)
    }
}
