//! The methods of a database for programs without async functions.

use std::sync::Arc;

use super::{Database, Migrated};
use crate::engine::background::block_on;
use crate::engine::transaction::Transaction;
use crate::model::{
    Batch, CallOptions, Changed, Error, Executor, FromRow, Outcome, Params, RowStream, Rows, Step, StepOutcome,
};

/// The methods of a [`Database`], which block the calling thread until the result is there: see
/// [`Database::blocking`]. Each has the errors of the method of the same name of [`Executor`] or [`Database`].
///
/// Do not call them in an async function: they would block the threads of its runtime.
#[must_use]
#[derive(Debug, Clone, Copy)]
pub struct Blocking<'d> {
    database: &'d Database,
    options: CallOptions,
}

impl<'d> Blocking<'d> {
    pub(super) fn new(database: &'d Database) -> Blocking<'d> {
        Blocking { database, options: CallOptions::new() }
    }

    /// Sets the options of each call: see [`Executor::with`].
    pub fn with(self, options: CallOptions) -> Blocking<'d> {
        Blocking { options, ..self }
    }

    /// Runs a batch, and returns the result of each step: see [`Database::run`].
    ///
    /// # Errors
    /// See [`Database::run`].
    pub fn run(self, batch: Batch) -> Result<Outcome, Error> {
        block_on(self.database.run_until(batch, self.options.deadline))
    }

    /// See [`Executor::execute`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn execute(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Changed, Error> {
        block_on(self.database.with(self.options).execute(sql, params))
    }

    /// See [`Executor::query`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Rows, Error> {
        block_on(self.database.with(self.options).query(sql, params))
    }

    /// See [`Executor::query_all`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query_all<T: FromRow>(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Vec<T>, Error> {
        block_on(self.database.with(self.options).query_all(sql, params))
    }

    /// See [`Executor::query_opt`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query_opt<T: FromRow>(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<Option<T>, Error> {
        block_on(self.database.with(self.options).query_opt(sql, params))
    }

    /// See [`Executor::query_one`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query_one<T: FromRow>(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<T, Error> {
        block_on(self.database.with(self.options).query_one(sql, params))
    }

    /// Returns an iterator over the rows: see [`Executor::query_stream`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query_iter<T: FromRow>(self, sql: impl Into<Arc<str>>, params: impl Params) -> Result<RowIter<T>, Error> {
        block_on(self.database.with(self.options).query_stream(sql, params)).map(RowIter)
    }

    /// See [`Executor::batch`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn batch(self, steps: Vec<Step>) -> Result<Vec<StepOutcome>, Error> {
        block_on(self.database.with(self.options).batch(steps))
    }

    /// See [`Database::migrate`].
    ///
    /// # Errors
    /// See [`Database::migrate`].
    pub fn migrate<S: AsRef<str>>(self, migrations: &[S]) -> Result<Migrated, Error> {
        block_on(self.database.migrate(migrations))
    }

    /// See [`Database::transaction`].
    ///
    /// # Errors
    /// See [`Database::transaction`].
    pub fn transaction<T, E, F>(self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        block_on(self.database.transaction_until(self.options.deadline, closure))
    }

    /// See [`Database::read`].
    ///
    /// # Errors
    /// See [`Database::read`].
    pub fn read<T, E, F>(self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        block_on(self.database.read_until(self.options.deadline, closure))
    }
}

/// A blocking iterator over the rows that a statement returns: see [`Blocking::query_iter`]. Dropping it ends the
/// statement.
#[must_use = "an iterator does nothing unless it is asked for rows"]
pub struct RowIter<T>(RowStream<T>);

impl<T> std::fmt::Debug for RowIter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: FromRow> Iterator for RowIter<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        block_on(self.0.next())
    }
}
