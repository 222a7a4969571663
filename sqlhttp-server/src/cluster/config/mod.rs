//! The command line of `sqlhttp-cluster`: the flags of rqlited v10, and flags that rqlited does not have.
//!
//! * [`address`]: splits addresses into host and port, as Go does.
//! * `exit`: the last message and the exit status of a process that does not start the node.
//! * `extensions`: checks the paths of `-extensions-path`.
//! * `flag_values`: the values of the flags.
//! * `parse`: parses the command line into a [`ClusterConfig`], with the other modules.
//! * `resolve`: converts valid flags to a [`ClusterConfig`].
//! * `table`: the list of all flags.
//! * `types`: [`ClusterConfig`] and its parts.
//! * `usage`: the usage text, the version, the man page and the completion scripts.
//! * `validate`: checks the values of the flags, as rqlited does, and those of the flags that rqlited does not have.

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
pub use types::{
    ClusterConfig, DiscoveryConfig, DiscoveryMode, FormationConfig, LogConfig, RaftConfig, WriteQueueConfig,
};

#[cfg(test)]
mod tests;
