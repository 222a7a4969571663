//! The engine: one writer with group commit, and readers beside it, on one SQLite database.
//!
//! | module | what it does |
//! |---|---|
//! | `database` | the open database: takes batches, decides where they run |
//! | `options` | what may be chosen when it is opened |
//! | `session` | one configured connection and its prepared statements |
//! | `facts` | what a statement is, as SQLite tells it; the policy for clients |
//! | `classify` | where a batch has to run |
//! | `bind`, `run` | bindings to parameters; a batch to its results |
//! | `sinks`, `parts` | results held, or told part by part |
//! | `writer` | the queue, the group, the thread |
//! | `readers` | reads on the caller's thread or in a pool |
//! | `background` | threads for copies |
//! | `backup` | a consistent copy while writes go on |
//! | `stamps`, `watch` | time and chance; deadlines and departed callers |
//! | `sqlite` | the only room with `unsafe` |

mod background;
mod backup;
mod bind;
mod classify;
mod database;
mod facts;
mod options;
mod parts;
mod readers;
mod run;
mod session;
mod sinks;
mod sqlite;
mod stamps;
mod watch;
mod writer;

pub use database::{Database, Status, sqlite_version};
pub use options::{JournalMode, Location, Options};
#[cfg(feature = "fault-injection")]
pub use sqlite::faulty::{AfterStop, DiskFault, FaultyDisk, Loss};
