//! Databases in the memory of this process, whose readers see consistent snapshots.
//!
//! SQLite's own VFS for databases in memory does not support write-ahead logs, so readers and the writer exclude each
//! other (<https://sqlite.org/inmemorydb.html>). The VFS of this module provides what a write-ahead log needs: shared
//! memory and its locks. So a database in memory works like one in a file: reads and writes do not block each other.
//!
//! A database has an owner, [`MemoryDatabase`], and three files: the database, its write-ahead log, and a rollback
//! journal that is used only before the database switches to WAL mode. The files are freed when the owner has been
//! dropped and the last connection has been closed. Temporary files belong to one connection and are in memory too. All
//! other file names (attached databases, the target of VACUUM INTO) refer to files of the default VFS.
//!
//! A transaction that changes two or more attached files with rollback journals fails. It would need a super-journal
//! next to the main database (<https://sqlite.org/tempfiles.html#super_journal_files>); a crash would lose that
//! super-journal and could leave only some of the files changed.
//!
//! * [`content`]: the content of a file.
//! * [`directory`]: the files that exist, and their open handles.
//! * [`name`]: creates the names of databases in memory.
//! * [`vfs`]: the functions that SQLite calls. Only this module contains `unsafe` code.

mod content;
mod directory;
mod name;
mod vfs;

#[cfg(test)]
mod tests;

pub(crate) use vfs::vfs_name;

/// The owner of a database in memory, which is empty at first. Dropping the owner removes the database.
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

    /// The file name with which connections to the database are opened, using the VFS of [`vfs_name`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for MemoryDatabase {
    fn drop(&mut self) {
        directory::remove(self.name.as_bytes());
    }
}
