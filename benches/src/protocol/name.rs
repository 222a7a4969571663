//! Selects a protocol by its name on the command line.

use std::sync::Arc;

use clap::ValueEnum;

use super::{Auth, Protocol, ReadLevel, Rqlite, Ws4sqlite};
use crate::Error;

/// The names of the protocols on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// Each request is a transaction, sent to the path of the database
    Ws4sqlite,
    /// Each request is a list of statements, sent to /db/execute or /db/query
    Rqlite,
}

impl ProtocolName {
    /// Returns the default port of the servers with this protocol.
    pub fn default_port(self) -> u16 {
        match self {
            ProtocolName::Ws4sqlite => 12321,
            ProtocolName::Rqlite => 4001,
        }
    }

    /// Returns the protocol for requests to the database `db`; in rqlite's protocol, reads have the consistency
    /// `level`. Returns an error if the protocol cannot send the credentials in the requested place.
    pub fn for_database(self, db: &str, auth: &Auth, level: ReadLevel) -> Result<Arc<dyn Protocol>, Error> {
        match self {
            ProtocolName::Ws4sqlite => Ok(Arc::new(Ws4sqlite::new(db, auth))),
            ProtocolName::Rqlite if matches!(auth, Auth::Inline { .. }) => Err(Error::Usage(
                "requests of rqlite's protocol have no credentials in the body: use --auth basic".into(),
            )),
            ProtocolName::Rqlite => Ok(Arc::new(Rqlite { level })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_the_command_line_use_the_same_names() {
        for name in ProtocolName::value_variants() {
            let protocol = name.for_database("db", &Auth::None, ReadLevel::default()).unwrap();
            assert_eq!(ProtocolName::from_str(protocol.name(), false), Ok(*name));
        }
    }
}
