//! A session: a configured SQLite connection, with the statements it has prepared.
//!
//! * [`connection`]: the session itself; begins and ends the runs of batches.
//! * [`settings`], [`transaction`], [`failures`]: the session's settings and limits, transactions, and errors.
//! * [`prepare`], [`prepared`], [`statement_cache`]: prepares statements and caches them.
//! * [`determinism`]: checks that a statement has the same effect on every node.
//! * [`control`]: the engine's own statements, such as BEGIN and COMMIT.

mod changes;
mod connection;
mod control;
mod determinism;
mod failures;
mod prepare;
mod prepared;
mod settings;
mod statement_cache;
mod transaction;

pub(crate) use connection::Session;
pub(crate) use control::Savepoint;
pub(crate) use prepared::Prepared;
