//! One configured connection, with the statements it has prepared.
//!
//! * [`connection`]: the session itself, and its runs; [`settings`], [`transaction`], [`failures`]: what it does for them.
//! * [`prepare`], [`prepared`], [`statement_cache`]: statements.
//! * [`control`]: the statements of the engine itself.

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
