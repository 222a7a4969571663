//! The ways to use SQLite in a program with many tasks, side by side: the methods of `Executor`, batches, and rusqlite:
//! a connection behind a mutex, and a connection on a thread of its own that runs closures (as the crate
//! `tokio-rusqlite` has it).
//!
//! All use WAL mode with `synchronous=FULL` and cached statements. The files are created in the build directory. On a
//! file system that does not sync (tmpfs) the figures are meaningless.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rusqlite::Connection;
use sqlhttp_core::{Batch, Database, Executor as _, Options, Step, params};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const CREATE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, amount REAL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT INTO t SELECT i, 'name-' || i, i / 100.0 FROM n";
const INSERT: &str = "INSERT INTO t(name, amount) VALUES (?, ?)";
const POINT: &str = "SELECT name, amount FROM t WHERE id = ?";
const MANY: &str = "SELECT id, name, amount FROM t WHERE id > ? LIMIT 1000";
/// The numbers of tasks that insert at the same time.
const TASKS: [u64; 3] = [1, 8, 64];

type Closure = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection on a thread of its own.
#[derive(Clone)]
struct ConnectionThread(mpsc::Sender<Closure>);

impl ConnectionThread {
    fn start(mut connection: Connection) -> ConnectionThread {
        let (sender, closures) = mpsc::channel::<Closure>();
        std::thread::spawn(move || closures.into_iter().for_each(|closure| closure(&mut connection)));
        ConnectionThread(sender)
    }

    async fn call<T: Send + 'static>(&self, closure: impl FnOnce(&mut Connection) -> T + Send + 'static) -> T {
        let (reply, result) = oneshot::channel();
        let closure: Closure = Box::new(move |connection| drop(reply.send(closure(connection))));
        self.0.send(closure).expect("a thread that runs");
        result.await.expect("a result")
    }
}

/// The databases that are compared, each with a file of its own.
struct Contestants {
    engine: Database,
    mutex: Arc<Mutex<Connection>>,
    thread: ConnectionThread,
    _directory: tempfile::TempDir,
}

impl Contestants {
    fn open(runtime: &Runtime) -> Contestants {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let engine = Database::open(directory.path().join("engine.db"), Options::default()).expect("a database");
        runtime.block_on(engine.execute(CREATE, ())).expect("a table");
        let connect = |name| {
            let connection = Connection::open(directory.path().join(name)).expect("a database");
            connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").expect("WAL mode");
            connection.execute_batch(CREATE).expect("a table");
            connection
        };
        let mutex = Arc::new(Mutex::new(connect("mutex.db")));
        let thread = ConnectionThread::start(connect("thread.db"));
        Contestants { engine, mutex, thread, _directory: directory }
    }
}

fn insert_with(connection: &Connection, n: u64) {
    let mut statement = connection.prepare_cached(INSERT).expect("a statement");
    statement.execute(rusqlite::params![format!("name-{n:08}"), n as f64 / 100.0]).expect("an insert");
}

fn point_with(connection: &Connection, n: u64) -> (String, f64) {
    let mut statement = connection.prepare_cached(POINT).expect("a statement");
    statement.query_row([n as i64], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row")
}

fn many_with(connection: &Connection, n: u64) -> Vec<(i64, String, f64)> {
    let mut statement = connection.prepare_cached(MANY).expect("a statement");
    let rows = statement.query_map([n as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// The duration of `total` calls, divided among `tasks` tasks.
fn time<F: Future<Output = ()> + Send>(
    runtime: &Runtime,
    (tasks, total): (u64, u64),
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            let (next, call) = (next.clone(), call.clone());
            running.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        break;
                    }
                    call(n).await;
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a task that ends");
        }
        started.elapsed()
    })
}

fn inserts(criterion: &mut Criterion, runtime: &Runtime, contestants: &Contestants) {
    for tasks in TASKS {
        let mut group = criterion.benchmark_group(format!("insert, {tasks} tasks"));
        group.throughput(Throughput::Elements(1));
        let db = &contestants.engine;
        let call = |n: u64| params![format!("name-{n:08}"), n as f64 / 100.0];
        group.bench_function("execute", |bencher| {
            bencher.iter_custom(|total| {
                let db = db.clone();
                time(runtime, (tasks, total), move |n| {
                    let db = db.clone();
                    async move {
                        db.execute(INSERT, call(n)).await.expect("an insert");
                    }
                })
            });
        });
        group.bench_function("batch", |bencher| {
            bencher.iter_custom(|total| {
                let (db, sql): (_, Arc<str>) = (db.clone(), INSERT.into());
                time(runtime, (tasks, total), move |n| {
                    let (db, batch) = (db.clone(), Batch::one(Step::execute(sql.clone(), call(n))));
                    async move { drop(db.run(batch).await.expect("an outcome").into_result().expect("an insert")) }
                })
            });
        });
        group.bench_function("transaction", |bencher| {
            bencher.iter_custom(|total| {
                let db = db.clone();
                time(runtime, (tasks, total), move |n| {
                    let db = db.clone();
                    async move {
                        db.transaction(move |tx| tx.execute(INSERT, call(n))).await.expect("an insert");
                    }
                })
            });
        });
        group.bench_function("rusqlite, mutex", |bencher| {
            bencher.iter_custom(|total| {
                let connection = contestants.mutex.clone();
                time(runtime, (tasks, total), move |n| {
                    let connection = connection.clone();
                    async move { insert_with(&connection.lock().expect("a lock"), n) }
                })
            });
        });
        group.bench_function("rusqlite, thread", |bencher| {
            bencher.iter_custom(|total| {
                let thread = contestants.thread.clone();
                time(runtime, (tasks, total), move |n| {
                    let thread = thread.clone();
                    async move { thread.call(move |connection| insert_with(connection, n)).await }
                })
            });
        });
        group.finish();
    }
}

fn reads(criterion: &mut Criterion, runtime: &Runtime, contestants: &Contestants) {
    type Many = (i64, String, f64);
    for (name, tasks) in [("point read, 8 tasks", 8), ("1,000 rows, 8 tasks", 8)] {
        let (many, mut group) = (name.starts_with("1,000"), criterion.benchmark_group(name));
        let db = &contestants.engine;
        group.bench_function("query_one, query_all", |bencher| {
            bencher.iter_custom(|total| {
                let db = db.clone();
                time(runtime, (tasks, total), move |n| {
                    let db = db.clone();
                    async move {
                        if many {
                            drop(db.query_all::<Many>(MANY, [n % 9000]).await.expect("rows"));
                        } else {
                            drop(db.query_one::<(String, f64)>(POINT, [n % 10_000 + 1]).await.expect("a row"));
                        }
                    }
                })
            });
        });
        group.bench_function("batch", |bencher| {
            bencher.iter_custom(|total| {
                let (db, sql): (_, Arc<str>) = (db.clone(), if many { MANY } else { POINT }.into());
                time(runtime, (tasks, total), move |n| {
                    let (db, batch) = (db.clone(), Batch::one(Step::query(sql.clone(), [n % 9000 + 1])));
                    async move { drop(db.run(batch).await.expect("an outcome").into_result().expect("rows")) }
                })
            });
        });
        group.bench_function("rusqlite, mutex", |bencher| {
            bencher.iter_custom(|total| {
                let connection = contestants.mutex.clone();
                time(runtime, (tasks, total), move |n| {
                    let connection = connection.clone();
                    async move {
                        let connection = connection.lock().expect("a lock");
                        if many {
                            drop(many_with(&connection, n % 9000));
                        } else {
                            drop(point_with(&connection, n % 10_000 + 1));
                        }
                    }
                })
            });
        });
        group.bench_function("rusqlite, thread", |bencher| {
            bencher.iter_custom(|total| {
                let thread = contestants.thread.clone();
                time(runtime, (tasks, total), move |n| {
                    let thread = thread.clone();
                    async move {
                        if many {
                            drop(thread.call(move |connection| many_with(connection, n % 9000)).await);
                        } else {
                            drop(thread.call(move |connection| point_with(connection, n % 10_000 + 1)).await);
                        }
                    }
                })
            });
        });
        group.finish();
    }
}

fn embedded(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let contestants = Contestants::open(&runtime);
    inserts(criterion, &runtime, &contestants);
    reads(criterion, &runtime, &contestants);
    runtime.block_on(contestants.engine.close()).expect("a closed database");
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500)).sample_size(10);
    targets = embedded
}
criterion_main!(benches);
