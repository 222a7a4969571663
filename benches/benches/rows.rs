//! Reads through a database: one row by its primary key, and 10,000 rows of 4 columns.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sqlhttp_core::{Answer, Backend as _, Batch, Database, Deadline, Ending, Options, Outcome, ReadLevel, Step};
use tokio::runtime::Builder;

const ROWS: u64 = 10_000;
const CREATE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount REAL, note TEXT)";
const FILL: &str = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
     SELECT i, format('name-%08d', i), i / 100.0, 'a short note of forty characters, stored' FROM n";

async fn read(db: &Database, step: Step) -> Outcome {
    let answer = db.read_batch(Batch::one(step), ReadLevel::Weak, Deadline::NEVER).await;
    let outcome = Answer::whole(answer.expect("an answer")).await.expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done);
    outcome
}

fn rows(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let db = Database::open(dir.path().join("rows.db"), Options::default()).expect("a database");
    let fill = Batch::transaction(vec![Step::execute(CREATE, ()), Step::execute(FILL, ())]);
    assert_eq!(db.blocking().run(fill).expect("an outcome").ending, Ending::Done);
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    let point = || Step::query("SELECT id, name, amount, note FROM t WHERE id = ?", [4_711]);
    group.bench_function("1 row by primary key", |bencher| bencher.iter(|| runtime.block_on(read(&db, point()))));
    group.throughput(Throughput::Elements(ROWS));
    let all = || Step::query("SELECT id, name, amount, note FROM t", ());
    group.bench_function("10000 rows x 4", |bencher| bencher.iter(|| runtime.block_on(read(&db, all()))));
    group.finish();
    runtime.block_on(db.close()).expect("a closed database");
}

criterion_group!(benches, rows);
criterion_main!(benches);
