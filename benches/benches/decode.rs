//! Decoding the body of a request into a batch: one query, one statement, and 100 statements.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sqlhttp_benches::protocol::{Auth, Protocol as _, Ws4sqlite};
use sqlhttp_benches::workload::Operation;
use sqlhttp_core::Batch;
use sqlhttp_ws4sqlite::Statements;

fn batch_of(body: &[u8], statements: &Statements) -> Batch {
    let call = sqlhttp_ws4sqlite::decode(body).expect("a call");
    call.into_batch(statements).expect("a batch").0
}

fn decode(criterion: &mut Criterion) {
    let protocol = Ws4sqlite::new("bench", &Auth::None);
    let statements = Statements::default();
    let mut group = criterion.benchmark_group("decode");
    for (name, operation) in [
        ("1 query", Operation::Point(4_711)),
        ("1 statement", Operation::Insert(4_711)),
        ("100 statements", Operation::Batch(4_711)),
    ] {
        let mut body = Vec::new();
        protocol.write_body(&operation, &mut body);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| batch_of(black_box(&body), &statements)));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
