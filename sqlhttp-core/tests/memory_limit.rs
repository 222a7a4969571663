//! The memory limit of a run. SQLite accepts an allocator only before it is initialized, so this file contains only one
//! test.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use std::time::Instant;

use common::block_on;
use sqlhttp_core::{
    Backend, Batch, Database, Deadline, Failure, Location, Options, Outcome, ReadLevel, Step, StepOutcome,
};

fn failure(outcome: &Outcome) -> Option<String> {
    outcome.steps.iter().find_map(|step| match step {
        StepOutcome::Failed(Failure::Sql(error)) => Some(error.message.clone()),
        _ => None,
    })
}

/// A query whose `calls` references to a value of 2 MB are arguments of one function.
fn large(calls: usize) -> String {
    let values = vec!["v"; calls].join(",");
    format!("SELECT length(json_array({values})) FROM (SELECT hex(zeroblob(1000000 + abs(random() % 2))) AS v)")
}

#[test]
fn a_statement_that_needs_too_much_memory_fails_alone() {
    // SAFETY: this is the only test of this program, and no thread has used SQLite yet.
    #[allow(unsafe_code)]
    let installed = unsafe { sqlhttp_core::install_allocator(1 << 30) };
    assert!(installed);
    let open = || {
        let options = Options::default().memory_bytes_max(64 << 20).memory_bytes_max_name("-some-flag");
        Database::open(Location::Memory, options).expect("a database")
    };
    let db = open();
    let run = |batch: Batch| db.blocking().run(batch).expect("an outcome");
    run(Batch::one(Step::execute("CREATE TABLE t(a)", ()))).into_result().unwrap();

    let expected = "out of memory: the limit of a statement is 67108864 bytes (-some-flag)";
    assert_eq!(failure(&run(Batch::one(Step::query(large(40), ())))).as_deref(), Some(expected));
    let write = format!("INSERT INTO t {}", large(40));
    assert_eq!(failure(&run(Batch::one(Step::execute(write, ())))).as_deref(), Some(expected));
    let many = format!("SELECT 1 IN ({})", vec!["1"; 2_000_000].join(","));
    assert_eq!(failure(&run(Batch::one(Step::query(many, ())))).as_deref(), Some(expected));

    // The connections can be used again, and the memory has been freed.
    for _ in 0..100 {
        assert_eq!(failure(&run(Batch::one(Step::query(large(10), ())))), None);
    }
    let write = format!("INSERT INTO t {}", large(10));
    assert_eq!(failure(&run(Batch::one(Step::execute(write, ())))), None);

    // A statement without a loop ends soon after its deadline, because its next allocation fails.
    let read = |deadline: Deadline| {
        let db = open();
        let batch = Batch::one(Step::query(upper(60), ()));
        let started = Instant::now();
        let answer = block_on(async { db.read_batch(batch, ReadLevel::None, deadline).await?.whole().await });
        // The statement may still run after its caller has received the error; `close` waits for it.
        block_on(db.close()).expect("closed");
        (answer.is_ok(), started.elapsed())
    };
    let (ended, whole) = read(Deadline::NEVER);
    assert!(ended);
    let (ended, cut) = read(Deadline::after(Instant::now(), whole / 20));
    assert!(!ended && cut < whole / 2, "{cut:?} of {whole:?}");
}

/// A query with many calls of a function that returns a long value.
fn upper(calls: usize) -> String {
    let calls: Vec<_> = (0..calls).map(|i| format!("length(upper(v || {i}))")).collect();
    format!("SELECT {} FROM (SELECT hex(zeroblob(4000000 + abs(random() % 2))) AS v)", calls.join(" + "))
}
