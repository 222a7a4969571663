//! The protocols by their names.

use std::sync::Arc;

use clap::ValueEnum;

use super::{Auth, Protocol, Rqlite, Ws4sqlite};
use crate::Error;

/// The names of the protocols on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// POST /<database> with a transaction
    Ws4sqlite,
    /// POST /db/execute and /db/query with statements
    Rqlite,
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
