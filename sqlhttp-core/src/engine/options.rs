//! The options of a database. The engine sets everything it relies on for each connection, independent of how SQLite
//! was compiled.

use std::path::PathBuf;
use std::time::Duration;

/// Where a database is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a file. It is created if it does not exist and [`Options::create`] is set.
    File(PathBuf),
    /// In the memory of this process. The content is lost when the database is closed.
    Memory,
}

impl From<&str> for Location {
    fn from(path: &str) -> Self {
        if path == ":memory:" { Location::Memory } else { Location::File(path.into()) }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Location::File(path)
    }
}

impl From<&std::path::Path> for Location {
    fn from(path: &std::path::Path) -> Self {
        Location::File(path.to_owned())
    }
}

/// How SQLite makes transactions atomic (<https://sqlite.org/pragma.html#pragma_journal_mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalMode {
    /// Write-ahead log: readers and the writer do not wait for each other.
    #[default]
    Wal,
    /// The mode that the file already has; DELETE for a new file.
    Keep,
    /// Rollback journal, deleted at commit.
    Delete,
    /// Rollback journal, truncated at commit.
    Truncate,
    /// Rollback journal, its header zeroed at commit.
    Persist,
}

/// How writes reach a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writes {
    /// Callers write directly ([`crate::Database::execute`] and the other methods). A commit is durable when the call
    /// returns.
    #[default]
    Direct,
    /// A log that is itself durable is applied with [`crate::Database::apply`]; nothing else writes. The database
    /// records the applied position in the transaction of the data, so commits need no sync of their own: after a power
    /// cut the lost entries are applied again. Requires [`JournalMode::Wal`].
    Log,
}

/// The options of a database.
#[derive(Debug, Clone)]
pub struct Options {
    /// How writes reach the database.
    pub writes: Writes,
    /// Open for reading only: no statement of a client can write.
    pub read_only: bool,
    /// Create the file if it does not exist.
    pub create: bool,
    /// How SQLite makes transactions atomic.
    pub journal_mode: JournalMode,
    /// Enforce foreign keys.
    pub foreign_keys: bool,
    /// Allow clients to ATTACH other files. They are detached when the batch ends.
    pub allow_attach: bool,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// The number of reader threads.
    pub read_threads: usize,
    /// The largest number of batches in the write queue. Further ones fail with [`crate::model::Error::Overloaded`].
    pub write_queue_len_max: usize,
    /// The largest number of reads in the read queue. Further ones fail with [`crate::model::Error::Overloaded`].
    pub read_queue_len_max: usize,
    /// The largest number of batches in one transaction. 1 disables group commit.
    pub group_len_max: usize,
    /// How long a group may run before it commits if more batches wait.
    pub group_time_max: Duration,
    /// The number of prepared statements that each connection caches.
    pub statement_cache_len: usize,
    /// The largest number of rows in a result; `None` for no limit.
    pub rows_max: Option<u64>,
    /// The largest value, row or SQL text, in bytes (`SQLITE_LIMIT_LENGTH`, <https://sqlite.org/limits.html>). A
    /// statement that reads or makes a larger one fails with SQLite's `string or blob too big`. SQLite allows at most
    /// 1,000,000,000.
    pub value_bytes_max: u64,
    /// The name of that limit in the user's configuration, for the error message.
    pub value_bytes_max_name: &'static str,
    /// The memory that SQLite may allocate for one batch, in bytes, apart from the caches of its connection. A
    /// statement that needs more fails with SQLite's `out of memory`. Has an effect only after
    /// [`crate::install_allocator`].
    pub memory_bytes_max: u64,
    /// The name of that limit in the user's configuration, for the error message.
    pub memory_bytes_max_name: &'static str,
    /// The largest result of a write, in bytes of rows. It is held in memory until the commit.
    pub held_bytes_max: u64,
    /// The size of a block of rows, in bytes.
    pub block_bytes: usize,
    /// How long a reader waits for its caller to take the next block before it gives up.
    pub stall_timeout: Duration,
    /// The name of the VFS (<https://sqlite.org/vfs.html>) for the database file; `None` for the default one. It must
    /// be registered with SQLite before, and stay registered until the process ends. Backups are written to ordinary
    /// files nevertheless, and [`crate::Status`] reports the sizes of ordinary files only. Ignored for in-memory
    /// databases.
    pub vfs: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            writes: Writes::Direct,
            read_only: false,
            create: true,
            journal_mode: JournalMode::Wal,
            foreign_keys: false,
            allow_attach: false,
            busy_timeout: Duration::from_secs(5),
            read_threads: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            write_queue_len_max: 4096,
            read_queue_len_max: 4096,
            group_len_max: 256,
            group_time_max: Duration::from_millis(1),
            statement_cache_len: 256,
            rows_max: None,
            value_bytes_max: 64 << 20,
            value_bytes_max_name: "value_bytes_max",
            memory_bytes_max: 512 << 20,
            memory_bytes_max_name: "memory_bytes_max",
            held_bytes_max: 64 << 20,
            block_bytes: 64 << 10,
            stall_timeout: Duration::from_secs(30),
            vfs: None,
        }
    }
}
