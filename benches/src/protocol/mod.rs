//! How operations are said to a server, and what its answers mean.
//!
//! One protocol is one file here and one line in [`by_name`]: implement [`Protocol`] (path, body, answer) for it. The
//! workloads, the connections and the reports know nothing of the difference.

mod rqlite;
mod ws4sqlite;

use std::fmt::Debug;

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

/// The protocol of this name for a database.
pub fn by_name(name: &str, db: &str, auth: &Auth) -> Result<Box<dyn Protocol>, Error> {
    match name {
        Ws4sqlite::NAME => Ok(Box::new(Ws4sqlite::new(db, auth))),
        Rqlite::NAME if matches!(auth, Auth::Inline { .. }) => {
            Err(Error::Usage("rqlite's bodies have no place for credentials: use --auth basic".into()))
        }
        Rqlite::NAME => Ok(Box::new(Rqlite)),
        _ => Err(Error::Usage(format!("unknown protocol '{name}' (there are: {}, {})", Ws4sqlite::NAME, Rqlite::NAME))),
    }
}
