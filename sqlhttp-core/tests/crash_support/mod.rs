//! Helpers that the crash tests share: a workload whose batches can be identified in the database, and the check of the
//! content.
#![allow(dead_code, reason = "each test uses only some of these helpers")]
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{
    Action, AfterStop, Batch, Bindings, Database, Ending, Error, Expect, FaultyDisk, JournalMode, OnError, Options,
    Outcome, Step, StepOutcome, Value, ValueRef,
};

/// The number of clients that write at the same time.
const WRITERS: i64 = 6;
/// The number of batches that each client sends, one after the other.
const BATCHES_PER_WRITER: i64 = 5;
/// A batch whose number is a multiple of this violates a constraint in its last step.
const FAILING_EVERY: i64 = 7;
/// The difference between the batch numbers of consecutive rounds, which is larger than the number of batches in a
/// round.
const ROUND: i64 = 1_000;

/// A small checkpoint threshold and a small page cache, so that checkpoints and cache spills happen often.
pub(crate) const SMALL: &str = "PRAGMA wal_autocheckpoint=12; PRAGMA cache_size=8";

const SCHEMA: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS batch(id INTEGER PRIMARY KEY, parts INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS part(batch INTEGER NOT NULL, n INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS part_body ON part(body)",
    "CREATE TABLE IF NOT EXISTS total(n INTEGER NOT NULL)",
    "INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total)",
];

/// The parameters of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) journal_mode: JournalMode,
    pub(crate) script: &'static str,
    pub(crate) group_len_max: usize,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Plan {
        Plan { seed, journal_mode: JournalMode::Wal, script: SMALL, group_len_max: 256 }
    }

    pub(crate) fn disk(&self) -> FaultyDisk {
        FaultyDisk::new(self.seed).expect("the simulated disk is registered")
    }

    /// Opens the database on the disk and runs the plan's script.
    pub(crate) fn open(&self, disk: &FaultyDisk) -> Result<Database, Error> {
        let options = Options::default()
            .vfs(Some(disk.name().to_owned()))
            .journal_mode(self.journal_mode)
            .group_len_max(self.group_len_max)
            .busy_timeout(Duration::from_millis(200))
            .read_threads(1);
        let database = Database::open("/crash.db", options)?;
        block_on(database.run_script(self.script))?.map_err(|source| Error::Sqlite { action: "run script", source })?;
        Ok(database)
    }

    /// Opens the database on a disk without faults.
    pub(crate) fn reopen(&self, disk: &FaultyDisk) -> Database {
        self.open(disk).unwrap_or_else(|error| panic!("cannot reopen: {error}; {self:?}"))
    }
}

/// Waits for a future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(future)
}

/// The kind of answer that a client received for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success: the effects are durable.
    Acknowledged,
    /// An outcome that says that the batch was rolled back.
    RolledBack,
    /// An error.
    Error,
    /// Success, but the disk had stopped and only pretended to write, so the answer guarantees nothing.
    NotDurable,
}

/// The answers that the clients received.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    answers: BTreeMap<i64, Answer>,
    schema: bool,
    rounds: i64,
    /// The answers of the latest round as text.
    pub(crate) reply_texts: Vec<String>,
}

impl History {
    pub(crate) fn count(&self, answer: Answer) -> usize {
        self.answers.values().filter(|known| **known == answer).count()
    }

    /// Creates the tables. Returns whether that has been acknowledged, now or earlier.
    pub(crate) fn create_schema(&mut self, database: &Database, disk: &FaultyDisk) -> bool {
        let steps = SCHEMA.iter().map(|sql| Step::execute(*sql, ())).collect();
        let result = database.blocking().run(Batch::transaction(steps));
        self.schema |= answer(&result, disk) == Answer::Acknowledged;
        self.schema
    }

    /// Lets several clients write at the same time. Returns when every batch has been answered.
    pub(crate) fn write(&mut self, database: &Database, disk: &FaultyDisk) {
        self.rounds += 1;
        let first = self.rounds * ROUND;
        let results: Vec<(i64, Answer, String)> = std::thread::scope(|scope| {
            let client = |number: i64| {
                let ids = (0..BATCHES_PER_WRITER).map(move |batch| first + batch * WRITERS + number);
                scope.spawn(move || ids.map(|id| write_one(id, database, disk)).collect::<Vec<_>>())
            };
            let clients: Vec<_> = (0..WRITERS).map(client).collect();
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
        });
        self.reply_texts = results.iter().map(|(id, _, text)| format!("{id}: {text}")).collect();
        self.answers.extend(results.into_iter().map(|(id, answer, _)| (id, answer)));
    }

    /// The number of batches of the latest round that are acknowledged if no fault occurs.
    pub(crate) fn sound_batches(&self) -> usize {
        let first = self.rounds * ROUND;
        (first..first + WRITERS * BATCHES_PER_WRITER).filter(|id| !is_failing(*id)).count()
    }

    /// Compares the database with the answers. `Err` describes the first difference.
    pub(crate) fn check(&self, database: &Database) -> Result<(), String> {
        let integrity = texts(database, "PRAGMA integrity_check")?;
        if integrity != ["ok"] {
            return Err(format!("integrity_check: {integrity:?}"));
        }
        let tables = integers(database, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'")?;
        if tables == [vec![0]] && !self.schema {
            return Ok(());
        }
        let found: BTreeMap<i64, i64> =
            integers(database, "SELECT id, parts FROM batch")?.into_iter().map(|row| (row[0], row[1])).collect();
        self.check_answers(&found)?;
        check_parts(database, &found)?;
        let totals = integers(database, "SELECT n FROM total")?;
        if totals != [vec![found.len() as i64]] {
            return Err(format!("the total is {totals:?}, but there are {} batches", found.len()));
        }
        Ok(())
    }

    fn check_answers(&self, found: &BTreeMap<i64, i64>) -> Result<(), String> {
        for (id, answer) in &self.answers {
            match (answer, found.contains_key(id)) {
                (Answer::Acknowledged, false) => return Err(format!("batch {id} was acknowledged and is lost")),
                (Answer::RolledBack, true) => {
                    return Err(format!("batch {id} was reported as rolled back and is there"));
                }
                _ => {}
            }
        }
        match found.keys().find(|id| is_failing(**id) || !self.answers.contains_key(id)) {
            Some(id) => Err(format!("batch {id} cannot be there")),
            None => Ok(()),
        }
    }
}

/// Checks that every batch has all its parts, and that there are no other parts.
fn check_parts(database: &Database, found: &BTreeMap<i64, i64>) -> Result<(), String> {
    let expected: Vec<(i64, i64, String)> =
        found.iter().flat_map(|(id, parts)| (0..*parts).map(|n| (*id, n, body(*id, n)))).collect();
    let outcome = query(database, "SELECT batch, n, body FROM part ORDER BY batch, n")?;
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else {
        return Err(format!("no rows: {outcome:?}"));
    };
    let parts: Vec<(i64, i64, String)> = rows
        .iter()
        .map(|row| {
            let values: Vec<_> = row.values().collect();
            let text = values[2].as_text().unwrap_or_default().into_owned();
            (values[0].as_integer().unwrap_or(-1), values[1].as_integer().unwrap_or(-1), text)
        })
        .collect();
    if parts == expected {
        return Ok(());
    }
    let ids = |list: &[(i64, i64, String)]| list.iter().map(|part| (part.0, part.1)).collect::<Vec<_>>();
    Err(format!("incomplete batches: {:?} instead of {:?}", ids(&parts), ids(&expected)))
}

fn is_failing(id: i64) -> bool {
    id % FAILING_EVERY == 0
}

/// A text between a few bytes and more than a page.
fn body(id: i64, n: i64) -> String {
    let len = 40 + (id * 31 + n * 997) % 900 * if id % 5 == 0 { 7 } else { 1 };
    format!("{id}.{n} ").repeat(len as usize / 6 + 1)
}

/// A client's batch: one row in one table, several rows in another, and an increment of a counter.
fn batch(id: i64) -> Batch {
    let parts = 1 + id % 4;
    let rows = (0..parts).map(|n| Ok(Bindings::positional::<Value>([id.into(), n.into(), body(id, n).into()])));
    let mut steps = vec![
        Step::execute("INSERT INTO batch VALUES (?, ?)", [id, parts]),
        Step {
            action: Action::RunEach { sql: "INSERT INTO part VALUES (?, ?, ?)".into(), bindings: rows.collect() },
            expect: Expect::Count,
            on_error: OnError::Abort,
        },
        Step::execute("UPDATE total SET n = n + 1", ()),
    ];
    if is_failing(id) {
        steps.push(Step::execute("INSERT INTO batch VALUES (?, 0)", [id]));
    }
    Batch::transaction(steps)
}

fn write_one(id: i64, database: &Database, disk: &FaultyDisk) -> (i64, Answer, String) {
    let result = database.blocking().run(batch(id));
    let text = match &result {
        Ok(Outcome { ending: Ending::Aborted(_), steps, .. }) => format!("{:?}", steps.last()),
        Ok(Outcome { ending, .. }) => format!("{ending:?}"),
        Err(error) => format!("{error:?}"),
    };
    (id, answer(&result, disk), text)
}

fn answer(result: &Result<Outcome, Error>, disk: &FaultyDisk) -> Answer {
    match result {
        Ok(outcome) if outcome.ending == Ending::Done && disk.stopped() == Some(AfterStop::Pretend) => {
            Answer::NotDurable
        }
        Ok(outcome) if outcome.ending == Ending::Done => Answer::Acknowledged,
        Ok(_) => Answer::RolledBack,
        Err(_) => Answer::Error,
    }
}

fn query(database: &Database, sql: &str) -> Result<Outcome, String> {
    let sql: Arc<str> = sql.into();
    let outcome = database.blocking().run(Batch::one(Step::query(sql.clone(), ())));
    match outcome {
        Ok(outcome) if outcome.ending == Ending::Done => Ok(outcome),
        other => Err(format!("{sql}: {other:?}")),
    }
}

fn texts(database: &Database, sql: &str) -> Result<Vec<String>, String> {
    let outcome = query(database, sql)?;
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else {
        return Err(format!("{sql}: {outcome:?}"));
    };
    let text = |value: ValueRef<'_>| value.as_text().map(String::from);
    Ok(rows.iter().flat_map(|row| row.values()).filter_map(text).collect())
}

fn integers(database: &Database, sql: &str) -> Result<Vec<Vec<i64>>, String> {
    let outcome = query(database, sql)?;
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else {
        return Err(format!("{sql}: {outcome:?}"));
    };
    Ok(rows.iter().map(|row| row.values().filter_map(|value| value.as_integer()).collect()).collect())
}

/// The seeds of the randomized tests. The environment variable `SQLHTTP_CRASH_SEEDS` sets their number.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("SQLHTTP_CRASH_SEEDS").ok().and_then(|text| text.parse().ok());
    0..count.unwrap_or(60)
}
