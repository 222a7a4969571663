//! The engine: one SQLite database with one writer thread, which commits in groups, and concurrent readers.
//!
//! A request takes a session from the pool (`sessions`), its batch is classified (`classify`), and it then runs on the
//! caller's thread (`inline`), on a reader thread (`readers`) or on the writer thread (`writer`).
//!
//! | module | contents |
//! |---|---|
//! | `database` | the handle of an open database; it routes batches |
//! | `options` | the options of a database |
//! | `shared` | the state that the threads of one database share |
//! | `connection_config`, `pragmas` | opens connections; configures them |
//! | `session`, `sessions` | a configured connection with its prepared statements; the pool of idle reading sessions |
//! | `statement_info` | the properties of a statement, as SQLite's authorizer reports them |
//! | `policy` | the policy for clients |
//! | `schema_view` | hides the engine's table from statements that read the schema |
//! | `script`, `text` | splits an SQL text into statements; white space |
//! | `dump`, `restore` | restores virtual tables from a dump of the `sqlite3` shell |
//! | `classify` | decides where a batch runs |
//! | `bind`, `run`, `work_limits` | binds values to parameters; runs a batch; limits of what SQLite cannot interrupt |
//! | `sinks`, `parts` | collect results, or stream them in parts |
//! | `inline`, `read`, `readers` | reads on the caller's thread; a read transaction; the reader threads |
//! | `writer` | the write queue, the groups, the writer thread |
//! | `replicated` | a database that applies a log |
//! | `read_lock_holder` | keeps SQLite's read lock while no write runs, which saves short reads two system calls |
//! | `background` | starts threads |
//! | `backup` | copies a database while it is written |
//! | `integrity`, `file_watch` | find damage in the database; detect removed and replaced files |
//! | `stamps` | the wall clock and the random seeds |
//! | `watch`, `supervisor` | limits of a run; the thread that enforces deadlines |
//! | `error` | conversion of SQLite's errors |
//! | `sqlite` | the FFI layer: the only module with `unsafe` |

mod background;
mod backup;
mod bind;
mod classify;
mod connection_config;
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
mod run;
mod schema_view;
mod script;
mod session;
mod sessions;
mod shared;
mod sinks;
mod sqlite;
mod stamps;
mod statement_info;
mod supervisor;
mod text;
mod watch;
mod work_limits;
mod writer;

pub use background::STACK_BYTES;
pub use database::{Classified, Database, Status, sqlite_version};
pub use integrity::report::{CheckOptions, IntegrityReport};
pub use options::{JournalMode, Location, Options, Writes};
pub use replicated::entry::{Conditions, LogEntry, LogWork, OnApplied};
pub use replicated::progress::Progress;
pub use sqlite::compiled::{Feature, missing_features};
#[cfg(feature = "fault-injection")]
pub use sqlite::faulty::{AfterStop, DiskFault, FaultyDisk, Loss};
pub use sqlite::heap::install_allocator;
#[cfg(feature = "fault-injection")]
pub use sqlite::observer::{StatementObserver, observe_statements};
pub use stamps::new as new_stamp;
