//! The options of a database. The engine sets everything it relies on for each connection, whatever the compile-time
//! options of SQLite are.

use std::path::PathBuf;
use std::time::Duration;

use super::custom::{Collation, Extension, Function};
use super::time_zone::TimeZone;
use crate::setters;

/// Where a database is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a file with this path. The file is created if it does not exist and [`Options::create`] is set.
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
    /// The journal mode that the file already has; DELETE for a new file.
    Keep,
    /// Rollback journal; the file is deleted at commit.
    Delete,
    /// Rollback journal; the file is truncated at commit.
    Truncate,
    /// Rollback journal; the file's header is zeroed at commit.
    Persist,
}

/// How writes reach a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writes {
    /// Callers write directly, with [`crate::Database::run`] and the other methods. A commit is durable when the
    /// call returns.
    #[default]
    Direct,
    /// Only [`crate::Database::apply`] writes. It applies the entries of a log that is itself durable, such as a Raft
    /// log. The database records the position of the last applied entry in the same transaction as the entry's data. So
    /// commits need no sync of their own: after a power cut the lost entries are applied again. Requires
    /// [`JournalMode::Wal`].
    Log,
}

/// The options of a database. They begin with the defaults ([`Options::new`]), and each has a method that sets it:
///
/// ```
/// use sqlhttp_core::Options;
///
/// let options = Options::new().foreign_keys(true).read_threads(4);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How writes reach the database: directly, or through a log.
    /// Default: [`Writes::Direct`].
    pub writes: Writes,
    /// Opens the database for reading only: a client's statement that writes fails.
    /// Default: no.
    pub read_only: bool,
    /// Creates the database file if it does not exist.
    /// Default: yes.
    pub create: bool,
    /// The journal mode: how SQLite makes transactions atomic.
    /// Default: [`JournalMode::Wal`].
    pub journal_mode: JournalMode,
    /// Enforces foreign keys.
    /// Default: no, as in SQLite.
    pub foreign_keys: bool,
    /// The time zone of the modifiers `localtime` and `utc` in reads, and in writes that do not come from a log. In
    /// writes that come from a log, it is that of [`crate::Conditions::time_zone`].
    /// Default: [`TimeZone::Process`].
    pub time_zone: TimeZone,
    /// Allows clients to ATTACH other files. The files are detached when the batch ends.
    /// Default: no.
    pub allow_attach: bool,
    /// How long SQLite waits for a lock that another process holds, before it fails with SQLITE_BUSY.
    /// Default: 5 seconds.
    pub busy_timeout: Duration,
    /// The number of reader threads that run at the same time. Up to 64 further ones are started while reads wait, for
    /// example behind reads whose callers take no rows.
    /// Default: the number of processors, at least 2.
    pub read_threads: usize,
    /// The maximum number of batches in the write queue. If it is full, further batches fail with
    /// [`crate::model::Error::Overloaded`].
    /// Default: 4096.
    pub write_queue_len_max: usize,
    /// The maximum number of reads in the read queue. If it is full, further reads fail with
    /// [`crate::model::Error::Overloaded`].
    /// Default: 4096.
    pub read_queue_len_max: usize,
    /// The maximum number of batches in one write transaction (a group). 1 disables group commit.
    /// Default: 256.
    pub group_len_max: usize,
    /// How long the write transaction of a group of batches may stay open while more batches wait. After that time it
    /// commits, and the waiting batches run in the next transaction.
    /// Default: 1 millisecond.
    pub group_time_max: Duration,
    /// The maximum number of prepared statements in the statement cache of each connection.
    /// Default: 256.
    pub statement_cache_len: usize,
    /// The maximum number of rows in the result of a statement; `None` for no limit. A statement that returns more rows
    /// fails.
    /// Default: `None`.
    pub rows_max: Option<u64>,
    /// The maximum size of a value, row or SQL text, in bytes (`SQLITE_LIMIT_LENGTH`,
    /// <https://sqlite.org/limits.html>). A statement that reads or makes a larger one fails with SQLite's `string or
    /// blob too big`. SQLite allows at most 1,000,000,000.
    /// Default: 64 MiB.
    pub value_bytes_max: u64,
    /// The name of the option `value_bytes_max` in the user's configuration. Error messages contain this name.
    pub value_bytes_max_name: &'static str,
    /// The maximum memory that SQLite may allocate for one batch, in bytes, apart from the caches of its connection. A
    /// statement that needs more fails with SQLite's `out of memory`. Has an effect only after
    /// [`crate::install_allocator`].
    /// Default: 512 MiB.
    pub memory_bytes_max: u64,
    /// The name of the option `memory_bytes_max` in the user's configuration. Error messages contain this name.
    pub memory_bytes_max_name: &'static str,
    /// The maximum size of the result of a write, in bytes of rows. The result is held in memory until the commit. A
    /// write with a larger result fails.
    /// Default: 64 MiB.
    pub held_bytes_max: u64,
    /// The size at which a block of rows is complete, in bytes. Results are passed on in blocks.
    /// Default: 64 KiB.
    pub block_bytes: usize,
    /// How long a reader thread waits for its caller to take the next block of rows. After that time the read ends.
    /// Default: 30 seconds.
    pub stall_timeout: Duration,
    /// The name of the VFS (<https://sqlite.org/vfs.html>) for the database file; `None` for SQLite's default VFS. The
    /// VFS must be registered with SQLite before the database is opened, and stay registered until the process ends.
    /// Backups are written to ordinary files nevertheless, and [`crate::Status`] reports the sizes of ordinary files
    /// only. Ignored for in-memory databases.
    /// Default: `None`.
    pub vfs: Option<String>,
    /// SQL functions of the program.
    /// Default: none. A database that applies a log ([`Writes::Log`]) cannot have any.
    pub functions: Vec<Function>,
    /// Collating sequences of the program.
    /// Default: none. A database that applies a log cannot have any.
    pub collations: Vec<Collation>,
    /// Extensions of SQLite that each connection loads.
    /// Default: none. A database that applies a log cannot have any.
    pub extensions: Vec<Extension>,
}

impl Options {
    /// Creates the default options.
    pub fn new() -> Options {
        Options::default()
    }

    /// Adds an SQL function of the program.
    #[must_use]
    pub fn function(mut self, function: Function) -> Options {
        self.functions.push(function);
        self
    }

    /// Adds a collating sequence of the program.
    #[must_use]
    pub fn collation(mut self, collation: Collation) -> Options {
        self.collations.push(collation);
        self
    }

    /// Adds an extension of SQLite.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Options {
        self.extensions.push(extension);
        self
    }

    /// Returns the time zone of `localtime`: see [`TimeZone::Process`].
    pub(crate) fn zone(&self) -> TimeZone {
        match (self.writes, self.time_zone) {
            (Writes::Log, TimeZone::Process) => TimeZone::Utc,
            (_, zone) => zone,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            writes: Writes::Direct,
            read_only: false,
            create: true,
            journal_mode: JournalMode::Wal,
            foreign_keys: false,
            time_zone: TimeZone::Process,
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
            functions: Vec::new(),
            collations: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

setters! {
    Options {
        writes: Writes,
        read_only: bool,
        create: bool,
        journal_mode: JournalMode,
        foreign_keys: bool,
        time_zone: TimeZone,
        allow_attach: bool,
        busy_timeout: Duration,
        read_threads: usize,
        write_queue_len_max: usize,
        read_queue_len_max: usize,
        group_len_max: usize,
        group_time_max: Duration,
        statement_cache_len: usize,
        rows_max: Option<u64>,
        value_bytes_max: u64,
        value_bytes_max_name: &'static str,
        memory_bytes_max: u64,
        memory_bytes_max_name: &'static str,
        held_bytes_max: u64,
        block_bytes: usize,
        stall_timeout: Duration,
        vfs: Option<String>,
    }
}
