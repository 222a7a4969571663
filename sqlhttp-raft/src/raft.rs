//! This node's handle to openraft, and why it may have stopped.

use openraft::errors::Fatal;
use sqlhttp_core::{Database, Error};

use crate::machine::StateMachine;
use crate::types::TypeConfig;

/// This node's handle to openraft.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The error of a request to a node whose replication has stopped for good.
pub(crate) fn stopped(database: &Database, fatal: &Fatal<TypeConfig>) -> Error {
    if matches!(fatal, Fatal::Stopped) {
        return Error::Closed;
    }
    Error::Poisoned(format!("this node has stopped: {}", why_stopped(database.status().poisoned, fatal)).into())
}

/// Why replication has stopped, in words for users: the database's own reason (`poisoned`), if the database failed.
/// Details, such as the entry that failed, are reported to the observer only.
pub(crate) fn why_stopped(poisoned: Option<String>, fatal: &Fatal<TypeConfig>) -> String {
    let other = match fatal {
        Fatal::StorageError(_) => "its files cannot be read or written",
        Fatal::Panicked => "internal error",
        Fatal::Stopped => "it was told to",
    };
    poisoned.unwrap_or_else(|| other.to_owned())
}
