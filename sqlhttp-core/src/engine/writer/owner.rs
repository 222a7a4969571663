//! The tasks of the database's owner, as opposed to those of clients.

use std::sync::Arc;

use super::queue::OwnerTask;
use super::thread::Writer;
use crate::engine::error::engine_error;
use crate::engine::file_watch::wal_of;
use crate::engine::options::Writes;
use crate::engine::replicated::sync;
use crate::engine::script::Script;
use crate::engine::sqlite::clock::Stamped;
use crate::engine::sqlite::{full, probe};
use crate::engine::stamps;
use crate::engine::statement_info::Author;
use crate::model::{Error, Failure, SqlError};

impl Writer<'_> {
    /// Runs a task of the owner and replies.
    pub(in crate::engine) fn run_owner(&mut self, task: OwnerTask) {
        let rollback_lock = self.shared.lock_exclusive();
        // A receiver may have been dropped.
        if let Err(error) = self.renew_session_for_callers() {
            return match task {
                OwnerTask::Script(_, reply) => drop(reply.send(Err(error))),
                OwnerTask::Scripts(_, _, reply) => drop(reply.send(Err(error))),
                OwnerTask::Vacuum(reply) | OwnerTask::Checkpoint(reply) | OwnerTask::Replace(_, reply) => {
                    drop(reply.send(Err(error)));
                }
            };
        }
        full::forget();
        match task {
            OwnerTask::Script(sql, reply) => {
                let result = self.script(&sql, Author::Owner);
                self.stop_watching_wal();
                drop(reply.send(Ok(result)));
            }
            OwnerTask::Scripts(scripts, first, reply) => {
                drop(reply.send(Ok(self.scripts(scripts.get(first..).unwrap_or_default()))));
            }
            OwnerTask::Vacuum(reply) => drop(reply.send(self.run_for_owner("VACUUM", "vacuum"))),
            OwnerTask::Checkpoint(reply) => {
                drop(reply.send(self.run_for_owner("PRAGMA wal_checkpoint(PASSIVE)", "checkpoint")));
            }
            OwnerTask::Replace(file, reply) => {
                let replaced = self.replace_content(&file, &self.shared.progress());
                let replaced = replaced.map_err(|error| engine_error("replace content", error));
                drop(reply.send(replaced.and_then(|()| self.sync_replaced())));
            }
        }
        if full::was_met() {
            self.free_space();
        }
        drop(rollback_lock);
    }

    /// Syncs replaced content. The log does not contain it, so a power cut must not lose it: entries after it are
    /// acknowledged.
    fn sync_replaced(&self) -> Result<(), Error> {
        if self.shared.config.options.writes != Writes::Log {
            return Ok(());
        }
        sync::run(self.shared).map(drop).inspect_err(|error| {
            if self.shared.poisoned().is_none() {
                self.shared.poison(&format!("the replaced content could not be synced: {error}"));
            }
        })
    }

    /// Checkpoints and truncates the write-ahead log before the writer ends.
    pub(in crate::engine) fn checkpoint_at_end(&mut self) {
        if self.shared.config.file().is_none() {
            return;
        }
        if let Err(error) = self.run_for_owner("PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint") {
            // Another process reads the file. SQLite makes the checkpoint when the file is opened next.
            tracing::warn!(%error, "the write-ahead log was not checkpointed");
        }
    }

    /// Stops watching the write-ahead log if a script has left WAL mode, because SQLite has removed it then.
    fn stop_watching_wal(&self) {
        let mode = self.session.connection().query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
        if let (Some(file), Ok(mode)) = (self.shared.config.file(), mode)
            && mode != "wal"
        {
            self.shared.files.forget(&wal_of(file));
        }
    }

    fn run_for_owner(&mut self, sql: &str, action: &'static str) -> Result<(), Error> {
        self.script(sql, Author::Owner).map_err(|error| engine_error(action, error))
    }

    /// Runs a script that must end the transactions it begins.
    fn script(&mut self, sql: &str, author: Author) -> Result<(), SqlError> {
        let result = self.statements(sql, author);
        self.roll_back_open();
        result
    }

    /// Runs scripts until no transaction is open: one, or as many as it takes to end the transaction that the first one
    /// begins. As in SQLite, a script that fails does not end the transaction of the others.
    fn scripts(&mut self, scripts: &[String]) -> Vec<Result<(), SqlError>> {
        let mut results = Vec::new();
        for sql in scripts {
            results.push(self.statements(sql, Author::Configuration));
            if self.session.is_autocommit() {
                return results;
            }
        }
        self.roll_back_open();
        if let Some(last @ Ok(())) = results.last_mut() {
            let message = "the transaction that was begun is not committed";
            *last = Err(probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(message)));
        }
        results
    }

    /// Runs statements, each committed on its own outside a transaction. Those that configure the connection will be
    /// run on every connection.
    fn statements(&mut self, sql: &str, author: Author) -> Result<(), SqlError> {
        let _stamped = Stamped::new(stamps::new());
        let mut script = Script::new(&mut self.session, sql, author).map_err(sql_failure)?;
        let mut from = 0;
        while let Some(mut prepared) = script.next(&mut self.session).map_err(sql_failure)? {
            let text = sql.get(from..script.taken()).unwrap_or_default();
            from = script.taken();
            loop {
                match prepared.statement.step() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(code) => {
                        let error = self.session.error(code);
                        self.session.put_back(prepared);
                        return Err(error);
                    }
                }
            }
            if prepared.info.changes_connection {
                self.shared.config.add_setup(text);
            }
            self.session.put_back(prepared);
        }
        Ok(())
    }

    /// Rolls back a transaction that a script began and did not end.
    fn roll_back_open(&mut self) {
        if let Err(error) = self.session.rollback() {
            self.shared.poison(&format!("cannot roll back: {error}"));
        }
    }
}

fn sql_failure(failure: Failure) -> SqlError {
    match failure {
        Failure::Sql(error) => error,
        other => probe::error_of_code(rusqlite::ffi::SQLITE_ERROR, Some(Arc::<str>::from(other.to_string()).as_ref())),
    }
}
