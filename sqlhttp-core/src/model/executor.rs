//! [`Executor`], the methods with which programs run SQL on a database.

use std::future::Future;
use std::sync::Arc;

use super::{
    Answer, Backend, Batch, BoxFuture, Changed, Deadline, Error, FromRow, Outcome, Params, ReadLevel, RowError,
    RowStream, Rows, Step, StepOutcome,
};

/// Runs SQL with Rust values, and returns Rust values. Every [`Backend`] has these methods: an embedded database, a
/// node of a cluster, and a client of a server. No other type can implement this trait.
///
/// A call is one transaction. If a statement fails, the call returns [`Error::Failed`], and none of its effects remain.
/// A write is durable when its call returns. Dropping the future cancels the call as soon as possible; a write may have
/// taken effect nevertheless.
///
/// | method | returns |
/// |---|---|
/// | [`execute`](Executor::execute) | the number of changed rows |
/// | [`query_one`](Executor::query_one), [`query_opt`](Executor::query_opt) | a row, a row or `None` |
/// | [`query_all`](Executor::query_all) | all rows, in memory |
/// | [`query_stream`](Executor::query_stream) | all rows, as a stream |
/// | [`query`](Executor::query) | all rows with their columns, for programs that do not know the columns |
/// | [`batch`](Executor::batch) | the results of several steps, which are one transaction |
///
/// SQL text may contain several statements. The same parameters are then bound to each, and the result is that of the
/// last one.
pub trait Executor: Backend {
    /// Runs SQL that returns no rows. Rows that it returns are discarded. VACUUM cannot run in the transaction of the
    /// call; an embedded database has a method for it.
    ///
    /// # Errors
    /// See [`Error`].
    fn execute(
        &self,
        sql: impl Into<Arc<str>>,
        params: impl Params,
    ) -> impl Future<Output = Result<Changed, Error>> + Send {
        let running = self.request(Batch::one(Step::execute(sql, params)), ReadLevel::default(), Deadline::NEVER);
        async move { Ok(only(running).await?.changed()) }
    }

    /// Runs SQL, and returns all rows of its last statement, with their columns.
    ///
    /// # Errors
    /// See [`Error`].
    fn query(&self, sql: impl Into<Arc<str>>, params: impl Params) -> impl Future<Output = Result<Rows, Error>> + Send {
        let running = self.request(Batch::one(Step::query(sql, params)), ReadLevel::default(), Deadline::NEVER);
        async move { only(running).await?.into_rows() }
    }

    /// Runs SQL, and returns all rows of its last statement, in memory.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: a row cannot be read as `T`.
    fn query_all<T: FromRow>(
        &self,
        sql: impl Into<Arc<str>>,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<T>, Error>> + Send {
        let rows = self.query(sql, params);
        async move { Ok(rows.await?.read()?) }
    }

    /// Runs SQL, and returns its only row; `None` if it returns no row.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: there are several rows, or the row cannot be read as `T`.
    fn query_opt<T: FromRow>(
        &self,
        sql: impl Into<Arc<str>>,
        params: impl Params,
    ) -> impl Future<Output = Result<Option<T>, Error>> + Send {
        let rows = self.query_stream(sql, params);
        async move { rows.await?.only().await }
    }

    /// Runs SQL, and returns its only row.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Row`]: there is no row or several, or the row cannot be read as `T`.
    fn query_one<T: FromRow>(
        &self,
        sql: impl Into<Arc<str>>,
        params: impl Params,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let row = self.query_opt(sql, params);
        async move { row.await?.ok_or(Error::Row(RowError::NoRows)) }
    }

    /// Runs SQL, and returns its rows one after the other. Memory use does not depend on their number, if the SQL only
    /// reads: an embedded database holds some blocks of 64 KiB and a reader thread for each open stream, and starts
    /// further threads while streams wait. Dropping the stream ends the statement.
    ///
    /// If no row is taken for 30 seconds (`Options::stall_timeout`), an embedded database ends the statement, because
    /// the write-ahead log grows while it runs. The stream then ends with [`Error::Unavailable`].
    ///
    /// # Errors
    /// See [`Error`]. An error after the first rows is an element of the stream.
    fn query_stream<T: FromRow>(
        &self,
        sql: impl Into<Arc<str>>,
        params: impl Params,
    ) -> impl Future<Output = Result<RowStream<T>, Error>> + Send {
        let running = self.request(Batch::one(Step::query(sql, params)), ReadLevel::default(), Deadline::NEVER);
        async move { RowStream::new(running.await?) }
    }

    /// Runs several steps as one transaction, and returns the result of each.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Failed`] names the step that failed. The result of a step after whose failure the batch
    /// has continued ([`Step::or_continue`]) is [`StepOutcome::Failed`].
    fn batch(&self, steps: Vec<Step>) -> impl Future<Output = Result<Vec<StepOutcome>, Error>> + Send {
        let running = self.request(Batch::transaction(steps), ReadLevel::default(), Deadline::NEVER);
        async move { whole(running).await?.into_result() }
    }

    /// Returns this database with other options for each call.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use sqlhttp_core::{CallOptions, Database, Deadline, Error, Executor as _};
    ///
    /// async fn count(db: &Database) -> Result<i64, Error> {
    ///     let limited = CallOptions::new().deadline(Deadline::after(Instant::now(), Duration::from_secs(2)));
    ///     db.with(limited).query_one("SELECT count(*) FROM users", ()).await
    /// }
    /// ```
    #[must_use]
    fn with(&self, options: CallOptions) -> WithOptions<'_, Self> {
        WithOptions { backend: self, options }
    }
}

impl<B: Backend + ?Sized> Executor for B {}

async fn whole(running: BoxFuture<'_, Result<Answer, Error>>) -> Result<Outcome, Error> {
    running.await?.whole().await
}

async fn only(running: BoxFuture<'_, Result<Answer, Error>>) -> Result<StepOutcome, Error> {
    whole(running).await?.into_only()
}

/// The options of a call: the consistency of reads, and a time limit. The default is [`ReadLevel::Weak`] and no limit.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// The consistency of a call that only reads. It matters for clusters only.
    pub level: ReadLevel,
    /// The time by which the call has to end.
    pub deadline: Deadline,
}

impl CallOptions {
    /// Creates the default options.
    pub fn new() -> CallOptions {
        CallOptions::default()
    }

    /// Sets the consistency of reads.
    #[must_use]
    pub fn level(self, level: ReadLevel) -> CallOptions {
        CallOptions { level, ..self }
    }

    /// Sets the time by which the call has to end.
    #[must_use]
    pub fn deadline(self, deadline: Deadline) -> CallOptions {
        CallOptions { deadline, ..self }
    }
}

/// A database with options for each call: see [`Executor::with`].
pub struct WithOptions<'b, B: Backend + ?Sized> {
    backend: &'b B,
    options: CallOptions,
}

impl<B: Backend + ?Sized> std::fmt::Debug for WithOptions<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WithOptions").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<B: Backend + ?Sized> Backend for WithOptions<'_, B> {
    fn request(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.backend.request(batch, self.options.level, deadline.and(self.options.deadline))
    }

    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.backend.write_batch(batch, deadline.and(self.options.deadline))
    }

    fn read_batch(&self, batch: Batch, _level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.backend.read_batch(batch, self.options.level, deadline.and(self.options.deadline))
    }
}
