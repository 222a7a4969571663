//! What both programs need of the process and the system: log lines, metrics, certificates, signals, memory.

pub(crate) mod database_watch;
pub(crate) mod flags;
pub mod logging;
pub mod main;
pub mod memory;
pub(crate) mod metrics;
pub(crate) mod reloading;
pub(crate) mod scratch;
pub mod shutdown;
pub mod tls;

pub use metrics::{LastBackup, StatusFn};
