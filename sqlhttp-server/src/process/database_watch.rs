//! Looks after a database while it is served: whether its files are still at their paths, and whether they are sound.
//!
//! A removed or replaced file would take every write with it that is acknowledged from then on. Damage can stay unnoticed for
//! months in a table that is never read, and by then it is in every backup.

use std::time::Duration;

use sqlhttp_core::{CheckOptions, Database, Error};

/// How often the files of a database are looked at.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// How long after its start a server checks for damage: not while it has most to do.
const FIRST_CHECK_AFTER: Duration = Duration::from_secs(60);

/// Starts to look after a database. `check_interval` lies between two checks for damage; zero is no check. `name` is the
/// one in log lines.
pub(crate) fn start(database: &Database, name: &str, check_interval: Duration) {
    tokio::spawn(watch_files(database.clone()));
    if !check_interval.is_zero() {
        tokio::spawn(check_regularly(database.clone(), name.to_owned(), check_interval));
    }
}

/// Ends when the database takes no more writes. The engine has logged the reason then.
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

async fn check_regularly(database: Database, name: String, interval: Duration) {
    tokio::time::sleep(FIRST_CHECK_AFTER.min(interval)).await;
    loop {
        match database.check_integrity(CheckOptions::default()).await {
            Ok(report) => tracing::debug!(database = name, took = ?report.took, "checked for damage"),
            // Another check of it runs.
            Err(Error::Overloaded(_)) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(database = name, "the check for damage did not run: {error}"),
        }
        tokio::time::sleep(interval).await;
    }
}
