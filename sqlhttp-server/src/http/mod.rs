//! HTTP: from an accepted connection to the answer and back.
//!
//! The way of a request: [`listen`] accepts, [`connection`] speaks HTTP, [`route`] decides what is asked for,
//! [`exchange`] carries a transaction through authentication, [`body`], decoding, the database and encoding;
//! [`files`], [`admin`] and [`cors`] are what else may be asked for. [`monitor`] serves the operator on a port of
//! its own.

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
mod range;
mod reply;
mod request_id;
mod route;
mod state;

pub use admin::{Admin, AdminError};
pub use cors::{CorsError, CorsPolicy};
pub use listen::run;
pub use monitor::run_monitor;
pub use state::{Served, SetupError, State};
