//! Encodes replies to requests that failed as a whole.

use sqlhttp_core::Error;

use crate::messages::{self, TIMED_OUT, sql_error};
use crate::reply::{Refusal, Reply};

/// Encodes the reply to a request that failed as a whole, so that there is no outcome.
///
/// | error | status |
/// |---|---|
/// | `Overloaded`, `Closed`, `NoLeader`, `Removed`, `Unavailable` | 503 |
/// | `Timeout`, `Unknown` | 504 |
/// | `Unauthorized` | 401 |
/// | `Busy`, `ReadOnly`, `LeadershipLost`, `ConnectionLost`, `Poisoned`, `Sqlite`, `Io`, `Unsupported`, `Row` | 500 |
/// | `Failed` | that of the failed query or statement |
pub fn encode_error(error: &Error) -> Reply {
    let (status, text) = match error {
        Error::Overloaded(_) | Error::Closed | Error::NoLeader | Error::Removed | Error::Unavailable(_) => {
            (503, error.to_string())
        }
        Error::Timeout | Error::Unknown => (TIMED_OUT, error.to_string()),
        Error::Unauthorized => (401, error.to_string()),
        Error::Busy(source) => (500, sql_error(source)),
        Error::ReadOnly => (500, "attempt to write a readonly database (8)".to_owned()),
        Error::Sqlite { action, source } => (500, format!("{action}: {}", sql_error(source))),
        // The path of the file is left out: it is of use to the operator, not to the client.
        Error::Io { action, source, .. } => (500, format!("{action}: {source}")),
        Error::LeadershipLost
        | Error::ConnectionLost(_)
        | Error::Poisoned(_)
        | Error::Unsupported(_)
        | Error::Row(_) => (500, error.to_string()),
        Error::Failed { failure, .. } => {
            let (status, text) = messages::failure(failure, true);
            (status, text.into_owned())
        }
    };
    Refusal::whole(status, text).into()
}

#[cfg(test)]
mod tests {
    use sqlhttp_core::SqlError;

    use super::*;

    #[test]
    fn errors_have_a_status_each() {
        let text = "database is locked";
        let busy = Error::Busy(SqlError { code: 5, generic: text.into(), message: text.into(), offset: None });
        let io = Error::Io {
            action: "read file",
            path: "/secret".into(),
            source: std::sync::Arc::new(std::io::Error::other("broken")),
        };
        for (error, status, text) in [
            (Error::Overloaded("x"), 503, "the database is overloaded: x"),
            (Error::Timeout, 504, "the time limit was exceeded"),
            (Error::Closed, 503, "the database is closed"),
            (Error::Removed, 503, "this node was removed from the cluster"),
            (Error::ReadOnly, 500, "attempt to write a readonly database (8)"),
            (busy, 500, "database is locked (5) (SQLITE_BUSY)"),
            (io, 500, "read file: broken"),
        ] {
            let reply = encode_error(&error);
            assert_eq!(reply.status, status);
            assert_eq!(reply.body, Refusal::whole(status, text).body());
        }
    }
}
