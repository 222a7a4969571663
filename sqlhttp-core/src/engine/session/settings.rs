//! The settings and limits of a session that change between batches or statements.

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::connection::Session;
use crate::engine::error::sql_error;
use crate::engine::work_limits::{INLINE_PATTERN_BYTES_MAX, INLINE_VALUE_BYTES_MAX, PATTERN_LIMITS};
use crate::model::SqlError;

impl Session {
    /// Sets the limits of the connection: the low limits for a caller's thread if `inline`, otherwise those for other
    /// threads.
    pub(crate) fn set_inline(&mut self, inline: bool) -> Result<(), SqlError> {
        if self.inline == inline {
            return Ok(());
        }
        let most = i32::try_from(self.value_bytes_max).unwrap_or(i32::MAX);
        let (value, pattern) = if inline {
            (most.min(INLINE_VALUE_BYTES_MAX), INLINE_PATTERN_BYTES_MAX)
        } else {
            (most, PATTERN_LIMITS[0].0)
        };
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, value).map_err(sql_error)?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern).map_err(sql_error)?;
        self.inline = inline;
        Ok(())
    }

    /// Returns whether the low limits for a caller's thread are set.
    pub(crate) fn is_inline(&self) -> bool {
        self.inline
    }

    /// Limits the size of values for one statement, in addition to the limit of the options. `None` ends that. Has no
    /// effect while the low limits for a caller's thread are set.
    pub(crate) fn limit_values(&self, bytes_max: Option<i32>) {
        if !self.inline {
            let most = i32::try_from(self.value_bytes_max).unwrap_or(i32::MAX);
            self.limit(Limit::SQLITE_LIMIT_LENGTH, bytes_max.map_or(most, |bytes_max| most.min(bytes_max)));
        }
    }

    /// Sets the maximum length of a pattern of LIKE and GLOB, and the maximum size of values with such a pattern: one
    /// pair of [`PATTERN_LIMITS`].
    pub(crate) fn limit_patterns(&self, (pattern, value): (i32, i32)) {
        self.limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern);
        self.limit_values(Some(value));
    }

    fn limit(&self, limit: Limit, value: i32) {
        if let Err(error) = self.connection.set_limit(limit, value) {
            tracing::error!(%error, "a limit of SQLite cannot be set");
        }
    }

    /// Sets the conditions under which the following batches run: whether foreign keys are enforced, and the maximum
    /// size of a value.
    pub(crate) fn set_conditions(&mut self, foreign_keys: bool, value_bytes_max: u64) -> Result<(), SqlError> {
        self.initial_foreign_keys = foreign_keys;
        if self.value_bytes_max != value_bytes_max {
            let most = i32::try_from(value_bytes_max).unwrap_or(i32::MAX);
            self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, most).map_err(sql_error)?;
            self.value_bytes_max = value_bytes_max;
        }
        Ok(())
    }

    /// Returns whether foreign keys are enforced at the beginning of each batch.
    pub(crate) fn initial_foreign_keys(&self) -> bool {
        self.initial_foreign_keys
    }

    /// Returns whether foreign keys are enforced now.
    pub(crate) fn enforces_foreign_keys(&self) -> bool {
        self.foreign_keys
    }

    /// Sets whether foreign keys are enforced for the rest of the batch. Unlike the PRAGMA, this works inside a
    /// transaction.
    pub(crate) fn enforce_foreign_keys(&mut self, on: bool) -> Result<(), SqlError> {
        if self.foreign_keys != on {
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, on).map_err(sql_error)?;
            self.foreign_keys = on;
        }
        Ok(())
    }

    /// Returns the maximum size of a row of a result, in bytes.
    pub(crate) fn row_bytes_max(&self) -> usize {
        usize::try_from(self.value_bytes_max).unwrap_or(usize::MAX)
    }
}
