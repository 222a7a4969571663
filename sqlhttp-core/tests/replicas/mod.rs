//! Replicas that apply the same log in different ways, and the comparison of their contents and outcomes.
#![allow(dead_code, reason = "each test uses only some of these helpers")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use sqlhttp_core::{
    Atomicity, Batch, Conditions, Database, Failure, LogEntry, LogWork, Options, Outcome, Params, Stamp, Step,
    StepOutcome, Value, Writes,
};

use crate::common::{TestDir, block_on, rows, transaction};

/// The way in which a replica applies the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// All entries in one call.
    AtOnce,
    /// Entry by entry.
    OneByOne,
    /// Entry by entry; the database is closed and opened again after each.
    Reopened,
    /// The second half of the entries on a copy of the file of another replica. The copy has other free pages.
    Copied,
}

/// The maximum number of virtual-machine steps of a batch.
pub(crate) const STEPS_MAX: u64 = 3_000_000;

pub(crate) const WAYS: [Way; 4] = [Way::AtOnce, Way::OneByOne, Way::Reopened, Way::Copied];

impl Way {
    /// The name of the file of the replica.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::AtOnce => "at_once",
            Way::OneByOne => "one_by_one",
            Way::Reopened => "reopened",
            Way::Copied => "original",
        }
    }
}

/// The content of a database: for each table its name and its rows with their rowids, and the schema.
pub(crate) type Content = Vec<(String, Vec<Vec<Value>>)>;

pub(crate) fn open(file: &Path) -> Database {
    open_with(file, Options::default())
}

/// Opens a database that applies a log.
pub(crate) fn open_with(file: &Path, options: Options) -> Database {
    let options = options.writes(Writes::Log).read_threads(1);
    Database::open(file, options).expect("open the database")
}

pub(crate) fn close(database: Database) {
    block_on(database.close()).expect("close the database");
}

pub(crate) fn each(texts: &[&str]) -> Batch {
    Batch { atomicity: Atomicity::Each, ..transaction(texts) }
}

pub(crate) fn bound(sql: &str, bindings: impl Params) -> Batch {
    Batch::one(Step::query(sql, bindings))
}

/// Makes the entries of a log, one batch in each. The leader classifies each batch when the database has the state of a
/// replica that has applied the entries before it.
pub(crate) fn log_of(batches: &[Batch]) -> Vec<LogEntry> {
    let dir = TestDir::new();
    let leader = open(&dir.path("leader"));
    let mut entries = Vec::new();
    for (batch, number) in batches.iter().zip(1..) {
        let stamp = Some(Stamp { unix_ms: 0, seed: number });
        let batch = Batch { stamp, ..batch.clone() };
        let exclusive = leader.classify_blocking(batch.clone()).expect("a class").exclusive;
        let unix_ms = 1_700_000_000_000 + i64::try_from(number).expect("small") * 1000;
        let conditions = Some(Conditions { unix_ms, foreign_keys: true, value_bytes_max: 64 << 20, time_zone: None });
        let work = vec![LogWork::Batch { batch: Arc::new(batch), exclusive, steps_max: STEPS_MAX }];
        let entry = LogEntry { term: 1, index: number, conditions, work };
        block_on(leader.apply(vec![entry.clone()])).expect("outcomes");
        entries.push(entry);
    }
    entries
}

pub(crate) fn apply(database: &Database, entries: &[LogEntry]) -> Vec<Outcome> {
    block_on(database.apply(entries.to_vec())).expect("outcomes").into_iter().flatten().collect()
}

/// Applies a log in one of the ways.
pub(crate) fn run(dir: &TestDir, way: Way, entries: &[LogEntry]) -> (Database, Vec<Outcome>) {
    let file = dir.path(way.name());
    let mut database = open(&file);
    match way {
        Way::AtOnce => {
            let outcomes = apply(&database, entries);
            (database, outcomes)
        }
        Way::OneByOne => {
            let outcomes = entries.iter().flat_map(|entry| apply(&database, std::slice::from_ref(entry))).collect();
            (database, outcomes)
        }
        Way::Reopened => {
            let mut outcomes = Vec::new();
            for entry in entries {
                outcomes.extend(apply(&database, std::slice::from_ref(entry)));
                close(database);
                database = open(&file);
            }
            (database, outcomes)
        }
        Way::Copied => {
            let (first, second) = entries.split_at(entries.len() / 2);
            let mut outcomes = apply(&database, first);
            let copy = copy_of(&database, dir);
            close(database);
            let database = open(&copy);
            outcomes.extend(apply(&database, second));
            (database, outcomes)
        }
    }
}

/// Copies a database to a file in which other pages are free.
fn copy_of(database: &Database, dir: &TestDir) -> PathBuf {
    let copy = dir.path("copy");
    block_on(database.backup(&copy)).expect("a copy");
    let connection = Connection::open(&copy).expect("open the copy");
    let junk = "CREATE TABLE junk(a); INSERT INTO junk VALUES (zeroblob(50000)); DROP TABLE junk";
    connection.execute_batch(junk).expect("change the free pages");
    connection.close().expect("close the copy");
    copy
}

pub(crate) fn content(database: &Database) -> Content {
    let hidden = "'sqlite_sqlhttp'";
    let schema = format!("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name <> {hidden} ORDER BY rowid");
    let tables = format!(
        "SELECT t.name, wr FROM pragma_table_list AS t WHERE t.schema = 'main' AND t.type IN ('table', 'shadow') \
         AND t.name NOT IN ({hidden}, 'sqlite_schema') ORDER BY t.name"
    );
    let mut all = vec![("schema".to_owned(), rows(database, &schema))];
    for table in rows(database, &tables) {
        let [Value::Text(name), Value::Integer(keyed)] = table.as_slice() else { panic!("{table:?}") };
        let columns = if *keyed == 0 { "rowid, *" } else { "*" };
        all.push((name.clone(), rows(database, &format!("SELECT {columns} FROM main.\"{name}\""))));
    }
    all
}

fn without_times(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(|outcome| format!("{:?} {:?}", outcome.steps, outcome.ending)).collect()
}

/// Applies the batches in all ways, checks that the contents and the outcomes are the same, and returns the outcomes
/// and a database.
pub(crate) fn replicate(batches: &[Batch]) -> (Vec<Outcome>, Database, TestDir) {
    let entries = log_of(batches);
    let dir = TestDir::new();
    let (database, outcomes) = run(&dir, WAYS[0], &entries);
    for way in &WAYS[1..] {
        let (other, found) = run(&dir, *way, &entries);
        for (index, (one, other)) in without_times(&outcomes).iter().zip(without_times(&found)).enumerate() {
            assert_eq!(*one, other, "{way:?}: outcome {index}");
        }
        for (one, other) in content(&database).iter().zip(content(&other)) {
            assert_eq!(*one, other, "{way:?}");
        }
        close(other);
    }
    (outcomes, database, dir)
}

/// The failure of each step; `None` for a step that succeeded.
pub(crate) fn failures(outcome: &Outcome) -> Vec<Option<String>> {
    let failure = |step: &StepOutcome| match step {
        StepOutcome::Failed(failure) => Some(failure.to_string()),
        _ => None,
    };
    outcome.steps.iter().map(failure).collect()
}

/// Checks that the first step that fails is refused with this text.
pub(crate) fn assert_refused(batches: &[Batch], what: &str) {
    let (outcomes, ..) = replicate(batches);
    let first = outcomes.iter().flat_map(failures).flatten().next();
    assert_eq!(first, Some(Failure::NotAllowed(what.to_owned()).to_string()), "{batches:?}");
}

/// Checks that each of these batches is refused with its text, after the batches of `setup` have succeeded.
pub(crate) fn assert_each_refused(setup: &[Batch], cases: &[(Batch, String)]) {
    let batches: Vec<Batch> = setup.iter().chain(cases.iter().map(|(batch, _)| batch)).cloned().collect();
    let (outcomes, ..) = replicate(&batches);
    let (first, others) = outcomes.split_at(setup.len());
    assert!(first.iter().flat_map(failures).all(|failure| failure.is_none()), "{first:?}");
    for (outcome, (batch, what)) in others.iter().zip(cases) {
        let found = failures(outcome).into_iter().flatten().next();
        assert_eq!(found, Some(Failure::NotAllowed(what.clone()).to_string()), "{batch:?}");
    }
    assert_eq!(others.len(), cases.len());
}

/// Checks that all batches succeed.
pub(crate) fn assert_accepted(batches: &[Batch]) -> (Database, TestDir) {
    let (outcomes, database, dir) = replicate(batches);
    for (outcome, batch) in outcomes.iter().zip(batches) {
        assert!(failures(outcome).iter().all(Option::is_none), "{batch:?}: {outcome:?}");
    }
    (database, dir)
}
