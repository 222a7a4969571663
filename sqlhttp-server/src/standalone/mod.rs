//! The program `sqlhttp-standalone`, a drop-in replacement for ws4sqlite that also has the macros and backups of
//! sqliterg.
//!
//! * `serve`: the program as a function, from the command line to the exit status.
//! * `startup`: reads the configuration and opens the databases.
//! * `config`: flags, YAML files, and the settings that result from them.
//! * `app`: handles requests.
//! * `route`: finds the database and the endpoint of a path.
//! * `rqlite`: rqlite's API below the path of each database.
//! * `files`: static files (`-serve-dir`).
//! * `monitor`: `/metrics` and `/healthz` on a separate port.
//! * `schedule`: scheduled tasks, macros and backups.
//! * `messages`: log lines and error messages in ws4sqlite's format.

pub mod app;
pub mod config;
pub(crate) mod files;
pub(crate) mod messages;
pub mod monitor;
pub(crate) mod route;
pub(crate) mod rqlite;
pub mod schedule;
pub mod serve;
pub mod startup;

pub use app::{ServedDatabase, SetupError, StandaloneApp};
