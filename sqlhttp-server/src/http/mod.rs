//! HTTP: from an accepted connection to the answer and back.
//!
//! The way of a request: `listen` accepts, `connection` speaks HTTP, `route` decides what is asked for, `exchange`
//! carries a transaction through authentication, `body`, decoding, the database and encoding (`answer`); `files`,
//! `admin` and `cors` are what else may be asked for; `rqlite` is the other protocol, with an exchange of its own.
//! `monitor` serves the operator on a port of its own; `request_log` and `observe` write log lines and count.
//!
//! # Decisions
//!
//! * **When all places for connections are taken**, the one that has been idle for longest is closed for a new one
//!   (`connection_slots`). If a request runs on each, the new client is told so (503 and `Retry-After`) instead of waiting in the
//!   system's queue, where it cannot tell a busy server from a dead one. Over TLS they are just disconnected: a handshake costs more
//!   than there is to spare.
//! * **Idle connections** are closed after the time allowed for headers, because that time runs from the end of the
//!   request before. A new connection has less time to send its first request.
//! * **What is no HTTP** (400), a URI beyond 64 KiB (414) and headers beyond the limit (431) are refused by hyper with an
//!   empty body, because there is no request yet that a handler could answer; `head` gives these refusals their body.
//! * **Ambiguous heads** (two `Host`, two ways to tell where the body ends) are refused: a proxy may read them otherwise.
//! * **A body that is not read** is read and thrown away after the answer if it is short, so that the connection can be used
//!   again (`drain`). Otherwise the answer announces `Connection: close`, and the rest is thrown away for two seconds, or
//!   the connection would be reset and the client might never see the answer.
//! * **Wrong credentials** wait a second before they are refused, holding nothing; how many wait at once is bounded,
//!   and more than that wait for a place first, so guessing has a top speed while everybody else has none.
//! * **An answer that fails after its beginning was sent** cuts the connection: 200 cannot be taken back.
//! * **Requests of other sites' pages** (`origin`) are refused where a browser sends them without asking and they would have
//!   an effect. Reads by GET are answered: the browser keeps the answer from the page.
//! * **Compression** is for answers beyond 1 KiB, and never for files.

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
