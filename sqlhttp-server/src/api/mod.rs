//! The HTTP API of a database, in both programs: ws4sqlite's protocol and rqlite's data API.
//!
//! * `admin`: the traits for copying and replacing a database, and for macros and backups.
//! * `auth`: the users and tokens in ws4sqlite's protocol.
//! * `context`: the state that all request handlers share.
//! * `database`: one served database.
//! * `exchange`: one request to one database.
//! * `login_delay`: the delay of responses to failed logins.
//! * `metrics`: the endpoint `/metrics`.
//! * `outcome`: what both protocols do with the outcome of a batch before they encode it.
//! * `replication`: the trait for the replication of a database.
//! * `rqlite`: rqlite's data API.
//! * `sql_observer`: counters and log lines about the SQL of requests.
//! * `streaming`: responses that are encoded and sent in parts.
//! * `ws4sqlite`: ws4sqlite's protocol, with sqliterg's macros and backups.

pub mod admin;
pub mod auth;
pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod exchange;
pub(crate) mod login_delay;
pub(crate) mod metrics;
pub(crate) mod outcome;
pub(crate) mod replication;
pub(crate) mod rqlite;
pub(crate) mod sql_observer;
pub(crate) mod streaming;
pub(crate) mod ws4sqlite;
