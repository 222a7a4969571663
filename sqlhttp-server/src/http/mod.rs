//! HTTP: from an accepted connection to the answer and back.
//!
//! The way of a request: `listen` accepts, `connection` speaks HTTP, `route` decides what is asked for, `exchange`
//! carries a transaction through authentication, `body`, decoding, the database and encoding (`answer`); `files`,
//! `admin` and `cors` are what else may be asked for; `rqlite` is the other protocol, with an exchange of its own.
//! `monitor` serves the operator on a port of its own; `request_log` and `observe` write log lines and count.
//!
//! # Decisions
//!
//! * **Too many connections** are told so (503 and `Retry-After`) instead of waiting in the system's queue, where a
//!   client cannot tell a busy server from a dead one. Over TLS they are just disconnected: a handshake costs more
//!   than there is to spare.
//! * **Idle connections** are closed after the time allowed for headers, because that time runs from the end of the
//!   request before.
//! * **What is no HTTP** (400), a URI beyond 64 KiB (414) and headers beyond the limit (431) are refused by hyper,
//!   with an empty body: there is no request yet that a handler could answer.
//! * **A body that is refused unread** is read and thrown away for two seconds after the answer, or the connection
//!   would be reset and the client might never see the answer.
//! * **Wrong credentials** wait a second before they are refused, holding nothing; how many wait at once is bounded,
//!   and more than that wait for a place first, so guessing has a top speed while everybody else has none.
//! * **An answer that fails after its beginning was sent** cuts the connection: 200 cannot be taken back.
//! * **Compression** is for answers beyond 1 KiB, and never for files.

mod admin;
mod answer;
mod body;
mod compress;
mod connection;
mod content;
mod cors;
mod exchange;
mod files;
mod handle;
mod listen;
mod monitor;
mod observe;
mod range;
mod reply;
mod request_id;
mod request_log;
mod route;
mod rqlite;
mod state;
mod streaming;
mod vars;
mod workers;

pub use admin::{Admin, AdminError};
pub use cors::{CorsError, CorsPolicy};
pub use listen::run;
pub use monitor::run_monitor;
pub use state::{Served, SetupError, State};
