//! Periodic checks of a database while it is served: whether its files are still at their paths, and whether their
//! content is intact.
//!
//! If a database file has been removed or replaced, SQLite continues to write to the old file, so every write that is
//! acknowledged after that is lost. Corruption in a table that is never read can remain undetected until every backup
//! contains it.

use std::time::Duration;

use sqlhttp_core::{CheckOptions, Database, Error};

/// The interval between two checks of a database's files.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// The maximum time from the start of the server to the first integrity check. The check does not run at the start
/// itself, in order not to slow it down.
const FIRST_CHECK_AFTER: Duration = Duration::from_secs(60);

/// Starts the periodic checks of a database. `name` is the name of the database in log lines. `check_interval` is the
/// time between two integrity checks; zero disables integrity checks, but not the checks of the files.
pub(crate) fn start(database: &Database, name: &str, check_interval: Duration) {
    tokio::spawn(watch_files(database.clone()));
    if !check_interval.is_zero() {
        tokio::spawn(check_regularly(database.clone(), name.to_owned(), check_interval));
    }
}

/// Checks at intervals whether the files of a database are still at their paths. Ends when a check fails: the engine
/// has then logged the reason and refuses writes.
async fn watch_files(database: Database) {
    loop {
        tokio::time::sleep(FILES_EVERY).await;
        let watched = database.clone();
        let checked = tokio::task::spawn_blocking(move || watched.check_files()).await;
        if !matches!(checked, Ok(Ok(()))) {
            return;
        }
    }
}

/// Runs an integrity check of a database once per `interval`, until the database is closed.
async fn check_regularly(database: Database, name: String, interval: Duration) {
    tokio::time::sleep(FIRST_CHECK_AFTER.min(interval)).await;
    loop {
        match database.check_integrity(CheckOptions::default()).await {
            Ok(report) => tracing::debug!(database = name, took = ?report.took, "integrity check completed"),
            // Another integrity check of this database is already running.
            Err(Error::Overloaded(_)) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(database = name, "the integrity check could not run: {error}"),
        }
        tokio::time::sleep(interval).await;
    }
}
