//! The locks of one file, and the memory that its connections share.
//!
//! Both follow what SQLite demands of a VFS (<https://sqlite.org/c3ref/io_methods.html>). Nothing waits here: SQLite does.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rusqlite::ffi;

/// Names a handle among all handles of a disk.
pub(super) type HandleId = u64;

/// SHARED, RESERVED, PENDING, EXCLUSIVE, as every file has them.
#[derive(Debug, Default)]
pub(super) struct FileLocks {
    held: HashMap<HandleId, c_int>,
}

impl FileLocks {
    fn highest_of_others(&self, me: HandleId) -> c_int {
        let others = self.held.iter().filter(|(id, _)| **id != me);
        others.map(|(_, level)| *level).max().unwrap_or(ffi::SQLITE_LOCK_NONE)
    }

    /// Takes a lock, or a higher one. Returns whether that was possible.
    pub(super) fn lock(&mut self, me: HandleId, level: c_int) -> bool {
        let mine = self.held.get(&me).copied().unwrap_or(ffi::SQLITE_LOCK_NONE);
        if mine >= level {
            return true;
        }
        let others = self.highest_of_others(me);
        let granted = match level {
            ffi::SQLITE_LOCK_SHARED => others < LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED => others < ffi::SQLITE_LOCK_RESERVED,
            _ if others >= ffi::SQLITE_LOCK_RESERVED => false,
            // Readers may finish, but no new ones come.
            _ => {
                self.held.insert(me, LOCK_PENDING);
                others == ffi::SQLITE_LOCK_NONE
            }
        };
        if granted {
            self.held.insert(me, level);
        }
        granted
    }

    /// Goes down to this level.
    pub(super) fn unlock(&mut self, me: HandleId, level: c_int) {
        if level == ffi::SQLITE_LOCK_NONE {
            self.held.remove(&me);
        } else if let Some(mine) = self.held.get_mut(&me) {
            *mine = level.min(*mine);
        }
    }

    /// Whether anybody is about to write.
    pub(super) fn reserved(&self) -> bool {
        self.held.values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }
}

const LOCK_PENDING: c_int = ffi::SQLITE_LOCK_PENDING;

/// One piece of shared memory. It is reached through raw pointers only, hence atomics: memory that many may change.
pub(super) type Region = Arc<[AtomicU64]>;

/// The memory that the connections to a file share in WAL mode, and its locks.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    regions: Vec<Region>,
    users: HashMap<HandleId, Held>,
}

/// The locks that one handle holds, a bit for each.
#[derive(Debug, Default)]
struct Held {
    shared: u32,
    exclusive: u32,
}

impl SharedMemory {
    /// The region of that number, if there is one or `extend` allows to make it. From then on the handle is a user, and
    /// the memory stays until the last user has left.
    pub(super) fn map(&mut self, me: HandleId, number: usize, bytes: usize, extend: bool) -> Option<Region> {
        self.users.entry(me).or_default();
        while extend && self.regions.len() <= number {
            let words = bytes.div_ceil(size_of::<u64>());
            self.regions.push((0..words).map(|_| AtomicU64::new(0)).collect());
        }
        self.regions.get(number).cloned()
    }

    /// Whether mapping this region would need new memory.
    pub(super) fn lacks(&self, number: usize) -> bool {
        self.regions.len() <= number
    }

    /// The handle no longer uses the memory.
    pub(super) fn leave(&mut self, me: HandleId) {
        self.users.remove(&me);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }

    pub(super) fn lock(&mut self, me: HandleId, mask: u32, exclusive: bool) -> bool {
        let conflict = self
            .users
            .iter()
            .any(|(id, held)| *id != me && (held.exclusive & mask != 0 || (exclusive && held.shared & mask != 0)));
        if conflict {
            return false;
        }
        let mine = self.users.entry(me).or_default();
        if exclusive {
            mine.exclusive |= mask;
        } else {
            mine.shared |= mask;
        }
        true
    }

    pub(super) fn unlock(&mut self, me: HandleId, mask: u32) {
        if let Some(mine) = self.users.get_mut(&me) {
            mine.shared &= !mask;
            mine.exclusive &= !mask;
        }
    }
}
