//! The protocols: how an operation is encoded as a request, and how its answer is decoded.
//!
//! Each protocol has a file here with an implementation of [`Protocol`], and a variant of [`ProtocolName`]. Workloads,
//! connections and reports do not depend on the protocol.

mod name;
mod rqlite;
mod ws4sqlite;

use std::fmt::Debug;

pub use name::ProtocolName;
pub use rqlite::Rqlite;
pub use ws4sqlite::Ws4sqlite;

use crate::workload::{Operation, OperationResult};

/// The credentials of a client, and their place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// No credentials.
    #[default]
    None,
    /// HTTP basic authentication: an `Authorization` header.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// In the body, if the protocol supports that.
    Inline {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// A protocol between client and server.
pub trait Protocol: Debug + Send + Sync {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// The path of the request for an operation, with its query.
    fn path(&self, operation: &Operation) -> &str;

    /// Appends the body of the request for an operation to `out`.
    fn write_body(&self, operation: &Operation, out: &mut Vec<u8>);

    /// Decodes the body of an answer with status 200. If it contains an error, or cannot be decoded, returns the text
    /// of the error.
    fn read_result(&self, body: &[u8]) -> Result<OperationResult, String>;

    /// Whether the protocol has queued writes, which are acknowledged before they are executed.
    fn has_queued_writes(&self) -> bool {
        false
    }
}
