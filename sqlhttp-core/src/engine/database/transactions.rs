//! The transactions of closures.

use super::Database;
use crate::engine::stamps;
use crate::engine::transaction::{Reply, Transaction, TransactionJob, body};
use crate::engine::watch::{Cancel, CancelOnDrop, Limits};
use crate::model::{Deadline, Error};

impl Database {
    /// Calls a closure in a write transaction. The transaction is committed if the closure returns `Ok`, and rolled
    /// back if it returns `Err` or panics. The write is durable when the call returns.
    ///
    /// The closure runs once, on the writer thread, and no other write runs meanwhile (in a database with a rollback
    /// journal, no read either). It sees its own changes. **It must not block**: all other writes of the database wait
    /// until it has returned, and a time limit interrupts only its SQL. It must not use the database other than through
    /// its [`Transaction`], which would wait for itself. A panic of the closure continues in the caller.
    ///
    /// Dropping the future cancels the transaction: a statement that is running is interrupted, and the transaction is
    /// rolled back, unless the commit has begun.
    ///
    /// A transaction of a closure has its own fsync. Steps that need no decision in between are faster as a
    /// [batch](crate::Executor::batch), which shares its fsync with others.
    ///
    /// ```
    /// use sqlhttp_core::{Database, Error, Options};
    ///
    /// #[derive(Debug)]
    /// enum TransferError { Short, NoPayee, Database(Error) }
    ///
    /// impl From<Error> for TransferError {
    ///     fn from(error: Error) -> Self {
    ///         TransferError::Database(error)
    ///     }
    /// }
    ///
    /// async fn transfer(db: &Database, from: i64, to: i64, amount: u32) -> Result<(), TransferError> {
    ///     let amount = i64::from(amount);
    ///     db.transaction(move |tx| {
    ///         let balance: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = ?", [from])?;
    ///         if balance < amount {
    ///             return Err(TransferError::Short);
    ///         }
    ///         tx.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", [amount, from])?;
    ///         let given = tx.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", [amount, to])?;
    ///         if given.rows == 1 { Ok(()) } else { Err(TransferError::NoPayee) }
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// # Errors
    /// The error of the closure; otherwise an [`Error`], converted. [`Error::Unsupported`]: the database applies a log
    /// ([`Writes::Log`](crate::Writes::Log)), whose entries contain SQL and no closures; such a database takes batches
    /// with [`Step::expect_changed`](crate::Step::expect_changed) instead.
    pub async fn transaction<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.transaction_until(Deadline::NEVER, closure).await
    }

    /// Like [`Database::transaction`], with a time by which the SQL of the closure has to end.
    ///
    /// # Errors
    /// As [`Database::transaction`]; [`Error::Timeout`].
    pub async fn transaction_until<T, E, F>(&self, deadline: Deadline, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        if self.inner.shared.config.options.read_only {
            return Err(Error::ReadOnly.into());
        }
        let (job, reply, _cancel) = job(deadline.of_writes(), closure);
        self.inner.shared.submit_transaction(job);
        reply.wait().await.unwrap_or_else(|| Err(self.inner.shared.closed_error().into()))
    }

    /// Calls a closure in a read transaction: all its statements see the same state of the database, whatever is
    /// written meanwhile. A statement that writes fails.
    ///
    /// The closure runs once, on a reader thread. While it runs, the write-ahead log grows. In a database with a
    /// rollback journal, all writes wait until it has returned: it must not block then, and not use the database in
    /// another way. When a node of a cluster installs a snapshot, the statements of the closure fail with
    /// [`Error::Unavailable`]. A panic of the closure continues in the caller.
    ///
    /// # Errors
    /// The error of the closure; otherwise an [`Error`], converted.
    pub async fn read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.read_until(Deadline::NEVER, closure).await
    }

    /// Like [`Database::read`], with a time by which the SQL of the closure has to end.
    ///
    /// # Errors
    /// As [`Database::read`]; [`Error::Timeout`].
    pub async fn read_until<T, E, F>(&self, deadline: Deadline, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (job, reply, _cancel) = job(deadline, closure);
        self.inner.readers.submit_transaction(job);
        reply.wait().await.unwrap_or_else(|| Err(self.inner.shared.closed_error().into()))
    }
}

/// Creates the job of a closure, the receiving end of its result, and a guard that cancels the job when it is dropped.
fn job<T, E, F>(deadline: Deadline, closure: F) -> (TransactionJob, Reply<F, T, E>, CancelOnDrop)
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let cancel = Cancel::default();
    let limits = Limits { cancel: Some(cancel.clone()), deadline, ..Limits::default() };
    let (body, reply) = body(closure);
    (TransactionJob { stamp: stamps::new(), limits, body }, reply, CancelOnDrop(Some(cancel)))
}
