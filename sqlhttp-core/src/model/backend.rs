//! [`Backend`], the trait through which the servers use a database. A single database and a replicated one implement
//! it.

use std::future::Future;
use std::pin::Pin;

use super::{Batch, Deadline, Error, Outcome, Part};

/// A boxed future, so that [`Backend`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The consistency of a read. The levels matter for replicated databases only; a single database always returns its
/// newest state. The levels are those of rqlite (<https://rqlite.io/docs/api/read-consistency/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// The local state of this replica, which may be out of date.
    None,
    /// The state of the node that considers itself the leader. If another node has become leader in the meantime, the
    /// result may be out of date.
    #[default]
    Weak,
    /// The state of the leader after a quorum has confirmed its leadership.
    Linearizable,
    /// The state of the leader after a Raft log entry for this read has been committed and applied.
    Strong,
    /// [`ReadLevel::None`] on a node that never votes, [`ReadLevel::Weak`] on every other node.
    Auto,
}

/// A database that runs batches: a single one or a replicated one.
///
/// Requirements for implementations:
/// * If a batch ends with [`super::Ending::Done`], its changes are durable.
/// * If a batch ends with any other [`super::Ending`] or with an error, it leaves no changes behind. The exceptions are
///   the errors after which the outcome is unknown: [`Error::Unknown`] and [`Error::LeadershipLost`].
/// * The deadline is checked when the batch starts and while the batch runs. It is not necessarily checked while the
///   batch waits in a queue; a caller that cannot wait longer drops the future.
/// * Dropping the returned future or the stream cancels the batch as soon as possible.
pub trait Backend: Send + Sync {
    /// Runs a batch that may read or write; SQLite determines which. A batch that only reads has the consistency
    /// `level`, and its result may be streamed.
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;

    /// Runs a batch as a write. A replicated database sends the batch through its Raft log even if the batch only
    /// reads.
    fn write_batch(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.request(batch, ReadLevel::default(), deadline)
    }

    /// Runs a batch that must not write. A statement that writes fails with `attempt to write a readonly database`.
    fn read_batch(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;
}

/// The result of a batch: complete, or as a stream of parts.
pub enum Answer {
    /// The complete result, in memory.
    Whole(Outcome),
    /// A large result, streamed in parts.
    Parts(Box<dyn PartStream>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Whole(outcome) => f.debug_tuple("Whole").field(outcome).finish(),
            Answer::Parts(_) => f.write_str("Parts(..)"),
        }
    }
}

/// A streamed result of a batch: yields the parts in order. Dropping the stream interrupts the statement that produces
/// the parts.
pub trait PartStream: Send {
    /// Waits for the next part and returns it, or the error that ended the stream early. `None` after [`Part::End`] or
    /// an error.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>>;

    /// The index of the Raft log entry that contained the batch; 0 if the batch did not go through a Raft log.
    fn log_index(&self) -> u64 {
        0
    }
}

impl Answer {
    /// The index of the Raft log entry that contained the batch; 0 if the batch did not go through a Raft log.
    pub fn log_index(&self) -> u64 {
        match self {
            Answer::Whole(outcome) => outcome.log_index,
            Answer::Parts(stream) => stream.log_index(),
        }
    }

    /// Waits for all parts of the result and combines them. The complete result is held in memory.
    ///
    /// Fails with the error that ended the stream, or with [`Error::Closed`] if the stream ends without [`Part::End`].
    pub async fn whole(self) -> Result<Outcome, Error> {
        let mut stream = match self {
            Answer::Whole(outcome) => return Ok(outcome),
            Answer::Parts(stream) => stream,
        };
        let mut outcome = Outcome { log_index: stream.log_index(), ..Outcome::default() };
        let mut blocks = Vec::new();
        while let Some(part) = stream.next().await {
            match part? {
                Part::Columns(_) => {}
                Part::Rows(block) => blocks.push(block),
                Part::Step(mut step, info) => {
                    step.prepend_blocks(std::mem::take(&mut blocks));
                    outcome.steps.push(step);
                    outcome.info.push(info);
                }
                Part::End(ending) => {
                    outcome.ending = ending;
                    return Ok(outcome);
                }
            }
        }
        Err(Error::Closed)
    }
}
