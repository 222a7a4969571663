//! The delay of the responses to failed logins. It is separate for each pair of a user and a client address.
//!
//! The responses to the failed logins of one user from one address are sent at intervals of [`DELAY`]. This limits the
//! rate of guessing passwords, even if a client uses many connections. If the next response would have to be sent more
//! than [`BACKLOG_MAX`] from now, logins of that user from that address are refused without a check. So a client that
//! does not wait for responses is not faster. Other users, other addresses and valid logins are not delayed. A login
//! that waits for its response occupies only its connection.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The minimum time between a failed login and its response, and between two such responses to the same user and
/// address.
const DELAY: Duration = Duration::from_secs(1);

/// The maximum delay of the response to a failed login. If the delay would be longer, logins are refused without a
/// check.
const BACKLOG_MAX: Duration = Duration::from_secs(30);

/// The maximum number of pairs of a user and an address for which responses are scheduled. Failed logins of further
/// pairs are refused immediately, with the same response as too many failed logins.
const LOGINS_MAX: usize = 16 << 10;

/// The mask of the /64 network in an IPv6 address. All addresses of such a network usually belong to one owner.
const IPV6_NETWORK: u128 = !0 << 64;

/// A pair of a user and a client address, hashed with a random key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoginKey(u64);

/// The times at which the responses to failed logins may be sent.
#[derive(Debug, Default)]
pub(crate) struct LoginDelays {
    hasher: RandomState,
    /// For each key, the time of the last scheduled response.
    last_refusals: Mutex<HashMap<u64, Instant>>,
    /// Whether `last_refusals` may have entries. A login checks this flag first, to avoid the lock of `last_refusals`.
    has_failures: AtomicBool,
}

/// The error that too many responses to failed logins are already scheduled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyFailures;

impl LoginDelays {
    /// Returns the key of a user at an address. All IPv6 addresses of a /64 network share a key.
    pub(crate) fn key(&self, user: &str, address: IpAddr) -> LoginKey {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
            address => address,
        };
        LoginKey(self.hasher.hash_one((user, network)))
    }

    /// Returns an error if logins with this key are currently refused without a check.
    pub(crate) fn check(&self, key: LoginKey) -> Result<(), TooManyFailures> {
        if !self.has_failures.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = Instant::now();
        let mut last_refusals = self.lock();
        match last_refusals.get(&key.0) {
            Some(last) if *last + DELAY > now + BACKLOG_MAX => return Err(TooManyFailures),
            Some(last) if *last <= now => drop(last_refusals.remove(&key.0)),
            _ => {}
        }
        self.has_failures.store(!last_refusals.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the response to a failed login may be sent. Fails if too many responses are scheduled already.
    /// Dropping the future does not free the scheduled time.
    pub(crate) async fn wait(&self, key: LoginKey) -> Result<(), TooManyFailures> {
        let moment = self.reserve(key, Instant::now())?;
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }

    /// Schedules the response to a login that has failed at `now`. Returns the time at which it may be sent. Fails if
    /// too many responses are scheduled already.
    fn reserve(&self, key: LoginKey, now: Instant) -> Result<Instant, TooManyFailures> {
        let mut last_refusals = self.lock();
        if last_refusals.len() >= LOGINS_MAX && !last_refusals.contains_key(&key.0) {
            last_refusals.retain(|_, last| *last > now);
            if last_refusals.len() >= LOGINS_MAX {
                return Err(TooManyFailures);
            }
        }
        let last = last_refusals.entry(key.0).or_insert(now);
        let moment = (*last).max(now) + DELAY;
        if moment > now + BACKLOG_MAX {
            return Err(TooManyFailures);
        }
        *last = moment;
        self.has_failures.store(true, Ordering::Relaxed);
        Ok(moment)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.last_refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn responses_are_scheduled_for_each_user_and_address() {
        let (delays, now) = (LoginDelays::default(), Instant::now());
        let bob = delays.key("bob", address("10.0.0.1"));
        let others = [delays.key("ann", address("10.0.0.1")), delays.key("bob", address("10.0.0.2"))];
        for number in 1..=30 {
            assert_eq!(delays.reserve(bob, now), Ok(now + number * DELAY));
        }
        assert_eq!(delays.reserve(bob, now), Err(TooManyFailures));
        assert_eq!(delays.check(bob), Err(TooManyFailures));
        for other in others {
            assert_eq!(delays.check(other), Ok(()));
            assert_eq!(delays.reserve(other, now), Ok(now + DELAY));
        }
        assert_eq!(delays.reserve(bob, now + DELAY), Ok(now + 31 * DELAY));
    }

    #[test]
    fn expired_entries_are_removed() {
        let (delays, now) = (LoginDelays::default(), Instant::now());
        let long_ago = now.checked_sub(2 * DELAY).unwrap();
        let key = delays.key("bob", address("::1"));
        delays.reserve(key, long_ago).unwrap();
        assert_eq!(delays.check(key), Ok(()));
        assert!(!delays.has_failures.load(Ordering::Relaxed));
        for number in 0..LOGINS_MAX as u64 {
            delays.reserve(LoginKey(number), long_ago).unwrap();
        }
        assert_eq!(delays.reserve(key, now), Ok(now + DELAY));
        assert_eq!(delays.lock().len(), 1);
    }

    #[test]
    fn addresses_of_an_ipv6_network_share_a_key() {
        let delays = LoginDelays::default();
        let key = |text| delays.key("bob", address(text));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
