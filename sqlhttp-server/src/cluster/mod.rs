//! One node of a cluster: the program `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * `app`: the node as an application of the HTTP transport.
//! * [`auth`]: the file of users and permissions.
//! * `collector`: the metrics of the node.
//! * [`config`]: rqlited's command line.
//! * [`context`]: the node and its settings, as request handlers see them.
//! * `http`: the endpoints.
//! * [`log`]: rqlited's log lines.
//! * `observer`: writes the events of the node to the log, in rqlited's wording.
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
