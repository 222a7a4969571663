//! A log that contains every kind of entry, and the expected result of applying it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use sqlhttp_core::{
    Atomicity, Batch, Database, Error, LogEntry, LogWork, Options, Outcome, Progress, Stamp, Step, StepOutcome,
};

use super::{content, position};
use crate::crash_support::block_on;

const SCHEMA: [&str; 6] = [
    "CREATE TABLE t(a INTEGER UNIQUE, body TEXT)",
    "CREATE INDEX t_body ON t(body)",
    "CREATE TABLE n(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT DEFAULT (datetime('now', 'subsec')), \
     rnd INTEGER DEFAULT (random()))",
    "CREATE TABLE total(n INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0)",
    "CREATE TRIGGER t_insert AFTER INSERT ON t BEGIN UPDATE total SET n = n + 1; INSERT INTO n(id) VALUES (NULL); END",
];

/// The expected content of the database for each progress.
type Contents = HashMap<(u64, u32, u32), Arc<Vec<String>>>;

/// A log, with the outcomes of its entries on a database without a log and the expected content for each progress.
pub(crate) struct Log {
    entries: Vec<LogEntry>,
    outcomes: Vec<Vec<String>>,
    content: Mutex<Contents>,
    /// Contains the file of the [`LogWork::Replace`] entry.
    _dir: tempfile::TempDir,
    pristine: PathBuf,
}

/// Applies entries. If the database waits for its disk, which does not recover in these tests, the wait is interrupted.
fn apply_unless_it_waits(database: &Database, entries: Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, Error> {
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| block_on(database.apply(entries)));
        while !applying.is_finished() {
            if database.waits_for().is_some() {
                database.interrupt();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        applying.join().expect("no panic")
    })
}

impl Log {
    pub(crate) fn new() -> Log {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (image, pristine) = (dir.path().join("image"), dir.path().join("pristine"));
        make_image(&image);
        std::fs::copy(&image, &pristine).expect("a copy of the image");
        let entries = entries(image);
        let mut log = Log { entries, outcomes: Vec::new(), content: Mutex::default(), _dir: dir, pristine };
        let reference = Database::open(":memory:", Options::default()).expect("a database in memory");
        log.outcomes = log
            .entries
            .iter()
            .map(|entry| entry.work.iter().flat_map(|work| log.run(&reference, work)).collect())
            .collect();
        log
    }

    /// Creates a copy of the file of the [`LogWork::Replace`] entry, which the caller may change.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        let copy = self.pristine.with_file_name(name);
        std::fs::copy(&self.pristine, &copy).expect("a copy of the image");
        copy
    }

    /// The expected content after the file has replaced all other content.
    pub(crate) fn content_of_image(&self) -> Vec<String> {
        let reference = Database::open(":memory:", Options::default()).expect("a database in memory");
        block_on(reference.replace(self.pristine.clone())).expect("new content");
        content(&reference).expect("the reference's content")
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Runs a piece of work on a database without a log. Returns its formatted outcome, if the work has one.
    fn run(&self, reference: &Database, work: &LogWork) -> Option<String> {
        let outcome = match work {
            LogWork::Batch { batch, .. } => reference.blocking().run(Batch::clone(batch)).expect("an outcome"),
            LogWork::Replace(_) => {
                block_on(reference.replace(self.pristine.clone())).expect("new content");
                Outcome::default()
            }
            LogWork::Barrier | LogWork::Load { .. } => Outcome::default(),
            LogWork::Membership(_) => return None,
        };
        assert_sound(work, &outcome);
        Some(format!("{outcome:?}"))
    }

    /// The expected content of a database with this progress.
    pub(crate) fn content_at(&self, progress: &Progress) -> Arc<Vec<String>> {
        let position = position(progress);
        let mut known = self.content.lock().expect("no panic elsewhere");
        known.entry(position).or_insert_with(|| Arc::new(self.content_by_reference(position))).clone()
    }

    fn content_by_reference(&self, (index, operations, steps): (u64, u32, u32)) -> Vec<String> {
        let reference = Database::open(":memory:", Options::default()).expect("a database in memory");
        let (whole, rest) = self.entries.split_at(index as usize);
        for work in whole.iter().flat_map(|entry| &entry.work) {
            self.run(&reference, work);
        }
        let begun = rest.first().map(|entry| entry.work.as_slice()).unwrap_or_default();
        for work in &begun[..operations as usize] {
            self.run(&reference, work);
        }
        if steps > 0 {
            let Some(LogWork::Batch { batch, .. }) = begun.get(operations as usize) else {
                panic!("steps of an entry without a batch")
            };
            let steps = batch.steps[..steps as usize].to_vec();
            drop(reference.blocking().run(Batch { steps, ..Batch::clone(batch) }).expect("an outcome"));
        }
        content(&reference).expect("the reference's content")
    }

    /// Applies the entries `from..=to` in one call. Fails if their outcomes are not those of the reference database.
    pub(crate) fn apply(&self, database: &Database, from: u64, to: u64) -> Result<(), ApplyError> {
        self.apply_by(database, from, to, apply_unless_it_waits)
    }

    /// Like [`Log::apply`], but does not interrupt a database that waits for its disk.
    pub(crate) fn apply_waiting(&self, database: &Database, from: u64, to: u64) -> Result<(), ApplyError> {
        self.apply_by(database, from, to, |database, entries| block_on(database.apply(entries)))
    }

    fn apply_by(
        &self,
        database: &Database,
        from: u64,
        to: u64,
        apply: impl FnOnce(&Database, Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, Error>,
    ) -> Result<(), ApplyError> {
        let entries = self.entries[from as usize - 1..to as usize].to_vec();
        let before = database.progress();
        let outcomes = apply(database, entries).map_err(ApplyError::Error)?;
        for (index, returned) in (from..=to).zip(outcomes) {
            let returned: Vec<String> = returned.iter().map(|outcome| format!("{outcome:?}")).collect();
            // If part of an entry was applied before, only the outcomes of the rest are returned.
            if index > before.index + u64::from(before.operations > 0 || before.steps > 0)
                && returned != self.outcomes[index as usize - 1]
            {
                let expected = &self.outcomes[index as usize - 1];
                return Err(ApplyError::Wrong(format!(
                    "entry {index} has the outcomes {returned:#?} instead of {expected:#?}"
                )));
            }
        }
        let after = database.progress();
        if after.index < to {
            return Err(ApplyError::Wrong(format!(
                "outcomes were returned up to {to}, but the database is at {after:?}"
            )));
        }
        Ok(())
    }

    /// The expected progress after an entry has been applied.
    pub(crate) fn progress_at(&self, index: u64) -> Progress {
        let mut progress = Progress::default();
        for entry in &self.entries[..index as usize] {
            (progress.term, progress.index) = (entry.term, entry.index);
            for work in &entry.work {
                match work {
                    LogWork::Batch { .. } => {
                        (progress.command_index, progress.write_index) = (entry.index, entry.index);
                    }
                    LogWork::Replace(_) => {
                        (progress.command_index, progress.write_index) = (entry.index, entry.index);
                        progress.load_index = 0;
                    }
                    LogWork::Load { load_index, .. } => {
                        (progress.command_index, progress.load_index) = (entry.index, *load_index);
                    }
                    LogWork::Barrier => progress.command_index = entry.index,
                    LogWork::Membership(membership) => progress.membership.clone_from(membership),
                }
            }
        }
        progress
    }
}

/// Checks the workload itself: only the statements that are meant to fail may fail.
fn assert_sound(work: &LogWork, outcome: &Outcome) {
    let LogWork::Batch { batch, .. } = work else { return };
    for (step, returned) in batch.steps.iter().zip(&outcome.steps) {
        let may_fail = step.sql().is_some_and(|sql| sql.ends_with("(300)"));
        assert!(may_fail || !matches!(returned, StepOutcome::Failed(_)), "{step:?}: {returned:?}");
    }
}

/// The reason why applying entries stopped.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// The database returned an error.
    Error(Error),
    /// The database returned a wrong result.
    Wrong(String),
}

fn make_image(file: &Path) {
    let image = Connection::open(file).expect("an image");
    image.execute_batch(&SCHEMA.join(";")).expect("the image's schema");
    let rows = "INSERT INTO n(id, at, rnd) VALUES (500, 'then', 1); \
                INSERT INTO t(rowid, a, body) SELECT value * 3, value * 1000, printf('%.700c', 'x') \
                FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12]')";
    // With the trigger, the defaults of its table `n` would contain the current time and SQLite's own random numbers.
    image.execute_batch("DROP TRIGGER t_insert").expect("no trigger");
    image.execute_batch(rows).expect("the image's rows");
    image.execute_batch(SCHEMA[5]).expect("the trigger");
}

fn batch(number: u64, atomicity: Atomicity, texts: &[String]) -> Batch {
    let steps = texts.iter().map(|text| Step::execute(text.as_str(), ())).collect();
    let stamp = Some(Stamp { unix_ms: 1_700_000_000_000 + number as i64 * 61_001, seed: number * 77 });
    Batch { steps, atomicity, stamp, ..Batch::default() }
}

fn work(batch: Batch, alone: bool) -> LogWork {
    LogWork::Batch { batch: Arc::new(batch), exclusive: alone, steps_max: 0 }
}

/// Inserts rows of a few hundred bytes.
fn insert(first: u64, rows: u64) -> String {
    format!(
        "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < {rows} - 1) \
         INSERT INTO t SELECT {first} + i, hex(randomblob(150)) FROM c"
    )
}

fn update(remainder: u64) -> String {
    format!("UPDATE t SET body = hex(randomblob(90)) || datetime('now', 'subsec') WHERE a % 5 = {remainder}")
}

/// An entry with several batches, some of which roll back the whole transaction.
fn mixed(index: u64) -> Vec<LogWork> {
    use Atomicity::{All, Each};
    let first = index * 100;
    let lost = |value: u64| format!("INSERT OR ROLLBACK INTO t(a) VALUES ({value}), (300)");
    let texts: [(Atomicity, Vec<String>); 5] = [
        (All, vec![insert(first, 5), update(index % 5)]),
        (Each, vec![insert(first + 10, 2), lost(first + 20), insert(first + 30, 2)]),
        (All, vec![insert(first + 40, 2), lost(first + 50)]),
        (All, vec!["INSERT INTO n(rnd) SELECT count(*) FROM t".into(), "INSERT INTO t(a) VALUES (300)".into()]),
        (All, vec![format!("DELETE FROM t WHERE a % 7 = {}", index % 7), insert(first + 60, 3)]),
    ];
    let number = |at: usize| index * 10 + at as u64;
    texts.iter().enumerate().map(|(at, (atomicity, texts))| work(batch(number(at), *atomicity, texts), false)).collect()
}

fn entries(image: PathBuf) -> Vec<LogEntry> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let schema = work(batch(1, Atomicity::All, &owned(&SCHEMA)), false);
    let seed = work(batch(2, Atomicity::All, &[insert(300, 1), insert(310, 9)]), false);
    let vacuum = work(batch(3, Atomicity::Each, &owned(&["VACUUM"])), true);
    let split = [
        "DELETE FROM t WHERE a % 2 = 1".into(),
        "VACUUM".into(),
        "INSERT OR ROLLBACK INTO t(a) VALUES (9000), (300)".into(),
        insert(9_100, 8),
        "VACUUM".into(),
        "INSERT INTO n DEFAULT VALUES".into(),
    ];
    let split = work(batch(4, Atomicity::Each, &split), true);
    // The temporary table changes the state of the connection, although the entry does not say that it must run alone.
    let marking = ["CREATE TEMP TABLE s AS SELECT max(a) AS a FROM t", "INSERT INTO t SELECT a + 1, 'marked' FROM s"];
    let marking = work(batch(5, Atomicity::All, &owned(&marking)), false);
    let load = |load_index: u64| LogWork::Load { load_index, refusal: None };
    let operations: Vec<Vec<LogWork>> = vec![
        vec![LogWork::Membership(b"one".to_vec())],
        vec![schema],
        vec![seed],
        mixed(4),
        vec![],
        mixed(6),
        vec![LogWork::Barrier],
        vec![vacuum],
        vec![LogWork::Membership(b"two".to_vec()), LogWork::Barrier, load(9)],
        vec![marking],
        vec![split],
        mixed(12),
        vec![LogWork::Replace(image)],
        mixed(14),
        vec![LogWork::Membership(b"three".to_vec())],
        mixed(16),
        vec![load(17)],
        mixed(18),
        vec![load(0)],
    ];
    let term = |index: u64| 1 + index / 5;
    (1..).zip(operations).map(|(index, work)| LogEntry { term: term(index), index, conditions: None, work }).collect()
}
