//! The names of databases in memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// The prefix of the names of all databases in memory. No file of the default VFS has such a name, because SQLite
/// passes absolute paths to that VFS.
pub(super) const PREFIX: &str = "sqlhttp-memory:";
/// The length of the name of a database in memory, in bytes. All names have this length.
pub(super) const NAME_LEN: usize = PREFIX.len() + 32;

/// Creates a name for a database in memory. The name contains a number, so that no other database has it, and a random
/// part, so that a client with permission to ATTACH cannot guess it.
pub(super) fn unused() -> String {
    static DATABASES: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 8];
    // If the system has no random numbers, the names are still unique.
    let _ = getrandom::fill(&mut random);
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{number:016x}{:016x}", u64::from_le_bytes(random))
}
