//! How operations are said to a server, and what its answers mean.
//!
//! One protocol is one file here and one variant of [`ProtocolName`]: implement [`Protocol`] (path, body, answer) for it. The
//! workloads, the connections and the reports know nothing of the difference.

mod rqlite;
mod ws4sqlite;

use std::fmt::Debug;
use std::sync::Arc;

use clap::ValueEnum;

pub use rqlite::Rqlite;
pub use ws4sqlite::Ws4sqlite;

use crate::Error;
use crate::workload::Operation;

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

/// What an answer says, as far as all protocols say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many rows were returned.
    pub rows: u64,
    /// How many columns the first of them has.
    pub columns: u64,
    /// How many rows were changed, over all statements.
    pub changed: u64,
    /// The first value of the first row, if it is an integer.
    pub first: Option<u64>,
}

/// The names of the protocols on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// POST /<database> with a transaction
    Ws4sqlite,
    /// POST /db/execute and /db/query with statements
    Rqlite,
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
    fn read_answer(&self, body: &[u8]) -> Result<Answer, String>;

    /// Whether it knows writes that are answered before they are carried out.
    fn queues(&self) -> bool {
        false
    }
}

impl ProtocolName {
    /// The port on which the servers that use this protocol listen by default.
    pub fn default_port(self) -> u16 {
        match self {
            ProtocolName::Ws4sqlite => 12321,
            ProtocolName::Rqlite => 4001,
        }
    }

    /// The protocol for one database of the server. Refuses a form of authentication that the protocol does not have.
    pub fn for_database(self, db: &str, auth: &Auth) -> Result<Arc<dyn Protocol>, Error> {
        match self {
            ProtocolName::Ws4sqlite => Ok(Arc::new(Ws4sqlite::new(db, auth))),
            ProtocolName::Rqlite if matches!(auth, Auth::Inline { .. }) => Err(Error::Usage(
                "requests of rqlite's protocol have no credentials in the body: use --auth basic".into(),
            )),
            ProtocolName::Rqlite => Ok(Arc::new(Rqlite)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_the_command_line_use_the_same_names() {
        for name in ProtocolName::value_variants() {
            let protocol = name.for_database("db", &Auth::None).unwrap();
            assert_eq!(ProtocolName::from_str(protocol.name(), false), Ok(*name));
        }
    }
}
