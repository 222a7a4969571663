//! Helpers that the engine's tests share.
#![allow(dead_code, reason = "each test binary uses only some of these helpers")]

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use sqlhttp_core::{Batch, Database, Ending, Error, Failure, Options, Outcome, Params, Rows, Step, StepOutcome, Value};

/// The time after which a test fails if a condition has not become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A write that ends only when it is interrupted, and then leaves no changes behind.
pub(crate) const ENDLESS_WRITE: &str =
    "CREATE TABLE endless AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";

/// A read that ends only when it is interrupted.
pub(crate) const ENDLESS_READ: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c WHERE n < 0";

/// A temporary directory for database files; dropping it removes the directory.
pub(crate) struct TestDir {
    /// The directory.
    pub(crate) dir: tempfile::TempDir,
}

impl TestDir {
    /// Creates a directory.
    pub(crate) fn new() -> TestDir {
        TestDir { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens the database `test.db` in the directory.
    pub(crate) fn open(&self, options: Options) -> Database {
        Database::open(self.path("test.db"), options).expect("open the database")
    }

    /// The names of all files in the directory, sorted.
    pub(crate) fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("read the directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Opens a database in memory with default options.
pub(crate) fn memory() -> Database {
    Database::open(":memory:", Options::default()).expect("open a database in memory")
}

/// Runs one step and returns its result, which may be a failure.
pub(crate) fn step(db: &Database, step: Step) -> StepOutcome {
    let mut outcome = db.blocking().run(Batch::one(step)).expect("an outcome");
    assert_eq!(outcome.steps.len(), 1, "{outcome:?}");
    if let Ending::NotCommitted(failure) = outcome.ending {
        return StepOutcome::Failed(failure);
    }
    outcome.steps.remove(0)
}

/// Runs SQL that must succeed.
pub(crate) fn exec(db: &Database, sql: &str) -> StepOutcome {
    match step(db, Step::execute(sql, ())) {
        StepOutcome::Failed(failure) => panic!("{sql}: {failure}"),
        outcome => outcome,
    }
}

/// Runs a script of the database's owner, which must succeed.
pub(crate) fn script(db: &Database, sql: &str) {
    block_on(db.run_script(sql)).expect("run a script").expect(sql);
}

/// The rows of a query that must succeed.
pub(crate) fn rows(db: &Database, sql: &str) -> Vec<Vec<Value>> {
    rows_with(db, sql, ())
}

/// The rows of a query with parameters that must succeed.
pub(crate) fn rows_with(db: &Database, sql: &str, bindings: impl Params) -> Vec<Vec<Value>> {
    match step(db, Step::query(sql, bindings)) {
        StepOutcome::Rows(rows) => values(&rows),
        other => panic!("{sql}: {other:?}"),
    }
}

/// The value of a query that must return one row; its first column.
pub(crate) fn scalar(db: &Database, sql: &str) -> Value {
    let mut rows = rows(db, sql);
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0).remove(0)
}

/// The integer of a query that must return one row; its first column.
pub(crate) fn integer(db: &Database, sql: &str) -> i64 {
    match scalar(db, sql) {
        Value::Integer(i) => i,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The failure of SQL that must fail.
pub(crate) fn failure(db: &Database, sql: &str) -> Failure {
    match step(db, Step::query(sql, ())) {
        StepOutcome::Failed(failure) => failure,
        other => panic!("{sql} should fail: {other:?}"),
    }
}

/// The rows as owned values.
pub(crate) fn values(rows: &Rows) -> Vec<Vec<Value>> {
    rows.iter().map(|row| row.values().map(|value| value.to_value()).collect()).collect()
}

/// A text value.
pub(crate) fn text(s: &str) -> Value {
    Value::Text(s.to_owned())
}

/// A batch that runs SQL texts as one transaction.
pub(crate) fn transaction(sql: &[&str]) -> Batch {
    Batch::transaction(sql.iter().map(|sql| Step::query(*sql, ())).collect())
}

/// The whole content of a database: the schema, all rows of all tables, and `user_version`.
pub(crate) fn dump(db: &Database) -> Vec<(String, Vec<Vec<Value>>)> {
    let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    let mut all = vec![("schema".to_owned(), rows(db, schema))];
    for table in rows(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
        let Some(Value::Text(name)) = table.into_iter().next() else { panic!("a table without a name") };
        let content = rows(db, &format!("SELECT * FROM main.\"{name}\""));
        all.push((name, content));
    }
    let numbers = rows(db, "PRAGMA user_version");
    all.push(("user_version".to_owned(), numbers));
    all
}

/// Polls a future to completion on this thread, without an async runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until a condition holds. Fails after [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "timeout while waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A future for the outcome of a batch.
pub(crate) type PendingOutcome<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send + 'a>>;

/// Sends a batch to the database and returns while it is still waiting.
pub(crate) fn start(db: &Database, batch: Batch) -> PendingOutcome<'_> {
    let mut waiting: PendingOutcome<'_> = Box::pin(db.run(batch));
    assert!(poll_once(waiting.as_mut()).is_pending(), "the batch did not have to wait");
    waiting
}

/// Keeps the writer of a database in a file busy until it is dropped.
pub(crate) struct BusyWriter<'a> {
    _waiting: PendingOutcome<'a>,
}

impl<'a> BusyWriter<'a> {
    /// Starts the endless write.
    pub(crate) fn start(db: &'a Database) -> BusyWriter<'a> {
        let waiting = start(db, Batch::one(Step::execute(ENDLESS_WRITE, ())));
        wait_until("the writer is busy", || db.status().write_queue_len == 0);
        BusyWriter { _waiting: waiting }
    }
}
