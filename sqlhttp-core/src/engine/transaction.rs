//! Transactions whose statements a closure of the program chooses, on the thread of the writer or of a reader.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::connection_gate::ConnectionGate;
use super::options::Options;
use super::run::{Mode, RunError, SettingsEffect, run_batch};
use super::session::Session;
use super::sinks::BufferedSink;
use super::sqlite::clock::Stamped;
use super::watch::{Limits, StopReason, stop_error};
use crate::model::{Batch, Changed, Error, FromRow, Params, Rows, Stamp, Step, StepOutcome};

/// An open transaction: see [`Database::transaction`](crate::Database::transaction) and
/// [`Database::read`](crate::Database::read).
///
/// If a statement fails, its own effects are undone (except those that `OR FAIL` and `RAISE(FAIL)` keep), and the
/// transaction goes on: the closure decides whether it returns the error. The exceptions are errors after which SQLite
/// rolls back the transaction (<https://sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>), a
/// time limit, and a caller that has dropped the future: all further statements then fail with that error, and so does
/// the transaction.
pub struct Transaction<'t> {
    session: &'t mut Session,
    mode: Mode<'static>,
    held_bytes_max: u64,
    limits: Limits,
    /// For a read transaction: the gate that says whether the file of the database is about to be replaced.
    gate: Option<&'t ConnectionGate>,
    /// The error that has ended the transaction.
    ended: Option<Error>,
    /// Whether a statement is running. A panic while it is running is a fault of the engine, not of the closure.
    running: bool,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Transaction<'_> {
    /// Runs SQL that returns no rows. Rows that it returns are discarded.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn execute(&mut self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Changed, Error> {
        Ok(self.run(Step::execute(sql, params))?.changed())
    }

    /// Runs SQL, and returns all rows of its last statement, with their columns.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query(&mut self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Rows, Error> {
        self.run(Step::query(sql, params))?.into_rows()
    }

    /// Runs SQL, and returns all rows of its last statement.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: a row cannot be read as `T`.
    pub fn query_all<T: FromRow>(&mut self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Vec<T>, Error> {
        Ok(self.query(sql, params)?.read()?)
    }

    /// Runs SQL, and returns its only row; `None` if it returns no row.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: there are several rows, or the row cannot be read as `T`.
    pub fn query_opt<T: FromRow>(&mut self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Option<T>, Error> {
        Ok(self.query(sql, params)?.read_opt()?)
    }

    /// Runs SQL, and returns its only row.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: there is no row or several, or the row cannot be read as `T`.
    pub fn query_one<T: FromRow>(&mut self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<T, Error> {
        Ok(self.query(sql, params)?.read_one()?)
    }

    fn run(&mut self, step: Step) -> Result<StepOutcome, Error> {
        if self.ended.is_none() && !self.running {
            self.ended = self.limits.exceeded().or(self.evicted()).map(stop_error);
        }
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let result = self.run_batch(&Batch::one(step.or_continue()));
        self.mode.first_step += 1;
        if self.session.is_autocommit() && self.ended.is_none() {
            self.ended = result.as_ref().err().cloned().or(Some(Error::Closed));
        }
        result
    }

    /// Why a read transaction must end: the file of the database is about to be replaced.
    fn evicted(&self) -> Option<StopReason> {
        self.gate.filter(|gate| gate.is_evicting()).map(|_| StopReason::FileReplaced)
    }

    fn run_batch(&mut self, batch: &Batch) -> Result<StepOutcome, Error> {
        let limit = self.held_bytes_max;
        let mut sink = BufferedSink::new(1, limit, RunError::TooManyBytes { limit });
        self.running = true;
        self.session.begin_run(self.limits.clone());
        let ran = run_batch(self.session, batch, self.mode, &mut sink);
        self.session.end_run();
        self.running = false;
        match ran {
            Ok(ending) => sink.into_outcome(ending).into_only(),
            Err(stopped) => {
                let error = match stopped {
                    RunError::Interrupted(reason) => stop_error(reason),
                    RunError::SinkClosed | RunError::TooManyBytes { .. } | RunError::TransactionLost => Error::Closed,
                };
                self.ended = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// The closure of a transaction, without its types.
pub(crate) trait TransactionBody: Send {
    /// Calls the closure. Returns whether it has succeeded. Must be called once.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool;

    /// Sends the caller the result of the closure; or, if the closure has succeeded or did not run, this error.
    fn end(self: Box<Self>, ended: Result<(), Error>);
}

/// A transaction that a closure runs.
pub(crate) struct TransactionJob {
    pub(crate) stamp: Stamp,
    pub(crate) limits: Limits,
    pub(crate) body: Box<dyn TransactionBody>,
}

/// The result of a closure, or its panic.
type Returned<T, E> = Result<Result<T, E>, Box<dyn Any + Send>>;

/// A value of the program that may be dropped on a thread of the engine. A panic of its destructor does not end that
/// thread.
struct DroppedQuietly<V>(Option<V>);

impl<V> Drop for DroppedQuietly<V> {
    fn drop(&mut self) {
        let value = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            tracing::error!("a destructor of a closure, or of its result, has panicked");
        }
    }
}

/// The end of a closure, which the caller's thread converts to the result of the call.
enum Ended<F, T, E> {
    Returned(Returned<T, E>),
    /// The transaction failed, or the closure did not run. The caller's thread drops the closure.
    Failed(Error, DroppedQuietly<F>),
}

struct Body<F, T, E> {
    closure: DroppedQuietly<F>,
    returned: DroppedQuietly<Returned<T, E>>,
    reply: oneshot::Sender<Ended<F, T, E>>,
}

impl<F, T, E> TransactionBody for Body<F, T, E>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool {
        let Some(closure) = self.closure.0.take() else { return false };
        let returned = catch_unwind(AssertUnwindSafe(|| closure(&mut *transaction)));
        if transaction.running {
            // The engine has panicked, also if the closure has caught the panic.
            resume_unwind(returned.err().unwrap_or_else(|| Box::new("a statement of a transaction has panicked")));
        }
        self.returned.0.insert(returned).as_ref().is_ok_and(Result::is_ok)
    }

    fn end(mut self: Box<Self>, ended: Result<(), Error>) {
        let closure = DroppedQuietly(self.closure.0.take());
        let ended = match (self.returned.0.take(), ended) {
            (Some(Ok(Ok(value))), Err(error)) => {
                drop(DroppedQuietly(Some(value)));
                Ended::Failed(error, closure)
            }
            (Some(returned), _) => Ended::Returned(returned),
            (None, Err(error)) => Ended::Failed(error, closure),
            (None, Ok(())) => Ended::Failed(Error::Closed, closure),
        };
        // The caller may have dropped the receiver.
        if let Err(refused) = self.reply.send(ended) {
            drop(DroppedQuietly(Some(refused)));
        }
    }
}

/// The receiving end of the result of a closure.
pub(crate) struct Reply<F, T, E>(oneshot::Receiver<Ended<F, T, E>>);

impl<F, T, E: From<Error>> Reply<F, T, E> {
    /// Waits for the result of the closure. `None` if the database was closed before. Continues a panic of the closure.
    pub(crate) async fn wait(self) -> Option<Result<T, E>> {
        match self.0.await {
            Ok(Ended::Returned(Ok(result))) => Some(result),
            Ok(Ended::Returned(Err(panic))) => resume_unwind(panic),
            Ok(Ended::Failed(error, _)) => Some(Err(E::from(error))),
            Err(_) => None,
        }
    }
}

/// Wraps a closure, and returns the receiving end of its result.
pub(crate) fn body<F, T, E>(closure: F) -> (Box<dyn TransactionBody>, Reply<F, T, E>)
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let (reply, receiver) = oneshot::channel();
    let closure = DroppedQuietly(Some(closure));
    (Box::new(Body { closure, returned: DroppedQuietly(None), reply }), Reply(receiver))
}

/// Calls a closure in the open transaction of a session. Returns whether the transaction may be committed. `gate` is
/// that of a read transaction.
///
/// # Errors
/// An error has ended the transaction, although the closure has succeeded.
pub(crate) fn call(
    session: &mut Session,
    options: &Options,
    job: &mut TransactionJob,
    gate: Option<&ConnectionGate>,
) -> Result<bool, Error> {
    let _stamped = Stamped::new(job.stamp, options.zone());
    session.begin_batch();
    let mode = Mode {
        savepoints: gate.is_none(),
        grouped: false,
        block_bytes: options.block_bytes,
        rows_max: options.rows_max,
        known_failures: &[],
        first_step: 0,
        settings: SettingsEffect::Refused,
    };
    let (held_bytes_max, limits) = (options.held_bytes_max, job.limits.clone());
    let mut transaction = Transaction { session, mode, held_bytes_max, limits, gate, ended: None, running: false };
    let succeeded = job.body.run(&mut transaction);
    // The limits also end a closure that has run no statement since they were exceeded.
    let ended = transaction.ended.or(job.limits.exceeded().map(stop_error));
    ended.map_or(Ok(succeeded), Err)
}
