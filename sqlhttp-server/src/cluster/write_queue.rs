//! The queue of queued writes. They are written in batches: writes that arrive while a batch is being written form the
//! next batch.
//!
//! A queued write is acknowledged only when it is durable, so no acknowledged write is lost. The queue does not wait
//! for further writes. If no batch is being written, a new write is written immediately. Otherwise the waiting writes
//! are written as soon as the current batch has been written. Therefore `-write-queue-timeout`, the maximum time that
//! a write may wait for others, is never reached.

use std::sync::Arc;

use sqlhttp_core::{Atomicity, Backend, Batch, BoxFuture, Deadline, Error, Step};
use tokio::sync::{mpsc, oneshot};

use super::config::WriteQueueConfig;
use crate::api::rqlite::counters::{Counter, Counters};
use crate::api::rqlite::queued_writes::QueuedWrites;
use crate::api::sql_observer::SqlObserver;

/// A queued write: the statements of a request, and the channel for its outcome.
struct QueuedWrite {
    steps: Vec<Step>,
    /// The time limit of the request that contains the statements.
    deadline: Deadline,
    done: oneshot::Sender<Result<(), Error>>,
}

/// The queue of a node's queued writes.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    sender: mpsc::Sender<QueuedWrite>,
    written: Arc<WrittenBatches>,
}

/// The numbers of batches that were written before they had the configured number of writes. In these cases, rqlite
/// would have waited for further writes.
#[derive(Debug, Default)]
pub(crate) struct WrittenBatches {
    /// The number of such batches if the queue has a timeout. rqlite would have waited until the timeout.
    pub(crate) not_full: Counter,
    /// The number of such batches if the queue has no timeout. rqlite would have waited until the batch was full.
    pub(crate) at_once: Counter,
}

impl WriteQueue {
    /// Starts the queue of queued writes of a backend, as a task on the Tokio runtime of the caller.
    pub(crate) fn start(
        config: &WriteQueueConfig,
        backend: Arc<dyn Backend>,
        sql: Arc<SqlObserver>,
        counters: Arc<Counters>,
    ) -> WriteQueue {
        let (sender, receiver) = mpsc::channel(config.capacity.max(1));
        let written = Arc::new(WrittenBatches::default());
        let writer = QueueWriter {
            backend,
            sql,
            counters,
            batch_len: config.batch_len.max(1),
            transaction: config.transaction,
            timed: !config.timeout.is_zero(),
            written: written.clone(),
        };
        tokio::spawn(writer.run(receiver));
        WriteQueue { sender, written }
    }

    /// Returns the counters of the batches that were written before they were full.
    pub(crate) fn written(&self) -> &Arc<WrittenBatches> {
        &self.written
    }
}

impl QueuedWrites for WriteQueue {
    /// Queues a batch, and returns its outcome as soon as it has been written. Waits first while the queue is full. A
    /// batch that is in the queue is written even if the future is dropped.
    fn write(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let (done, written) = oneshot::channel();
            let request = QueuedWrite { steps: batch.steps, deadline: deadline.of_writes(), done };
            self.sender.send(request).await.map_err(|_| Error::Closed)?;
            written.await.unwrap_or(Err(Error::Closed))
        })
    }
}

/// The state of the task that takes queued writes from the queue and writes them in batches.
struct QueueWriter {
    backend: Arc<dyn Backend>,
    sql: Arc<SqlObserver>,
    counters: Arc<Counters>,
    /// The maximum number of queued writes in a batch.
    batch_len: usize,
    /// Whether all statements of a batch run in one transaction.
    transaction: bool,
    /// Whether the queue has a timeout, which determines only which counter is incremented.
    timed: bool,
    written: Arc<WrittenBatches>,
}

impl QueueWriter {
    async fn run(self, mut receiver: mpsc::Receiver<QueuedWrite>) {
        let mut batch = Vec::with_capacity(self.batch_len);
        while receiver.recv_many(&mut batch, self.batch_len).await > 0 {
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    async fn write(&self, requests: Vec<QueuedWrite>) {
        self.count(&requests);
        for group in group_by_deadline(requests) {
            self.write_group(group).await;
        }
    }

    fn count(&self, requests: &[QueuedWrite]) {
        if requests.len() < self.batch_len {
            let written = if self.timed { &self.written.not_full } else { &self.written.at_once };
            written.add(1);
        }
    }

    /// Writes the statements of several requests as one batch, and sends its result to each request. A request with a
    /// time limit must be the only one.
    async fn write_group(&self, requests: Vec<QueuedWrite>) {
        let deadline = requests.first().map_or(Deadline::NEVER, |request| request.deadline);
        let mut steps = Vec::new();
        let mut waiting = Vec::with_capacity(requests.len());
        for QueuedWrite { steps: own, done, .. } in requests {
            steps.extend(own);
            waiting.push(done);
        }
        self.counters.queued_executions_num_stmts_tx.add(steps.len());
        let result = self.run_all(steps, deadline).await;
        for done in waiting {
            // The receiver may have been dropped, because the client no longer waits.
            let _ = done.send(result.clone());
        }
    }

    async fn run_all(&self, steps: Vec<Step>, deadline: Deadline) -> Result<(), Error> {
        if steps.is_empty() {
            // A request without statements only waits until all earlier writes have been written.
            return Ok(());
        }
        let atomicity = if self.transaction { Atomicity::All } else { Atomicity::Each };
        let batch = Batch { steps, atomicity, ..Batch::default() };
        let observation = self.sql.begin(&batch);
        let answer = self.backend.write_batch(batch, deadline).await;
        self.sql.end(observation, answer)?.whole().await.map(drop)
    }
}

/// Splits queued writes into groups that are written as one batch each. Their order does not change. A write with a
/// time limit gets a group of its own: the time limit of a batch applies to all of its statements together, and must
/// not apply to the statements of other requests.
fn group_by_deadline(requests: Vec<QueuedWrite>) -> Vec<Vec<QueuedWrite>> {
    let mut groups: Vec<Vec<QueuedWrite>> = Vec::new();
    let mut may_join = false;
    for request in requests {
        let unlimited = request.deadline == Deadline::NEVER;
        match groups.last_mut() {
            Some(group) if may_join && unlimited => group.push(request),
            _ => groups.push(vec![request]),
        }
        may_join = unlimited;
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_time_limit_applies_to_its_own_request_only() {
        let limit = Deadline::after(Instant::now(), Duration::from_secs(1));
        let waiting = |deadline| QueuedWrite { steps: Vec::new(), deadline, done: oneshot::channel().0 };
        let (no, yes) = (Deadline::NEVER, limit);
        let groups = group_by_deadline([no, no, yes, yes, no, no].map(waiting).into());
        let limits: Vec<Vec<bool>> =
            groups.iter().map(|group| group.iter().map(|request| request.deadline == limit).collect()).collect();
        assert_eq!(limits, [vec![false, false], vec![true], vec![true], vec![false, false]]);
    }
}
