//! The handle of an open database, [`Database`], and its operations.
//!
//! * [`handle`]: opens a database, and passes each batch to the thread where it must run.
//! * [`transactions`]: the transactions of closures.
//! * [`blocking`]: the methods for programs without async functions.
//! * [`changes`]: notifications about committed changes.
//! * [`content`]: digests of the content.
//! * [`maintenance`]: the operations of the database's owner.
//! * [`migrations`]: migrations of the schema.
//! * `replication` (with the feature of this name): the operations of a database that applies the entries of a log.
//! * [`status`]: counters and sizes.

mod blocking;
mod changes;
mod content;
mod handle;
mod maintenance;
mod migrations;
#[cfg(feature = "replication")]
mod replication;
mod status;
mod transactions;

pub use blocking::{Blocking, RowIter};
#[cfg(feature = "replication")]
pub use content::PendingContent;
pub use handle::{Classified, Database, sqlite_version};
pub use migrations::Migrated;
pub use status::Status;
