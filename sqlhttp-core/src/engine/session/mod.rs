//! A configured connection, with the statements it has prepared.
//!
//! * [`connection`]: the session itself, and its runs.
//! * [`settings`], [`transaction`], [`failures`]: its settings and limits, transactions, and errors.
//! * [`prepare`], [`prepared`], [`statement_cache`]: prepares statements and caches them.
//! * [`control`]: the engine's own statements.

mod connection;
mod control;
mod failures;
mod prepare;
mod prepared;
mod settings;
mod statement_cache;
mod transaction;

pub(crate) use connection::Session;
pub(crate) use control::Savepoint;
pub(crate) use prepared::Prepared;
