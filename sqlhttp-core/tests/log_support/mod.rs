//! What the crash tests of a database that applies a log share: one run of a log on a simulated disk, and the check of
//! what is left.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

pub(crate) mod workload;

use std::time::Duration;

use sqlhttp_core::{Batch, Database, Error, FaultyDisk, Loss, Options, Progress, Step, StepOutcome, Value, Writes};

use crate::crash_support::block_on;
use workload::{Log, Trouble};

/// Few pages make a checkpoint, and few fit into the cache.
const SMALL: &str = "PRAGMA wal_autocheckpoint=12; PRAGMA cache_size=14";

/// What happens to the database, in this order.
pub(crate) const ACTS: [Act; 13] = [
    Act::Apply(1, 3),
    Act::Sync,
    Act::Apply(4, 6),
    Act::Checkpoint,
    Act::Apply(7, 8),
    Act::Apply(9, 10),
    Act::Sync,
    Act::Apply(11, 11),
    Act::Apply(12, 13),
    Act::Checkpoint,
    Act::Apply(14, 15),
    Act::Sync,
    Act::Apply(16, 16),
];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Entries from and to these places, in one call.
    Apply(u64, u64),
    Sync,
    Checkpoint,
}

/// The place of a note of progress: entry, pieces of work, steps.
pub(crate) fn place(progress: &Progress) -> (u64, u32, u32) {
    (progress.index, progress.works, progress.steps)
}

/// Opens the database on the disk.
pub(crate) fn open(disk: &FaultyDisk) -> Result<Database, Error> {
    let options = Options {
        vfs: Some(disk.name().to_owned()),
        writes: Writes::Log,
        busy_timeout: Duration::from_millis(200),
        read_threads: 1,
        ..Options::default()
    };
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

/// A run of the log, and what was told meanwhile.
#[derive(Default)]
pub(crate) struct Life {
    /// Still open, if it could be opened.
    pub(crate) database: Option<Database>,
    /// What the last sync that succeeded has promised.
    pub(crate) promised: Progress,
    /// The last entry whose outcomes have been told, and the last place that is known to be committed.
    pub(crate) told: u64,
    /// What ended the run.
    pub(crate) error: Option<Trouble>,
}

impl Life {
    /// Opens the database and applies the whole log, until all is done or something fails.
    pub(crate) fn begin(disk: &FaultyDisk, log: &Log) -> Life {
        let mut life = Life::default();
        match open(disk) {
            Ok(database) => life.database = Some(database),
            Err(error) => life.error = Some(Trouble::Error(error)),
        }
        life.go_on(&ACTS, disk, log);
        life
    }

    /// Does these things, until all is done or something fails.
    pub(crate) fn go_on(&mut self, acts: &[Act], disk: &FaultyDisk, log: &Log) {
        for act in acts {
            let Some(database) = self.database.clone().filter(|_| self.error.is_none()) else { return };
            self.error = self.act(*act, &database, disk, log).err();
        }
    }

    fn act(&mut self, act: Act, database: &Database, disk: &FaultyDisk, log: &Log) -> Result<(), Trouble> {
        match act {
            Act::Apply(from, to) => {
                log.apply(database, from, to)?;
                self.told = to;
            }
            Act::Sync => {
                let promised = sync(database).map_err(Trouble::Error)?;
                // A disk that only pretends promises nothing.
                if disk.stopped().is_none() {
                    self.promised = promised;
                }
            }
            // Its failure harms nothing.
            Act::Checkpoint => drop(block_on(database.checkpoint())),
        }
        Ok(())
    }

    /// Syncs once more, whatever happened before.
    pub(crate) fn sync(&mut self, disk: &FaultyDisk, log: &Log) {
        let before = self.error.take();
        self.go_on(&[Act::Sync], disk, log);
        self.error = before.or(self.error.take());
    }

    /// After an error the database takes nothing more, unless it was that a sync could not begin.
    pub(crate) fn check_poisoned(&self, log: &Log) -> Result<(), String> {
        let (Some(database), Some(Trouble::Error(error))) = (&self.database, &self.error) else { return Ok(()) };
        // A connection that cannot be opened says nothing about what the disk holds.
        if matches!(error, Error::Unavailable(_)) {
            return Ok(());
        }
        if database.status().poisoned.is_none() {
            return Err(format!("not poisoned after {error:?}"));
        }
        let before = database.progress();
        match log.apply(database, 1, log.last()) {
            Err(Trouble::Error(Error::Poisoned(_))) if database.progress() == before => Ok(()),
            other => Err(format!("poisoned, but applied again it says {other:?}")),
        }
    }
}

/// How a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// The power fails.
    Power(Loss),
    /// The process goes away; the disk is well again, and keeps what was written.
    Process,
}

/// Ends a run.
pub(crate) fn crash(disk: &FaultyDisk, mut life: Life, cut: Cut) -> Life {
    let database = life.database.take();
    match cut {
        Cut::Power(loss) => {
            // While it is open, so that closing it makes nothing durable.
            disk.power_cut(loss);
            drop(database);
            life.told = 0;
        }
        Cut::Process => {
            drop(database);
            disk.heal();
        }
    }
    life
}

/// What is found after a crash is what the log says, and the rest of the log completes it.
pub(crate) fn check(disk: &FaultyDisk, log: &Log, life: &Life) -> Result<(), String> {
    let database = open(disk).map_err(|error| format!("cannot reopen: {error:?}"))?;
    check_as_found(&database, log, life)?;
    let applied = log.apply(&database, 1, log.last());
    applied.map_err(|trouble| format!("the rest of the log is not applied: {trouble:?}"))?;
    let progress = database.progress();
    let expected = log.progress_at(log.last());
    if progress != expected {
        return Err(format!("in the end the progress is {progress:?} instead of {expected:?}"));
    }
    compare(&database, log, &progress).map_err(|what| format!("in the end: {what}"))
}

/// What is found is what the log says up to the note of progress, and that is as far as was promised.
pub(crate) fn check_as_found(database: &Database, log: &Log, life: &Life) -> Result<(), String> {
    if let Some(Trouble::Wrong(what)) = &life.error {
        return Err(what.clone());
    }
    let progress = database.progress();
    if place(&progress) < place(&life.promised) {
        return Err(format!("{:?} was promised, but this is all: {progress:?}", life.promised));
    }
    if progress.index < life.told {
        return Err(format!("{} was told, but this is all: {progress:?}", life.told));
    }
    let expected = log.progress_at(progress.index);
    if (progress.works, progress.steps) == (0, 0) && progress != expected {
        return Err(format!("the note says {progress:?} instead of {expected:?}"));
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

/// All there is, rowids included, one line for each row.
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
    let outcome = database.execute_blocking(Batch::one(Step::query(sql, ())));
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
