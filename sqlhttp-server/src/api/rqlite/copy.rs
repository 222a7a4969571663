//! A temporary copy of a database, from which backups and dumps are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use sqlhttp_core::{Error, Location};
use tokio::sync::OwnedSemaphorePermit;

use super::reply::{error, panicked};
use crate::api::admin::Copies;
use crate::api::exchange::Exchange;
use crate::api::outcome::log;
use crate::http::reply::EarlyResponse;

/// A copy of a database in a file of its own, which is removed when this is dropped.
pub(crate) struct Copy {
    pub(crate) path: PathBuf,
    _place: OwnedSemaphorePermit,
}

impl Copy {
    pub(crate) async fn make(
        exchange: &Exchange<'_>,
        copies: &Arc<dyn Copies>,
        vacuumed: bool,
    ) -> Result<Copy, EarlyResponse> {
        let place = exchange.context.identity.copies.clone().try_acquire_owned();
        let place = place.map_err(|_| Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "too many backups at once")))?;
        let copy = Copy { path: fresh_path(&exchange.database.location), _place: place };
        let copies = copies.clone();
        // Not given up when the client goes away: a copy that is almost finished would get its name after we had removed
        // it. As it is, whatever there is in the end is removed.
        let making = tokio::spawn(async move { copies.copy_to(&copy.path, vacuumed).await.map(|()| copy) });
        making.await.map_err(|_| Box::new(panicked()))?.map_err(|why| failed(&why))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Best effort: there may be no file.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A name that no other copy has: beside the database, where there is room for it, as far as that can be said.
fn fresh_path(location: &Location) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let suffix = format!("-download-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    match location {
        Location::File(path) => beside(path, &suffix),
        Location::Memory => std::env::temp_dir().join(format!("sqlhttp{suffix}")),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn failed(why: &Error) -> EarlyResponse {
    log(why);
    Box::new(match why {
        Error::Overloaded(_)
        | Error::Busy(_)
        | Error::Closed
        | Error::NoLeader
        | Error::Timeout
        | Error::Unavailable(_) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        // The path is the operator's business.
        Error::Io { action, source, .. } => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{action}: {source}")),
        Error::LeadershipLost
        | Error::Unknown
        | Error::ReadOnly
        | Error::Poisoned(_)
        | Error::Sqlite { .. }
        | Error::Unsupported(_) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    })
}
