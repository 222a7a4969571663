//! The other end of a connection and its state of activity.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Set in [`Peer::running`] once the connection is to be closed in favour of another one. No request begins after that.
const EVICTED: u32 = 1 << 31;

/// How long a connection that has had a request counts as busy after the answer. Clients that keep their connection send
/// the next request within that time, and would find it closed.
const BUSY_AFTER_ANSWER: Duration = Duration::from_secs(1);

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    accepted: Instant,
    /// The number of requests that run (with HTTP/2 there may be several), and [`EVICTED`].
    running: AtomicU32,
    /// A request has begun at some time.
    has_begun_request: AtomicBool,
    /// When the last answer began, in nanoseconds after `accepted`; 0 before the first.
    answered: AtomicU64,
    /// A handler has taken the request whose head was read last (HTTP/1).
    is_handled: AtomicBool,
    /// That head says in two ways where its body ends (HTTP/1).
    is_ambiguous: AtomicBool,
    /// Bytes of an answer wait because the client does not read.
    unsent_bytes: AtomicBool,
    /// The client may still be sending bytes that are not read.
    unread_bytes: AtomicBool,
    /// Ends the connection.
    closing: CancellationToken,
}

impl Peer {
    /// A peer whose connection ends when `closing` is cancelled.
    pub(crate) fn new(address: SocketAddr, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Peer {
            address,
            accepted: Instant::now(),
            running: AtomicU32::new(0),
            has_begun_request: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            is_handled: AtomicBool::new(false),
            is_ambiguous: AtomicBool::new(false),
            unsent_bytes: AtomicBool::new(false),
            unread_bytes: AtomicBool::new(false),
            closing,
        })
    }

    /// Cancelled when the connection is to end.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether a request runs.
    pub(crate) fn has_running_request(&self) -> bool {
        self.running.load(Relaxed) != 0
    }

    /// Whether a request has begun on this connection.
    pub(crate) fn has_begun_request(&self) -> bool {
        self.has_begun_request.load(Relaxed)
    }

    /// Notes when an answer begins.
    pub(crate) fn record_answer(&self, moment: Instant) {
        let nanos = moment.saturating_duration_since(self.accepted).as_nanos();
        self.answered.store(u64::try_from(nanos).unwrap_or(u64::MAX).max(1), Relaxed);
    }

    /// Notes that the client may still be sending bytes that are not read.
    pub(crate) fn expect_unread_bytes(&self) {
        self.unread_bytes.store(true, Relaxed);
    }

    /// Whether the client may still be sending bytes that are not read.
    pub(crate) fn has_unread_bytes(&self) -> bool {
        self.unread_bytes.load(Relaxed)
    }

    /// Notes whether bytes of an answer wait because the client does not read.
    pub(crate) fn set_unsent(&self, unsent: bool) {
        self.unsent_bytes.store(unsent, Relaxed);
    }

    /// Notes that the head of another request begins.
    pub(crate) fn begin_head(&self) {
        self.is_handled.store(false, Relaxed);
        self.is_ambiguous.store(false, Relaxed);
    }

    /// Whether a handler has taken the request whose head was read last.
    pub(crate) fn is_handled(&self) -> bool {
        self.is_handled.load(Relaxed)
    }

    /// Notes that the head that is being read says in two ways where its body ends.
    pub(crate) fn set_ambiguous(&self) {
        self.is_ambiguous.store(true, Relaxed);
    }

    /// Whether the head that was read last says in two ways where its body ends.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous.load(Relaxed)
    }

    /// Since when the connection is idle; `None` while a request runs, an answer is being sent, or one has just begun.
    pub(crate) fn idle_since(&self, now: Instant) -> Option<Instant> {
        if self.running.load(Relaxed) != 0 || self.unsent_bytes.load(Relaxed) {
            return None;
        }
        match self.answered.load(Relaxed) {
            0 => Some(self.accepted),
            nanos => Some(self.accepted + Duration::from_nanos(nanos))
                .filter(|answered| now.saturating_duration_since(*answered) >= BUSY_AFTER_ANSWER),
        }
    }

    /// Ends the connection unless a request runs. Returns whether it does.
    pub(crate) fn evict(&self) -> bool {
        let evicted = self.running.compare_exchange(0, EVICTED, Relaxed, Relaxed).is_ok();
        if evicted {
            self.closing.cancel();
        }
        evicted
    }
}

/// A request that runs, from its head to the end of its answer.
#[derive(Debug)]
pub(crate) struct RunningRequest {
    pub(crate) peer: Arc<Peer>,
}

impl RunningRequest {
    /// Begins a request. `Err` if the connection is being closed: the request is not to be carried out.
    pub(crate) fn begin(peer: Arc<Peer>) -> Result<RunningRequest, RunningRequest> {
        let before = peer.running.fetch_add(1, Relaxed);
        peer.has_begun_request.store(true, Relaxed);
        peer.is_handled.store(true, Relaxed);
        let running = RunningRequest { peer };
        if before & EVICTED == 0 { Ok(running) } else { Err(running) }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.peer.running.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn peer() -> Arc<Peer> {
        Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)), CancellationToken::new())
    }

    #[test]
    fn a_connection_is_closed_only_while_no_request_runs() {
        let peer = peer();
        let running = RunningRequest::begin(Arc::clone(&peer)).unwrap();
        assert!(!peer.evict());
        drop(running);
        assert!(peer.evict());
        assert!(peer.closing().is_cancelled());
        assert!(RunningRequest::begin(Arc::clone(&peer)).is_err());
        assert!(!peer.evict(), "only once");
    }

    #[test]
    fn idle_times() {
        let peer = peer();
        let now = Instant::now();
        assert_eq!(peer.idle_since(now), Some(peer.accepted));
        peer.record_answer(now);
        assert_eq!(peer.idle_since(now), None);
        assert_eq!(peer.idle_since(now + BUSY_AFTER_ANSWER), Some(now));
        peer.set_unsent(true);
        assert_eq!(peer.idle_since(now + BUSY_AFTER_ANSWER), None);
    }
}
