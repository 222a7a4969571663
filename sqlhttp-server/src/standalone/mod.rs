//! The server behind `sqlhttp-standalone`, a drop-in replacement for ws4sqlite.

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
