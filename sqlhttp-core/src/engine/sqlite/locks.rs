//! The locks of a file and the shared memory of its connections, for VFSs that keep their files in the memory of this
//! process.
//!
//! They implement what SQLite requires of a VFS (<https://sqlite.org/c3ref/io_methods.html>). No function in this
//! module waits for a lock: it returns at once, and SQLite retries.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rusqlite::ffi;

/// Identifies an open file handle among all handles of its VFS.
pub(super) type HandleId = u64;

/// The locks on one file, and the handles that hold them: SHARED, RESERVED, PENDING and EXCLUSIVE
/// (<https://sqlite.org/lockingv3.html>).
#[derive(Debug, Default)]
pub(super) struct FileLocks {
    held: HashMap<HandleId, c_int>,
}

impl FileLocks {
    fn highest_of_others(&self, me: HandleId) -> c_int {
        let others = self.held.iter().filter(|(id, _)| **id != me);
        others.map(|(_, level)| *level).max().unwrap_or(ffi::SQLITE_LOCK_NONE)
    }

    /// Raises the lock of the handle `me` to `level`. Returns false if the locks of other handles conflict. A request
    /// for EXCLUSIVE that conflicts with readers leaves `me` with PENDING.
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
            // PENDING: the current readers may finish, but no new ones may start.
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

    /// Lowers the lock of the handle `me` to `level`.
    pub(super) fn unlock(&mut self, me: HandleId, level: c_int) {
        if level == ffi::SQLITE_LOCK_NONE {
            self.held.remove(&me);
        } else if let Some(mine) = self.held.get_mut(&me) {
            *mine = level.min(*mine);
        }
    }

    /// Returns whether any handle of the file holds RESERVED or a higher lock.
    pub(super) fn reserved(&self) -> bool {
        self.held.values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }
}

const LOCK_PENDING: c_int = ffi::SQLITE_LOCK_PENDING;

/// The number of locks of a file's shared memory.
const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// One region of shared memory. SQLite accesses it through raw pointers from several threads, so its elements are
/// atomics.
pub(super) type Region = Arc<[AtomicU64]>;

/// The memory that the connections to a file share in WAL mode (the WAL index), and its locks
/// (<https://sqlite.org/walformat.html#the_wal_index_file_format>).
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    regions: Vec<Region>,
    users: HashMap<HandleId, HeldLocks>,
    /// For each lock, the number of handles that hold it in shared mode. The numbers are stored, because every read
    /// transaction acquires and releases a lock, and counting the handles each time would take longer with more
    /// handles.
    sharers: [u32; SLOTS],
    /// The locks that are held in exclusive mode, one bit for each.
    exclusive: u32,
}

/// The locks that one handle holds, one bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct HeldLocks {
    shared: u32,
    exclusive: u32,
}

impl SharedMemory {
    /// Returns the region `number` of the shared memory. If the region does not exist, it is created if `extend` is
    /// true; otherwise returns `None`. The handle becomes a user of the shared memory, which is freed when its last
    /// user calls [`SharedMemory::leave`].
    pub(super) fn map(&mut self, me: HandleId, number: usize, bytes: usize, extend: bool) -> Option<Region> {
        self.users.entry(me).or_default();
        while extend && self.regions.len() <= number {
            let words = bytes.div_ceil(size_of::<u64>());
            self.regions.push((0..words).map(|_| AtomicU64::new(0)).collect());
        }
        self.regions.get(number).cloned()
    }

    /// Returns whether the region `number` does not exist yet, so that mapping it would allocate memory.
    #[cfg(feature = "fault-injection")]
    pub(super) fn lacks(&self, number: usize) -> bool {
        self.regions.len() <= number
    }

    /// Releases all locks of the handle `me` in the shared memory, and ends its use of the shared memory.
    pub(super) fn leave(&mut self, me: HandleId) {
        self.unlock(me, u32::MAX);
        self.users.remove(&me);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }

    /// Acquires all locks in `mask` for the handle `me`, and returns true. If one of them conflicts, acquires none and
    /// returns false.
    pub(super) fn lock(&mut self, me: HandleId, mask: u32, exclusive: bool) -> bool {
        let mut mine = self.users.get(&me).copied().unwrap_or_default();
        let taken = self.exclusive & !mine.exclusive & mask != 0;
        let shared_with = |slot: usize| self.sharers[slot] > (mine.shared >> slot & 1);
        if taken || (exclusive && slots(mask).any(shared_with)) {
            return false;
        }
        if exclusive {
            mine.exclusive |= mask;
            self.exclusive |= mask;
        } else {
            slots(mask & !mine.shared).for_each(|slot| self.sharers[slot] += 1);
            mine.shared |= mask;
        }
        self.users.insert(me, mine);
        true
    }

    /// Releases those locks in `mask` that the handle `me` holds.
    pub(super) fn unlock(&mut self, me: HandleId, mask: u32) {
        let Some(mine) = self.users.get_mut(&me) else { return };
        slots(mine.shared & mask).for_each(|slot| self.sharers[slot] -= 1);
        self.exclusive &= !(mine.exclusive & mask);
        mine.shared &= !mask;
        mine.exclusive &= !mask;
    }
}

/// Iterates over the numbers of the locks in a mask.
fn slots(mask: u32) -> impl Iterator<Item = usize> {
    (0..SLOTS).filter(move |slot| mask >> slot & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_a_file_and_a_pending_writer_excludes_new_readers() {
        let mut locks = FileLocks::default();
        assert!(locks.lock(1, ffi::SQLITE_LOCK_SHARED) && locks.lock(2, ffi::SQLITE_LOCK_SHARED));
        assert!(locks.lock(1, ffi::SQLITE_LOCK_RESERVED));
        assert!(locks.reserved());
        assert!(!locks.lock(2, ffi::SQLITE_LOCK_RESERVED), "handle 1 holds RESERVED");
        assert!(!locks.lock(1, ffi::SQLITE_LOCK_EXCLUSIVE), "handle 2 holds SHARED");
        assert!(!locks.lock(3, ffi::SQLITE_LOCK_SHARED), "handle 1 holds PENDING");
        locks.unlock(2, ffi::SQLITE_LOCK_NONE);
        assert!(locks.lock(1, ffi::SQLITE_LOCK_EXCLUSIVE));
        assert!(!locks.lock(3, ffi::SQLITE_LOCK_SHARED));
        locks.unlock(1, ffi::SQLITE_LOCK_SHARED);
        assert!(locks.lock(3, ffi::SQLITE_LOCK_SHARED) && !locks.reserved());
    }

    #[test]
    fn a_lock_of_shared_memory_is_shared_or_exclusive() {
        let mut memory = SharedMemory::default();
        assert!(memory.lock(1, 0b0110, false) && memory.lock(2, 0b0010, false));
        assert!(!memory.lock(3, 0b0011, true), "handles 1 and 2 share one of the locks");
        assert!(memory.lock(3, 0b0001, true), "the failed attempt acquired no lock");
        assert!(!memory.lock(1, 0b0001, false));
        memory.unlock(2, u32::MAX);
        assert!(memory.lock(1, 0b0010, true), "a handle may upgrade its own shared lock");
        memory.unlock(1, 0b0010);
        memory.unlock(1, 0b0010);
        assert!(memory.lock(2, 0b0010, true), "a second release has no effect");
    }

    #[test]
    fn a_handle_that_leaves_releases_its_locks_and_the_last_one_frees_the_memory() {
        let mut memory = SharedMemory::default();
        assert!(memory.map(1, 0, 1024, false).is_none());
        let region = memory.map(1, 0, 1024, true).map(|region| Arc::downgrade(&region));
        assert!(memory.map(2, 0, 1024, false).is_some());
        assert!(memory.lock(1, 1, true) && !memory.lock(2, 1, false));
        memory.leave(1);
        assert!(memory.lock(2, 1, true));
        assert!(region.as_ref().is_some_and(|region| region.strong_count() == 1));
        memory.leave(2);
        assert!(region.is_some_and(|region| region.strong_count() == 0));
        assert!(memory.lock(1, 1, true));
    }
}
