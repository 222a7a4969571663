//! Counts the SQL of requests, and logs SQL that is slow.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlhttp_core::{Answer, Batch, BoxFuture, Ending, Error, Outcome, Part, PartStream, StepOutcome};
use tracing::Span;

use crate::process::logging::{SLOW_LOG, shortened};
use crate::process::metrics::{InterruptReason, SqlCounters};

/// The maximum length, in bytes, of SQL in a log line. Longer SQL is truncated.
const SQL_BYTES_MAX: usize = 1 << 10;

/// Counts the SQL of the requests to one database, and logs batches that are slow.
#[derive(Debug)]
pub(crate) struct SqlObserver {
    counters: Arc<SqlCounters>,
    /// The duration above which a batch is logged; `None` if no batch is logged.
    slow: Option<Duration>,
}

/// The observation of one batch, from its submission until its result has been read to the end. If the observation is
/// dropped earlier, the client has disconnected, and the batch is counted as interrupted.
pub(crate) struct Observation<C: Deref<Target = SqlCounters>> {
    counters: C,
    slow: Option<SlowBatch>,
    ended: bool,
}

/// The data for the log line about a batch, which is written if the batch is slow.
struct SlowBatch {
    limit: Duration,
    started: Instant,
    sql: String,
    statements: usize,
    /// The span of the request. It is kept because a result in parts is still read after the handler of the request has
    /// returned.
    span: Span,
}

impl SqlObserver {
    pub(crate) fn new(counters: Arc<SqlCounters>, slow: Option<Duration>) -> Self {
        SqlObserver { counters, slow }
    }

    /// Starts the observation of a batch that is about to be submitted.
    pub(crate) fn begin(&self, batch: &Batch) -> Observation<&SqlCounters> {
        let slow = self.slow.map(|limit| SlowBatch::new(limit, batch));
        Observation { counters: &self.counters, slow, ended: false }
    }

    /// Counts the result of a batch. If the result comes in parts, returns it in a wrapper that counts each part when
    /// it is read.
    pub(crate) fn end(
        &self,
        mut observation: Observation<&SqlCounters>,
        answer: Result<Answer, Error>,
    ) -> Result<Answer, Error> {
        match &answer {
            Ok(Answer::Whole(outcome)) => observation.count_outcome(outcome),
            Ok(Answer::Parts(_)) => return answer.map(|answer| self.observe_parts(observation, answer)),
            Err(error) => observation.counters.request_failed(error),
        }
        observation.finish();
        answer
    }

    fn observe_parts(&self, mut observation: Observation<&SqlCounters>, answer: Answer) -> Answer {
        let Answer::Parts(inner) = answer else { return answer };
        observation.ended = true;
        let slow = observation.slow.take();
        let observation = Observation { counters: Arc::clone(&self.counters), slow, ended: false };
        Answer::Parts(Box::new(ObservedParts { inner, observation }))
    }
}

impl<C: Deref<Target = SqlCounters>> Observation<C> {
    fn count_outcome(&self, outcome: &Outcome) {
        outcome.steps.iter().for_each(|step| self.count_step(step));
        self.count_ending(&outcome.ending);
    }

    fn count_part(&mut self, part: &Result<Part, Error>) {
        match part {
            Ok(Part::Columns(_)) => return,
            Ok(Part::Rows(block)) => return self.counters.rows_returned(block.len()),
            Ok(Part::Step(step, _)) => {
                self.count_step(step);
                // The reader may stop reading at a failed step, so the observation ends with such a step.
                if !matches!(step, StepOutcome::Failed(_)) {
                    return;
                }
            }
            Ok(Part::End(ending)) => self.count_ending(ending),
            Err(error) => self.counters.request_failed(error),
        }
        self.finish();
    }

    fn count_step(&self, step: &StepOutcome) {
        match step {
            StepOutcome::Rows(rows) => {
                self.counters.rows_returned(rows.len());
                self.counters.rows_changed(rows.changed.rows);
            }
            StepOutcome::Changed(changed) => self.counters.rows_changed(changed.rows),
            StepOutcome::ChangedEach(each) => {
                self.counters.rows_changed(each.iter().map(|changed| changed.rows).sum());
            }
            StepOutcome::Failed(failure) => self.counters.statement_failed(failure),
        }
    }

    fn count_ending(&self, ending: &Ending) {
        if let Ending::NotCommitted(failure) = ending {
            self.counters.statement_failed(failure);
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        if let Some(slow) = self.slow.take() {
            slow.log();
        }
    }
}

impl<C: Deref<Target = SqlCounters>> Drop for Observation<C> {
    fn drop(&mut self) {
        if !self.ended {
            self.counters.interrupted(InterruptReason::ClientGone);
            self.finish();
        }
    }
}

impl SlowBatch {
    fn new(limit: Duration, batch: &Batch) -> Self {
        let mut sql = String::new();
        for text in batch.steps.iter().filter_map(|step| step.sql()) {
            if sql.len() > SQL_BYTES_MAX {
                break;
            }
            if !sql.is_empty() {
                sql.push_str("; ");
            }
            sql.push_str(shortened(text, SQL_BYTES_MAX + 1));
        }
        SlowBatch { limit, started: Instant::now(), sql, statements: batch.steps.len(), span: Span::current() }
    }

    fn log(&self) {
        let took = self.started.elapsed();
        if took < self.limit {
            return;
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (sql, statements) = (shortened(&self.sql, SQL_BYTES_MAX), self.statements);
        self.span.in_scope(|| tracing::warn!(target: SLOW_LOG, took_ms, statements, sql, "slow SQL"));
    }
}

/// The result of a batch in parts, which are counted while they are read.
struct ObservedParts {
    inner: Box<dyn PartStream>,
    observation: Observation<Arc<SqlCounters>>,
}

impl PartStream for ObservedParts {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        Box::pin(async {
            let part = self.inner.next().await;
            if let Some(part) = &part {
                self.observation.count_part(part);
            }
            part
        })
    }

    fn log_index(&self) -> u64 {
        self.inner.log_index()
    }
}
