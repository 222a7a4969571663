//! The command line of `sqlhttp-cluster`: that of rqlited v10, and further flags.
//!
//! * [`address`]: splits addresses as Go does.
//! * `exit`: the message and the status of a process that does not start.
//! * `extensions`: checks the directories of `-extensions-path`.
//! * `flag_values`: the values of the flags.
//! * `parse`: runs all steps, from the command line to a [`ClusterConfig`].
//! * `resolve`: makes a [`ClusterConfig`] of valid flags.
//! * `table`: the list of all flags.
//! * `types`: [`ClusterConfig`] and its parts.
//! * `usage`: the usage text and the version.
//! * `validate`: the checks of rqlited, and those of the further flags.

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
