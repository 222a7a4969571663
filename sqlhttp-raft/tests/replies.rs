//! Every caller of a write receives exactly one answer, also when the node is closed meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sqlhttp_core::{
    Answer, Backend as _, Batch, Deadline, Error, Outcome, ReadLevel, RowRef, Step, StepOutcome, ValueRef,
};
use sqlhttp_raft::{Node, NodeOptions};
use tokio::task::JoinHandle;

const WRITES: i64 = 400;
/// Fails the test if a caller is never answered.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(directory: &Path) -> Node {
    Node::start(NodeOptions::new(directory, "n1", "localhost:4002")).await.unwrap()
}

/// A node with an empty table.
async fn start_with_table(directory: &Path) -> Node {
    let node = start(directory).await;
    let create = Batch::one(Step::execute("CREATE TABLE t(id INTEGER PRIMARY KEY)", ()));
    node.write_batch(create, Deadline::NEVER).await.unwrap();
    node
}

/// Begins writes at the same time, each of one row.
fn begin_writes(node: &Node) -> Vec<JoinHandle<Result<Outcome, Error>>> {
    let write = |id: i64| {
        let node = node.clone();
        tokio::spawn(async move {
            let insert = Batch::one(Step::execute("INSERT INTO t(id) VALUES (?)", [id]));
            node.write_batch(insert, Deadline::NEVER).await?.whole().await
        })
    };
    (0..WRITES).map(write).collect()
}

/// The answers to the writes, in order.
async fn answers(writes: Vec<JoinHandle<Result<Outcome, Error>>>) -> Vec<Result<Outcome, Error>> {
    let mut answers = Vec::new();
    for write in writes {
        answers.push(tokio::time::timeout(PATIENCE, write).await.expect("a caller was not answered").unwrap());
    }
    answers
}

async fn rows(node: &Node) -> BTreeSet<i64> {
    let read = Batch::one(Step::query("SELECT id FROM t", ()));
    let answer: Answer = node.read_batch(read, ReadLevel::Linearizable, Deadline::NEVER).await.unwrap();
    let outcome = answer.whole().await.unwrap();
    let StepOutcome::Rows(rows) = &outcome.steps[0] else { panic!("{:?}", outcome.steps[0]) };
    let id = |row: RowRef<'_>| match row.get(0) {
        Some(ValueRef::Integer(id)) => id,
        other => panic!("{other:?}"),
    };
    rows.iter().map(id).collect()
}

#[tokio::test]
async fn concurrent_writes_are_answered_with_their_own_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let node = start_with_table(directory.path()).await;
    let answers = answers(begin_writes(&node)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().log_index > 1));
    assert_eq!(rows(&node).await, (0..WRITES).collect());
    assert_eq!(node.status().proposals_waiting, 0);
    node.close().await.unwrap();
}

#[tokio::test]
async fn closing_a_node_answers_the_writes_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let node = start_with_table(directory.path()).await;
    let writes = begin_writes(&node);
    // Some writes are queued, in flight, or not begun when the node is closed.
    tokio::task::yield_now().await;
    node.close().await.unwrap();
    let answers = answers(writes).await;
    drop(node);
    let node = start(directory.path()).await;
    let rows = rows(&node).await;
    for (id, answer) in (0..WRITES).zip(answers) {
        assert!(answer.is_err() || rows.contains(&id), "row {id} was acknowledged and is missing");
    }
    node.close().await.unwrap();
}
