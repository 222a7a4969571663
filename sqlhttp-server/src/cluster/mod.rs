//! One node of a cluster: the program `sqlhttp-cluster`, a drop-in replacement for rqlite.
//!
//! * `app`: the node as an application that the HTTP transport serves.
//! * [`auth`]: the file of users and permissions.
//! * `collector`: the metrics of the node.
//! * [`config`]: the command line, which has the flags of rqlited.
//! * [`context`]: the node and its settings, for the request handlers.
//! * `formation`: how the node becomes a member of a cluster.
//! * `http`: the HTTP endpoints.
//! * [`log`]: log lines in rqlited's format.
//! * `observer`: writes log messages about the events of the node, in rqlited's wording.
//! * `replication`: the replication of the database, for the request handlers of both protocols.
//! * [`serve`]: the program, from the command line to the exit status.
//! * `slot`: the node, which is opened after the HTTP API has begun to listen.
//! * `start`, `stop`: the start of the node while the HTTP API is served, and the preparations for its stop.
//! * `write_queue`: the queue of queued writes.

pub(crate) mod app;
pub mod auth;
pub(crate) mod collector;
pub mod config;
pub mod context;
mod formation;
pub(crate) mod http;
pub mod log;
mod observer;
pub(crate) mod replication;
pub mod serve;
pub(crate) mod slot;
mod start;
mod stop;
pub(crate) mod write_queue;
