//! A stream of committed changes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{CHANGES_MAX, Change};
use crate::engine::background::block_on;

/// The changes that wait for the receiver of a stream.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: VecDeque<Change>,
    waker: Option<Waker>,
    closed: bool,
}

impl Waiting {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds changes. If too many are waiting, all of them become [`Change::Everything`].
    pub(super) fn push(&self, changes: &[Change]) {
        let waker = self.with(|state| {
            if state.changes.len() + changes.len() > CHANGES_MAX {
                state.changes.clear();
                state.changes.push_back(Change::Everything);
            } else {
                state.changes.extend(changes.iter().cloned());
            }
            state.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the stream after the changes that are waiting.
    pub(super) fn close(&self) {
        let waker = self.with(|state| {
            state.closed = true;
            state.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A stream of the committed changes of a database: see [`Database::changes`](crate::Database::changes). It ends when
/// the database is closed.
#[must_use = "a stream does nothing unless it is polled"]
#[derive(Debug)]
pub struct Changes {
    waiting: Arc<Waiting>,
}

impl Changes {
    pub(super) fn new(waiting: Arc<Waiting>) -> Changes {
        Changes { waiting }
    }

    /// Waits for the next change, and returns it; `None` when the database is closed.
    pub async fn next(&mut self) -> Option<Change> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Blocks the thread until the next change, and returns it; `None` when the database is closed.
    pub fn next_blocking(&mut self) -> Option<Change> {
        block_on(self.next())
    }

    /// Returns the next change if one is waiting.
    pub fn try_next(&mut self) -> Option<Change> {
        self.waiting.with(|state| state.changes.pop_front())
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        self.waiting.with(|state| match state.changes.pop_front() {
            Some(change) => Poll::Ready(Some(change)),
            None if state.closed => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }
}
