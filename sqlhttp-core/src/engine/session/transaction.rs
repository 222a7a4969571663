//! The transactions and savepoints of a session, and the truncation of its write-ahead log.

use std::time::Duration;

use super::connection::Session;
use super::control::{Savepoint, run_control};
use crate::engine::connection_config::{ConnectionConfig, Role};
use crate::engine::error::sql_error;
use crate::engine::options::Writes;
use crate::engine::pragmas;
use crate::engine::sqlite::{log_tail, probe};
use crate::model::{Failure, SqlError};

impl Session {
    /// Returns whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Returns the failure that COMMIT would report now because a deferred foreign key is violated; `None` if none is.
    pub(crate) fn deferred_violation(&self) -> Option<Failure> {
        probe::deferred_foreign_keys_open(&self.connection).then(|| {
            let code = rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;
            Failure::Sql(probe::error_of_code(code, Some("FOREIGN KEY constraint failed")))
        })
    }

    /// Begins a read transaction.
    pub(crate) fn begin(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.begin, &self.connection)
    }

    /// Begins a write transaction.
    pub(crate) fn begin_immediate(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.begin_immediate, &self.connection)?;
        self.begin_changes();
        Ok(())
    }

    pub(crate) fn commit(&mut self) -> Result<(), SqlError> {
        run_control(&mut self.control.commit, &self.connection)?;
        self.schema_changed = false;
        self.publish_changes();
        Ok(())
    }

    /// Rolls back the transaction, if one is open. (Some errors end the transaction, so none may be open.)
    pub(crate) fn rollback(&mut self) -> Result<(), SqlError> {
        self.forget_undone_schema();
        self.forget_changes();
        self.schema_changed = false;
        if self.is_autocommit() {
            return Ok(());
        }
        run_control(&mut self.control.rollback, &self.connection)
    }

    /// Clears the statement cache if the open transaction has changed the schema. The cached weights of statements
    /// belong to that schema, and it is about to be rolled back.
    fn forget_undone_schema(&mut self) {
        if self.schema_changed {
            self.cache.clear();
        }
    }

    pub(crate) fn savepoint(&mut self, level: Savepoint) -> Result<(), SqlError> {
        run_control(&mut self.control.savepoint[level as usize], &self.connection)?;
        // After the statement: a full-text index writes what it has held back before it sets the savepoint.
        self.mark_changes(level);
        Ok(())
    }

    pub(crate) fn release(&mut self, level: Savepoint) -> Result<(), SqlError> {
        run_control(&mut self.control.release[level as usize], &self.connection)
    }

    /// Rolls back to a savepoint of the engine, and releases it.
    pub(crate) fn undo(&mut self, level: Savepoint) -> Result<(), SqlError> {
        self.forget_undone_schema();
        run_control(&mut self.control.rollback_to[level as usize], &self.connection)?;
        self.undo_changes(level);
        self.release(level)
    }

    /// Opens the connection of the writer, and truncates the write-ahead log after its last commit (a crash may have
    /// left an uncommitted tail).
    ///
    /// # Errors
    /// Fails also if a database that applies a log is not in WAL mode. `PRAGMA journal_mode` reports no error if the
    /// disk prevents the change of the mode, and without WAL mode syncing the journal does not make commits durable.
    pub(crate) fn open_for_writer(config: &ConnectionConfig) -> Result<Session, SqlError> {
        let mut session = Session::open(config, Role::Writer)?;
        if config.options.writes == Writes::Log && !session.as_owner(|connection| Ok(pragmas::is_wal(connection)))? {
            let message = "the database cannot be put into WAL mode";
            return Err(probe::error_of_code(rusqlite::ffi::SQLITE_CANTOPEN, Some(message)));
        }
        if config.file().is_some()
            && let Err(error) = session.cut_log_tail(config)
        {
            tracing::debug!(%error, "the uncommitted tail of the write-ahead log was not removed");
        }
        Ok(session)
    }

    /// Truncates the write-ahead log after its last commit, to remove uncommitted frames that a crash has left. Returns
    /// the number of bytes removed. Does nothing if the database is not in WAL mode.
    pub(crate) fn cut_log_tail(&mut self, config: &ConnectionConfig) -> Result<i64, SqlError> {
        if !self.as_owner(|connection| Ok(pragmas::is_wal(connection)))? {
            return Ok(0);
        }
        // Does not wait for the lock of another process: uncommitted frames are harmless.
        self.connection.busy_timeout(Duration::ZERO).map_err(sql_error)?;
        let begun = self.begin_immediate();
        self.connection.busy_timeout(config.options.busy_timeout).map_err(sql_error)?;
        begun?;
        let cut = log_tail::cut(&self.connection);
        self.rollback().and(cut)
    }

    /// Copies the whole write-ahead log into the database file and truncates the write-ahead log. Waits for locks up to
    /// the connection's busy timeout. Returns `false` if another connection prevented it.
    pub(crate) fn checkpoint_all(&mut self) -> Result<bool, SqlError> {
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        self.as_owner(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], busy))
            .map(|busy| busy == 0)
    }

    /// Copies the write-ahead log into the database file and truncates the write-ahead log, as far as that is possible
    /// without waiting for readers.
    pub(crate) fn checkpoint_now(&mut self, config: &ConnectionConfig) -> Result<(), SqlError> {
        self.as_owner(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let done = pragmas::checkpoint(connection);
            connection.busy_timeout(config.options.busy_timeout)?;
            done
        })
    }
}
