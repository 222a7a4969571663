//! SQLite over HTTP: the server behind `sqlhttp-standalone`, a drop-in replacement for ws4sqlite.
//!
//! # The way of a request
//!
//! 1. `http::listen` accepts a connection if there is a place left, `http::connection` speaks HTTP (or HTTPS) on it.
//! 2. `http::route` decides from method and path what is asked for. Files ([`config::ServerConfig::serve_dir`]) come
//!    first for GET and HEAD.
//! 3. `http::exchange` checks who it is (`auth`), reads the body within its bounds, has the protocol crate decode it,
//!    and hands the batch to the database's [`sqlhttp_core::Backend`].
//! 4. `http::answer` has the outcome encoded, whole or in parts, and the answer goes back, compressed if the client
//!    can take that.
//!
//! A client that goes away drops the future that does all this, and that interrupts its statement.
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the command line, companion files, and what they mean |
//! | [`schedule`] | what runs by the clock: tasks, backups, macros |
//! | [`http`] | everything between a socket and a database; [`run`] is the way in |
//! | [`tls`] | certificate and key |
//! | [`logging`] | log lines |
//! | [`shutdown`] | signals |
//! | [`memory`] | pages of memory |
//! | [`cluster`] | a node of a cluster: its command line, its users, its log lines |
//!
//! The caller owns the sockets, the stop signal, the databases and the runtime; see [`run`].

pub mod api;
pub mod cluster;
pub mod http;
pub mod process;
pub mod standalone;
