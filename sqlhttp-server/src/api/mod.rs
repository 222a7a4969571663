//! What a database offers over HTTP, whichever program serves it: ws4sqlite's protocol and rqlite's data API.
//!
//! `context` and `database` are the state that handlers share; `exchange` is one request to one database; `ws4sqlite` and
//! `rqlite` decode, run and encode.

pub mod admin;
pub mod auth;
pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod exchange;
pub(crate) mod login_delay;
pub(crate) mod metrics;
pub(crate) mod outcome;
pub(crate) mod rqlite;
pub(crate) mod sql_observer;
pub(crate) mod streaming;
pub(crate) mod ws4sqlite;
