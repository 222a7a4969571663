//! Checks passwords. Checking a password hash is slow by design. Therefore hashes are checked on the blocking pool, a
//! few at a time, and valid credentials are cached.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::password::Secret;
use crate::http::basic_auth::BasicCredentials;

/// The maximum number of password hashes that are checked at the same time.
const RUNNING_MAX: usize = 4;

/// The maximum number of pending checks of password hashes, running and waiting ones. Further checks are refused with
/// [`Saturated`].
const PENDING_MAX: usize = 256;

/// The maximum number of cached credentials. When the cache is full, all credentials are removed from it.
const CACHED_MAX: usize = 4096;

/// The key of credentials in the cache: the SHA-256 of a random key of this process, the password hash, the username
/// and the password.
type CacheKey = [u8; 32];

/// Checks passwords, and caches valid credentials.
pub(crate) struct PasswordChecker {
    pending: Semaphore,
    running: Arc<Semaphore>,
    key: [u8; 32],
    cached: Mutex<HashSet<CacheKey>>,
}

/// The error that a password was not checked because too many checks are pending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saturated;

impl PasswordChecker {
    /// Creates a checker with an empty cache. Fails if the system provides no random bytes.
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

    /// Returns whether the password of `credentials` is the expected one, `secret`.
    pub(crate) async fn check(&self, secret: &Arc<Secret>, credentials: &BasicCredentials) -> Result<bool, Saturated> {
        let Some(hash) = secret.hash() else { return Ok(secret.matches(&credentials.password)) };
        let cache_key = self.cache_key(hash, credentials);
        if self.is_cached(&cache_key) {
            return Ok(true);
        }
        let _pending = self.pending.try_acquire().map_err(|_| Saturated)?;
        // Acquiring a permit fails only if the semaphore is closed, which never happens.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Saturated)?;
        // Another request with the same credentials may have been checked in the meantime.
        if self.is_cached(&cache_key) {
            return Ok(true);
        }
        let (secret, password) = (Arc::clone(secret), credentials.password.clone());
        let check = tokio::task::spawn_blocking(move || {
            // The permit is held until the check ends, even if the request is cancelled.
            let _running = running;
            secret.matches(&password)
        });
        let right = check.await.unwrap_or(false);
        if right {
            self.cache(cache_key);
        }
        Ok(right)
    }

    /// Like [`PasswordChecker::check`], but checks a password hash on this thread.
    pub(crate) fn check_blocking(&self, secret: &Secret, credentials: &BasicCredentials) -> bool {
        let Some(hash) = secret.hash() else { return secret.matches(&credentials.password) };
        let cache_key = self.cache_key(hash, credentials);
        if self.is_cached(&cache_key) {
            return true;
        }
        let right = secret.matches(&credentials.password);
        if right {
            self.cache(cache_key);
        }
        right
    }

    fn cache_key(&self, hash: &str, credentials: &BasicCredentials) -> CacheKey {
        let mut digest = Sha256::new();
        digest.update(self.key);
        for part in [hash, &credentials.username, &credentials.password] {
            // The lengths are hashed too, so that different parts never result in the same bytes.
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

    /// Returns the number of cached credentials.
    #[cfg(test)]
    pub(crate) fn cached_len(&self) -> usize {
        self.keys().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_logins_does_not_affect_cached_credentials() {
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
    fn the_cache_is_bounded() {
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
