//! A bounded channel for the parts of a result, from a reader thread, which may block, to a caller's task, which must
//! not.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::connection_gate::ConnectionGate;
use super::watch::Cancel;
use crate::model::{BoxFuture, Error, Part, PartStream};

/// The maximum number of parts in the channel. A sender waits while the channel is full.
const PARTS_MAX: usize = 4;
/// How often a waiting sender checks whether the database file is to be replaced.
const EVICTION_POLL: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    parts: VecDeque<Result<Part, Error>>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

struct Channel {
    state: Mutex<State>,
    room: Condvar,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The sending end of the channel that carries the parts of a result. The thread that runs the batch uses it.
pub(crate) struct PartSender {
    channel: Arc<Channel>,
    stall_timeout: Duration,
    /// Called with `true` before a wait for space in the channel, and with `false` after it.
    stalled: Arc<dyn Fn(bool) + Send + Sync>,
    gate: Arc<ConnectionGate>,
}

/// The receiving end of the channel, used by the caller's task.
pub(crate) struct PartReceiver {
    channel: Arc<Channel>,
    cancel: Cancel,
}

/// The error of [`PartSender::send`]: the receiver was dropped, or did not take a part within the stall timeout, or
/// before the database file was to be replaced.
#[derive(Debug)]
pub(crate) struct Gone;

/// Makes a channel. Dropping the receiver sets `cancel`. The sender calls `stalled(true)` when it begins to wait for
/// space, and `stalled(false)` when the wait ends. The wait ends also when `gate` evicts the sender's connection.
pub(crate) fn channel(
    cancel: Cancel,
    stall_timeout: Duration,
    stalled: Arc<dyn Fn(bool) + Send + Sync>,
    gate: Arc<ConnectionGate>,
) -> (PartSender, PartReceiver) {
    let channel = Arc::new(Channel { state: Mutex::default(), room: Condvar::new() });
    (PartSender { channel: channel.clone(), stall_timeout, stalled, gate }, PartReceiver { channel, cancel })
}

impl PartSender {
    /// Sends a part. If the channel is full, waits for space, up to the stall timeout.
    pub(crate) fn send(&self, part: Part) -> Result<(), Gone> {
        let mut state = self.channel.lock();
        if state.parts.len() >= PARTS_MAX && !state.receiver_gone {
            (self.stalled)(true);
            let (guard, has_room) = self.wait_for_room(state);
            state = guard;
            (self.stalled)(false);
            if !has_room {
                return Err(Gone);
            }
        }
        if state.receiver_gone {
            return Err(Gone);
        }
        state.parts.push_back(Ok(part));
        Channel::wake(state);
        Ok(())
    }

    /// Waits until the channel is not full or the receiver is gone. Returns whether that is so; `false` after the stall
    /// timeout, or if the connection is evicted.
    fn wait_for_room<'c>(&'c self, mut state: MutexGuard<'c, State>) -> (MutexGuard<'c, State>, bool) {
        let full = |state: &mut State| state.parts.len() >= PARTS_MAX && !state.receiver_gone;
        let since = Instant::now();
        loop {
            let left = self.stall_timeout.saturating_sub(since.elapsed());
            let waited = self.channel.room.wait_timeout_while(state, left.min(EVICTION_POLL), full);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if !timeout.timed_out() {
                return (state, true);
            }
            if left <= EVICTION_POLL || self.gate.is_evicting() {
                return (state, false);
            }
        }
    }

    /// Adds an error as the last element of the stream, even if the channel is full.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.channel.lock();
        state.parts.push_back(Err(error));
        Channel::wake(state);
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.sender_gone = true;
        Channel::wake(state);
    }
}

impl PartStream for PartReceiver {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        Box::pin(poll_fn(|context| {
            let mut state = self.channel.lock();
            if let Some(part) = state.parts.pop_front() {
                drop(state);
                self.channel.room.notify_one();
                return Poll::Ready(Some(part));
            }
            if state.sender_gone {
                return Poll::Ready(None);
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Drop for PartReceiver {
    fn drop(&mut self) {
        self.cancel.set();
        self.channel.lock().receiver_gone = true;
        self.channel.room.notify_one();
    }
}
