//! What may be chosen when a database is opened. Everything the engine relies on is set explicitly for each
//! connection, whatever SQLite was compiled with.

use std::path::PathBuf;
use std::time::Duration;

/// Where a database lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a file; created if it does not exist and the options allow that.
    File(PathBuf),
    /// In this process's memory, gone when it is closed.
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

/// How SQLite keeps a transaction atomic (<https://sqlite.org/pragma.html#pragma_journal_mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalMode {
    /// Write-ahead log: readers and the writer do not wait for each other.
    #[default]
    Wal,
    /// Whatever the file has already; DELETE for a new one.
    Keep,
    /// Rollback journal, deleted at commit.
    Delete,
    /// Rollback journal, truncated at commit.
    Truncate,
    /// Rollback journal, its header zeroed at commit.
    Persist,
}

/// Who writes to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writes {
    /// Those who call [`crate::Database::execute`] and its kin. A commit is durable when it returns.
    #[default]
    Direct,
    /// A log that is durable by itself, through [`crate::Database::apply`] alone. The database remembers how far it is
    /// in the log, in the same transaction as the data, so that commits need no sync of their own: what a power cut
    /// takes is applied again. Needs [`JournalMode::Wal`].
    Log,
}

/// What may be chosen when a database is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who writes.
    pub writes: Writes,
    /// Open for reading only: no statement of a client can write, whatever it says.
    pub read_only: bool,
    /// Create the file if it does not exist.
    pub create: bool,
    /// How SQLite keeps a transaction atomic.
    pub journal_mode: JournalMode,
    /// Enforce foreign keys.
    pub foreign_keys: bool,
    /// Let clients ATTACH other files. An attached database is detached again when the batch ends.
    pub allow_attach: bool,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How many threads read at once.
    pub read_threads: usize,
    /// How many batches may wait for the writer before further ones are refused with [`crate::model::Error::Overloaded`].
    pub write_queue_len_max: usize,
    /// How many reads may wait for a reader before further ones are refused.
    pub read_queue_len_max: usize,
    /// How many batches share one transaction at most. 1 switches group commit off.
    pub group_len_max: usize,
    /// How long a group may run before it commits, if others wait.
    pub group_time_max: Duration,
    /// How many prepared statements each connection keeps.
    pub statement_cache_len: usize,
    /// How many rows a result may have.
    pub rows_max: Option<u64>,
    /// The longest value, row or SQL text, bytes (`SQLITE_LIMIT_LENGTH`, <https://sqlite.org/limits.html>). A statement
    /// that meets or makes a longer one fails with SQLite's `string or blob too big`. SQLite allows at most 1,000,000,000.
    pub value_bytes_max: u64,
    /// The name under which users know that limit; part of the error message.
    pub value_bytes_max_name: &'static str,
    /// The memory that SQLite may allocate for one batch, bytes, apart from the caches of its connection. A statement that
    /// needs more fails with SQLite's `out of memory`. Has an effect only after [`crate::install_allocator`].
    pub memory_bytes_max: u64,
    /// The name under which users know that limit; part of the error message.
    pub memory_bytes_max_name: &'static str,
    /// How many bytes of results are held in memory for a batch that must commit before it is answered.
    pub held_bytes_max: u64,
    /// How many bytes of rows travel in one block.
    pub block_bytes: usize,
    /// How long a reader waits for its caller to take the next block before it gives up.
    pub stall_timeout: Duration,
    /// The name of the VFS (<https://sqlite.org/vfs.html>) that a file is on; `None`: the default one. It must have
    /// been registered with SQLite before, and must stay registered for the life of the process. Backups go to
    /// ordinary files nevertheless, and [`crate::Status`] knows the sizes of ordinary files only. No meaning in memory.
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
