//! The HTTP transport, from an accepted connection to the response. It serves any `app::App` and depends on no protocol
//! and no database. `DESIGN.md` gives the reasons for its decisions.
//!
//! A request passes through the modules in this order:
//!
//! 1. `listen` accepts the connection, `connection_slots` limits the number of connections, and `workers` assigns the
//!    connection to a thread. `peer` is the state of the connection.
//! 2. `connection` runs TLS and HTTP on the `socket`. `head` scans the heads of HTTP/1 requests.
//! 3. `handle` assigns a `request_id`, refuses ambiguous heads and hosts that are not allowed (`origin`), and calls the
//!    program (`app`). `request_log` writes the log lines.
//! 4. The program reads the `body` within the `limits` and within the budget of `body_memory`, or stores a long one in
//!    a file (`peeked_body`). `content`, `query` and `basic_auth` parse parts of the head.
//! 5. The program builds a response (`reply`), which `compress` compresses. `drain` discards a body that was not read.
//!
//! `transport` is the state that all connections share. `poll_on_wake` avoids needless polls of the futures that signal
//! the end of a connection.

pub(crate) mod app;
pub(crate) mod basic_auth;
pub(crate) mod body;
pub(crate) mod body_memory;
pub(crate) mod compress;
pub(crate) mod connection;
pub(crate) mod connection_slots;
pub(crate) mod content;
pub(crate) mod drain;
pub(crate) mod handle;
pub(crate) mod head;
pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod origin;
pub(crate) mod peeked_body;
pub(crate) mod peer;
pub(crate) mod poll_on_wake;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod request_id;
pub(crate) mod request_log;
pub(crate) mod socket;
pub(crate) mod transport;
pub(crate) mod workers;

pub(crate) use listen::run;
