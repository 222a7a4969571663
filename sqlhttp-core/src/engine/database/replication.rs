//! The operations of a database that applies a log.

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
    /// Applies entries of a log, in order. Skips those that have been applied already. The result contains, for each
    /// entry that was applied now, one outcome for each batch, barrier and replacement.
    ///
    /// The entries are not durable in the database when this returns, but they are in the log, and the database records
    /// its position. [`Database::sync`] returns the position up to which the log is no longer needed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] and others: a failure of this node alone (its disk, its memory). Transactions committed
    /// before it remain; no more entries will be applied.
    pub async fn apply(&self, entries: Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, Error> {
        self.apply_and_notify(entries, Vec::new()).await
    }

    /// Like [`Database::apply`], but calls `on_applied[i]` with each outcome of entry `i` as soon as it commits; the
    /// result then contains no outcomes for that entry. Nothing is called for entries that were applied before.
    ///
    /// # Errors
    /// As [`Database::apply`]. Some callbacks may have been called before.
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

    /// Interrupts the entry that is being applied, because the process ends. The database takes no more entries; the
    /// interrupted one is applied from its beginning when the database is opened again.
    pub fn interrupt(&self) {
        self.inner.shared.interrupted.set();
    }

    /// Sets whether this node is the only voter, so that no other node has to compute the same results. A statement
    /// that fails on this node alone (it needs more memory or disk than there is, it reads a damaged page) then fails,
    /// instead of stopping the database.
    pub fn set_sole(&self, sole: bool) {
        self.inner.shared.set_sole(sole);
    }

    /// Sets the identity of the log. It is recorded with the next entry. 0 means none: see [`Progress::log`].
    pub fn set_log(&self, log: u128) {
        let shared = &self.inner.shared;
        shared.set_progress(Progress { log, ..shared.progress() });
    }

    /// Why the database waits before it applies the next entry; `None` while it does not wait.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.inner.shared.waits_for()
    }

    /// The position of the database in the log.
    pub fn progress(&self) -> Progress {
        self.inner.shared.progress()
    }

    /// Makes the applied entries durable. The log is no longer needed up to the returned position. The writer does not
    /// wait for this.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the disk fails. It is then unknown what the disk contains, and the database takes no more
    /// writes.
    pub async fn sync(&self) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        // The receiver may have been dropped.
        spawn("sqlhttp-sync", move || drop(reply.send(sync::run(&shared))))?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Checks that a file is a sound database, and normalizes it for [`crate::LogWork::Replace`] and
    /// [`Database::replace`]. Changes the file.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if it is not a database, or damaged.
    pub async fn check_image(&self, file: PathBuf) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        spawn_low_priority("sqlhttp-check", move || {
            let checked = shared.page_size().and_then(|page_size| replace::check(&file, page_size));
            // The receiver may have been dropped.
            let _ = reply.send(checked);
        })?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Replaces all content by that of a checked file. Readers keep their snapshots; writes wait.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file or the disk fails. Nothing is replaced then.
    pub async fn replace(&self, file: PathBuf) -> Result<(), Error> {
        self.ask_writer(|reply| OwnerTask::Replace(file, reply)).await?
    }

    /// Removes the record of the position from a copy of a database that applies a log. Blocks.
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
