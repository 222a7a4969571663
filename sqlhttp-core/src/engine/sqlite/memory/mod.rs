//! Databases in this process's memory, with snapshots.
//!
//! SQLite's own VFS for memory knows no write-ahead log, so that readers and the writer exclude each other. This one
//! offers what the log needs, memory that all connections share, and its locks, so that a database in memory is used as
//! one in a file is: a read neither waits for a write nor stops one.
//!
//! A database has an owner, [`MemoryDatabase`], and three files: itself, its log, and a rollback journal for the moment
//! before it switches to the log. They are freed when the owner is gone and the last connection is closed. Temporary
//! files belong to one connection, and are in memory too. All other names mean files of the default VFS: whatever is
//! attached to a database in memory, and the target of VACUUM INTO.
//!
//! A transaction that changes two or more attached files with rollback journals fails: it would need a super-journal
//! beside the main database, and a crash would lose that and leave the files half changed.
//!
//! * [`content`]: the bytes of a file.
//! * [`directory`]: which files there are; handles.
//! * [`vfs`]: what SQLite calls; here is the `unsafe`.

mod content;
mod directory;
mod vfs;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use vfs::vfs_name;

/// What the name of every database begins with. No file has such a name: paths are absolute when a VFS sees them.
const PREFIX: &str = "sqlhttp-memory:";
/// The length of the names of all databases, bytes.
const NAME_LEN: usize = PREFIX.len() + 32;

/// The owner of a database in memory. The database is there, empty, from the beginning.
#[derive(Debug)]
pub(crate) struct MemoryDatabase {
    name: String,
}

impl MemoryDatabase {
    pub(crate) fn new() -> Self {
        let name = unused_name();
        directory::create(name.as_bytes());
        MemoryDatabase { name }
    }

    /// What to open, with the VFS of [`vfs_name`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for MemoryDatabase {
    fn drop(&mut self) {
        directory::remove(self.name.as_bytes());
    }
}

/// A name that no other database has (the number), and that nobody who may ATTACH can guess (chance).
fn unused_name() -> String {
    static DATABASES: AtomicU64 = AtomicU64::new(0);
    let mut chance = [0; 8];
    // Without a source of chance databases are still told apart.
    let _ = getrandom::fill(&mut chance);
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{number:016x}{:016x}", u64::from_le_bytes(chance))
}
