//! Helpers that the crash tests of a database with a log share: one run of the log on a simulated disk, and the check
//! of its result.
#![allow(dead_code, reason = "each test uses only some of these helpers")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

pub(crate) mod workload;

use std::time::Duration;

use sqlhttp_core::{Batch, Database, Error, FaultyDisk, Loss, Options, Progress, Step, StepOutcome, Value, Writes};

use crate::crash_support::block_on;
use workload::{ApplyError, Log};

/// A small checkpoint threshold and a small page cache, so that checkpoints and cache spills happen often.
const SMALL: &str = "PRAGMA wal_autocheckpoint=12; PRAGMA cache_size=14";

/// The operations of a run, in order.
pub(crate) const OPERATIONS: [Operation; 13] = [
    Operation::Apply(1, 3),
    Operation::Sync,
    Operation::Apply(4, 6),
    Operation::Checkpoint,
    Operation::Apply(7, 8),
    Operation::Apply(9, 10),
    Operation::Sync,
    Operation::Apply(11, 11),
    Operation::Apply(12, 13),
    Operation::Checkpoint,
    Operation::Apply(14, 15),
    Operation::Sync,
    Operation::Apply(16, 16),
];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// Applies the entries from the first to the second index in one call.
    Apply(u64, u64),
    Sync,
    Checkpoint,
}

/// The position of a progress in the log: entry, piece of work in it, steps of that.
pub(crate) fn position(progress: &Progress) -> (u64, u32, u32) {
    (progress.index, progress.operations, progress.steps)
}

/// Opens the database on the disk.
pub(crate) fn open(disk: &FaultyDisk) -> Result<Database, Error> {
    let options = Options::default()
        .vfs(Some(disk.name().to_owned()))
        .writes(Writes::Log)
        .busy_timeout(Duration::from_millis(200))
        .read_threads(1);
    let database = Database::open("/log.db", options)?;
    block_on(database.run_script(SMALL))?.map_err(|source| Error::Sqlite { action: "run script", source })?;
    Ok(database)
}

pub(crate) fn script(database: &Database, sql: &str) {
    block_on(database.run_script(sql)).expect("run a script").expect(sql);
}

pub(crate) fn sync(database: &Database) -> Result<Progress, Error> {
    block_on(database.sync())
}

/// One run of the log, and the results that it has acknowledged.
#[derive(Default)]
pub(crate) struct LogRun {
    /// The database, still open; `None` if it could not be opened.
    pub(crate) database: Option<Database>,
    /// The progress that the last successful sync returned.
    pub(crate) synced: Progress,
    /// The index of the last entry whose outcomes have been returned. After a crash of the process, this entry must
    /// still be applied.
    pub(crate) acknowledged: u64,
    /// The error that ended the run.
    pub(crate) error: Option<ApplyError>,
}

impl LogRun {
    /// Opens the database and runs all operations, up to the first error.
    pub(crate) fn begin(disk: &FaultyDisk, log: &Log) -> LogRun {
        let mut run = LogRun::default();
        match open(disk) {
            Ok(database) => run.database = Some(database),
            Err(error) => run.error = Some(ApplyError::Error(error)),
        }
        run.perform_all(&OPERATIONS, disk, log);
        run
    }

    /// Runs these operations, up to the first error.
    pub(crate) fn perform_all(&mut self, operations: &[Operation], disk: &FaultyDisk, log: &Log) {
        for operation in operations {
            let Some(database) = self.database.clone().filter(|_| self.error.is_none()) else { return };
            self.error = self.perform(*operation, &database, disk, log).err();
        }
    }

    fn perform(
        &mut self,
        operation: Operation,
        database: &Database,
        disk: &FaultyDisk,
        log: &Log,
    ) -> Result<(), ApplyError> {
        match operation {
            Operation::Apply(from, to) => {
                log.apply(database, from, to)?;
                self.acknowledged = to;
            }
            Operation::Sync => {
                let synced = sync(database).map_err(ApplyError::Error)?;
                // A disk that only pretends to write does not guarantee anything.
                if disk.stopped().is_none() {
                    self.synced = synced;
                }
            }
            // A checkpoint that fails does no harm.
            Operation::Checkpoint => drop(block_on(database.checkpoint())),
        }
        Ok(())
    }

    /// Syncs once more, even after an error.
    pub(crate) fn sync(&mut self, disk: &FaultyDisk, log: &Log) {
        let before = self.error.take();
        self.perform_all(&[Operation::Sync], disk, log);
        self.error = before.or(self.error.take());
    }

    /// Checks that the database refuses further work after an error, unless the error was that a sync could not begin.
    pub(crate) fn check_poisoned(&self, log: &Log) -> Result<(), String> {
        let (Some(database), Some(ApplyError::Error(error))) = (&self.database, &self.error) else { return Ok(()) };
        // If a connection cannot be opened, the content of the disk is not in doubt.
        if matches!(error, Error::Unavailable(_)) {
            return Ok(());
        }
        if database.status().poisoned.is_none() {
            return Err(format!("not poisoned after {error:?}"));
        }
        let before = database.progress();
        match log.apply(database, 1, log.last()) {
            Err(ApplyError::Error(Error::Poisoned(_))) if database.progress() == before => Ok(()),
            other => Err(format!("poisoned, but applying again returned {other:?}")),
        }
    }
}

/// The way in which a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CrashKind {
    /// A power cut.
    Power(Loss),
    /// The process ends. The disk works again and keeps everything that was written.
    Process,
}

/// Ends a run.
pub(crate) fn crash(disk: &FaultyDisk, mut run: LogRun, kind: CrashKind) -> LogRun {
    let database = run.database.take();
    match kind {
        CrashKind::Power(loss) => {
            // The power is cut while the database is open, because closing it would sync.
            disk.power_cut(loss);
            drop(database);
            run.acknowledged = 0;
        }
        CrashKind::Process => {
            drop(database);
            disk.heal();
        }
    }
    run
}

/// Checks that the content after a crash agrees with the log, and that applying the rest of the log completes it.
pub(crate) fn check(disk: &FaultyDisk, log: &Log, run: &LogRun) -> Result<(), String> {
    let database = open(disk).map_err(|error| format!("cannot reopen: {error:?}"))?;
    check_as_found(&database, log, run)?;
    let applied = log.apply(&database, 1, log.last());
    applied.map_err(|error| format!("the rest of the log is not applied: {error:?}"))?;
    let progress = database.progress();
    let expected = log.progress_at(log.last());
    if progress != expected {
        return Err(format!("after the whole log the progress is {progress:?} instead of {expected:?}"));
    }
    compare(&database, log, &progress).map_err(|what| format!("after the whole log: {what}"))
}

/// Checks that the content agrees with the log up to the recorded progress, and that this progress is not behind the
/// last sync.
pub(crate) fn check_as_found(database: &Database, log: &Log, run: &LogRun) -> Result<(), String> {
    if let Some(ApplyError::Wrong(what)) = &run.error {
        return Err(what.clone());
    }
    let progress = database.progress();
    if position(&progress) < position(&run.synced) {
        return Err(format!("{:?} was synced, but the progress is only {progress:?}", run.synced));
    }
    if progress.index < run.acknowledged {
        return Err(format!("entry {} was acknowledged, but the progress is only {progress:?}", run.acknowledged));
    }
    let expected = log.progress_at(progress.index);
    if (progress.operations, progress.steps) == (0, 0) && progress != expected {
        return Err(format!("the progress is {progress:?} instead of {expected:?}"));
    }
    compare(database, log, &progress).map_err(|what| format!("at {progress:?}: {what}"))
}

fn compare(database: &Database, log: &Log, progress: &Progress) -> Result<(), String> {
    let integrity = rows(database, "PRAGMA integrity_check")?;
    if integrity != [[Value::Text("ok".into())]] {
        return Err(format!("integrity_check: {integrity:?}"));
    }
    let (found, expected) = (content(database)?, log.content_at(progress));
    if found == *expected {
        return Ok(());
    }
    let differs = found.iter().zip(expected.iter()).find(|(found, expected)| found != expected);
    Err(format!("{} rows, expected {}; the first that differs: {differs:?}", found.len(), expected.len()))
}

/// All content including rowids, one line for each row.
pub(crate) fn content(database: &Database) -> Result<Vec<String>, String> {
    let schema = "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'sqlite_sqlhttp' ORDER BY type, name";
    let mut all: Vec<String> = rows(database, schema)?.iter().map(|row| format!("{row:?}")).collect();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sqlhttp' ORDER BY name";
    for table in rows(database, tables)? {
        let Some(Value::Text(name)) = table.into_iter().next() else { return Err("a table without a name".into()) };
        let found = rows(database, &format!("SELECT rowid, * FROM main.\"{name}\" ORDER BY rowid"))?;
        all.extend(found.iter().map(|row| format!("{name} {row:?}")));
    }
    Ok(all)
}

fn rows(database: &Database, sql: &str) -> Result<Vec<Vec<Value>>, String> {
    let outcome = database.blocking().run(Batch::one(Step::query(sql, ())));
    match outcome.map(|outcome| outcome.steps) {
        Ok(steps) => match steps.first() {
            Some(StepOutcome::Rows(rows)) => {
                Ok(rows.iter().map(|row| row.values().map(|value| value.to_value()).collect()).collect())
            }
            other => Err(format!("{sql}: {other:?}")),
        },
        Err(error) => Err(format!("{sql}: {error:?}")),
    }
}
