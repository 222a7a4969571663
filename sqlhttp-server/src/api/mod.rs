//! What a database offers over HTTP, whichever program serves it.

pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod context;
pub(crate) mod exchange;
pub(crate) mod observe;
pub(crate) mod penalty;
pub(crate) mod rqlite;
pub(crate) mod ws4sqlite;

pub use admin::{Admin, AdminError};
pub use context::{Served, SetupError, State};
