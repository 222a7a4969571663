//! Checks passwords. Hashes are meant to be slow, so they are checked on threads of their own, a few at a time, and a
//! password that was right is known again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::password::Secret;
use crate::http::basic_auth::BasicCredentials;

/// How many hashes are checked at once, at most.
const RUNNING_MAX: usize = 4;

/// How many checks may be under way, the waiting ones included. More are refused.
const PENDING_MAX: usize = 256;

/// How many right passwords are remembered. When there are more, all are forgotten.
const CACHED_MAX: usize = 4096;

/// What a right password is remembered by: the keyed SHA-256 of username, password and hash.
type CacheKey = [u8; 32];

/// Checks passwords.
pub(crate) struct PasswordChecker {
    pending: Semaphore,
    running: Arc<Semaphore>,
    key: [u8; 32],
    cached: Mutex<HashSet<CacheKey>>,
}

/// So many checks are under way that no more begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saturated;

impl PasswordChecker {
    /// One that remembers nothing yet. Fails if the system has no random bytes.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let processors = available_parallelism().map_or(1, usize::from);
        Ok(PasswordChecker {
            pending: Semaphore::new(PENDING_MAX),
            running: Arc::new(Semaphore::new(processors.min(RUNNING_MAX))),
            key,
            cached: Mutex::new(HashSet::new()),
        })
    }

    /// Whether the password is right.
    pub(crate) async fn check(&self, secret: &Arc<Secret>, credentials: &BasicCredentials) -> Result<bool, Saturated> {
        let Some(hash) = secret.hash() else { return Ok(secret.matches(&credentials.password)) };
        let cache_key = self.cache_key(hash, credentials);
        if self.is_cached(&cache_key) {
            return Ok(true);
        }
        let _pending = self.pending.try_acquire().map_err(|_| Saturated)?;
        // The semaphore is never closed.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Saturated)?;
        // Another request of the same client may have been quicker.
        if self.is_cached(&cache_key) {
            return Ok(true);
        }
        let (secret, password) = (Arc::clone(secret), credentials.password.clone());
        let check = tokio::task::spawn_blocking(move || {
            // Held to the end of the check, even if nobody waits for it any more.
            let _running = running;
            secret.matches(&password)
        });
        let right = check.await.unwrap_or(false);
        if right {
            self.cache(cache_key);
        }
        Ok(right)
    }

    fn cache_key(&self, hash: &str, credentials: &BasicCredentials) -> CacheKey {
        let mut digest = Sha256::new();
        digest.update(self.key);
        for part in [hash, &credentials.username, &credentials.password] {
            // With their lengths: nothing may move from one to the next.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        digest.finalize().into()
    }

    fn is_cached(&self, cache_key: &CacheKey) -> bool {
        self.keys().contains(cache_key)
    }

    fn cache(&self, cache_key: CacheKey) {
        let mut keys = self.keys();
        if keys.len() >= CACHED_MAX {
            keys.clear();
        }
        keys.insert(cache_key);
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<CacheKey>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many right passwords are remembered.
    #[cfg(test)]
    pub(crate) fn cached_len(&self) -> usize {
        self.keys().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_logins_is_refused_but_not_those_who_are_known() {
        let checker = PasswordChecker::new().unwrap();
        let secret = Arc::new(Secret::parse(bcrypt::hash("secret", 4).unwrap()).unwrap());
        let login = |username: &str| BasicCredentials { username: username.into(), password: "secret".into() };
        assert_eq!(checker.check(&secret, &login("known")).await, Ok(true));
        let flood = checker.pending.try_acquire_many(PENDING_MAX as u32).unwrap();
        assert_eq!(checker.check(&secret, &login("known")).await, Ok(true));
        assert_eq!(checker.check(&secret, &login("new")).await, Err(Saturated));
        drop(flood);
        assert_eq!(checker.check(&secret, &login("new")).await, Ok(true));
    }

    #[test]
    fn the_memory_is_bounded() {
        let checker = PasswordChecker::new().unwrap();
        for n in 0..=CACHED_MAX {
            let mut cache_key = [0; 32];
            cache_key[..8].copy_from_slice(&n.to_le_bytes());
            checker.cache(cache_key);
            assert!(checker.is_cached(&cache_key));
        }
        assert_eq!(checker.cached_len(), 1);
    }
}
