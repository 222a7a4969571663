//! An embeddable SQLite engine for programs that serve many callers at once.
//!
//! SQLite allows one writer at a time and pays one fsync for each transaction. This crate puts one writer thread in
//! front of a database that runs the writes which arrive together in **one transaction and one fsync**, each as if it
//! were alone, and lets readers run beside it on snapshots. A write is durable when its call returns.
//!
//! It is not a pool of connections and not a query builder: callers hand over a [`Batch`] of SQL steps and get an
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
//! Under an async runtime, any of them, [`Database::execute`] does the same without blocking the thread.
//!
//! # The life of a write
//!
//! 1. [`Database::execute`] gives the batch a [`Stamp`]: the only time and chance that its SQL will see.
//! 2. `readers::inline` prepares its statements on a reader's connection: SQLite itself tells that it writes
//!    (`classify`), so nobody parses SQL.
//! 3. `writer::queue` takes it, or refuses with [`Error::Overloaded`].
//! 4. The writer's thread takes whatever waits (`queue::gather`) and runs it as a group (`writer::group`): BEGIN
//!    IMMEDIATE, and for each member SAVEPOINT, `run::run_batch`, RELEASE or ROLLBACK TO.
//! 5. COMMIT, with `synchronous=FULL`: the one fsync.
//! 6. Then, and only then, every caller is answered.
//!
//! # The life of a read
//!
//! 1. and 2. as above; SQLite tells that it only reads.
//! 3. It runs at once on the caller's thread, under a budget of virtual-machine steps. Most reads end here.
//! 4. What overruns the budget starts anew on a thread of the pool (`readers::run`), in one read transaction.
//! 5. A result larger than a block travels in [`Part`]s through a bounded channel: memory stays constant however large
//!    the table is, and a caller that goes away interrupts the statement.
//!
//! # Map
//!
//! * [`model`]: the vocabulary, free of SQLite, clocks, files and threads. All of it is re-exported here.
//! * `engine`: everything that touches SQLite. `engine::sqlite` is the only room with `unsafe`.
//!
//! # Features
//!
//! * `engine` (default): the engine. Without it only [`model`] remains, for crates that translate protocols.
//!
//! # Caveats
//!
//! * A database with a rollback journal has no snapshots: readers and the writer take turns.
//! * An in-memory database is limited by the memory there is; a very long read keeps its write-ahead log growing there.
//! * Which rowid SQLite picks when the largest one is taken (2^63-1) comes from its own generator, not from the stamp.
//! * `'localtime'` depends on the time zone of the process.

#[cfg(feature = "engine")]
pub mod engine;
pub mod model;

#[cfg(feature = "fault-injection")]
pub use engine::{AfterStop, DiskFault, FaultyDisk, Loss, StatementObserver, observe_statements};
#[cfg(feature = "engine")]
pub use engine::{
    CheckOptions, Classified, Conditions, Database, Feature, IntegrityReport, JournalMode, Location, LogEntry, LogWork,
    OnApplied, Options, Progress, STACK_BYTES, Status, Writes, install_allocator, missing_features, new_stamp,
    sqlite_version,
};
pub use model::*;
