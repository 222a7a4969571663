//! The engine: opens an SQLite database with one writer thread, which commits in groups, and concurrent readers.
//!
//! A caller passes a batch of SQL steps. The engine takes a session (a configured connection) from the pool
//! (`sessions`) and classifies the batch as a read or a write (`classify`). The batch then runs on the caller's thread
//! (`inline`), on a reader thread (`readers`) or on the writer thread (`writer`).
//!
//! | module | contents |
//! |---|---|
//! | `database` | the handle of an open database; it passes each batch to the thread where it must run |
//! | `options` | the options of a database |
//! | `custom` | functions, collations and extensions of the program |
//! | `shared` | the state that the threads of one database share |
//! | `connection_config`, `pragmas` | opens connections; configures them |
//! | `connection_gate` | counts the open connections; keeps new ones out while the database file is replaced |
//! | `session`, `sessions` | a configured connection with its prepared statements; the pool of idle reading sessions |
//! | `statement_info` | the properties of a statement, as SQLite's authorizer reports them |
//! | `policy` | the policy for clients |
//! | `schema_view` | hides the engine's own table from statements that read the schema |
//! | `script`, `text` | splits an SQL text into statements; recognises white space |
//! | `dump`, `restore` | restores virtual tables from a dump of the `sqlite3` shell |
//! | `classify` | decides on which thread a batch runs |
//! | `rowids` | refuses rowids that SQLite chooses at random |
//! | `column_names` | finds columns whose names SQLite has chosen at random |
//! | `bind`, `run`, `work_limits` | binds values to parameters; runs a batch; limits uninterruptible work |
//! | `sinks`, `parts` | collect results, or stream them in parts |
//! | `inline`, `read`, `readers` | reads on the caller's thread; a read transaction; the reader threads |
//! | `transaction` | transactions whose statements a closure of the program chooses |
//! | `writer` | the write queue, the groups of batches that share a transaction, the writer thread |
//! | `changes` | notifications about committed changes |
//! | `content` | digests of the logical content, to compare nodes |
//! | `replicated` | a database that applies the entries of a Raft log |
//! | `read_lock_holder` | keeps SQLite's read lock while no write runs, which saves short reads two system calls |
//! | `background` | starts threads |
//! | `backup` | copies a database while writes continue |
//! | `integrity`, `file_watch` | find damage in the database; detect removed and replaced files |
//! | `time_zone` | the time zone of `localtime` and `utc` |
//! | `stamps` | makes the timestamps and random seeds of batches |
//! | `watch`, `supervisor` | the limits of the run of a batch; the thread that enforces deadlines |
//! | `simulation` (with the feature `fault-injection`) | switches for simulations of a cluster |
//! | `error` | converts SQLite's errors |
//! | `sqlite` | the FFI layer: the only module with `unsafe` |

// Without the feature, the operations of a replicated database are part of the engine, but nothing calls them.
#![cfg_attr(not(feature = "replication"), allow(dead_code, unused_imports, unreachable_pub))]

mod background;
mod backup;
mod bind;
mod changes;
mod classify;
mod column_names;
mod connection_config;
mod connection_gate;
mod content;
mod custom;
mod database;
mod dump;
mod error;
mod file_watch;
mod inline;
mod integrity;
mod options;
mod parts;
mod policy;
mod pragmas;
mod read;
mod read_lock_holder;
mod readers;
mod replicated;
mod restore;
mod rowids;
mod run;
mod schema_view;
mod script;
mod session;
mod sessions;
mod shared;
#[cfg(feature = "fault-injection")]
pub mod simulation;
mod sinks;
mod sqlite;
mod stamps;
mod statement_info;
mod supervisor;
mod text;
mod time_zone;
mod transaction;
mod watch;
mod work_limits;
mod writer;

pub use background::STACK_BYTES;
pub use changes::{Change, Changes, CommitHook, Operation};
#[cfg(feature = "replication")]
pub use content::pinned::PinnedContent;
#[cfg(feature = "replication")]
pub use content::{Bucket, RowDigest};
pub use content::{ContentDigest, RowKey, TableDigest};
pub use custom::{Aggregate, Arguments, Arity, Collation, Extension, Function, FunctionError};
#[cfg(feature = "replication")]
pub use database::PendingContent;
pub use database::{Blocking, Classified, Database, Migrated, RowIter, Status, sqlite_version};
pub use integrity::report::{CheckOptions, IntegrityReport};
pub use options::{JournalMode, Location, Options, Writes};
#[cfg(feature = "replication")]
pub use replicated::chain::OutcomeLink;
#[cfg(feature = "replication")]
pub use replicated::entry::{Conditions, LogEntry, LogWork, OnApplied};
#[cfg(feature = "replication")]
pub use replicated::progress::Progress;
pub use sqlite::compiled::{Feature, missing_features};
#[cfg(feature = "fault-injection")]
pub use sqlite::faulty::{AfterStop, DiskChange, DiskFault, FaultyDisk, Loss, Power, PowerSupply};
pub use sqlite::heap::install_allocator;
#[cfg(feature = "fault-injection")]
pub use sqlite::observer::{StatementObserver, observe_statements};
pub use stamps::new as new_stamp;
pub use time_zone::{NamedZone, TimeZone, UnknownTimeZone};
pub use transaction::Transaction;
