//! Runs the tasks of the database's owner (the code that opened the database), as opposed to batches of clients.

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
    /// Runs a task of the database's owner and sends the reply.
    pub(in crate::engine) fn run_owner(&mut self, task: OwnerTask) {
        let rollback_lock = self.shared.lock_exclusive();
        // The receiver of a reply may have been dropped, so the result of `send` is ignored.
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

    /// Syncs the content that replaced the old one, if the database applies a Raft log. The Raft log does not contain
    /// the new content and cannot restore it after a power cut, but entries that build on it will be acknowledged.
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

    /// Checkpoints and truncates the write-ahead log before the writer thread ends.
    pub(in crate::engine) fn checkpoint_at_end(&mut self) {
        if self.shared.config.file().is_none() {
            return;
        }
        if let Err(error) = self.run_for_owner("PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint") {
            // Another process is reading the database. SQLite checkpoints when the database is next opened.
            tracing::warn!(%error, "the write-ahead log was not checkpointed");
        }
    }

    /// Stops watching the write-ahead log if a script has left WAL mode: SQLite has then removed the write-ahead log.
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

    /// Runs a script. A transaction that the script begins and does not end is rolled back.
    fn script(&mut self, sql: &str, author: Author) -> Result<(), SqlError> {
        let result = self.statements(sql, author);
        self.roll_back_open();
        result
    }

    /// Runs the first script and, if it begins a transaction, the scripts after it until that transaction ends. Returns
    /// the result of each script that ran. As in SQLite, a script that fails does not end the transaction. If the last
    /// script leaves the transaction open, the transaction is rolled back and the last result is an error.
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

    /// Runs the statements of a script. A statement that is not in a transaction of the script is committed on its own.
    /// Statements that configure the connection are recorded, and run on every connection that is opened later.
    fn statements(&mut self, sql: &str, author: Author) -> Result<(), SqlError> {
        let mut changes = false;
        let result = self.each_statement(sql, author, &mut changes);
        if changes {
            // Also after an error: OR FAIL commits the rows before it.
            self.session.publish_everything();
        }
        result
    }

    /// Like [`Writer::statements`]. Sets `changes` if a statement may have changed the content.
    fn each_statement(&mut self, sql: &str, author: Author, changes: &mut bool) -> Result<(), SqlError> {
        let _stamped = Stamped::new(stamps::new(), self.shared.config.options.zone());
        let mut script = Script::new(&mut self.session, sql, author).map_err(sql_failure)?;
        let mut from = 0;
        while let Some(mut prepared) = script.next(&mut self.session).map_err(sql_failure)? {
            let text = sql.get(from..script.taken()).unwrap_or_default();
            from = script.taken();
            let info = &prepared.info;
            *changes |=
                info.changes_rows || info.changes_schema || info.outside_transaction || info.transaction.is_some();
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

    /// Rolls back the transaction that a script began and did not end. If the rollback fails, the database is poisoned.
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
