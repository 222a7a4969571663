//! A database that is open.
//!
//! * [`handle`]: opens it, and decides where batches run; [`status`]: what it tells of itself.
//! * [`maintenance`]: what its owner asks for; [`replication`]: what the log asks for that it applies.

mod handle;
mod maintenance;
mod replication;
mod status;

pub use handle::{Classified, Database, sqlite_version};
pub use status::Status;
