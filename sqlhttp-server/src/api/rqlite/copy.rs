//! Temporary copies of databases, from which backups and dumps are read.

use std::sync::Arc;

use hyper::StatusCode;
use sqlhttp_core::Error;
use tokio::sync::OwnedSemaphorePermit;

use super::reply::{error, panicked};
use crate::api::admin::Copies;
use crate::api::exchange::Exchange;
use crate::api::outcome::log_error;
use crate::http::reply::EarlyResponse;
use crate::process::scratch::{Purpose, ScratchFile};

/// A temporary copy of a database in a file. Dropping this value removes the file.
pub(crate) struct DatabaseCopy {
    pub(crate) file: ScratchFile,
    _permit: OwnedSemaphorePermit,
}

impl DatabaseCopy {
    /// Creates a copy of the database. Returns a response with status 503 if too many copies exist already.
    pub(crate) async fn make(
        exchange: &Exchange<'_>,
        copies: &Arc<dyn Copies>,
        vacuumed: bool,
    ) -> Result<DatabaseCopy, EarlyResponse> {
        let permit = exchange.context.identity.copy_permits.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "too many backups at once")))?;
        let copy =
            DatabaseCopy { file: ScratchFile::beside(&exchange.database.location, Purpose::Download), _permit: permit };
        let copies = copies.clone();
        // The copy is made in a separate task, which continues if the client disconnects. If the copying were
        // cancelled, it could still create its file after the drop guard has removed it. The task removes the file when
        // the copying has ended.
        let making = tokio::spawn(async move { copies.copy_to(copy.file.path(), vacuumed).await.map(|()| copy) });
        making.await.map_err(|_| Box::new(panicked()))?.map_err(|why| copy_error(&why))
    }
}

/// Logs the error of a copy or a dump and builds the response to it.
pub(crate) fn copy_error(why: &Error) -> EarlyResponse {
    log_error(why);
    Box::new(match why {
        Error::Overloaded(_)
        | Error::Busy(_)
        | Error::Closed
        | Error::NoLeader
        | Error::Removed
        | Error::Timeout
        | Error::Unavailable(_) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        // The path must not be shown to clients.
        Error::Io { action, source, .. } => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{action}: {source}")),
        Error::Unauthorized => error(StatusCode::UNAUTHORIZED, "remote backup not authorized"),
        Error::LeadershipLost
        | Error::Unknown
        | Error::ConnectionLost(_)
        | Error::ReadOnly
        | Error::Poisoned(_)
        | Error::Sqlite { .. }
        | Error::Unsupported(_)
        | Error::Failed { .. }
        | Error::Row(_) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    })
}
