//! The facts that rqlite's API shows about this server, which it calls a node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

/// The greatest number of copies of databases that exist at once, because each occupies as much disk space as its
/// database.
const COPIES_MAX: usize = 8;

/// The facts that rqlite's API shows about this server.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    /// The wall-clock time of the start.
    pub(crate) started_at: SystemTime,
    /// The time of the start on the monotonic clock.
    pub(crate) started: Instant,
    /// Whether clients reach the server by HTTPS.
    pub(crate) is_https: bool,
    /// One permit for each copy of a database that may exist.
    pub(crate) copy_permits: Arc<Semaphore>,
    /// The address that the API shows, as `host:port`.
    advertised: OnceLock<String>,
    /// The address of the listener.
    bound: OnceLock<SocketAddr>,
    /// The start of the last backup that was sent.
    last_backup: Mutex<Option<SystemTime>>,
    /// The last number that was assigned to a queued write.
    last_queued: AtomicI64,
    /// The highest number of an executed queued write; 0 if there is none.
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

    /// Sets the address of the listener, which is also the advertised address if none is set. Later calls have no
    /// effect.
    pub(crate) fn set_listener(&self, address: SocketAddr) {
        self.bound.get_or_init(|| address);
        let port = address.port();
        let shown = if address.ip().is_unspecified() { format!("{}:{port}", hostname()) } else { address.to_string() };
        self.advertised.get_or_init(|| shown);
    }

    /// Sets the address that the API shows, `host:port`. Has no effect if an address is set already.
    pub(crate) fn set_advertised_address(&self, address: String) {
        self.advertised.get_or_init(|| address);
    }

    /// Returns the address that the API shows, as `host:port`; empty if none is set.
    pub(crate) fn address(&self) -> &str {
        self.advertised.get().map_or("", String::as_str)
    }

    /// Returns the address of the listener, if the server listens.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound.get().copied()
    }

    /// Records the start of a backup.
    pub(crate) fn record_backup(&self) {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }

    /// Returns the start of the last backup that was sent.
    pub(crate) fn last_backup(&self) -> Option<SystemTime> {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address that the API shows as a header value, if it is one.
    pub(crate) fn served_by(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.address()).ok()
    }

    /// Returns the next number of a queued write. The numbers grow, also across restarts: they begin with the time of
    /// the start in nanoseconds.
    pub(crate) fn next_queue_number(&self) -> i64 {
        self.last_queued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that the queued write with this number was executed.
    pub(crate) fn record_executed(&self, number: i64) {
        self.last_executed.fetch_max(number, Ordering::Relaxed);
    }

    /// Returns the highest number of an executed queued write; 0 if there is none.
    pub(crate) fn last_executed(&self) -> i64 {
        self.last_executed.load(Ordering::Relaxed)
    }
}

/// Returns the host name of this machine; `localhost` if it has none.
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
