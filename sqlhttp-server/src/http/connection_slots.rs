//! The connection slots, which limit the number of open connections. If all slots are in use, a new connection takes
//! the slot of the connection that has been idle for longest, and that connection is closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::peer::Peer;

/// The maximum number of idle connections that one search collects as candidates for closing. If many new connections
/// arrive, one search finds slots for up to this many of them.
const CANDIDATES_MAX: usize = 64;

/// After a search for idle connections has found none, the time during which no other search is made.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);

/// The slots of all connections of a server.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    free: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next_id: u64,
    connections: HashMap<u64, Connection>,
    /// The idle connections that the last search has found, which may be closed to free their slots. Each has the time
    /// since which it is idle, and its id. The one that has been idle for longest is last.
    candidates: Vec<(Instant, u64)>,
    /// The time of the last search for idle connections if that search has found none; otherwise `None`.
    nothing_found: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    peer: Arc<Peer>,
    permit: OwnedSemaphorePermit,
}

/// Drop guard: the slot of one connection. Dropping the guard frees the slot, unless another connection has taken the
/// slot over.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    pub(crate) peer: Arc<Peer>,
}

impl ConnectionSlots {
    /// Creates `max` free slots.
    pub(crate) fn new(max: usize) -> Arc<ConnectionSlots> {
        let free = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Arc::new(ConnectionSlots { free, open: Mutex::default() })
    }

    /// Takes a slot for a new connection. If no slot is free, closes the connection that has been idle for longest and
    /// takes its slot. Returns `None` if no slot is free and no connection is idle. Cancelling `closing` closes the new
    /// connection.
    pub(crate) fn take(self: &Arc<Self>, address: SocketAddr, closing: CancellationToken) -> Option<ConnectionSlot> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.evict_one()?,
        };
        let peer = Peer::new(address, closing);
        let mut open = self.open();
        let id = open.next_id;
        open.next_id += 1;
        open.connections.insert(id, Connection { peer: Arc::clone(&peer), permit });
        Some(ConnectionSlot { slots: Arc::clone(self), id, peer })
    }

    /// Closes the connection that has been idle for longest and returns the semaphore permit of its slot. Returns
    /// `None` if no connection is idle.
    pub(crate) fn evict_one(&self) -> Option<OwnedSemaphorePermit> {
        let now = Instant::now();
        let mut open = self.open();
        if let Some(permit) = open.evict_candidate(now) {
            return Some(permit);
        }
        if open.nothing_found.is_some_and(|end| now.saturating_duration_since(end) < SEARCH_PAUSE) {
            return None;
        }
        open.search(now);
        let permit = open.evict_candidate(now);
        open.nothing_found = permit.is_none().then_some(now);
        permit
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    /// Of the candidates that are still idle, closes the one that has been idle for longest and returns the permit of
    /// its slot.
    fn evict_candidate(&mut self, now: Instant) -> Option<OwnedSemaphorePermit> {
        while let Some((since, id)) = self.candidates.pop() {
            let idle = self
                .connections
                .get(&id)
                .is_some_and(|connection| connection.peer.idle_since(now) == Some(since) && connection.peer.evict());
            if idle {
                return self.connections.remove(&id).map(|connection| connection.permit);
            }
        }
        None
    }

    /// Searches all connections and stores those that have been idle for longest in `candidates`.
    fn search(&mut self, now: Instant) {
        let idle = self.connections.iter();
        let mut idle: Vec<_> =
            idle.filter_map(|(id, connection)| Some((connection.peer.idle_since(now)?, *id))).collect();
        if idle.len() > CANDIDATES_MAX {
            idle.select_nth_unstable(CANDIDATES_MAX - 1);
            idle.truncate(CANDIDATES_MAX);
        }
        idle.sort_unstable_by(|a, b| b.cmp(a));
        self.candidates = idle;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.open().connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::RunningRequest;
    use super::*;

    fn take(slots: &Arc<ConnectionSlots>) -> Option<ConnectionSlot> {
        slots.take(SocketAddr::from(([127, 0, 0, 1], 1)), CancellationToken::new())
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_is_closed() {
        let slots = ConnectionSlots::new(3);
        let open: Vec<ConnectionSlot> = (0..3).map(|_| take(&slots).unwrap()).collect();
        let busy = RunningRequest::begin(Arc::clone(&open[0].peer)).unwrap();
        let _fourth = take(&slots).unwrap();
        let closed = |slot: &ConnectionSlot| slot.peer.closing().is_cancelled();
        assert_eq!(open.iter().map(closed).collect::<Vec<_>>(), [false, true, false]);
        // Another connection has taken over the slot of `open[1]`, so dropping `open[1]` does not free it.
        drop(open);
        drop(busy);
        assert_eq!(slots.free.available_permits(), 2);
    }

    #[test]
    fn connections_with_running_requests_keep_their_slots() {
        let slots = ConnectionSlots::new(1);
        let slot = take(&slots).unwrap();
        let running = RunningRequest::begin(Arc::clone(&slot.peer)).unwrap();
        assert!(take(&slots).is_none());
        drop((running, slot));
        assert!(take(&slots).is_some());
    }

    #[test]
    fn connections_are_closed_in_the_order_of_their_age() {
        let slots = ConnectionSlots::new(200);
        let old: Vec<ConnectionSlot> = (0..200).map(|_| take(&slots).unwrap()).collect();
        let new: Vec<ConnectionSlot> = (0..150).map(|_| take(&slots).unwrap()).collect();
        let closed = |slot: &&ConnectionSlot| slot.peer.closing().is_cancelled();
        assert_eq!((old.iter().filter(closed).count(), new.iter().filter(closed).count()), (150, 0));
        assert!(old[..150].iter().all(|slot| closed(&slot)), "in the order of their age");
    }
}
