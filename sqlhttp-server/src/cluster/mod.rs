//! One node of a cluster: the server behind `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * [`config`]: rqlited's command line.
//! * [`auth`]: its file of users and permissions.
//! * [`log`]: its log lines.
//! * [`member`]: what requests need to know of the node that this server is.
//! * `observer`: what the node reports, in rqlited's words.
//! * [`serve`]: from the command line to the exit status.

pub mod auth;
pub mod config;
pub mod log;
pub mod member;
mod observer;
pub mod serve;
