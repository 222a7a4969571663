//! One node of a cluster: the server behind `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * [`config`]: rqlited's command line.
//! * [`auth`]: its file of users and permissions.
//! * [`log`]: its log lines.
//! * [`member`]: what requests need to know of the node that this server is.
//! * [`serve`]: from the command line to the exit status.

pub mod auth;
pub(crate) mod collector;
pub mod config;
pub(crate) mod http;
pub mod log;
pub mod member;
pub mod serve;
pub(crate) mod write_queue;
