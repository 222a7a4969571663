//! A database that is open.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use tokio::sync::oneshot;

use super::background::{spawn, spawn_yielding};
use super::blueprint::{Blueprint, Role};
use super::classify::{Kind, refused};
use super::integrity::live::{self, CheckOptions, IntegrityReport};
use super::readers::{Access, Inline, ReadJob, Readers};
use super::session::{Session, engine_error};
use super::supervisor::{self, Supervised};
use super::watch::{Cancel, CancelOnDrop, Limits};
use super::writer::{self, Job, LogTask, OwnerTask, Shared, Task};
use super::{Location, LogEntry, OnApplied, Options, Progress, Writes, backup, image, progress, stamps, sync};
use crate::model::{Answer, Backend, Batch, BoxFuture, Deadline, Error, Outcome, ReadLevel, SqlError};

/// The oldest SQLite that is safe: earlier ones can corrupt a database in WAL mode when a checkpoint meets a commit
/// (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

const FOREIGN: &str = "there is content that no log has written; move the file away, and load it once there is a log";

/// The version of SQLite that is linked ("3.54.1").
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// A database that is open. Clones share it; when the last one is dropped, it is closed.
///
/// Its futures need no particular runtime.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// Registered with the supervisor as long as this lives.
    _supervision: Arc<Supervision>,
    /// The writer's thread; `None` once it has been joined, or if the database is read-only.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The parts of a database that the supervisor looks after.
struct Supervision {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

impl Supervised for Supervision {
    fn supervise(&self, now: Instant) -> bool {
        // All three, whatever the first one answers.
        let ran = self.shared.blueprint.supervise();
        let reads_wait = self.readers.supervise(now);
        let writes_wait = self.shared.queue.supervise();
        ran || reads_wait || writes_wait
    }
}

/// Where a batch has to run: see [`Database::classify`].
#[derive(Debug)]
pub struct Classified {
    /// The batch, unchanged.
    pub batch: Batch,
    /// Some statement of it writes.
    pub writes: bool,
    /// It writes, and must not share its transaction with other batches.
    pub alone: bool,
    /// Its outcome, if it must not run at all.
    pub refused: Option<Outcome>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("file", &self.inner.shared.blueprint.file()).finish_non_exhaustive()
    }
}

/// What a database tells of itself.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Batches that wait for the writer.
    pub write_queue_len: usize,
    /// Reads that wait for a reader.
    pub read_queue_len: usize,
    /// Batches the writer has finished since the start.
    pub batches_written: u64,
    /// Transactions it committed for them.
    pub groups_committed: u64,
    /// Reads finished since the start.
    pub batches_read: u64,
    /// Size of the database file, bytes.
    pub file_bytes: u64,
    /// Size of the write-ahead log, bytes.
    pub wal_bytes: u64,
    /// Why it takes no more writes, if so.
    pub poisoned: Option<String>,
    /// How far it is in the log that it applies; nowhere, if it applies none.
    pub progress: Progress,
    /// Why the log is not applied further for the moment, if so: a full disk, a foreign lock.
    pub waits_for: Option<String>,
    /// The index of the last entry in which a failure of this node alone became a result; 0 if none did. The log must not
    /// be applied again from before that entry.
    pub decision_index: u64,
    /// The result of the last [`Database::check_integrity`] that ended since the start.
    pub last_check: Option<Arc<IntegrityReport>>,
}

impl Database {
    /// Opens (or creates) a database. Blocks while SQLite opens the file and recovers what a crash left behind.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the linked SQLite is too old, or the database is to be written through a log and has content
    /// that was not; [`Error::Sqlite`] if the file cannot be opened or is no
    /// database, [`Error::Busy`] if another process holds it for longer than the busy timeout.
    pub fn open(location: impl Into<Location>, options: Options) -> Result<Database, Error> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            let version = sqlite_version();
            return Err(Error::Unsupported(format!(
                "SQLite {version} can corrupt databases; 3.51.3 is the oldest safe one"
            )));
        }
        let read_only = options.read_only;
        let shared = Arc::new(Shared::new(Arc::new(Blueprint::new(location.into(), options))));
        let opened = |error| engine_error("open database", error);
        // A read-only database needs a writer's connection too, for a moment: to create the file, or to recover it.
        let session = match Session::open(&shared.blueprint, Role::Writer) {
            Err(_) if read_only && shared.blueprint.file().is_some_and(|file| file.exists()) => None,
            session => Some(session.map_err(opened)?),
        };
        let mut session = session;
        if let Some(session) = session.as_mut().filter(|_| !read_only && shared.blueprint.file().is_some())
            && let Err(error) = session.cut_log_tail(&shared.blueprint)
        {
            tracing::debug!(%error, "the write-ahead log keeps what was never committed");
        }
        if shared.blueprint.options.writes == Writes::Log {
            let Some(session) = &mut session else { return Err(Error::ReadOnly) };
            let progress = session.as_owner(|connection| progress::open(connection)).map_err(opened)?;
            shared.set_progress(progress.ok_or_else(|| Error::Unsupported(FOREIGN.to_owned()))?);
        }
        shared.watch_files();
        let readers = Readers::open(shared.clone()).map_err(opened)?;
        let writer = match session {
            Some(session) if !read_only => Some(start_writer(session, &shared)?),
            _ => None,
        };
        let supervision = Arc::new(Supervision { shared: shared.clone(), readers: readers.clone() });
        let supervised: Weak<Supervision> = Arc::downgrade(&supervision);
        supervisor::register(supervised);
        let inner = Inner { shared, readers, _supervision: supervision, writer: Mutex::new(writer) };
        Ok(Database { inner: Arc::new(inner) })
    }

    /// Runs a batch and waits for all of its outcome. It may read or write.
    ///
    /// # Errors
    /// See [`Error`]. A statement that fails is no error but part of the outcome.
    pub async fn execute(&self, batch: Batch) -> Result<Outcome, Error> {
        self.run(batch, Access::Any, Deadline::NEVER).await?.whole().await
    }

    /// The same, for a thread that may block.
    ///
    /// # Errors
    /// As [`Database::execute`].
    pub fn execute_blocking(&self, batch: Batch) -> Result<Outcome, Error> {
        block_on(self.execute(batch))
    }

    /// Runs the owner's own SQL: one statement or several, each committed on its own, not bound by the policy for
    /// clients. PRAGMAs that configure a connection are remembered and hold on every connection from then on.
    /// Stops at the first statement that fails.
    ///
    /// # Errors
    /// The inner error is SQLite's, of a statement; the outer one says that nothing was run.
    pub async fn run_script(&self, sql: &str) -> Result<Result<(), SqlError>, Error> {
        if let Some(result) = self.vacuum_into(sql).await? {
            return Ok(result);
        }
        self.ask_writer(|reply| OwnerTask::Script(sql.to_owned(), reply)).await?
    }

    /// Runs scripts of a configuration file, one after the other as on one connection: like [`Database::run_script`], but a
    /// transaction that one of them begins goes on in the next, and `PRAGMA journal_mode` and `PRAGMA locking_mode` are
    /// accepted without effect, since [`Options`] say what holds. Other writes may come between two scripts that
    /// share no transaction. Stops at the first failure unless `keep_going`. Returns the failures, each with the index of
    /// its script.
    ///
    /// # Errors
    /// The scripts that have not run yet do not run.
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

    /// Runs a VACUUM INTO beside the writer; `None` if it is another statement.
    async fn vacuum_into(&self, sql: &str) -> Result<Option<Result<(), SqlError>>, Error> {
        if !self.inner.shared.blueprint.snapshots() || !self.inner.readers.is_vacuum(sql) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        let (shared, sql) = (self.inner.shared.clone(), sql.to_owned());
        // Somebody who has gone away needs no answer.
        spawn_yielding("sqlhttp-vacuum", move || drop(reply.send(backup::vacuum_into(&shared, &sql))))?;
        answer.await.map_err(|_| self.inner.shared.gone())
    }

    /// Rebuilds the file (`VACUUM`). Writers wait, readers do not.
    ///
    /// # Errors
    /// [`Error::Sqlite`], for one if the disk has no room for the copy.
    pub async fn vacuum(&self) -> Result<(), Error> {
        self.ask_writer(OwnerTask::Vacuum).await?
    }

    /// Moves the write-ahead log into the database file, as far as readers allow.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the disk fails.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.ask_writer(OwnerTask::Checkpoint).await?
    }

    /// Writes a consistent copy to a file that must not exist yet. Writes go on meanwhile. The file appears under
    /// its name only when it is complete and on disk.
    ///
    /// # Errors
    /// [`Error::Io`] with [`std::io::ErrorKind::AlreadyExists`] if the file exists, [`Error::Io`] or [`Error::Sqlite`]
    /// if it cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        if self.inner.readers.is_closed() {
            return Err(Error::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        backup::spawn(self.inner.shared.clone(), to.to_owned(), cancel, reply)?;
        let result = answer.await.map_err(|_| self.inner.shared.gone())?;
        guard.disarm();
        result
    }

    /// Checks the whole database for damage (<https://sqlite.org/pragma.html#pragma_integrity_check>) while it is in use,
    /// on a thread of low priority that reads no more pages in a second than the options allow. Dropping the future or
    /// closing the database ends the check. The report is also kept for [`Database::status`].
    ///
    /// Readers and the writer do not wait for it. Exception: with a rollback journal the writer waits while a table is
    /// checked, and there is no limit to the rate.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if a check of this database runs already; [`Error::Closed`]; [`Error::Sqlite`] if the check
    /// could not run. Damage is no error but part of the report.
    pub async fn check_integrity(&self, options: CheckOptions) -> Result<IntegrityReport, Error> {
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        live::spawn(self.inner.shared.clone(), self.inner.readers.clone(), options, cancel, reply)?;
        let result = answer.await.map_err(|_| self.inner.shared.gone())?;
        guard.disarm();
        result
    }

    /// Looks whether the database's files are still those at their paths. If they were removed or replaced, the database
    /// takes no more writes. The writer does the same before it writes, at most once in a second. Costs two system calls.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with a text for the operator, now or if the database had stopped taking writes before.
    pub fn check_files(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.poisoned().is_none()
            && let Err(why) = shared.files.check()
        {
            // Closing removes the write-ahead log, and sets this before.
            if self.inner.readers.is_closed() {
                return Err(Error::Closed);
            }
            shared.poison(&why);
        }
        shared.poisoned().map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    /// Stops taking batches, finishes those that wait, checkpoints and closes. Safe to call twice.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the database had stopped taking writes before.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = self.inner.clone();
        let (reply, closed) = oneshot::channel();
        spawn("sqlhttp-close", move || {
            inner.close();
            let _ = reply.send(());
        })?;
        // The thread answers unless it panicked, and then there is nothing more to wait for.
        let _ = closed.await;
        self.inner.shared.poisoned().map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    /// What it tells of itself.
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let len = |suffix: &str| {
            let path = shared.blueprint.file().map(|file| {
                let mut path = file.clone().into_os_string();
                path.push(suffix);
                path
            });
            path.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |metadata| metadata.len())
        };
        Status {
            write_queue_len: shared.queue.len(),
            read_queue_len: self.inner.readers.queue_len(),
            batches_written: count(&shared.counters.batches_written),
            groups_committed: count(&shared.counters.groups_committed),
            batches_read: count(&shared.counters.batches_read),
            file_bytes: len(""),
            wal_bytes: len("-wal"),
            poisoned: shared.poisoned().map(|why| why.to_string()),
            progress: shared.progress(),
            waits_for: shared.waits_for().map(|why| why.to_string()),
            decision_index: shared.decision(),
            last_check: shared.checks.last(),
        }
    }

    /// Whether a batch writes, and if so, whether it must not share its transaction with others. SQLite decides, by
    /// preparing its statements: on the caller's thread if that is quick, otherwise on a reader's thread.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many reads wait at this moment, [`Error::Closed`], [`Error::Sqlite`] if no connection
    /// can be opened.
    pub async fn classify(&self, batch: Batch) -> Result<Classified, Error> {
        let (batch, kind) = self.inner.readers.classify(batch).await?;
        let (writes, alone) = match kind {
            Kind::Write { alone } => (true, alone),
            Kind::Read | Kind::Unknown | Kind::Refused => (false, false),
        };
        let refused = (kind == Kind::Refused).then(refused);
        Ok(Classified { batch, writes, alone, refused })
    }

    /// [`Database::classify`] for a thread that may block.
    ///
    /// # Errors
    /// As [`Database::classify`].
    pub fn classify_blocking(&self, batch: Batch) -> Result<Classified, Error> {
        block_on(self.classify(batch))
    }

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
        self.apply_and_tell(entries, Vec::new()).await
    }

    /// The same, and what comes of an entry is told at once to whoever stands at its place in the second list; then the
    /// answer has nothing for this entry. Nobody is told of an entry that had been applied before.
    ///
    /// # Errors
    /// As [`Database::apply`]. Some may have been told before.
    pub async fn apply_and_tell(
        &self,
        entries: Vec<LogEntry>,
        tell: Vec<Option<OnApplied>>,
    ) -> Result<Vec<Vec<Outcome>>, Error> {
        let shared = &self.inner.shared;
        if let Some(why) = shared.poisoned() {
            return Err(Error::Poisoned(why));
        }
        if shared.blueprint.options.writes != Writes::Log {
            return Err(Error::Unsupported("this database applies no log".into()));
        }
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Task::Log(Box::new(LogTask { entries, tell, reply }))).map_err(|(error, _)| error)?;
        answer.await.map_err(|_| shared.gone())?
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
        answer.await.map_err(|_| self.inner.shared.gone())?
    }

    /// Checks that a file is a sound database and puts it into the shape that [`crate::LogWork::Replace`] and
    /// [`Database::replace`] need. The file is changed.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if it is no database, or damaged.
    pub async fn check_image(&self, file: PathBuf) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let shared = self.inner.shared.clone();
        spawn_yielding("sqlhttp-check", move || {
            let checked = shared.page_size().and_then(|page_size| image::check(&file, page_size));
            // Somebody who has gone away needs no answer.
            let _ = reply.send(checked);
        })?;
        answer.await.map_err(|_| self.inner.shared.gone())?
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
        let failed = |error| engine_error("finish copy", super::session::sql_error(error));
        let connection = rusqlite::Connection::open(copy).map_err(failed)?;
        progress::remove(&connection).map_err(failed)?;
        connection.close().map_err(|(_, error)| failed(error))
    }

    /// Writes the content of a copy, without free pages, to a file that does not exist yet (`VACUUM INTO`). Blocks.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the copy cannot be read or the file cannot be written.
    pub fn vacuum_copy(copy: &Path, to: &Path) -> Result<(), Error> {
        backup::vacuum_copy(copy, to)
    }

    #[cfg(test)]
    pub(super) fn memory_name(&self) -> Option<&str> {
        self.inner.shared.blueprint.memory_name()
    }

    #[cfg(test)]
    pub(super) fn anchor(&self) -> &Arc<super::anchor::Anchor> {
        &self.inner.shared.anchor
    }

    /// Decides where a batch runs, and runs it there.
    async fn run(&self, mut batch: Batch, access: Access, deadline: Deadline) -> Result<Answer, Error> {
        let stamp = batch.stamp.take().unwrap_or_else(stamps::new);
        let access = if self.inner.shared.blueprint.options.read_only { Access::ReadOnly } else { access };
        let write_alone = match self.inner.readers.inline(&batch, stamp, access) {
            Inline::Done(outcome) => return Ok(Answer::Whole(outcome)),
            Inline::Write { alone } => Some(alone),
            Inline::Later => None,
        };
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        let (reply, answer) = oneshot::channel();
        if let Some(alone) = write_alone {
            let limits = Limits { cancel: Some(cancel), deadline: deadline.of_writes(), ..Limits::default() };
            self.inner.shared.submit(Box::new(Job { batch, stamp, limits, alone, reply }));
        } else {
            let job = ReadJob { batch, stamp, access, deadline, cancel, reply };
            self.inner.readers.submit_read(job)?;
        }
        let result = answer.await.unwrap_or_else(|_| Err(self.inner.shared.gone()));
        // From here on the stream of parts, if there is one, tells when nobody listens.
        guard.disarm();
        result
    }

    async fn ask_writer<T>(&self, task: impl FnOnce(oneshot::Sender<T>) -> OwnerTask) -> Result<T, Error> {
        let shared = &self.inner.shared;
        if shared.blueprint.options.read_only {
            return Err(Error::ReadOnly);
        }
        if let Some(why) = shared.poisoned() {
            return Err(Error::Poisoned(why));
        }
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Task::Owner(task(reply))).map_err(|(error, _)| error)?;
        answer.await.map_err(|_| shared.gone())
    }
}

impl Backend for Database {
    fn request(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        // One database is always as fresh as can be.
        Box::pin(self.run(batch, Access::Any, deadline))
    }

    fn query(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.run(batch, Access::ReadOnly, deadline))
    }
}

impl Inner {
    fn close(&self) {
        self.readers.close();
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It catches its panics, so there is nothing to learn from the result.
            let _ = writer.join();
        }
        self.shared.anchor.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn start_writer(session: Session, shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let for_thread = shared.clone();
    spawn("sqlhttp-writer", move || writer::run(session, &for_thread))
}

/// Waits for a future on this thread, without a runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
