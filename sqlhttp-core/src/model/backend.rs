//! The seam between those who ask and those who hold the data.

use std::future::Future;
use std::pin::Pin;

use super::{Batch, Deadline, Error, Outcome, Part};

/// A boxed future, so that [`Backend`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How fresh a read must be. A single database is always as fresh as can be; replicas have to do something for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// Whatever this replica has.
    None,
    /// What the node that believes to be the leader has.
    #[default]
    Weak,
    /// What a quorum confirms to be the latest.
    Linearizable,
    /// The same, by way of the log.
    Strong,
    /// None on a replica that never votes, weak elsewhere.
    Auto,
}

/// Something that runs batches: a database here, or one that is replicated.
///
/// To be correct:
/// * an outcome that says [`super::Ending::Done`] is durable;
/// * an outcome that says anything else, and an error, leave nothing behind;
/// * the deadline is looked at when the batch's turn comes, and while it runs; a caller who may not wait longer for his
///   turn drops the future when his own timer says so;
/// * dropping the returned future (or the stream) gives the batch up as soon as that is possible.
pub trait Backend: Send + Sync {
    /// Runs a batch that may read or write; which, SQLite decides. One that only reads is as fresh as `level` says and may
    /// answer in parts.
    fn request(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;

    /// Runs a batch for its effect. Where there is a log, it goes through the log even if it only reads.
    fn execute(&self, batch: Batch, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        self.request(batch, ReadLevel::default(), deadline)
    }

    /// Runs a batch that must not write: a statement that would, fails with `attempt to write a readonly database`.
    fn query(&self, batch: Batch, level: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>>;
}

/// The answer to a batch.
pub enum Answer {
    /// All of it.
    Whole(Outcome),
    /// It is large, and comes in parts.
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

/// The parts of a large answer, in order. Dropping it interrupts the statement that makes them.
pub trait PartStream: Send {
    /// The next part, or the error that ended the stream early; `None` after [`Part::End`] or an error.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>>;

    /// The index of the log's entry that carried the batch; 0 if none did.
    fn log_index(&self) -> u64 {
        0
    }
}

impl Answer {
    /// The index of the log's entry that carried the batch; 0 if none did.
    pub fn log_index(&self) -> u64 {
        match self {
            Answer::Whole(outcome) => outcome.log_index,
            Answer::Parts(stream) => stream.log_index(),
        }
    }

    /// Waits for all parts and puts them together. The whole is held in memory.
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
                Part::Step(mut step, facts) => {
                    step.prepend_blocks(std::mem::take(&mut blocks));
                    outcome.steps.push(step);
                    outcome.facts.push(facts);
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
