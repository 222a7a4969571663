//! Notifications about committed changes.
//!
//! While a listener exists, the connection of the writer has a hook that collects the changed rows of the open
//! transaction ([`collector`], and `changes` of the session). After COMMIT, the writer thread passes them to the
//! listeners ([`listeners`]): hooks that it calls, and streams.

pub(crate) mod collector;
pub(crate) mod listeners;
mod stream;

use std::sync::Arc;

pub use listeners::CommitHook;
pub use stream::Changes;

/// A committed change of the content: see [`Database::changes`](crate::Database::changes).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A row has changed. If an UPDATE changes the rowid, only the new one is reported as a row.
    #[non_exhaustive]
    Row {
        /// The kind of the change.
        operation: Operation,
        /// The name of the table.
        table: Arc<str>,
        /// The rowid.
        rowid: i64,
    },
    /// Any number of rows of a table may have changed, other than those that are reported as rows.
    #[non_exhaustive]
    Table {
        /// The name of the table.
        table: Arc<str>,
    },
    /// Anything may have changed: the schema has changed, the whole content was replaced, or the receiver of a stream
    /// did not take the changes for so long that more than 65,536 of them were waiting.
    Everything,
}

/// The kind of a change of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The row was inserted.
    Insert,
    /// The row was updated.
    Update,
    /// The row was deleted.
    Delete,
}

impl Change {
    /// The name of the table; `None` if anything may have changed.
    pub fn table(&self) -> Option<&str> {
        match self {
            Change::Row { table, .. } | Change::Table { table } => Some(table),
            Change::Everything => None,
        }
    }
}

/// The maximum number of changes of a transaction, and of those that wait for the receiver of a stream.
const CHANGES_MAX: usize = 65_536;
