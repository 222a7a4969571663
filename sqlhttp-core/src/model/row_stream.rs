//! A stream of rows.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;

use super::convert::BlockCursor;
use super::{Answer, Block, Columns, Ending, Error, FromRow, Part, PartStream, RowError, StepOutcome};

/// The rows that a statement returns, one after the other: see
/// [`Executor::query_stream`](super::Executor::query_stream).
///
/// It is a [`futures_core::Stream`]. After an error, the stream ends. Dropping the stream ends the statement.
#[must_use = "a stream does nothing unless it is polled"]
pub struct RowStream<T> {
    source: Source,
    columns: Arc<Columns>,
    /// The block that is being read.
    cursor: BlockCursor,
    /// The blocks after it.
    blocks: VecDeque<Block>,
    row: PhantomData<fn() -> T>,
}

type NextPart = BoxFuture<'static, (Box<dyn PartStream>, Option<Result<Part, Error>>)>;

enum Source {
    /// No part has been asked for.
    Idle(Box<dyn PartStream>),
    /// The next part has been asked for.
    Waits(NextPart),
    /// There are no more parts.
    Ended,
}

impl<T> std::fmt::Debug for RowStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl<T> RowStream<T> {
    /// Creates the stream of the rows of an answer to a batch of one step.
    pub(super) fn new(answer: Answer) -> Result<RowStream<T>, Error> {
        let (source, rows) = match answer {
            Answer::Parts(parts) => (Source::Idle(parts), None),
            Answer::Whole(outcome) => (Source::Ended, Some(outcome.into_only()?.into_rows()?)),
        };
        let (columns, blocks) = match rows {
            Some(rows) => (rows.columns, rows.blocks),
            None => (Arc::from([]), Vec::new()),
        };
        Ok(RowStream { source, columns, cursor: BlockCursor::default(), blocks: blocks.into(), row: PhantomData })
    }

    /// Waits for the next part.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, Error>>> {
        loop {
            match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Ended => return Poll::Ready(None),
                Source::Idle(mut parts) => {
                    self.source = Source::Waits(Box::pin(async move {
                        let part = parts.next().await;
                        (parts, part)
                    }));
                }
                Source::Waits(mut next) => {
                    let Poll::Ready((parts, part)) = next.as_mut().poll(context) else {
                        self.source = Source::Waits(next);
                        return Poll::Pending;
                    };
                    if matches!(part, Some(Ok(_))) {
                        self.source = Source::Idle(parts);
                    }
                    // A stream of parts without its end was cut off.
                    return Poll::Ready(Some(part.unwrap_or(Err(Error::Closed))));
                }
            }
        }
    }

    /// Keeps the rows of a part. Returns whether the stream may have further parts.
    fn take_part(&mut self, part: Part) -> Result<bool, Error> {
        match part {
            Part::Columns(columns) => self.columns = columns,
            Part::Rows(block) => self.blocks.push_back(block),
            Part::Step(StepOutcome::Failed(failure), _) | Part::End(Ending::NotCommitted(failure)) => {
                return Err(Error::Failed { step: None, failure });
            }
            Part::Step(outcome, _) => {
                let rows = outcome.into_rows()?;
                self.columns = rows.columns;
                self.blocks.extend(rows.blocks);
            }
            Part::End(_) => return Ok(false),
        }
        Ok(true)
    }
}

impl<T: FromRow> RowStream<T> {
    /// Waits for the next row, and returns it, or the error that ended the stream. `None` after the last row or an
    /// error.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|context| self.poll_row(context)).await
    }

    /// Waits for the only row; `None` if there is none.
    pub(super) async fn only(mut self) -> Result<Option<T>, Error> {
        // No row is converted before the last `await`, so that `T` need not be `Send`.
        while self.received_rows() < 2 {
            let Some(part) = poll_fn(|context| self.poll_part(context)).await else { break };
            if !self.take_part(part?)? {
                break;
            }
        }
        if self.received_rows() > 1 {
            return Err(RowError::SeveralRows.into());
        }
        self.source = Source::Ended;
        let mut row = Ok(None);
        while let Some(block) = self.blocks.pop_front() {
            if let Some(read) = BlockCursor::new(block).next(&self.columns) {
                row = read.map(Some);
            }
        }
        Ok(row?)
    }

    /// The number of rows that have been received and not been read.
    fn received_rows(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        loop {
            if let Some(row) = self.cursor.next(&self.columns) {
                return Poll::Ready(Some(row.map_err(|error| self.fail(error.into()))));
            }
            if let Some(block) = self.blocks.pop_front() {
                self.cursor = BlockCursor::new(block);
                continue;
            }
            let taken = match ready!(self.poll_part(context)) {
                None => return Poll::Ready(None),
                Some(part) => part.and_then(|part| self.take_part(part)),
            };
            match taken {
                Ok(true) => {}
                Ok(false) => self.source = Source::Ended,
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
        }
    }

    /// Ends the stream.
    fn fail(&mut self, error: Error) -> Error {
        self.source = Source::Ended;
        self.cursor = BlockCursor::default();
        self.blocks.clear();
        error
    }
}

impl<T: FromRow> Stream for RowStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_row(context)
    }
}
