//! ws4sqlite's protocol over HTTP, with the macros and backups of sqliterg.
//!
//! * `answer`: the response to a transaction.
//! * `cors`: the setting `corsOrigin`.
//! * `macros`: the endpoints that run macros and make backups.
//! * `reply`: error responses that do not come from the protocol crate.
//! * `transaction`: `POST /<id>`, which runs a transaction.

pub(crate) mod answer;
pub(crate) mod cors;
pub(crate) mod macros;
pub(crate) mod reply;
pub(crate) mod transaction;

pub(crate) use cors::CorsPolicy;
