//! An open database.
//!
//! * [`handle`]: opens it, and routes batches.
//! * [`maintenance`]: the operations of its owner.
//! * [`replication`]: the operations of the log that it applies.
//! * [`status`]: counters and sizes.

mod handle;
mod maintenance;
mod replication;
mod status;

pub use handle::{Classified, Database, sqlite_version};
pub use status::Status;
