//! The protocols: how an operation is encoded as a request, and how the response is decoded.
//!
//! Each protocol has a file in this directory with an implementation of [`Protocol`], and a variant of
//! [`ProtocolName`]. Workloads, connections and reports do not depend on the protocol.

mod name;
mod rqlite;
mod ws4sqlite;

use std::fmt::Debug;

pub use name::ProtocolName;
pub use rqlite::{ReadLevel, Rqlite};
pub use ws4sqlite::Ws4sqlite;

use crate::workload::{Operation, OperationResult};

/// The credentials of the generator, and where in a request they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Requests contain no credentials.
    #[default]
    None,
    /// HTTP basic authentication: credentials are sent in the header `Authorization`.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// Credentials are sent in the request body, if the protocol supports that.
    Inline {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
}

/// The protocol in which the generator sends requests to a server.
pub trait Protocol: Debug + Send + Sync {
    /// Returns the name of the protocol on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Returns the path of the request for an operation, including the query string.
    fn path(&self, operation: &Operation) -> &str;

    /// Appends the request body for an operation to `out`.
    fn write_body(&self, operation: &Operation, out: &mut Vec<u8>);

    /// Decodes the body of a response with status 200. Returns the error message if the body contains an error or
    /// cannot be decoded.
    fn read_result(&self, body: &[u8]) -> Result<OperationResult, String>;

    /// Returns whether the protocol has queued writes, which are acknowledged before they are executed.
    fn has_queued_writes(&self) -> bool {
        false
    }
}
