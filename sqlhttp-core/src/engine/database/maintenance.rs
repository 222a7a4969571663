//! The operations of a database's owner: scripts, VACUUM, checkpoints, backups, integrity checks.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::handle::Database;
use crate::engine::background::spawn_low_priority;
use crate::engine::backup;
use crate::engine::error::io_error;
use crate::engine::integrity::live;
use crate::engine::integrity::report::{CheckOptions, IntegrityReport};
use crate::engine::replicated::replace;
use crate::engine::watch::{Cancel, CancelOnDrop};
use crate::engine::writer::queue::OwnerTask;
use crate::model::{Error, SqlError};

impl Database {
    /// Runs one or more SQL statements of the owner. Each is committed on its own, and the policy for clients does not
    /// apply. PRAGMAs that configure a connection are run on every connection from then on. Stops at the first
    /// statement that fails.
    ///
    /// # Errors
    /// The inner error is that of the statement that failed. The outer error means that no statement was run.
    pub async fn run_script(&self, sql: &str) -> Result<Result<(), SqlError>, Error> {
        if let Some(result) = self.vacuum_into(sql).await? {
            return Ok(result);
        }
        self.ask_writer(|reply| OwnerTask::Script(sql.to_owned(), reply)).await?
    }

    /// Runs the SQL scripts of a configuration file in order, as if on one connection. Unlike with
    /// [`Database::run_script`], a transaction that one script begins continues in the next. `PRAGMA journal_mode` and
    /// `PRAGMA locking_mode` are accepted without effect, because [`Options`](crate::Options) define these modes.
    ///
    /// Other writes may run between two scripts that share no transaction. If `keep_going` is false, the first failure
    /// ends the call. Returns the failures, each with the index of its script.
    ///
    /// # Errors
    /// The writer could not run a script at all. The remaining scripts do not run.
    pub async fn run_scripts(&self, scripts: &[String], keep_going: bool) -> Result<Vec<(usize, SqlError)>, Error> {
        let scripts: Arc<[String]> = scripts.into();
        let mut failures = Vec::new();
        let mut done = 0;
        while let Some(first) = scripts.get(done) {
            let results = match self.vacuum_into(first).await? {
                Some(result) => vec![result],
                None => self.ask_writer(|reply| OwnerTask::Scripts(scripts.clone(), done, reply)).await??,
            };
            let ran = results.len().max(1);
            failures.extend((done..).zip(results).filter_map(|(index, result)| Some((index, result.err()?))));
            if !failures.is_empty() && !keep_going {
                break;
            }
            done += ran;
        }
        Ok(failures)
    }

    /// Runs VACUUM INTO concurrently with the writer. Returns `None` if `sql` is another statement, which was then not
    /// run.
    async fn vacuum_into(&self, sql: &str) -> Result<Option<Result<(), SqlError>>, Error> {
        if !self.inner.shared.config.snapshots() || !backup::is_vacuum(&self.inner.sessions, sql) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        let (shared, sql) = (self.inner.shared.clone(), sql.to_owned());
        // The send fails if the caller has dropped the future. That is no error.
        spawn_low_priority("sqlhttp-vacuum", move || drop(reply.send(backup::vacuum_into(&shared, &sql))))?;
        answer.await.map_err(|_| self.inner.shared.closed_error())
    }

    /// Rebuilds the database file (`VACUUM`). Writes wait meanwhile, reads do not.
    ///
    /// # Errors
    /// [`Error::Sqlite`], for example if the disk has no space for the copy.
    pub async fn vacuum(&self) -> Result<(), Error> {
        self.ask_writer(OwnerTask::Vacuum).await?
    }

    /// Copies the write-ahead log into the database file and truncates it, as far as readers allow (a checkpoint).
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the disk fails.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.ask_writer(OwnerTask::Checkpoint).await?
    }

    /// Writes a consistent copy of the database to the new file `to`. Writes to the database continue meanwhile. The
    /// file appears under its name only when it is complete and synced.
    ///
    /// # Errors
    /// [`Error::Io`] with [`std::io::ErrorKind::AlreadyExists`] if the file exists already; [`Error::Io`] or
    /// [`Error::Sqlite`] if the copy cannot be written or is damaged.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        if self.inner.sessions.is_closed() {
            return Err(Error::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        backup::spawn(self.inner.shared.clone(), to.to_owned(), cancel, reply)?;
        let result = answer.await.map_err(|_| self.inner.shared.closed_error())?;
        guard.disarm();
        result
    }

    /// Writes a consistent copy of the database to `writer`, as the bytes of a database file, and returns the writer.
    /// Writes to the database continue meanwhile. Before the first byte is written, the copy is complete and checked
    /// for damage: it is a file in a temporary directory beside the database file (in the directory for temporary files
    /// if the database is in memory), which only the user of this process can read. The thread that calls the writer
    /// has a low priority. A process that ends meanwhile leaves the directory `.sqlhttp-backup-…` behind. If the future
    /// is dropped after the copy is complete, the thread writes it to the end.
    ///
    /// # Errors
    /// As [`Database::backup`]. [`Error::Io`]: `writer` fails.
    pub async fn backup_to<W: Write + Send + 'static>(&self, writer: W) -> Result<W, Error> {
        let directory = temporary_directory(self.inner.shared.config.file().map(PathBuf::as_path))?;
        let copy = directory.path().join("copy.db");
        self.backup(&copy).await?;
        let (reply, answer) = oneshot::channel();
        // The send fails if the caller has dropped the future. That is no error.
        spawn_low_priority("sqlhttp-backup", move || drop(reply.send(write_copy(directory, &copy, writer))))?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Checks that a file is an undamaged database, and normalizes it, so that [`Database::replace`] can read
    /// it. Changes the file.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file is not a database, or damaged.
    pub async fn check_image(&self, file: PathBuf) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        spawn_low_priority("sqlhttp-check", move || {
            let checked =
                shared.page_size().and_then(|page_size| replace::check(&file, page_size, &shared.config.options));
            // The send fails if the caller has dropped the future. That is no error.
            let _ = reply.send(checked);
        })?;
        answer.await.map_err(|_| self.inner.shared.closed_error())?
    }

    /// Replaces the whole content of the database with that of a file, which [`Database::check_image`] must have
    /// checked. Readers keep their snapshots; writes wait.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if reading the file or writing the database fails. Then nothing is replaced.
    pub async fn replace(&self, file: PathBuf) -> Result<(), Error> {
        self.ask_writer(|reply| OwnerTask::Replace(file, reply)).await?
    }

    /// Checks the whole database for damage (<https://sqlite.org/pragma.html#pragma_integrity_check>) while it is in
    /// use. The check runs on a low-priority thread, at the rate of [`CheckOptions::pages_per_second`]. Dropping the
    /// future or closing the database ends the check. [`Database::status`] returns the last report.
    ///
    /// Readers and the writer do not wait for the check. Exception: with a rollback journal the writer waits while a
    /// table is checked, and the rate is not limited.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if another check of this database is running; [`Error::Closed`] if the check was
    /// cancelled, or ended by [`Database::install`]; [`Error::Sqlite`] if the check could not run. Damage is not an
    /// error but part of the report.
    pub async fn check_integrity(&self, options: CheckOptions) -> Result<IntegrityReport, Error> {
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        live::spawn(self.inner.shared.clone(), self.inner.sessions.clone(), options, cancel, reply)?;
        let result = answer.await.map_err(|_| self.inner.shared.closed_error())?;
        guard.disarm();
        result
    }

    /// Checks whether the files that the database has open are still at their paths. If they were removed or replaced,
    /// the database rejects all writes from now on. The writer makes the same check before it writes, at most once per
    /// second. This method makes two system calls.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with a message for the operator, if this check found a problem or the database rejected
    /// writes before; [`Error::Closed`] if the database is closed.
    pub fn check_files(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.poisoned().is_none()
            && let Err(why) = shared.files.check()
        {
            // Not a problem if the database is being closed: that removes the write-ahead log. The sessions are closed
            // before.
            if self.inner.sessions.is_closed() {
                return Err(Error::Closed);
            }
            shared.poison(&why);
        }
        shared.poisoned().map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    /// Writes the content of the database file `copy`, without free pages, to the new file `to` (`VACUUM INTO`). Blocks
    /// the thread. The schema of the file must not use functions or collations of the program.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if `copy` cannot be read or `to` cannot be written.
    pub fn vacuum_copy(copy: &Path, to: &Path) -> Result<(), Error> {
        backup::vacuum_copy(copy, to)
    }
}

/// Creates a directory that only the user of this process can read, beside the database file. It is removed when the
/// value is dropped.
fn temporary_directory(database: Option<&Path>) -> Result<TempDir, Error> {
    let parent = match database {
        None => std::env::temp_dir(),
        Some(file) => match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        },
    };
    let directory = tempfile::Builder::new().prefix(".sqlhttp-backup-").tempdir_in(&parent);
    directory.map_err(|source| io_error("create a directory for the backup in", &parent, source))
}

/// Writes the content of the file `copy` to `writer`, and removes the directory that contains the file.
fn write_copy<W: Write>(directory: TempDir, copy: &Path, mut writer: W) -> Result<W, Error> {
    let failed = |source| io_error("write the backup of", copy, source);
    let mut file = File::open(copy).map_err(failed)?;
    std::io::copy(&mut file, &mut writer).and_then(|_| writer.flush()).map_err(failed)?;
    drop(directory);
    Ok(writer)
}
