//! An embeddable SQLite engine for programs that serve many callers at once.
//!
//! SQLite allows one writer at a time and needs one fsync for each transaction. This crate runs all writes of a
//! database on one writer thread. Writes that arrive together share **one transaction and one fsync** (a group commit),
//! and each has the same effect as in a transaction of its own. Readers run concurrently on snapshots. A write is
//! durable when the call that made it returns.
//!
//! The crate is neither a connection pool nor a query builder: a caller passes a [`Batch`] of SQL steps and receives an
//! [`Outcome`].
//!
//! ```
//! use sqlhttp_core::{Batch, Database, Options, Step, StepOutcome};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Database::open(":memory:", Options::default())?;
//! db.execute_blocking(Batch::transaction(vec![
//!     Step::execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)", ()),
//!     Step::execute("INSERT INTO users(name) VALUES (?)", ["Ada"]),
//! ]))?;
//!
//! let outcome = db.execute_blocking(Batch::one(Step::query("SELECT name FROM users WHERE id = :id", [("id", 1)])))?;
//! let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else { panic!("a query gives rows") };
//! assert_eq!(rows.iter().next().and_then(|row| row.get(0)?.to_value().into()), Some("Ada".into()));
//! # Ok(())
//! # }
//! ```
//!
//! [`Database::execute`] does the same without blocking the thread, on any async runtime.
//!
//! # The path of a write
//!
//! 1. [`Database::execute`] gives the batch a [`Stamp`]: the timestamp and random seed that its SQL sees.
//! 2. The module `inline` takes a session (a configured connection) from the pool (`sessions`) and prepares the
//!    statements. SQLite reports that they write (`classify`); the SQL text is not parsed.
//! 3. The batch enters the write queue (`writer::queue`). If the queue is full, the call fails with
//!    [`Error::Overloaded`].
//! 4. The writer thread takes all queued batches (`queue::gather`) and runs them as a group, in one transaction
//!    (`writer::group`): BEGIN IMMEDIATE, and for each batch SAVEPOINT, `run::run_batch`, RELEASE or ROLLBACK TO.
//! 5. COMMIT with `synchronous=FULL`: the one fsync.
//! 6. After the commit every caller receives its outcome.
//!
//! # The path of a read
//!
//! 1. Steps 1 and 2 as above. SQLite reports that the batch only reads.
//! 2. The batch runs at once on the caller's thread, with a limited number of virtual-machine steps. Most reads finish
//!    in this step.
//! 3. A read that exceeds the limit starts again on a reader thread (`readers`), in one read transaction.
//! 4. A result larger than [`Options::block_bytes`] is streamed as [`Part`]s through a bounded channel, so memory use
//!    does not depend on its size. Dropping the stream interrupts the statement.
//!
//! # Modules
//!
//! * [`model`]: the types that callers and protocols use, without SQLite, clocks, files and threads. All of it is
//!   re-exported here.
//! * `engine`: everything that uses SQLite. Only `engine::sqlite` contains `unsafe`.
//!
//! # Features
//!
//! * `engine` (default): the engine. Without it the crate consists of [`model`], for crates that translate protocols.
//! * `serde`: serialization of [`Batch`], [`Outcome`] and the types that they contain.
//!
//! # Caveats
//!
//! * A database with a rollback journal has no snapshots: readers and the writer wait for each other.
//! * An in-memory database is limited by the available memory, and its write-ahead log grows while a read transaction
//!   is open.
//! * If the largest rowid (2^63-1) is in use, SQLite picks a free one with its own random generator, not with the
//!   stamp's seed. In a database that applies a log, such an insert is refused.
//! * `'localtime'` depends on the time zone of the process, unless [`Options::time_zone`] is set or the database
//!   applies a log.

#[cfg(feature = "engine")]
pub mod engine;
pub mod model;

#[cfg(feature = "fault-injection")]
pub use engine::simulation;
#[cfg(feature = "fault-injection")]
pub use engine::{
    AfterStop, DiskChange, DiskFault, FaultyDisk, Loss, Power, PowerSupply, StatementObserver, observe_statements,
};
#[cfg(feature = "engine")]
pub use engine::{
    Bucket, CheckOptions, Classified, Conditions, ContentDigest, Database, Feature, IntegrityReport, JournalMode,
    Location, LogEntry, LogWork, NamedZone, OnApplied, Options, OutcomeLink, PendingContent, PinnedContent, Progress,
    RowDigest, RowKey, STACK_BYTES, Status, TableDigest, TimeZone, UnknownTimeZone, Writes, install_allocator,
    missing_features, new_stamp, sqlite_version,
};
pub use model::*;
