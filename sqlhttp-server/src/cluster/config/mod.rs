//! The command line of `sqlhttp-cluster`: that of rqlited v10, and flags of our own.
//!
//! `table` lists the flags, `typed` holds the values that were given, `validate` makes the checks that rqlited makes,
//! `resolve` makes a [`ClusterConfig`] of them; `parse` runs these steps.

pub mod address;
mod exit;
mod extensions;
mod flag_values;
mod parse;
mod resolve;
mod table;
mod types;
mod usage;
mod validate;

pub use exit::{Exit, ExitMessage};
pub use parse::parse;
pub use table::PROGRAM;
pub use types::{ClusterConfig, LogConfig, RaftConfig, WriteQueueConfig};

#[cfg(test)]
mod tests;
