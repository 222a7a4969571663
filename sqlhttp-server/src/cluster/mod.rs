//! One node of a cluster: the program `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * `app`: the node as an application that the HTTP transport serves.
//! * [`auth`]: the file of users and permissions.
//! * `collector`: the metrics of the node.
//! * [`config`]: the command line, which has the flags of rqlited.
//! * [`context`]: the node and its settings, for the request handlers.
//! * `http`: the HTTP endpoints.
//! * [`log`]: log lines in rqlited's format.
//! * `observer`: writes log messages about the events of the node, in rqlited's wording.
//! * [`serve`]: the program, from the command line to the exit status.
//! * `write_queue`: the queue of queued writes.

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
