//! ws4sqlite's protocol over HTTP, with sqliterg's macros and backups.

pub(crate) mod answer;
pub(crate) mod cors;
pub(crate) mod macros;
pub(crate) mod reply;
pub(crate) mod transaction;

pub(crate) use cors::CorsPolicy;
