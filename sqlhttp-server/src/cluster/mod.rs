//! One node of a cluster: the server behind `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * [`config`]: rqlited's command line.
//! * [`auth`]: its file of users and permissions.
//! * [`log`]: its log lines.
//! * [`member`]: what requests need to know of the node that this server is.
//! * `observer`: what the node reports, in rqlited's words.
//! * [`serve`]: from the command line to the exit status.

pub(crate) mod app;
pub mod auth;
pub(crate) mod collector;
pub mod config;
pub mod context;
pub(crate) mod http;
pub mod log;
mod observer;
pub mod serve;
pub(crate) mod write_queue;
