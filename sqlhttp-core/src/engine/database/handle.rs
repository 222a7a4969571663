//! The handle of an open database. It passes each batch to the thread where it must run.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::oneshot;

use super::blocking::Blocking;
use crate::engine::background::{block_on, is_engine_thread, spawn};
use crate::engine::classify::{BatchKind, refused};
use crate::engine::connection_config::{ConnectionConfig, Role};
use crate::engine::error::engine_error;
use crate::engine::inline::{Access, InlineResult, InlineRunner};
use crate::engine::options::{Location, Options, Writes};
use crate::engine::readers::{ReadJob, Readers};
use crate::engine::replicated::progress;
use crate::engine::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::shared::SharedState;
use crate::engine::stamps;
use crate::engine::supervisor::{self, Supervised};
use crate::engine::watch::{Cancel, CancelOnDrop, Limits};
use crate::engine::writer::queue::{Job, OwnerTask, Task};
use crate::engine::writer::thread;
use crate::model::{Answer, Backend, Batch, BoxFuture, Deadline, Error, Outcome, ReadLevel, SqlError};

/// The oldest version of SQLite that is safe. Earlier ones can corrupt a database in WAL mode when a checkpoint
/// coincides with a commit (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

const CONTENT_WITHOUT_LOG: &str =
    "there is content that no log has written; move the file away, and load it once there is a log";

/// Returns the version of the linked SQLite, such as "3.54.1".
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// An open database. Clones of this handle share the database. When the last clone is dropped, the database is closed.
///
/// The futures of its methods run on any async runtime.
#[derive(Clone)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) shared: Arc<SharedState>,
    pub(super) sessions: Arc<Sessions>,
    inline: InlineRunner,
    pub(super) readers: Arc<Readers>,
    /// Registered with the supervisor while this field exists.
    _supervision: Arc<Supervision>,
    /// The writer thread; `None` after it has been joined, and for read-only databases.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The parts of a database that the supervisor scans.
struct Supervision {
    shared: Arc<SharedState>,
    readers: Arc<Readers>,
}

impl Supervised for Supervision {
    fn supervise(&self, now: Instant) -> bool {
        // Not in one expression with `||`, because all three must be called, whatever the first one returns.
        let ran = self.shared.config.supervise();
        let reads_wait = self.readers.supervise(now);
        let writes_wait = self.shared.queue.supervise();
        ran || reads_wait || writes_wait
    }
}

/// The result of [`Database::classify`]: whether a batch writes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Classified {
    /// The batch that was classified, unchanged.
    pub batch: Batch,
    /// Whether a statement of the batch writes.
    pub writes: bool,
    /// Whether the batch writes and must not share its transaction with other batches.
    pub exclusive: bool,
    /// The batch's outcome if it must not be run at all; otherwise `None`.
    pub refused: Option<Outcome>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("file", &self.inner.shared.config.file()).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens a database; creates it if it does not exist and [`Options::create`] is set. Blocks while SQLite opens the
    /// file and recovers from a crash.
    ///
    /// # Errors
    /// * [`Error::Unsupported`]: the linked SQLite is too old; or the options say that the database applies a log
    ///   ([`Writes::Log`]), but it has content that did not come from a log, or the options have functions, collations
    ///   or extensions.
    /// * [`Error::ReadOnly`]: the database applies a log, but its file cannot be opened for writing.
    /// * [`Error::Sqlite`]: the file cannot be opened or is not a database.
    /// * [`Error::Busy`]: another process holds its lock for longer than the busy timeout.
    pub fn open(location: impl Into<Location>, options: Options) -> Result<Database, Error> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            let version = sqlite_version();
            return Err(Error::Unsupported(format!(
                "SQLite {version} can corrupt databases; 3.51.3 is the oldest safe one"
            )));
        }
        check_options(&options)?;
        let read_only = options.read_only;
        let shared = Arc::new(SharedState::new(Arc::new(ConnectionConfig::new(location.into(), options))));
        let opened = |error| engine_error("open database", error);
        let mut session = open_writer(&shared).map_err(opened)?;
        if shared.config.options.writes == Writes::Log {
            let Some(session) = &mut session else { return Err(Error::ReadOnly) };
            let progress = session.as_owner(|connection| progress::open(connection)).map_err(opened)?;
            shared.set_progress(progress.ok_or_else(|| Error::Unsupported(CONTENT_WITHOUT_LOG.to_owned()))?);
        }
        shared.watch_files();
        let sessions = Sessions::open(shared.config.clone()).map_err(opened)?;
        let readers = Readers::new(shared.clone(), sessions.clone());
        let inline = InlineRunner::new(shared.clone(), sessions.clone());
        let writer = match session {
            Some(session) if !read_only => Some(start_writer(session, &shared)?),
            _ => None,
        };
        let supervision = Arc::new(Supervision { shared: shared.clone(), readers: readers.clone() });
        let supervised: Weak<Supervision> = Arc::downgrade(&supervision);
        supervisor::register(supervised);
        let inner = Inner { shared, sessions, inline, readers, _supervision: supervision, writer: Mutex::new(writer) };
        Ok(Database { inner: Arc::new(inner) })
    }

    /// Opens a new database in memory, which exists as long as this handle and its clones.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_in_memory(options: Options) -> Result<Database, Error> {
        Database::open(Location::Memory, options)
    }

    /// Runs a batch, which may read or write, and returns the result of each step. This is for programs that handle the
    /// failure of each step, such as servers. The methods of [`Executor`](crate::Executor) return a failure as an
    /// error.
    ///
    /// # Errors
    /// See [`Error`]. If a statement fails, that is not an error but part of the outcome.
    pub async fn run(&self, batch: Batch) -> Result<Outcome, Error> {
        self.run_until(batch, Deadline::NEVER).await
    }

    pub(super) async fn run_until(&self, batch: Batch, deadline: Deadline) -> Result<Outcome, Error> {
        self.dispatch(batch, Access::Any, deadline).await?.whole().await
    }

    /// Returns the methods for programs without async functions. They block the calling thread.
    pub fn blocking(&self) -> Blocking<'_> {
        Blocking::new(self)
    }

    /// Returns whether a batch writes, and if so, whether it must not share its transaction with other batches. SQLite
    /// prepares the statements and reports what they do. This happens on the caller's thread if it is quick, otherwise
    /// on a reader thread.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the read queue is full; [`Error::Closed`] if the database is closed; [`Error::Sqlite`]
    /// if no connection can be opened.
    pub async fn classify(&self, batch: Batch) -> Result<Classified, Error> {
        let (batch, kind) = match self.inner.inline.classify(&batch) {
            Some(kind) => (batch, kind),
            None => self.inner.readers.classify(batch).await?,
        };
        let (writes, exclusive) = match kind {
            BatchKind::Write { exclusive } => (true, exclusive),
            BatchKind::Read | BatchKind::Undecided | BatchKind::Refused => (false, false),
        };
        let refused = (kind == BatchKind::Refused).then(refused);
        Ok(Classified { batch, writes, exclusive, refused })
    }

    /// Like [`Database::classify`], but blocks the thread until the result is there.
    ///
    /// # Errors
    /// As [`Database::classify`].
    pub fn classify_blocking(&self, batch: Batch) -> Result<Classified, Error> {
        block_on(self.classify(batch))
    }

    /// Closes the database: rejects new batches, finishes the queued ones, makes a checkpoint and closes all
    /// connections. May be called more than once.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the database rejected writes before it was closed. It is closed nevertheless.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = self.inner.clone();
        let (reply, closed) = oneshot::channel();
        spawn("sqlhttp-close", move || {
            inner.close();
            let _ = reply.send(());
        })?;
        // The receive fails only if the thread panicked, and then there is nothing to wait for.
        let _ = closed.await;
        self.inner.shared.poisoned().map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    #[cfg(test)]
    pub(in crate::engine) fn memory_name(&self) -> Option<&str> {
        self.inner.shared.config.memory_name()
    }

    #[cfg(test)]
    pub(in crate::engine) fn read_lock_holder(&self) -> &Arc<crate::engine::read_lock_holder::ReadLockHolder> {
        &self.inner.shared.read_lock_holder
    }

    /// Decides on which thread a batch runs, and runs it there.
    async fn dispatch(&self, mut batch: Batch, access: Access, deadline: Deadline) -> Result<Answer, Error> {
        let stamp = batch.stamp.take().unwrap_or_else(stamps::new);
        let access = if self.inner.shared.config.options.read_only { Access::ReadOnly } else { access };
        let exclusive_write = match self.inner.inline.run(&batch, stamp, access) {
            InlineResult::Done(outcome) => return Ok(Answer::Whole(outcome)),
            InlineResult::Write { exclusive } => Some(exclusive),
            InlineResult::Deferred => None,
        };
        let cancel = Cancel::default();
        let mut guard = CancelOnDrop(Some(cancel.clone()));
        let (reply, answer) = oneshot::channel();
        if let Some(exclusive) = exclusive_write {
            let limits = Limits { cancel: Some(cancel), deadline: deadline.of_writes(), ..Limits::default() };
            self.inner.shared.submit(Box::new(Job { batch, stamp, limits, exclusive, reply }));
        } else {
            let job = ReadJob { batch, stamp, access, deadline, cancel, reply };
            self.inner.readers.submit_read(job)?;
        }
        let result = answer.await.unwrap_or_else(|_| Err(self.inner.shared.closed_error()));
        // From here on, dropping the stream of parts cancels the batch. If there is no stream, the batch has ended.
        guard.disarm();
        result
    }

    /// Queues a task of the owner for the writer thread, and waits for the reply.
    pub(super) async fn ask_writer<T>(&self, task: impl FnOnce(oneshot::Sender<T>) -> OwnerTask) -> Result<T, Error> {
        self.send_to_writer(|reply| Task::Owner(task(reply))).await
    }

    /// Queues a task that changes the database for the writer thread, and waits for the reply.
    pub(super) async fn send_to_writer<T>(&self, task: impl FnOnce(oneshot::Sender<T>) -> Task) -> Result<T, Error> {
        let shared = &self.inner.shared;
        if shared.config.options.read_only {
            return Err(Error::ReadOnly);
        }
        if let Some(why) = shared.poisoned() {
            return Err(Error::Poisoned(why));
        }
        let (reply, answer) = oneshot::channel();
        shared.queue.push(task(reply)).map_err(|refused| refused.0)?;
        answer.await.map_err(|_| shared.closed_error())
    }
}

impl Backend for Database {
    fn request(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        // A single database always reads its latest state.
        Box::pin(self.dispatch(batch, Access::Any, deadline))
    }

    fn read_batch(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.dispatch(batch, Access::ReadOnly, deadline))
    }
}

impl Inner {
    fn close(&self) {
        close(&self.readers, &self.shared, self.take_writer());
    }

    fn take_writer(&self) -> Option<JoinHandle<()>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn close(readers: &Readers, shared: &SharedState, writer: Option<JoinHandle<()>>) {
    readers.close();
    shared.queue.close();
    if let Some(writer) = writer {
        // The writer catches its panics, so the result is always `Ok`.
        let _ = writer.join();
    }
    shared.config.listeners.close();
    shared.read_lock_holder.close();
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !is_engine_thread() {
            return self.close();
        }
        // A closure has contained the last handle. This thread cannot wait for its own end.
        let (readers, shared, writer) = (self.readers.clone(), self.shared.clone(), self.take_writer());
        if let Err(error) = spawn("sqlhttp-close", move || close(&readers, &shared, writer)) {
            tracing::error!(%error, "the database is not closed");
        }
    }
}

/// Checks that the options do not contradict each other.
fn check_options(options: &Options) -> Result<(), Error> {
    let custom = !(options.functions.is_empty() && options.collations.is_empty() && options.extensions.is_empty());
    if options.writes == Writes::Log && custom {
        // Another node could compute other results, and snapshots are checked without them.
        let why = "a database that applies a log cannot have functions, collations or extensions of the program";
        return Err(Error::Unsupported(why.to_owned()));
    }
    Ok(())
}

/// Opens the writer's connection.
///
/// Even for a read-only database a writing connection is opened for a moment, to create the file or to recover it after
/// a crash. Returns `None` if the database is read-only and its file exists, but cannot be opened for writing.
fn open_writer(shared: &SharedState) -> Result<Option<Session>, SqlError> {
    let config = &shared.config;
    if !config.options.read_only {
        return Session::open_for_writer(config).map(Some);
    }
    match Session::open(config, Role::Writer) {
        Err(_) if config.file().is_some_and(|file| file.exists()) => Ok(None),
        session => session.map(Some),
    }
}

fn start_writer(session: Session, shared: &Arc<SharedState>) -> Result<JoinHandle<()>, Error> {
    let for_thread = shared.clone();
    spawn("sqlhttp-writer", move || thread::run(session, &for_thread))
}
