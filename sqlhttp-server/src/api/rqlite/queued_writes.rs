//! The trait that writes queued writes, and its implementation without a queue.

use std::sync::Arc;

use sqlhttp_core::{Backend, Batch, BoxFuture, Deadline, Error};

use crate::api::sql_observer::SqlObserver;

/// Writes queued writes. A write that has been queued takes effect even if the client disconnects.
pub(crate) trait QueuedWrites: Send + Sync {
    /// Writes a batch and returns when it is durable. The outcomes of its statements are discarded.
    ///
    /// # Errors
    /// Those of [`Backend::execute`]. A failed statement is not an error.
    fn write(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>>;
}

/// Submits each queued write at once, as a batch of its own. The database's writer thread groups batches.
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
            let answer = backend.execute(batch, deadline).await;
            sql.end(observation, answer)?.whole().await.map(drop)
        };
        // A separate task, which runs on if the request is cancelled.
        Box::pin(async { tokio::spawn(writing).await.unwrap_or(Err(Error::Closed)) })
    }
}
