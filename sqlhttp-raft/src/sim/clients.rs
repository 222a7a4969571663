//! The requests that the clients of a simulation send.

use std::time::Duration;

use sqlhttp_core::{Backend as _, Batch, Deadline, Ending, Error, Outcome, ReadLevel, Step, StepOutcome};

use super::history::{Ended, Request};
use crate::clock;
use crate::node::Node;

/// The tables: `ops` contains the serial number of each write in the order in which they were applied, and how often
/// each was applied. `kv` contains the last write of each key.
const TABLES: [&str; 2] = [
    "CREATE TABLE ops(ord INTEGER PRIMARY KEY, serial INTEGER NOT NULL UNIQUE, k INTEGER NOT NULL, n INTEGER NOT NULL)",
    "CREATE TABLE kv(k INTEGER PRIMARY KEY, v INTEGER NOT NULL)",
];
const RECORD: &str = "INSERT INTO ops(serial, k, n) VALUES (?, ?, 1) ON CONFLICT (serial) DO UPDATE SET n = n + 1";
const SET: &str = "INSERT INTO kv(k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v";

/// The time after which a request fails, from the moment that it was sent.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Creates the tables.
pub(super) async fn create_tables(node: &Node) -> Result<(), Error> {
    let steps = TABLES.iter().map(|sql| Step::execute(*sql, ())).collect();
    node.write_batch(Batch::transaction(steps), Deadline::NEVER).await?.whole().await.map(drop)
}

/// Sends a request to a node, and waits for its end.
pub(super) async fn perform(node: &Node, request: Request, serial: i64, key: i64) -> Ended {
    let deadline = Deadline::after(clock::now(), REQUEST_TIMEOUT);
    let result = match request {
        Request::Write => write(node, batch(serial, key), deadline).await,
        Request::FailingWrite => {
            let mut steps = batch(serial, key).steps;
            steps.push(Step::execute("INSERT INTO kv(k, v) VALUES (?, NULL)", [1000 + key]));
            write(node, Batch::transaction(steps), deadline).await
        }
        Request::Read(level) => read(node, key, level, deadline).await,
    };
    result.unwrap_or_else(|error| match error {
        Error::Unknown | Error::LeadershipLost => Ended::Unknown(error.to_string()),
        error => Ended::Refused(error.to_string()),
    })
}

fn batch(serial: i64, key: i64) -> Batch {
    Batch::transaction(vec![Step::execute(RECORD, [serial, key]), Step::execute(SET, [key, serial])])
}

async fn write(node: &Node, batch: Batch, deadline: Deadline) -> Result<Ended, Error> {
    let outcome = node.write_batch(batch, deadline).await?.whole().await?;
    let failed = outcome.steps.iter().find(|step| matches!(step, StepOutcome::Failed(_)));
    match (&outcome.ending, failed) {
        (Ending::Done, None) => Ok(Ended::Written),
        (ending, failed) => Ok(Ended::Refused(format!("{ending:?} {failed:?}"))),
    }
}

async fn read(node: &Node, key: i64, level: ReadLevel, deadline: Deadline) -> Result<Ended, Error> {
    let batch = Batch::one(Step::query("SELECT v FROM kv WHERE k = ?", [key]));
    let outcome = node.read_batch(batch, level, deadline).await?.whole().await?;
    let rows = integers(&outcome).ok_or_else(|| Error::Unsupported(format!("the read failed: {outcome:?}")))?;
    Ok(Ended::Read(rows.first().and_then(|row| row.first().copied()).unwrap_or(0)))
}

/// Returns all rows of the first step of an outcome, which contain only integers; `None` if the step failed.
fn integers(outcome: &Outcome) -> Option<Vec<Vec<i64>>> {
    let Some(StepOutcome::Rows(rows)) = outcome.steps.first() else { return None };
    Some(rows.iter().map(|row| row.values().filter_map(|value| value.as_integer()).collect()).collect())
}

/// The rows of the tables `ops` and `kv`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Content {
    /// The columns `ord`, `serial`, `k` and `n`.
    pub(super) ops: Vec<[i64; 4]>,
    /// The columns `k` and `v`.
    pub(super) kv: Vec<[i64; 2]>,
}

/// Reads the content of a node's database, which may be out of date. Returns `None` if there are no tables.
pub(super) async fn content(node: &Node) -> Option<Content> {
    let ops = all_rows(node, "SELECT ord, serial, k, n FROM ops ORDER BY ord").await?;
    let kv = all_rows(node, "SELECT k, v FROM kv ORDER BY k").await?;
    Some(Content {
        ops: ops.into_iter().filter_map(|row| row.try_into().ok()).collect(),
        kv: kv.into_iter().filter_map(|row| row.try_into().ok()).collect(),
    })
}

async fn all_rows(node: &Node, sql: &str) -> Option<Vec<Vec<i64>>> {
    let read = node.database().read_batch(Batch::one(Step::query(sql, ())), ReadLevel::None, Deadline::NEVER).await;
    integers(&read.ok()?.whole().await.ok()?)
}
