//! The writer thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::queue::Gathered;
use crate::engine::connection_config::Role;
use crate::engine::replicated::install;
use crate::engine::session::Session;
use crate::engine::shared::SharedState;
use crate::model::{Error, SqlError};

/// The writer of a database: runs all writes, on a thread of its own.
pub(in crate::engine) struct Writer<'a> {
    pub(in crate::engine) session: Session,
    pub(in crate::engine) shared: &'a SharedState,
}

/// The loop of the writer thread. It runs tasks until the queue is closed and empty. Then, unless the database is
/// poisoned, it checkpoints the write-ahead log. Finally it closes the connection.
pub(crate) fn run(session: Session, shared: &SharedState) {
    // Boxed, because each group of tasks moves the writer, and a session is large.
    let mut writer = Box::new(Writer { session, shared });
    let group_len_max = shared.config.options.group_len_max.max(1);
    while let Some(gathered) = shared.queue.gather(group_len_max) {
        if let Err(why) = shared.files.check_when_due() {
            shared.poison(&why);
            // Dropping the tasks closes their reply channels; their callers then return `Error::Poisoned`.
            continue;
        }
        shared.read_lock_holder.release_for_writer();
        // A panic is a bug of the engine. The transaction ends with the connection, and no caller has received a
        // success.
        let result = catch_unwind(AssertUnwindSafe(move || writer.run(gathered)));
        let Ok(Some(still_open)) = result else {
            if result.is_err() {
                shared.poison("the writer panicked");
            }
            shared.pin_requests.answer(u64::MAX, false);
            return shared.read_lock_holder.close();
        };
        writer = still_open;
        if shared.poisoned().is_none() {
            writer.try_renew_session();
        }
        shared.read_lock_holder.writer_done();
    }
    shared.read_lock_holder.close();
    shared.pin_requests.answer(u64::MAX, false);
    if shared.poisoned().is_none() {
        writer.checkpoint_at_end();
    }
}

impl Writer<'_> {
    /// Runs the tasks gathered from the queue. Returns the writer, or `None` if the database is poisoned and has no
    /// connection for the writer any more.
    fn run(mut self: Box<Self>, gathered: Gathered) -> Option<Box<Self>> {
        match gathered {
            Gathered::Jobs(jobs) => self.run_jobs(jobs),
            Gathered::Transaction(job) => self.run_closure(job),
            Gathered::Owner(task) => self.run_owner(task),
            Gathered::Log(task) => self.run_log(*task),
            Gathered::Install(task) => {
                let Writer { session, shared } = *self;
                let (session, installed) = install::run(session, shared, &task.sessions, &task.snapshot);
                // The receiver may have been dropped. The snapshot is installed in any case.
                let _ = task.reply.send(installed);
                return session.map(|session| Box::new(Writer { session, shared }));
            }
        }
        Some(self)
    }

    /// Opens a new session (connection) if the current one must not be used any more, for example because a batch has
    /// changed its state.
    ///
    /// # Errors
    /// Fails if SQLite cannot open a connection now. The old session must not be used then.
    pub(in crate::engine) fn renew_session(&mut self) -> Result<(), SqlError> {
        if self.session.is_stale(&self.shared.config) {
            self.session = Session::open(&self.shared.config, Role::Writer)?;
        }
        Ok(())
    }

    /// Like [`Writer::renew_session`], but an error is only logged. The session is then replaced before its next use.
    pub(in crate::engine) fn try_renew_session(&mut self) {
        if let Err(error) = self.renew_session() {
            tracing::warn!(%error, "the writer cannot open a new connection yet");
        }
    }

    /// Calls [`Writer::renew_session`], and converts its error to [`Error::Unavailable`].
    pub(in crate::engine) fn renew_session_for_callers(&mut self) -> Result<(), Error> {
        self.renew_session().map_err(|error| Error::Unavailable(format!("cannot open a connection: {error}").into()))
    }

    /// Adds committed transactions, and the batches in them, to the counters of the database.
    pub(in crate::engine) fn count(&self, groups: u64, batches: usize) {
        self.shared.counters.groups_committed.fetch_add(groups, Ordering::Relaxed);
        self.shared.counters.batches_written.fetch_add(batches as u64, Ordering::Relaxed);
    }
}
