//! Durable single-row inserts through a database, from 1, 8 and 64 concurrent tasks: the effect of group commit, in
//! which several inserts share one sync.
//!
//! The file is created in the build directory. On a file system that does not sync (tmpfs) the figures are meaningless.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sqlhttp_core::{Batch, Database, Ending, Options, Step, Value};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const INSERT: &str = "INSERT INTO t (name, amount) VALUES (?, ?)";

fn insert(sql: &Arc<str>, n: u64) -> Batch {
    let values = [Value::from(format!("name-{n:08}")), Value::from(n as f64 / 100.0)];
    Batch::one(Step::execute(Arc::clone(sql), values))
}

async fn insert_many(db: Database, count: u64) {
    let sql: Arc<str> = INSERT.into();
    for n in 0..count {
        let outcome = db.run(insert(&sql, n)).await.expect("an outcome");
        assert_eq!(outcome.ending, Ending::Done);
    }
}

/// The duration of `total` inserts, divided among `tasks` tasks.
fn time_inserts(runtime: &Runtime, db: &Database, tasks: u64, total: u64) -> Duration {
    runtime.block_on(async {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for task in 0..tasks {
            let count = total / tasks + u64::from(task < total % tasks);
            running.spawn(insert_many(db.clone(), count));
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a task that ends");
        }
        started.elapsed()
    })
}

fn group(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let db = Database::open(dir.path().join("group.db"), Options::default()).expect("a database");
    let create = Step::execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount REAL)", ());
    db.blocking().run(Batch::one(create)).expect("a table").into_result().expect("a table");
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let mut group = criterion.benchmark_group("group commit");
    group.throughput(Throughput::Elements(1));
    for tasks in [1, 8, 64] {
        let name = format!("{tasks} tasks, 1 row each");
        group.bench_function(name, |bencher| bencher.iter_custom(|total| time_inserts(&runtime, &db, tasks, total)));
    }
    group.finish();
    runtime.block_on(db.close()).expect("a closed database");
}

criterion_group!(benches, group);
criterion_main!(benches);
