//! Encoding an outcome into the body of an answer: 1,000 rows of 4 columns, and one inserted row.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sqlhttp_core::{Block, Changed, Column, Ending, Outcome, Rows, StepOutcome, ValueRef};
use sqlhttp_ws4sqlite::{ReplyShape, Statements};

const ROWS: i64 = 1_000;

fn shape(body: &str) -> ReplyShape {
    let call = sqlhttp_ws4sqlite::decode(body.as_bytes()).expect("a call");
    call.into_batch(&Statements::default()).expect("a batch").1
}

fn outcome(step: StepOutcome) -> Outcome {
    Outcome { steps: vec![step], info: vec![], ending: Ending::Done, ..Outcome::default() }
}

fn thousand_rows() -> Outcome {
    let column = |name: &str| Column { name: name.to_owned(), ..Column::default() };
    let mut block = Block::new(4);
    for id in 1..=ROWS {
        let name = format!("name-{id:08}");
        block.push_row([
            ValueRef::Integer(id),
            ValueRef::Text(name.as_bytes()),
            ValueRef::Real(id as f64 / 100.0),
            ValueRef::Text(b"a short note of forty characters, stored"),
        ]);
    }
    let columns = Arc::from(["id", "name", "amount", "note"].map(column));
    outcome(StepOutcome::Rows(Rows { columns, blocks: vec![block], changed: Changed::default() }))
}

fn encode(criterion: &mut Criterion) {
    let inserted = outcome(StepOutcome::Changed(Changed { rows: 1, last_insert_id: Some(1) }));
    let map = shape(r#"{"transaction":[{"query":"SELECT"}]}"#);
    let list = shape(r#"{"resultFormat":"list","transaction":[{"query":"SELECT"}]}"#);
    let statement = shape(r#"{"transaction":[{"statement":"INSERT"}]}"#);
    let mut group = criterion.benchmark_group("encode");
    for (name, outcome, shape) in [
        ("1000 rows x 4 as objects", &thousand_rows(), &map),
        ("1000 rows x 4 as arrays", &thousand_rows(), &list),
        ("1 inserted row", &inserted, &statement),
    ] {
        let len = sqlhttp_ws4sqlite::encode(outcome, shape).body.len();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |bencher| bencher.iter(|| sqlhttp_ws4sqlite::encode(black_box(outcome), shape)));
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
