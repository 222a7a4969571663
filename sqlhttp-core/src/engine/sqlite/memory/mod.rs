//! Databases in the memory of this process, with snapshots.
//!
//! SQLite's own VFS for databases in memory does not support write-ahead logs, so readers and the writer exclude each
//! other (<https://sqlite.org/inmemorydb.html>). This VFS provides what the log needs, shared memory and its locks. A
//! database in memory then works like one in a file: reads and writes do not block each other.
//!
//! A database has an owner, [`MemoryDatabase`], and three files: the database, its write-ahead log, and a rollback
//! journal that is used only before the database switches to WAL mode. They are freed when the owner has been dropped
//! and the last connection is closed. Temporary files belong to one connection and are in memory too. All other names
//! refer to files of the default VFS: attached databases, and the target of VACUUM INTO.
//!
//! A transaction that changes two or more attached files with rollback journals fails. It would need a super-journal
//! next to the main database (<https://sqlite.org/tempfiles.html#super_journal_files>); a crash would lose that
//! super-journal and could leave only some of the files changed.
//!
//! * [`content`]: the bytes of a file.
//! * [`directory`]: the existing files and their handles.
//! * [`name`]: the names of databases.
//! * [`vfs`]: the functions that SQLite calls; contains the `unsafe` code.

mod content;
mod directory;
mod name;
mod vfs;

#[cfg(test)]
mod tests;

pub(crate) use vfs::vfs_name;

/// The owner of a database in memory. The database exists from the start, empty.
#[derive(Debug)]
pub(crate) struct MemoryDatabase {
    name: String,
}

impl MemoryDatabase {
    pub(crate) fn new() -> Self {
        let name = name::unused();
        directory::create(name.as_bytes());
        MemoryDatabase { name }
    }

    /// The name for opening connections, with the VFS of [`vfs_name`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for MemoryDatabase {
    fn drop(&mut self) {
        directory::remove(self.name.as_bytes());
    }
}
