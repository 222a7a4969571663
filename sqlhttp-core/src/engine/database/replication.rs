//! A database that applies a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::handle::Database;
use crate::engine::background::{spawn, spawn_low_priority};
use crate::engine::error::{engine_error, sql_error};
use crate::engine::options::Writes;
use crate::engine::replicated::entry::{LogEntry, OnApplied};
use crate::engine::replicated::progress::{self, Progress};
use crate::engine::replicated::{replace, sync};
use crate::engine::writer::queue::{LogTask, OwnerTask, Task};
use crate::model::{Error, Outcome};

impl Database {
    /// Applies entries of a log, in order. Those that have been applied already are passed over. The answer has one
    /// outcome for each batch, barrier and replacement of each entry that was applied now.
    ///
    /// What is applied is not durable when this returns, but the log is, and the database knows how far it is:
    /// [`Database::sync`] tells from where on the log is still needed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] and others: something that only this node has met (its disk, its memory). Nothing of what
    /// was not committed before has been applied, and nothing will be.
    pub async fn apply(&self, entries: Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, Error> {
        self.apply_and_notify(entries, Vec::new()).await
    }

    /// The same, and what comes of an entry is told at once to whoever stands at its place in the second list; then the
    /// answer has nothing for this entry. Nobody is told of an entry that had been applied before.
    ///
    /// # Errors
    /// As [`Database::apply`]. Some may have been told before.
    pub async fn apply_and_notify(
        &self,
        entries: Vec<LogEntry>,
        on_applied: Vec<Option<OnApplied>>,
    ) -> Result<Vec<Vec<Outcome>>, Error> {
        let shared = &self.inner.shared;
        if let Some(why) = shared.poisoned() {
            return Err(Error::Poisoned(why));
        }
        if shared.config.options.writes != Writes::Log {
            return Err(Error::Unsupported("this database applies no log".into()));
        }
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Task::Log(Box::new(LogTask { entries, on_applied, reply }))).map_err(|(error, _)| error)?;
        answer.await.map_err(|_| shared.closed_error())?
    }

    /// Interrupts the entry that is being applied, because the process has to end. The database takes no more entries then;
    /// this one is applied from its beginning when the database is opened again.
    pub fn interrupt(&self) {
        self.inner.shared.interrupted.set();
    }

    /// Whether no other node has to come to the same results. Then a statement that fails on this node alone (it asks for
    /// more memory or disk than there is, it meets a damaged page) fails, instead of stopping the database.
    pub fn set_sole(&self, sole: bool) {
        self.inner.shared.set_sole(sole);
    }

    /// Records which log the database applies, with the next entry. 0 is none: see [`Progress::log`].
    pub fn set_log(&self, log: u128) {
        let shared = &self.inner.shared;
        shared.set_progress(Progress { log, ..shared.progress() });
    }

    /// Why the log is not applied further for the moment, if so.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.inner.shared.waits_for()
    }

    /// How far the database is in the log that it applies.
    pub fn progress(&self) -> Progress {
        self.inner.shared.progress()
    }

    /// Makes durable what has been applied. The log is not needed any more up to where the answer says. The writer does
    /// not wait for this.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the disk fails. Then nobody knows what it holds, and the database takes no more writes.
    pub async fn sync(&self) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        // Somebody who has gone away needs no answer.
        spawn("sqlhttp-sync", move || drop(reply.send(sync::run(&shared))))?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Checks that a file is a sound database and puts it into the shape that [`crate::LogWork::Replace`] and
    /// [`Database::replace`] need. The file is changed.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if it is no database, or damaged.
    pub async fn check_image(&self, file: PathBuf) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        spawn_low_priority("sqlhttp-check", move || {
            let checked = shared.page_size().and_then(|page_size| replace::check(&file, page_size));
            // Somebody who has gone away needs no answer.
            let _ = reply.send(checked);
        })?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Replaces all content by that of a file that has been checked. Readers keep what they see; writers wait.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file or the disk fails. Then nothing is replaced.
    pub async fn replace(&self, file: PathBuf) -> Result<(), Error> {
        self.ask_writer(|reply| OwnerTask::Replace(file, reply)).await?
    }

    /// Takes out of a copy of such a database what it knows of its log. Blocks.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the copy cannot be written.
    pub fn remove_progress(copy: &Path) -> Result<(), Error> {
        let failed = |error| engine_error("finish copy", sql_error(error));
        let connection = rusqlite::Connection::open(copy).map_err(failed)?;
        progress::remove(&connection).map_err(failed)?;
        connection.close().map_err(|(_, error)| failed(error))
    }
}
