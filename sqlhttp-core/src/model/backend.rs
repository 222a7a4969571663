//! The interface between the servers and the databases: [`Backend`], implemented by a single database and by a
//! replicated one.

use std::future::Future;
use std::pin::Pin;

use super::{Batch, Deadline, Error, Outcome, Part};

/// A boxed future, so that [`Backend`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The consistency of a read. A single database always returns its newest state; the levels matter for replicated
/// databases only. They are those of rqlite (<https://rqlite.io/docs/api/read-consistency/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// The local state of this replica, which may be out of date.
    None,
    /// The state of the node that considers itself the leader. Another node may have become leader without its
    /// knowledge.
    #[default]
    Weak,
    /// The state of the leader after a quorum has confirmed its leadership.
    Linearizable,
    /// The state of the leader after a log entry for this read has been committed and applied.
    Strong,
    /// [`ReadLevel::None`] on a replica that never votes, [`ReadLevel::Weak`] elsewhere.
    Auto,
}

/// Something that runs batches: a single database, or a replicated one.
///
/// Requirements for implementations:
/// * An outcome with [`super::Ending::Done`] is durable.
/// * An outcome with any other ending, and an error, leave no changes behind, except for the errors that say that the
///   outcome is unknown ([`Error::Unknown`], [`Error::LeadershipLost`]).
/// * The deadline is checked when the batch starts and while it runs. It is not necessarily checked while the batch
///   waits; a caller that cannot wait longer drops the future at its own timeout.
/// * Dropping the returned future or the stream cancels the batch as soon as possible.
pub trait Backend: Send + Sync {
    /// Runs a batch that may read or write; SQLite determines which. A batch that only reads has the consistency of
    /// `level`, and its answer may be streamed.
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;

    /// Runs a batch for its effects. A replicated database sends it through its log even if it only reads.
    fn execute(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.request(batch, ReadLevel::default(), deadline)
    }

    /// Runs a batch that must not write. A statement that writes fails with `attempt to write a readonly database`.
    fn query(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;
}

/// The answer to a batch.
pub enum Answer {
    /// The complete result.
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

/// The parts of a streamed answer, in order. Dropping the stream interrupts the statement that produces them.
pub trait PartStream: Send {
    /// The next part, or the error that ended the stream early. `None` after [`Part::End`] or an error.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>>;

    /// The index of the log entry that contained the batch; 0 if no log was involved.
    fn log_index(&self) -> u64 {
        0
    }
}

impl Answer {
    /// The index of the log entry that contained the batch; 0 if no log was involved.
    pub fn log_index(&self) -> u64 {
        match self {
            Answer::Whole(outcome) => outcome.log_index,
            Answer::Parts(stream) => stream.log_index(),
        }
    }

    /// Waits for all parts and combines them. The complete result is held in memory.
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
