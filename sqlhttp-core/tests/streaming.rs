//! Large results are streamed in parts, in constant memory.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{
    Answer, Backend, Batch, Database, Deadline, Ending, Error, Failure, Options, Part, PartStream, ReadLevel, Step,
    StepOutcome, Value,
};
use std::time::Duration;

/// An endless result.
const ENDLESS_ROWS: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, 'row ' || n FROM c";

fn numbers(most: u64) -> String {
    format!(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {most}) SELECT n, 'row ' || n FROM c"
    )
}

fn stream(db: &Database, batch: Batch) -> Box<dyn PartStream> {
    match block_on(db.read_batch(batch, ReadLevel::None, Deadline::NEVER)).expect("an answer") {
        Answer::Parts(stream) => stream,
        Answer::Whole(outcome) => panic!("the result is not streamed: {outcome:?}"),
    }
}

fn next(stream: &mut Box<dyn PartStream>) -> Option<Result<Part, Error>> {
    block_on(stream.next())
}

/// Reads all parts of a stream. They must be in order: for each step either `Step`, or `Columns`, `Rows`… and `Step`;
/// then `End`.
fn all_parts(mut stream: Box<dyn PartStream>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut in_rows = false;
    while let Some(part) = next(&mut stream) {
        let part = part.expect("no error");
        match &part {
            Part::Columns(_) => assert!(!std::mem::replace(&mut in_rows, true)),
            Part::Rows(block) => assert!(in_rows && !block.is_empty()),
            Part::Step(_, _) => in_rows = false,
            Part::End(_) => assert!(!in_rows),
        }
        assert!(!matches!(parts.last(), Some(Part::End(_))), "a part after End");
        parts.push(part);
    }
    assert!(matches!(parts.last(), Some(Part::End(_))));
    parts
}

#[test]
fn parts_of_a_streamed_result_are_in_order() {
    let db = memory();
    let batch =
        transaction(&["SELECT 1 AS small", &numbers(50_000), "SELECT 2 AS after", "VALUES (3)", &numbers(20_000)]);
    let parts = all_parts(stream(&db, batch.clone()));
    let steps = parts.iter().filter(|part| matches!(part, Part::Step(_, _))).count();
    assert_eq!(steps, 5);
    assert_eq!(
        parts.iter().filter(|part| matches!(part, Part::Columns(_))).count(),
        2,
        "only large results have a Columns part"
    );
    let whole = db.blocking().run(batch).expect("an outcome");
    let lens: Vec<usize> = whole
        .steps
        .iter()
        .map(|step| match step {
            StepOutcome::Rows(rows) => rows.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens, [1, 50_000, 1, 1, 20_000]);
}

#[test]
fn dropping_a_stream_interrupts_its_statement() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        for _ in 0..10 {
            let mut stream = stream(&db, Batch::one(Step::query(ENDLESS_ROWS, ())));
            assert!(matches!(next(&mut stream), Some(Ok(Part::Columns(_)))));
            assert!(matches!(next(&mut stream), Some(Ok(Part::Rows(_)))));
        }
        // `close` waits for the statements that still run.
        block_on(db.close()).expect("close");
    }
}

/// Reads the first part of a large result, writes, and then reads the other parts.
fn write_while_reading(db: &Database) {
    exec(db, "CREATE TABLE t(a)");
    let mut slow = stream(db, Batch::one(Step::query(numbers(200_000), ())));
    assert!(matches!(next(&mut slow), Some(Ok(Part::Columns(_)))));
    for n in 0..20 {
        exec(db, &format!("INSERT INTO t VALUES ({n})"));
    }
    assert_eq!(integer(db, "SELECT count(*) FROM t"), 20);
    let mut rows = 0;
    while let Some(part) = next(&mut slow) {
        match part.expect("the stream continues") {
            Part::Rows(block) => rows += block.len(),
            Part::Step(StepOutcome::Rows(last), _) => rows += last.len(),
            _ => {}
        }
    }
    assert_eq!(rows, 200_000);
}

#[test]
fn a_slow_consumer_does_not_stop_writes() {
    let test_dir = TestDir::new();
    write_while_reading(&test_dir.open(Options::default()));
}

#[test]
fn a_slow_consumer_does_not_stop_writes_in_memory_either() {
    let options = Options::default().stall_timeout(Duration::from_secs(2));
    write_while_reading(&Database::open(":memory:", options).expect("open"));
}

#[test]
fn many_slow_consumers_do_not_stop_other_reads() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default().read_threads(1));
    let slow: Vec<Box<dyn PartStream>> =
        (0..10).map(|_| stream(&db, Batch::one(Step::query(ENDLESS_ROWS, ())))).collect();
    assert_eq!(rows(&db, &numbers(30_000)).len(), 30_000);
    drop(slow);
}

#[test]
fn a_consumer_that_stalls_for_too_long_loses_its_stream() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default().stall_timeout(Duration::from_millis(50)));
    let mut stalled = stream(&db, Batch::one(Step::query(ENDLESS_ROWS, ())));
    let before = db.status().batches_read;
    // `close` waits for running reads, so this read has been ended when it returns.
    block_on(db.close()).expect("close");
    assert_eq!(db.status().batches_read, before);
    let last = std::iter::from_fn(|| next(&mut stalled)).last();
    assert!(matches!(last, Some(Err(Error::Unavailable(_)))), "{last:?}");
}

#[test]
fn a_statement_that_fails_midway_ends_with_its_failure() {
    let db = memory();
    for (expression, message) in [
        ("abs(CASE n WHEN 30000 THEN -9223372036854775807 - 1 ELSE n END)", "integer overflow"),
        ("json_extract(CASE n WHEN 30000 THEN '{' ELSE '{}' END, '$')", "malformed JSON"),
    ] {
        let failing = numbers(60_000).replace("SELECT n, 'row '", &format!("SELECT {expression}, 'row '"));
        let batch = transaction(&["SELECT 1", &failing, "SELECT 2"]);
        let parts = all_parts(stream(&db, batch));
        let rows: usize = parts
            .iter()
            .map(|part| match part {
                Part::Rows(block) => block.len(),
                _ => 0,
            })
            .sum();
        assert!(rows > 0 && rows < 30_000, "{rows} rows before the failure");
        let [.., Part::Step(StepOutcome::Failed(Failure::Sql(error)), _), Part::End(ending)] = &parts[..] else {
            panic!("{:?}", &parts[parts.len() - 2..])
        };
        assert_eq!(error.message, message);
        assert_eq!(*ending, Ending::Aborted(1));

        let tolerant = Batch::transaction(vec![Step::query(failing, ()).or_continue(), Step::query("SELECT 2", ())]);
        let outcome = db.blocking().run(tolerant).expect("an outcome");
        assert_eq!(outcome.ending, Ending::Done);
        assert!(matches!(&outcome.steps[..], [StepOutcome::Failed(_), StepOutcome::Rows(rows)] if rows.len() == 1));
    }
}

#[test]
fn a_deadline_ends_a_stream_with_an_error() {
    let db = memory();
    let deadline = Deadline::after(std::time::Instant::now(), Duration::from_millis(100));
    let answer = block_on(db.read_batch(Batch::one(Step::query(ENDLESS_ROWS, ())), ReadLevel::None, deadline));
    let Ok(Answer::Parts(mut stream)) = answer else { panic!("{answer:?}") };
    let last = std::iter::from_fn(|| next(&mut stream)).last();
    assert!(matches!(last, Some(Err(Error::Timeout))), "{last:?}");
}

#[test]
fn rows_max_limits_the_rows_of_a_result() {
    let test_dir = TestDir::new();
    let options = Options::default().rows_max(Some(1000));
    for db in [test_dir.open(options.clone()), Database::open(":memory:", options).expect("open")] {
        assert_eq!(rows(&db, &numbers(1000)).len(), 1000);
        assert_eq!(failure(&db, &numbers(1001)), Failure::TooManyRows { limit: 1000 });
        assert_eq!(failure(&db, &numbers(1_000_000)), Failure::TooManyRows { limit: 1000 });
        exec(&db, "CREATE TABLE t(a, b)");
        let insert = |most| format!("INSERT INTO t {} RETURNING a", numbers(most));
        assert_eq!(failure(&db, &insert(1001)), Failure::TooManyRows { limit: 1000 });
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
        assert_eq!(rows(&db, &insert(1000)).len(), 1000);
        // The caller does not want these rows, so they do not count.
        exec(&db, &insert(2000));
        exec(&db, &numbers(5000));
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 3000);
    }
}

#[test]
fn held_bytes_max_limits_the_rows_that_a_write_returns() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default().held_bytes_max(1 << 20));
    exec(&db, "CREATE TABLE t(a, b)");
    let large = format!("INSERT INTO t {} RETURNING a, b", numbers(200_000));
    assert_eq!(failure(&db, &large), Failure::TooManyBytes { limit: 1 << 20 });
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
    let mixed = transaction(&["INSERT INTO t VALUES (1, 2)", &numbers(200_000)]);
    let outcome = db.blocking().run(mixed).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Aborted(1));
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0);
    // All steps of a batch share one limit.
    let steps: Vec<String> = (0..20).map(|_| numbers(10_000)).collect();
    let mut sql = vec!["INSERT INTO t VALUES (1, 2)"];
    sql.extend(steps.iter().map(String::as_str));
    let outcome = db.blocking().run(transaction(&sql)).expect("an outcome");
    assert!(matches!(outcome.ending, Ending::Aborted(_)), "{:?}", outcome.ending);
    let tolerant = Batch::transaction(vec![
        Step::query(large, ()).or_continue(),
        Step::query("INSERT INTO t VALUES (3, 4) RETURNING a", ()),
    ]);
    let outcome = db.blocking().run(tolerant).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
    assert_eq!(rows(&db, "SELECT a FROM t"), [[Value::Integer(3)]]);
    // A read is streamed, so the limit does not apply.
    assert_eq!(rows(&db, &numbers(200_000)).len(), 200_000);
}
