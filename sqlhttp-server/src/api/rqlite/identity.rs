//! What this server is as rqlite sees it: a identity.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

/// How many copies of databases are made or sent at once, in all: each takes the room of its database.
const COPIES_MAX: usize = 8;

/// What rqlite knows of a identity.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    /// When it was started.
    pub(crate) started_at: SystemTime,
    pub(crate) started: Instant,
    /// Whether it speaks HTTPS.
    pub(crate) is_https: bool,
    /// Places for copies of databases.
    pub(crate) copy_permits: Arc<Semaphore>,
    advertised: OnceLock<String>,
    /// Where it listens.
    bound: OnceLock<SocketAddr>,
    /// When a backup was begun to be sent last.
    last_backup: Mutex<Option<SystemTime>>,
    /// The number that was given to a queued write last.
    last_queued: AtomicI64,
    /// The highest number of a queued write that was executed; 0 if none was.
    last_executed: AtomicI64,
}

impl ServerIdentity {
    pub(crate) fn new(is_https: bool) -> Self {
        let started_at = SystemTime::now();
        let nanoseconds = started_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        ServerIdentity {
            started_at,
            started: Instant::now(),
            is_https,
            copy_permits: Arc::new(Semaphore::new(COPIES_MAX)),
            advertised: OnceLock::new(),
            bound: OnceLock::new(),
            last_backup: Mutex::default(),
            last_queued: AtomicI64::new(i64::try_from(nanoseconds).unwrap_or(0)),
            last_executed: AtomicI64::new(0),
        }
    }

    /// Tells where clients reach it. Only the first address counts.
    pub(crate) fn set_listener(&self, address: SocketAddr) {
        self.bound.get_or_init(|| address);
        let port = address.port();
        let shown = if address.ip().is_unspecified() { format!("{}:{port}", hostname()) } else { address.to_string() };
        self.advertised.get_or_init(|| shown);
    }

    /// Tells where clients reach it, as its operator says.
    pub(crate) fn set_advertised_address(&self, address: String) {
        self.advertised.get_or_init(|| address);
    }

    /// Where clients reach it, as `host:port`; empty if it does not listen.
    pub(crate) fn address(&self) -> &str {
        self.advertised.get().map_or("", String::as_str)
    }

    /// Where it listens, if it does.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound.get().copied()
    }

    /// A backup is about to be sent.
    pub(crate) fn record_backup(&self) {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }

    /// When a backup was begun to be sent last.
    pub(crate) fn last_backup(&self) -> Option<SystemTime> {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as the value of a header.
    pub(crate) fn served_by(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.address()).ok()
    }

    /// The next number of a queued write; they only grow, also from one start to the next.
    pub(crate) fn next_queue_number(&self) -> i64 {
        self.last_queued.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn record_executed(&self, number: i64) {
        self.last_executed.fetch_max(number, Ordering::Relaxed);
    }

    pub(crate) fn last_executed(&self) -> i64 {
        self.last_executed.load(Ordering::Relaxed)
    }
}

/// The name of this machine; `localhost` if the system has none.
pub(crate) fn hostname() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_queued_writes_grow() {
        let identity = ServerIdentity::new(false);
        let first = identity.next_queue_number();
        assert!(first > 1_700_000_000_000_000_000);
        assert_eq!(identity.next_queue_number(), first + 1);
        assert_eq!(identity.last_executed(), 0);
        identity.record_executed(first + 1);
        identity.record_executed(first);
        assert_eq!(identity.last_executed(), first + 1);
    }

    #[test]
    fn addresses() {
        let on = |address: &str| {
            let identity = ServerIdentity::new(false);
            identity.set_listener(address.parse().unwrap());
            identity.address().to_owned()
        };
        assert_eq!(on("127.0.0.1:4001"), "127.0.0.1:4001");
        assert_eq!(on("[::1]:4001"), "[::1]:4001");
        assert_eq!(on("0.0.0.0:4001"), format!("{}:4001", hostname()));
        assert_eq!(ServerIdentity::new(false).address(), "");
    }
}
