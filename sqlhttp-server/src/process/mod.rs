//! The parts of both programs that concern the process and the operating system: log lines, metrics, certificates,
//! signals, memory and file descriptors, and the man page and completion scripts.

pub(crate) mod database_watch;
pub(crate) mod flags;
pub(crate) mod generate;
pub mod logging;
pub mod main;
pub mod memory;
pub(crate) mod metrics;
pub(crate) mod reloading;
pub(crate) mod scratch;
pub mod shutdown;
pub mod tls;

pub use metrics::{LastBackup, StatusFn};
