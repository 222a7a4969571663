//! The places for connections. When all are taken, the connection that has been idle for longest gives its place to a new
//! one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::peer::Peer;

/// How many idle connections one search remembers, so that a flood of connections does not cause a search each.
const CANDIDATES_MAX: usize = 64;

/// How long no search is made after one that has found nothing.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);

/// The places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    connections: HashMap<u64, Connection>,
    /// Ids of idle connections that the last search found, with the time since when; the oldest are last.
    candidates: Vec<(Instant, u64)>,
    /// The end of a search that has found nothing.
    nothing_found: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    peer: Arc<Peer>,
    permit: OwnedSemaphorePermit,
}

/// A connection's place. Dropping it frees the place, unless that has been given to another connection.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(crate) peer: Arc<Peer>,
}

impl Places {
    /// This many places.
    pub(crate) fn new(max: usize) -> Arc<Places> {
        let free = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Places { free, open: Mutex::default() })
    }

    /// Takes a place for a connection that ends when `closing` is cancelled. `None` if a request runs on each connection.
    pub(crate) fn take(self: &Arc<Self>, address: SocketAddr, closing: CancellationToken) -> Option<Place> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.evict_one()?,
        };
        let peer = Peer::new(address, closing);
        let mut open = self.open();
        let id = open.next_id;
        open.next_id += 1;
        open.connections.insert(id, Connection { peer: Arc::clone(&peer), permit });
        Some(Place { places: Arc::clone(self), id, peer })
    }

    /// Closes the connection that has been idle for longest, and takes its place.
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

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the oldest candidate that is still idle.
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

    fn search(&mut self, now: Instant) {
        let idle = self.connections.iter();
        let mut idle: Vec<_> = idle.filter_map(|(id, one)| Some((one.peer.idle_since(now)?, *id))).collect();
        if idle.len() > CANDIDATES_MAX {
            idle.select_nth_unstable(CANDIDATES_MAX - 1);
            idle.truncate(CANDIDATES_MAX);
        }
        idle.sort_unstable_by(|a, b| b.cmp(a));
        self.candidates = idle;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open().connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::Running;
    use super::*;

    fn take(places: &Arc<Places>) -> Option<Place> {
        places.take(SocketAddr::from(([127, 0, 0, 1], 1)), CancellationToken::new())
    }

    #[test]
    fn the_oldest_idle_connection_gives_way() {
        let places = Places::new(3);
        let open: Vec<Place> = (0..3).map(|_| take(&places).unwrap()).collect();
        let busy = Running::begin(Arc::clone(&open[0].peer)).unwrap();
        let _fourth = take(&places).unwrap();
        let closed = |place: &Place| place.peer.closing().is_cancelled();
        assert_eq!(open.iter().map(closed).collect::<Vec<_>>(), [false, true, false]);
        // The place has been given away: its former owner does not free it.
        drop(open);
        drop(busy);
        assert_eq!(places.free.available_permits(), 2);
    }

    #[test]
    fn there_is_no_room_while_requests_run() {
        let places = Places::new(1);
        let place = take(&places).unwrap();
        let running = Running::begin(Arc::clone(&place.peer)).unwrap();
        assert!(take(&places).is_none());
        drop((running, place));
        assert!(take(&places).is_some());
    }

    #[test]
    fn one_search_serves_many() {
        let places = Places::new(200);
        let old: Vec<Place> = (0..200).map(|_| take(&places).unwrap()).collect();
        let new: Vec<Place> = (0..150).map(|_| take(&places).unwrap()).collect();
        let closed = |place: &&Place| place.peer.closing().is_cancelled();
        assert_eq!((old.iter().filter(closed).count(), new.iter().filter(closed).count()), (150, 0));
        assert!(old[..150].iter().all(|place| closed(&place)), "in the order of their age");
    }
}
