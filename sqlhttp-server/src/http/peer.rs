//! The state of one connection, which several layers of the transport share: the address of the client, the running
//! requests, and whether the connection is idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// A bit of [`Peer::running`]. The bit is set when this connection is being closed to give its slot to another
/// connection. No request begins after that.
const EVICTED: u32 = 1 << 31;

/// The time after the beginning of a response during which a connection does not count as idle. Clients that reuse
/// their connection usually send the next request within this time. That request would fail if the server had closed
/// the connection.
const BUSY_AFTER_ANSWER: Duration = Duration::from_secs(1);

/// The address of a client and the state of its connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    accepted: Instant,
    /// The number of running requests (more than one is possible with HTTP/2), plus the bit [`EVICTED`].
    running: AtomicU32,
    /// Whether any request has begun on this connection.
    has_begun_request: AtomicBool,
    /// The time when the last response began, in nanoseconds after `accepted`; 0 before the first response.
    answered: AtomicU64,
    /// Whether the latest request head on this connection has reached a handler (HTTP/1 only).
    is_handled: AtomicBool,
    /// Whether the latest request head on this connection has both `Content-Length` and `Transfer-Encoding` (HTTP/1
    /// only).
    is_ambiguous: AtomicBool,
    /// Whether the server has bytes of a response that it cannot send because the client does not read them.
    unsent_bytes: AtomicBool,
    /// Whether the client may still be sending bytes that the server will not read.
    unread_bytes: AtomicBool,
    /// Cancelling this token closes the connection.
    closing: CancellationToken,
}

impl Peer {
    /// Creates the state of a new connection. Cancelling `closing` closes the connection.
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

    /// Returns the token that closes the connection when it is cancelled.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Returns whether a request is running, or the connection is being closed by [`Peer::evict`].
    pub(crate) fn has_running_request(&self) -> bool {
        self.running.load(Relaxed) != 0
    }

    /// Returns whether any request has begun on this connection.
    pub(crate) fn has_begun_request(&self) -> bool {
        self.has_begun_request.load(Relaxed)
    }

    /// Records that a response begins at `moment`.
    pub(crate) fn record_answer(&self, moment: Instant) {
        let nanos = moment.saturating_duration_since(self.accepted).as_nanos();
        self.answered.store(u64::try_from(nanos).unwrap_or(u64::MAX).max(1), Relaxed);
    }

    /// Records that the client may still be sending bytes that the server will not read.
    pub(crate) fn expect_unread_bytes(&self) {
        self.unread_bytes.store(true, Relaxed);
    }

    /// Returns whether the client may still be sending bytes that the server will not read.
    pub(crate) fn has_unread_bytes(&self) -> bool {
        self.unread_bytes.load(Relaxed)
    }

    /// Records whether the server has bytes of a response that it cannot send because the client does not read them.
    pub(crate) fn set_unsent(&self, unsent: bool) {
        self.unsent_bytes.store(unsent, Relaxed);
    }

    /// Records that the head of the next request begins, and clears what was recorded about the previous head.
    pub(crate) fn begin_head(&self) {
        self.is_handled.store(false, Relaxed);
        self.is_ambiguous.store(false, Relaxed);
    }

    /// Returns whether the latest request head on this connection has reached a handler.
    pub(crate) fn is_handled(&self) -> bool {
        self.is_handled.load(Relaxed)
    }

    /// Records that the request head that is being read has both `Content-Length` and `Transfer-Encoding`.
    pub(crate) fn set_ambiguous(&self) {
        self.is_ambiguous.store(true, Relaxed);
    }

    /// Returns whether the latest request head on this connection has both `Content-Length` and `Transfer-Encoding`.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous.load(Relaxed)
    }

    /// Returns the time since which the connection has been idle. Returns `None` while a request is running, while the
    /// client does not read the bytes of a response, and for [`BUSY_AFTER_ANSWER`] after a response began.
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

    /// Closes the connection if it has no running request. Returns whether this call has closed it.
    pub(crate) fn evict(&self) -> bool {
        let evicted = self.running.compare_exchange(0, EVICTED, Relaxed, Relaxed).is_ok();
        if evicted {
            self.closing.cancel();
        }
        evicted
    }
}

/// Drop guard: a request that counts as running on its connection, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct RunningRequest {
    pub(crate) peer: Arc<Peer>,
}

impl RunningRequest {
    /// Counts a request as running on its connection. Returns `Err` if the connection is being closed; the caller must
    /// then refuse the request.
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
    fn a_connection_is_idle_some_time_after_its_last_response() {
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
