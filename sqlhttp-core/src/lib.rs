//! An embeddable SQLite engine for programs that serve many callers at once.
//!
//! SQLite allows one writer at a time and needs one fsync for each transaction. This crate runs all writes of a
//! database on one writer thread. Writes that arrive together share **one transaction and one fsync** (a group commit),
//! and each has the same effect as in a transaction of its own. Readers run concurrently on snapshots. A write is
//! durable when the call that made it returns.
//!
//! ```
//! use sqlhttp_core::{Database, Error, Executor as _, Options, params};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let directory = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&directory).unwrap();
//! let db = Database::open("app.db", Options::default())?;
//! db.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, age INTEGER)", ()).await?;
//!
//! let ada = db.execute("INSERT INTO users(name, age) VALUES (?, ?)", params!["Ada", 36]).await?;
//! assert_eq!(ada.last_insert_id, Some(1));
//! let twice = db.execute("INSERT INTO users(name) VALUES (?)", ["Ada"]).await;
//! assert!(twice.unwrap_err().is_unique());
//!
//! let age: Option<u8> = db.query_one("SELECT age FROM users WHERE name = :name", [("name", "Ada")]).await?;
//! let users: Vec<(i64, String)> = db.query_all("SELECT id, name FROM users", ()).await?;
//! assert_eq!((age, users), (Some(36), vec![(1, "Ada".to_owned())]));
//!
//! // Reads, decides and writes in one transaction, on the writer thread.
//! let older = db.transaction(|tx| {
//!     let age: i64 = tx.query_one("SELECT age FROM users WHERE id = 1", ())?;
//!     tx.execute("UPDATE users SET age = ? WHERE id = 1", [age + 1])?;
//!     Ok::<_, Error>(age + 1)
//! });
//! assert_eq!(older.await?, 37);
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```
//!
//! | to | call |
//! |---|---|
//! | run SQL, read rows into Rust types | the methods of [`Executor`] |
//! | do the same without async functions | [`Database::blocking`] |
//! | bind values | [`params!`], [`named_params!`], tuples, arrays: see [`Params`] and [`IntoValue`] |
//! | read rows | tuples, [`FromRow`] (derive: feature `derive`), `Deserialized` (feature `serde`), [`Row`] |
//! | read millions of rows | [`Executor::query_stream`] |
//! | decide between the statements of a transaction | [`Database::transaction`], [`Database::read`] |
//! | write several statements as fast as possible | [`Executor::batch`], [`Step::expect_changed`] |
//! | bring the schema to its newest version | [`Database::migrate`] |
//! | define SQL functions, aggregates, collations; load extensions | [`Function`], [`Collation`], [`Extension`] |
//! | follow the rows that change | [`Database::changes`], [`Database::on_commit`] |
//! | back up to a file or another place | [`Database::backup`], [`Database::backup_to`] |
//! | handle the failure of each statement, in a server | [`Database::run`], [`Backend`] |
//!
//! # When to use it
//!
//! Use this crate if many tasks or threads write to one SQLite database, and no write may be lost. With 64 callers it
//! commits many times more transactions per second than a connection behind a lock, because they share an fsync. Use
//! something else in other cases:
//!
//! * [rusqlite](https://docs.rs/rusqlite): one thread, or the whole of SQLite's C interface. A single thread that waits
//!   for each of its writes gains nothing from group commit.
//! * [tokio-rusqlite](https://docs.rs/tokio-rusqlite): rusqlite's connection on a thread of its own, for async programs
//!   with few writes.
//! * [sqlx](https://docs.rs/sqlx): queries that are checked at compile time, or several kinds of databases.
//!
//! The crate is no query builder, and has no connections: a transaction is a closure or a batch, so that no caller can
//! leave one open.
//!
//! # Threads
//!
//! | work | thread |
//! |---|---|
//! | preparing statements, and short reads (up to a millisecond) | the thread of the caller |
//! | longer reads, [`Database::read`] | a reader thread, which waits while the caller takes no rows |
//! | writes, [`Database::transaction`], hooks of [`Database::on_commit`] | the writer thread |
//! | SQL functions of the program; then also short reads | a reader thread or the writer thread |
//! | converting rows to Rust types | the thread of the caller (in a closure, that of the closure) |
//! | [`Database::backup`], [`Database::check_integrity`] | a thread with low priority |
//! | enforcing time limits | the supervisor thread, one for all databases of the process |
//!
//! The futures run on any async runtime.
//!
//! # The path of a write
//!
//! 1. [`Executor::execute`] and the other methods make a [`Batch`], and [`Database::run`] gives it a [`Stamp`]: the
//!    timestamp and random seed that its SQL sees.
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
//! * `replication`: the operations of a database that applies the log of a cluster, for the crate `sqlhttp-raft`. They
//!   may change in every release.
//! * `engine` (default): the engine. Without it the crate consists of [`model`], for crates that translate protocols.
//! * `derive`: the derive macro `FromRow`.
//! * `chrono`, `serde_json`, `uuid`: the types of these crates as parameters and results.
//! * `serde`: rows as types that implement `serde::Deserialize`; serialization of [`Batch`], [`Outcome`] and the types
//!   that they contain.
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
mod setters;

#[cfg(feature = "fault-injection")]
pub use engine::simulation;
#[cfg(feature = "fault-injection")]
pub use engine::{
    AfterStop, DiskChange, DiskFault, FaultyDisk, Loss, Power, PowerSupply, StatementObserver, observe_statements,
};
#[cfg(feature = "engine")]
#[doc(inline)]
pub use engine::{
    Aggregate, Arguments, Arity, Blocking, Change, Changes, CheckOptions, Classified, Collation, CommitHook,
    ContentDigest, Database, Extension, Feature, Function, FunctionError, IntegrityReport, JournalMode, Location,
    Migrated, NamedZone, Operation, Options, RowIter, RowKey, STACK_BYTES, Status, TableDigest, TimeZone, Transaction,
    UnknownTimeZone, Writes, install_allocator, missing_features, new_stamp, sqlite_version,
};
#[cfg(feature = "replication")]
#[doc(inline)]
pub use engine::{
    Bucket, Conditions, LogEntry, LogWork, OnApplied, OutcomeLink, PendingContent, PinnedContent, Progress, RowDigest,
};
#[doc(inline)]
pub use model::*;
#[cfg(feature = "derive")]
pub use sqlhttp_core_derive::FromRow;
