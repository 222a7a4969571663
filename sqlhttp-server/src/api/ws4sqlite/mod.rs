//! ws4sqlite's protocol over HTTP, with sqliterg's macros and backups.
//!
//! * `answer`: the response to a transaction.
//! * `cors`: the `corsOrigin` setting.
//! * `macros`: macros and backups over HTTP.
//! * `reply`: error responses of the server itself.
//! * `transaction`: `POST /<id>`.

pub(crate) mod answer;
pub(crate) mod cors;
pub(crate) mod macros;
pub(crate) mod reply;
pub(crate) mod transaction;

pub(crate) use cors::CorsPolicy;
