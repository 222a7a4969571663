//! Checks the integrity of an open database, concurrently with its readers and its writer.
//!
//! The check runs on a low-priority thread with a connection of its own. It pauses whenever it has read more pages than
//! its rate allows.
//!
//! A large database is checked table by table, each in a separate read transaction, because the write-ahead log grows
//! while a read transaction is open. If it grows by more than [`WAL_GROWTH_MAX`] during a table, the check continues
//! without pauses.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::check::{DAMAGES_MAX, Depth, Scope, damages, is_damage};
use super::report::{CheckOptions, IntegrityReport};
use crate::engine::background::spawn_low_priority;
use crate::engine::connection_config::Role;
use crate::engine::error::{engine_error, sql_error};
use crate::engine::file_watch::wal_of;
use crate::engine::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::shared::SharedState;
use crate::engine::sqlite::pages;
use crate::engine::stamps;
use crate::engine::watch::Cancel;
use crate::model::{Error, SqlError};

/// The maximum size of a database that is checked whole, in one read transaction, in pages. Larger ones are checked
/// table by table.
const WHOLE_PAGES_MAX: i64 = 65_536;
/// The growth of the write-ahead log during the check of a table, in bytes, from which the check makes no more pauses.
const WAL_GROWTH_MAX: u64 = 64 << 20;
/// The number of virtual-machine steps, or pages of a b-tree, between two checks of the rate and of the cancel flag.
const STEPS_PER_POLL: i32 = 100;
/// The maximum pause before the cancel flag is checked again.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Starts a check on a thread of its own.
pub(crate) fn spawn(
    shared: Arc<SharedState>,
    sessions: Arc<Sessions>,
    options: CheckOptions,
    cancel: Cancel,
    reply: oneshot::Sender<Result<IntegrityReport, Error>>,
) -> Result<(), Error> {
    let running = RunningGuard::new(shared).ok_or(Error::Overloaded("an integrity check is running already"))?;
    spawn_low_priority("sqlhttp-check", move || {
        let check = Check { shared: &running.0, sessions, options, cancel };
        // The send fails if the caller has dropped the future. That is no error.
        let _ = reply.send(check.run());
    })
}

/// Prevents other integrity checks of the database while it exists.
struct RunningGuard(Arc<SharedState>);

impl RunningGuard {
    fn new(shared: Arc<SharedState>) -> Option<RunningGuard> {
        // `then`, not `then_some`: `then_some` would create the guard in any case, and dropping it would clear the
        // flag.
        (!shared.checks.running.swap(true, Ordering::AcqRel)).then(|| RunningGuard(shared))
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.checks.running.store(false, Ordering::Release);
    }
}

/// An integrity check that is running.
struct Check<'a> {
    shared: &'a SharedState,
    sessions: Arc<Sessions>,
    options: CheckOptions,
    cancel: Cancel,
}

impl Check<'_> {
    fn run(&self) -> Result<IntegrityReport, Error> {
        let start = Instant::now();
        let (damages, pages_read) = match self.find_damages() {
            Err(error) if is_damage(&error) => (vec![error.message], 0),
            Err(_) if self.is_cancelled() => return Err(Error::Closed),
            found => found.map_err(|error| engine_error("check integrity", error))?,
        };
        let report = IntegrityReport { unix_ms: stamps::new().unix_ms, took: start.elapsed(), pages_read, damages };
        if !report.is_sound() {
            let file = self.shared.config.file().map(|file| file.display().to_string());
            let damages = report.damages.join("; ");
            tracing::error!(file, damages, "the database is damaged; restore it from a backup");
        }
        self.shared.checks.store(&report);
        Ok(report)
    }

    fn find_damages(&self) -> Result<(Vec<String>, u64), SqlError> {
        let mut session = Session::open(&self.shared.config, Role::Reader)?;
        session.as_owner_sql(|connection| {
            let mut found = Vec::new();
            for table in self.tables(connection)? {
                found.extend(self.check(connection, table.as_deref())?);
                if found.len() >= DAMAGES_MAX {
                    break;
                }
            }
            found.truncate(DAMAGES_MAX);
            Ok((found, pages::read_by(connection)))
        })
    }

    /// Returns the names of the tables that are checked one by one. A single `None` means that the whole database is
    /// checked at once.
    fn tables(&self, connection: &Connection) -> Result<Vec<Option<String>>, SqlError> {
        let pages: i64 = connection.query_row("PRAGMA main.page_count", [], |row| row.get(0)).map_err(sql_error)?;
        if pages <= WHOLE_PAGES_MAX && self.shared.config.snapshots() {
            return Ok(vec![None]);
        }
        let names = "SELECT 'sqlite_schema' UNION ALL SELECT name FROM main.sqlite_schema WHERE type = 'table'";
        let mut statement = connection.prepare(names).map_err(sql_error)?;
        let names = statement.query_map([], |row| row.get(0).map(Some)).map_err(sql_error)?;
        names.collect::<rusqlite::Result<_>>().map_err(sql_error)
    }

    /// Checks one table, or the whole database if `table` is `None`.
    fn check(&self, connection: &mut Connection, table: Option<&str>) -> Result<Vec<String>, SqlError> {
        // With a rollback journal the writer waits during the check, so there are no pauses.
        let snapshots = self.shared.config.snapshots();
        let rollback_lock =
            (!snapshots).then(|| self.shared.rollback_lock.read().unwrap_or_else(PoisonError::into_inner));
        let rate = self.options.pages_per_second.filter(|_| snapshots);
        let (cancel, sessions) = (self.cancel.clone(), self.sessions.clone());
        let gate = self.shared.config.gate().clone();
        let is_cancelled = move || {
            if gate.is_evicting() {
                cancel.set();
            }
            cancel.is_set() || sessions.is_closed()
        };
        let wal = self.shared.config.file().map(|file| wal_of(file));
        let mut pacer = Pacer::new(rate, pages::read_by(connection), wal);
        pages::on_progress(connection, STEPS_PER_POLL, move |pages| pacer.wait(pages, &is_cancelled))
            .map_err(sql_error)?;
        let found = damages(connection, table.map_or(Scope::Whole(Depth::Full), Scope::Table));
        drop(rollback_lock);
        match (found, table) {
            // The table was dropped after the list of tables was made.
            (Err(_), Some(table)) if !exists(connection, table)? => Ok(Vec::new()),
            (found, _) => found,
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_set() || self.sessions.is_closed()
    }
}

fn exists(connection: &Connection, table: &str) -> Result<bool, SqlError> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
    let count = connection.query_row(sql, [table], |row| row.get::<_, i64>(0));
    count.map(|count| count > 0 || table == "sqlite_schema").map_err(sql_error)
}

/// Pauses an integrity check that reads faster than its rate.
struct Pacer {
    rate: Option<NonZeroU32>,
    start: Instant,
    pages_at_start: u64,
    wal: Option<PathBuf>,
    wal_bytes_max: u64,
}

impl Pacer {
    fn new(rate: Option<NonZeroU32>, pages: u64, wal: Option<PathBuf>) -> Pacer {
        let wal_bytes_max = wal_bytes(wal.as_ref()).saturating_add(WAL_GROWTH_MAX);
        Pacer { rate, start: Instant::now(), pages_at_start: pages, wal, wal_bytes_max }
    }

    /// Pauses the check as long as the rate requires. Returns whether the check is cancelled.
    fn wait(&mut self, pages: u64, is_cancelled: &dyn Fn() -> bool) -> bool {
        loop {
            if is_cancelled() {
                return true;
            }
            let ahead = self.ahead(pages);
            if ahead.is_zero() {
                return false;
            }
            if wal_bytes(self.wal.as_ref()) > self.wal_bytes_max {
                tracing::debug!("the integrity check continues without pauses, because the write-ahead log grows");
                self.rate = None;
                return false;
            }
            std::thread::sleep(ahead.min(PAUSE_MAX));
        }
    }

    /// Returns how long to wait until the rate allows the number of pages that have been read.
    fn ahead(&self, pages: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let read = pages.saturating_sub(self.pages_at_start);
        let due = Duration::from_secs_f64(read as f64 / f64::from(rate.get()));
        due.saturating_sub(self.start.elapsed())
    }
}

fn wal_bytes(wal: Option<&PathBuf>) -> u64 {
    wal.and_then(|wal| std::fs::metadata(wal).ok()).map_or(0, |metadata| metadata.len())
}
