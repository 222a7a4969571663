//! How operations are said to a server, and what its answers mean.
//!
//! One protocol is one file here and one variant of [`ProtocolName`]: implement [`Protocol`] (path, body, answer) for it. The
//! workloads, the connections and the reports know nothing of the difference.

mod name;
mod rqlite;
mod ws4sqlite;

use std::fmt::Debug;

pub use name::ProtocolName;
pub use rqlite::Rqlite;
pub use ws4sqlite::Ws4sqlite;

use crate::workload::{Operation, OperationResult};

/// Who asks, and how he says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// In the body, where the protocol has a place for it.
    Inline {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// A protocol that servers speak.
pub trait Protocol: Debug + Send + Sync {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Where the operation is sent: an absolute path, with a query if need be.
    fn path(&self, operation: &Operation) -> &str;

    /// Appends the body of the request.
    fn write_body(&self, operation: &Operation, out: &mut Vec<u8>);

    /// Understands the body of an answer with status 200; the text of the error it reports otherwise.
    fn read_result(&self, body: &[u8]) -> Result<OperationResult, String>;

    /// Whether it knows writes that are answered before they are carried out.
    fn has_queued_writes(&self) -> bool {
        false
    }
}
