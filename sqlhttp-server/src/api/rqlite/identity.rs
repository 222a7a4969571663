//! The data about this server that rqlite's API shows. rqlite's API calls the server a node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

/// The maximum number of copies of databases that may exist at the same time. Each copy occupies as much disk space as
/// its database.
const COPIES_MAX: usize = 8;

/// The data about this server that rqlite's API shows.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    /// The wall-clock time at which the server started.
    pub(crate) started_at: SystemTime,
    /// The time at which the server started, on the monotonic clock.
    pub(crate) started: Instant,
    /// Whether clients connect to the server over HTTPS.
    pub(crate) is_https: bool,
    /// The semaphore that limits the copies of databases. Each existing copy holds one permit.
    pub(crate) copy_permits: Arc<Semaphore>,
    /// The address of this server that the API shows, as `host:port`.
    advertised: OnceLock<Advertised>,
    /// The address on which the server listens.
    bound: OnceLock<SocketAddr>,
    /// The time at which the last backup that was sent to a client began; `None` if none was sent.
    last_backup: Mutex<Option<SystemTime>>,
    /// The last sequence number that was assigned to a queued write.
    last_queued: AtomicI64,
    /// The highest sequence number of an executed queued write; 0 if none was executed.
    last_executed: AtomicI64,
}

/// The address of a server that its API shows.
#[derive(Debug)]
struct Advertised {
    /// The address, as `host:port`.
    address: String,
    /// The address as a header value; `None` if it cannot be one.
    header: Option<HeaderValue>,
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

    /// Sets the address on which the server listens. If no advertised address is set, this address is also advertised.
    /// Later calls have no effect.
    pub(crate) fn set_listener(&self, address: SocketAddr) {
        self.bound.get_or_init(|| address);
        let port = address.port();
        let shown = if address.ip().is_unspecified() { format!("{}:{port}", hostname()) } else { address.to_string() };
        self.set_advertised_address(shown);
    }

    /// Sets the address of this server that the API shows, as `host:port`. Has no effect if an address is already set.
    pub(crate) fn set_advertised_address(&self, address: String) {
        self.advertised.get_or_init(|| Advertised { header: HeaderValue::from_str(&address).ok(), address });
    }

    /// Returns the address of this server that the API shows, as `host:port`; empty if none is set.
    pub(crate) fn address(&self) -> &str {
        self.advertised.get().map_or("", |advertised| &advertised.address)
    }

    /// Returns the address on which the server listens; `None` if it does not listen yet.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound.get().copied()
    }

    /// Records that a backup begins now.
    pub(crate) fn record_backup(&self) {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }

    /// Returns the time at which the last backup that was sent to a client began; `None` if none was sent.
    pub(crate) fn last_backup(&self) -> Option<SystemTime> {
        *self.last_backup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address of this server that the API shows, as a header value; `None` if it cannot be one.
    pub(crate) fn served_by(&self) -> Option<HeaderValue> {
        self.advertised.get()?.header.clone()
    }

    /// Returns the sequence number for the next queued write. The numbers increase even across restarts, because they
    /// begin with the start time of the server in nanoseconds.
    pub(crate) fn next_queue_number(&self) -> i64 {
        self.last_queued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that the queued write with this sequence number was executed.
    pub(crate) fn record_executed(&self, number: i64) {
        self.last_executed.fetch_max(number, Ordering::Relaxed);
    }

    /// Returns the highest sequence number of an executed queued write; 0 if none was executed.
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
