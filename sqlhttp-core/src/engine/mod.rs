//! The engine: one writer with group commit, and readers beside it, on one SQLite database.
//!
//! | module | what it does |
//! |---|---|
//! | `database` | the open database: takes batches, decides where they run |
//! | `options` | what may be chosen when it is opened |
//! | `config` | how connections are opened and configured |
//! | `session`, `statement_cache` | one configured connection; its prepared statements |
//! | `schema_view` | statements that read the schema without the engine's table |
//! | `facts` | what a statement is, as SQLite tells it; the policy for clients |
//! | `classify` | where a batch has to run |
//! | `script` | a text, statement by statement |
//! | `dump`, `restore` | virtual tables out of a dump of the `sqlite3` shell |
//! | `bind`, `run` | bindings to parameters; a batch to its results |
//! | `sinks`, `parts` | results held, or told part by part |
//! | `writer` | the queue, the group, the thread |
//! | `readers` | reads on the caller's thread or in a pool |
//! | `read_lock_holder` | what spares short reads the system calls for their lock |
//! | `background` | threads |
//! | `backup`, `sync` | a consistent copy while writes go on; what was not synced, synced |
//! | `integrity`, `file_watch` | damage in the database; files that were removed or replaced |
//! | `log`, `progress`, `image` | a database that applies a log; how far it is; all of its content replaced at once |
//! | `stamps`, `watch`, `supervisor` | time and chance; deadlines and departed callers; the thread that enforces them |
//! | `sqlite` | the only room with `unsafe` |

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
pub use stamps::new as new_stamp;
