//! The delay of failed logins, for each pair of user and address by itself.
//!
//! A failed login is answered [`DELAY`] after the one before it of the same user from the same address, so that guessing
//! has a top speed however many connections it uses. While many are waiting, passwords of that user from that address are
//! not checked at all: a client that does not wait for its answers is not faster. Other users, other addresses and right
//! passwords never wait, and waiting holds nothing but the connection.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a refusal waits, and how long after the one before it is sent.
const DELAY: Duration = Duration::from_secs(1);

/// How far ahead the refusals of one user from one address may lie. With more, no password is checked.
const BACKLOG_MAX: Duration = Duration::from_secs(30);

/// How many pairs of user and address are known at once. Failures of further ones are refused without a delay, as overload.
const LOGINS_MAX: usize = 16 << 10;

/// The bits of an IPv6 address that name a network: its owner has all addresses in it.
const IPV6_NETWORK: u128 = !0 << 64;

/// A user and the address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoginKey(u64);

/// When the next refusal may be sent, for each user and address that failed lately.
#[derive(Debug, Default)]
pub(crate) struct LoginDelays {
    hasher: RandomState,
    last_refusals: Mutex<HashMap<u64, Instant>>,
    /// Whether the map may have entries. Logins look at this first.
    has_failures: AtomicBool,
}

/// So many refusals are waiting already that this login is not decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyFailures;

impl LoginDelays {
    /// The key of a user at an address.
    pub(crate) fn key(&self, user: &str, address: IpAddr) -> LoginKey {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
            address => address,
        };
        LoginKey(self.hasher.hash_one((user, network)))
    }

    /// Whether a password may be checked now.
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

    /// Waits until a failure may be answered. The time counts even if the future is dropped.
    pub(crate) async fn wait(&self, key: LoginKey) -> Result<(), TooManyFailures> {
        let moment = self.reserve(key, Instant::now())?;
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }

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
    fn failures_queue_for_each_user_and_address() {
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
    fn a_network_of_ipv6_is_one_address() {
        let delays = LoginDelays::default();
        let key = |text| delays.key("bob", address(text));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
