//! The operations of a database that applies the entries of a log, such as a Raft log ([`Writes::Log`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::handle::Database;
use crate::engine::background::{spawn, spawn_low_priority};
use crate::engine::error::{engine_error, sql_error};
use crate::engine::options::Writes;
use crate::engine::replicated::entry::{LogEntry, OnApplied};
use crate::engine::replicated::progress::{self, Progress};
use crate::engine::replicated::swap::{self, OsFileSystem};
use crate::engine::replicated::{snapshot, sync};
use crate::engine::watch::{Cancel, CancelOnDrop};
use crate::engine::writer::queue::{InstallTask, LogTask, Task};
use crate::model::{Error, Outcome};

impl Database {
    /// Applies entries of a log, in order. Entries that have been applied already are skipped. For each entry that this
    /// call applied, the result contains one outcome for each operation of the entry except memberships.
    ///
    /// When this returns, the entries need not be durable in the database yet. But they are durable in the log, and the
    /// database records the position up to which it has applied the log. [`Database::sync`] returns the position up to
    /// which the log is no longer needed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] or another error if this node alone fails (its disk, its memory). Transactions that were
    /// committed before the failure remain committed. No more entries will be applied.
    pub async fn apply(&self, entries: Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, Error> {
        self.apply_and_notify(entries, Vec::new()).await
    }

    /// Like [`Database::apply`], but calls `on_applied[i]` with each outcome of entry `i` as soon as it is committed.
    /// For such an entry the result contains no outcomes. Nothing is called for entries that were applied before.
    ///
    /// # Errors
    /// As [`Database::apply`]. Some callbacks may have been called before the error.
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
        shared.queue.push(Task::Log(Box::new(LogTask { entries, on_applied, reply }))).map_err(|refused| refused.0)?;
        answer.await.map_err(|_| shared.closed_error())?
    }

    /// Interrupts the log entry that is being applied, because the process is about to end. The database accepts no
    /// more entries. The interrupted entry is applied from its beginning when the database is opened again.
    pub fn interrupt(&self) {
        self.inner.shared.interrupted.set();
    }

    /// Sets whether this node is the only node of its cluster: there is no other voter and no learner.
    ///
    /// A statement can fail for a reason that only this node has: it needs more memory or disk space than there is, or
    /// it reads a damaged page. On the only node, that failure is the statement's result, because no other node has
    /// to get the same result. With other nodes, the entry is tried again while the reason may pass (a full disk, too
    /// little memory); otherwise (a damaged page) the database rejects all writes from then on.
    ///
    /// The caller must set `false` before another node can receive entries of the log, and must not send that node an
    /// entry up to [`Progress::decision_index`] as of the return of this call. If an outcome with such a failure is
    /// being made durable, this call blocks until that is done; afterwards there will be no further one.
    pub fn set_sole(&self, sole: bool) {
        self.inner.shared.set_sole(sole);
    }

    /// Sets the identity of the log that the database applies (see [`Progress::log`]). The identity is recorded in the
    /// database with the next entry. 0 means that the log has no identity.
    pub fn set_log(&self, log: u128) {
        let shared = &self.inner.shared;
        shared.set_progress(Progress { log, ..shared.progress() });
    }

    /// Returns why the database waits before it retries a log entry; `None` while it does not wait.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.inner.shared.waits_for()
    }

    /// Returns the index of the last log entry that the database has begun to apply; 0 if there is none. If an entry
    /// fails or does not end, it is this one. [`Database::progress`] does not tell, because a transaction contains
    /// several entries.
    pub fn applying_index(&self) -> u64 {
        self.inner.shared.applying_index()
    }

    /// Returns the position of the database in the log that it applies.
    pub fn progress(&self) -> Progress {
        self.inner.shared.progress()
    }

    /// Makes the applied entries durable in the database. Returns the position up to which the log is no longer needed.
    /// The writer does not wait for this.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the sync fails. It is then unknown what the disk contains, and the database rejects all
    /// writes from now on. [`Error::Unavailable`] if the connection for the sync could not be opened; the call may then
    /// be repeated.
    pub async fn sync(&self) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        // The send fails if the caller has dropped the future. That is no error.
        spawn("sqlhttp-sync", move || drop(reply.send(sync::run(&shared))))?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Writes a snapshot for another node to the new file `file`: a consistent copy of the database, as a single file
    /// that contains the position in the log. Returns the position that the snapshot contains. It may be newer than
    /// that at the time of the call, and may be inside an entry ([`Progress::operations`]). Its [`Progress::log`] is 0.
    ///
    /// The copy is made in one read transaction on a low-priority thread, so writes continue meanwhile. The file
    /// appears under its name only when it is complete and synced. It is not checked for damage (see
    /// [`Database::check_snapshot`]). Dropping the future ends the copy.
    ///
    /// # Errors
    /// [`Error::Io`] with [`std::io::ErrorKind::AlreadyExists`] if the file exists already; [`Error::Io`] or
    /// [`Error::Sqlite`] if the copy cannot be written; [`Error::Unsupported`] if the database applies no log.
    pub async fn export(&self, file: PathBuf) -> Result<Progress, Error> {
        let shared = self.inner.shared.clone();
        if shared.config.options.writes != Writes::Log {
            return Err(Error::Unsupported("this database applies no log".into()));
        }
        if self.inner.sessions.is_closed() {
            return Err(Error::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        spawn_low_priority("sqlhttp-export", move || {
            // The send fails if the caller has dropped the future. That is no error.
            let _ = reply.send(snapshot::export(&shared, &file, &cancel));
        })?;
        let result = answer.await.map_err(|_| self.inner.shared.closed_error())?;
        guard.disarm();
        result
    }

    /// Makes a file that [`Database::check_image`] has checked a snapshot at the position `progress`, which can be
    /// installed ([`Database::install`]). [`Progress::log`] is not written to the file. The file is synced. Blocks the
    /// thread.
    ///
    /// # Errors
    /// [`Error::Sqlite`] or [`Error::Io`] if the file cannot be written.
    pub fn make_snapshot(file: &Path, progress: &Progress) -> Result<(), Error> {
        snapshot::make(file, progress)
    }

    /// Checks that a file is an undamaged snapshot ([`Database::export`]). Returns the position that it contains. Reads
    /// the whole file, and blocks the thread.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file is not a database, is damaged, or contains no position; [`Error::Unsupported`] if
    /// it may be incomplete without another file.
    pub fn check_snapshot(file: &Path) -> Result<Progress, Error> {
        snapshot::check(file)
    }

    /// Replaces the whole content of the database, including the position in the log, by that of a snapshot
    /// ([`Database::export`]) that [`Database::check_snapshot`] has checked. Returns the new position; its
    /// [`Progress::log`] is that of this database ([`Database::set_log`]). The new content is durable then.
    ///
    /// The file `snapshot` is renamed to the name of the database. It must be synced, be in the directory of the
    /// database, and have no other hard link.
    ///
    /// New reads and writes wait meanwhile. Reads that run are interrupted after one second; they fail with
    /// [`Error::Unavailable`]. So do copies of the database that are being made.
    ///
    /// # Recovery from a crash
    /// Before the call, the caller durably records its intent to install the snapshot. When the process starts, it
    /// calls [`Database::finish_install`] if there is such a record, before it opens the database, and then removes the
    /// record. After the call, it removes the record unless the result is [`Error::Poisoned`].
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the database can no longer be used. It must be opened again after
    /// [`Database::finish_install`]. After any other error the old content is in place and in use, and the snapshot
    /// exists: [`Error::Unavailable`] if a connection could not be closed, or another process has the database open;
    /// [`Error::Io`] or [`Error::Sqlite`] if a file operation failed; [`Error::Unsupported`] if the file is not a
    /// snapshot, or the database is not a file that applies a log; [`Error::ReadOnly`] if it was opened read-only;
    /// [`Error::Closed`] if the process is about to end.
    pub async fn install(&self, snapshot: PathBuf) -> Result<Progress, Error> {
        let sessions = self.inner.sessions.clone();
        self.send_to_writer(|reply| Task::Install(Box::new(InstallTask { snapshot, sessions, reply }))).await?
    }

    /// Finishes an installation that a crash has interrupted ([`Database::install`]). `database` must not be open.
    /// Returns whether the snapshot has become the database now; if not, it was the database already. May be called any
    /// number of times, also after the database has been opened with the new content and closed again.
    ///
    /// # Errors
    /// A file operation failed, or the files are not in the same directory. The database must not be opened until a
    /// call has succeeded: its old content may be incomplete.
    pub fn finish_install(database: &Path, snapshot: &Path) -> std::io::Result<bool> {
        swap::finish(&OsFileSystem, database, snapshot)
    }

    /// Removes the engine's table, which records the position in the log, from a copy of a database that applies a log.
    /// Blocks the thread.
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
