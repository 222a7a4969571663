//! This node's handle to openraft, and the reasons why replication can stop.

use openraft::errors::Fatal;
use sqlhttp_core::{Database, Error};

use crate::machine::StateMachine;
use crate::types::TypeConfig;

/// This node's handle to openraft.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Returns the error of a request to a node whose replication has stopped: [`Error::Closed`] after a shutdown,
/// [`Error::Poisoned`] after an error.
pub(crate) fn stopped(database: &Database, fatal: &Fatal<TypeConfig>) -> Error {
    if matches!(fatal, Fatal::Stopped) {
        return Error::Closed;
    }
    Error::Poisoned(format!("this node has stopped: {}", why_stopped(database.status().poisoned, fatal)).into())
}

/// Returns the reason why replication has stopped, worded for users. This is `poisoned`, the reason given by the
/// database, if the database has failed. Details, such as the entry that failed, are reported to the observer only.
pub(crate) fn why_stopped(poisoned: Option<String>, fatal: &Fatal<TypeConfig>) -> String {
    let other = match fatal {
        Fatal::StorageError(_) => "its files cannot be read or written",
        Fatal::Panicked => "internal error",
        Fatal::Stopped => "it was told to",
    };
    poisoned.unwrap_or_else(|| other.to_owned())
}
