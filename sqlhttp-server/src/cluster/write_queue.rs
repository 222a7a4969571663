//! The queue of a node's queued writes: what waits while a batch is written is written as the next batch.
//!
//! A client is told that its write is queued when it is durable, so nothing that was answered is ever lost. Nobody waits
//! for company: an idle queue writes at once, and a busy one as soon as the batch before is written. So the time that a
//! write may wait for others is only ever a bound, and never reached.

use std::sync::Arc;

use sqlhttp_core::{Atomicity, Backend, Batch, BoxFuture, Deadline, Error, Step};
use tokio::sync::{mpsc, oneshot};

use super::config::WriteQueueConfig;
use crate::api::rqlite::counters::{Counter, Counters};
use crate::api::rqlite::queued_writes::QueuedWrites;
use crate::api::sql_observer::SqlObserver;

/// A request's statements, and who waits for them.
struct QueuedWrite {
    steps: Vec<Step>,
    /// The client's own limit.
    deadline: Deadline,
    done: oneshot::Sender<Result<(), Error>>,
}

/// Where queued writes go.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    sender: mpsc::Sender<QueuedWrite>,
    written: Arc<WrittenBatches>,
}

/// Batches that were written before they were full: those that the original would have kept until the time was over.
#[derive(Debug, Default)]
pub(crate) struct WrittenBatches {
    /// Those for which there was a time.
    pub(crate) not_full: Counter,
    /// Those for which there was none, and which the original would have kept until they are full.
    pub(crate) at_once: Counter,
}

impl WriteQueue {
    /// Starts a queue before a backend, on the runtime of the caller.
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

    /// What it has written.
    pub(crate) fn written(&self) -> &Arc<WrittenBatches> {
        &self.written
    }
}

impl QueuedWrites for WriteQueue {
    /// Waits while the queue is full. Statements that are in the queue are written even if the future is dropped.
    fn write(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let (done, written) = oneshot::channel();
            let request = QueuedWrite { steps: batch.steps, deadline: deadline.of_writes(), done };
            self.sender.send(request).await.map_err(|_| Error::Closed)?;
            written.await.unwrap_or(Err(Error::Closed))
        })
    }
}

/// What writes batches.
struct QueueWriter {
    backend: Arc<dyn Backend>,
    sql: Arc<SqlObserver>,
    counters: Arc<Counters>,
    /// How many requests make a batch at most.
    batch_len: usize,
    /// A batch is one transaction.
    transaction: bool,
    /// There is a time that a write may wait for others.
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

    /// Writes requests as one batch. If one of them has a limit, it is the only one.
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
            // Whoever has gone needs no answer.
            let _ = done.send(result.clone());
        }
    }

    async fn run_all(&self, steps: Vec<Step>, deadline: Deadline) -> Result<(), Error> {
        if steps.is_empty() {
            // Whoever sends nothing only wants to know that everything before is written.
            return Ok(());
        }
        let atomicity = if self.transaction { Atomicity::All } else { Atomicity::Each };
        let batch = Batch { steps, atomicity, ..Batch::default() };
        let observation = self.sql.begin(&batch);
        let answer = self.backend.execute(batch, deadline).await;
        self.sql.end(observation, answer)?.whole().await.map(drop)
    }
}

/// Requests that may share a batch, in order. One with a limit is by itself: the limit of a batch is that of all its
/// statements together, and must not be applied to those of others.
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
    fn a_limit_holds_for_the_statements_of_its_request_only() {
        let limit = Deadline::after(Instant::now(), Duration::from_secs(1));
        let waiting = |deadline| QueuedWrite { steps: Vec::new(), deadline, done: oneshot::channel().0 };
        let (no, yes) = (Deadline::NEVER, limit);
        let groups = group_by_deadline([no, no, yes, yes, no, no].map(waiting).into());
        let limits: Vec<Vec<bool>> =
            groups.iter().map(|group| group.iter().map(|request| request.deadline == limit).collect()).collect();
        assert_eq!(limits, [vec![false, false], vec![true], vec![true], vec![false, false]]);
    }
}
