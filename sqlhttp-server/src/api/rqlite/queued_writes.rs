//! The trait for executing queued writes (rqlite's `?queue`), and an implementation that executes them without a queue.

use std::sync::Arc;

use sqlhttp_core::{Backend, Batch, BoxFuture, Deadline, Error};

use crate::api::sql_observer::SqlObserver;

/// Executes queued writes (rqlite's `?queue`). Once a write has been accepted, it is executed even if the client
/// disconnects.
pub(crate) trait QueuedWrites: Send + Sync {
    /// Executes a batch and returns when its writes are durable. The outcomes of the statements are discarded.
    ///
    /// # Errors
    /// Fails with the errors of [`Backend::write_batch`]. A statement that fails is not an error of this function.
    fn write(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>>;
}

/// Submits each queued write immediately as a separate batch. The writer thread of the database commits several batches
/// in one transaction where it can.
pub(crate) struct DirectWrites {
    backend: Arc<dyn Backend>,
    sql: Arc<SqlObserver>,
}

impl DirectWrites {
    pub(crate) fn new(backend: Arc<dyn Backend>, sql: Arc<SqlObserver>) -> DirectWrites {
        DirectWrites { backend, sql }
    }
}

impl QueuedWrites for DirectWrites {
    fn write(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>> {
        let (backend, sql) = (self.backend.clone(), self.sql.clone());
        let writing = async move {
            if batch.steps.is_empty() {
                return Ok(());
            }
            let observation = sql.begin(&batch);
            let answer = backend.write_batch(batch, deadline).await;
            sql.end(observation, answer)?.whole().await.map(drop)
        };
        // A separate task, so that the write continues if the request is cancelled.
        Box::pin(async { tokio::spawn(writing).await.unwrap_or(Err(Error::Closed)) })
    }
}
