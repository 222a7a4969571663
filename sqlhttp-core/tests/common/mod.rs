//! What the tests of the engine share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use sqlhttp_core::{
    Batch, Bindings, Database, Ending, Error, Failure, Options, Outcome, Rows, Step, StepOutcome, Value,
};

/// How long a condition may take to become true before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A write that ends only when it is interrupted, and leaves nothing behind.
pub(crate) const ENDLESS_WRITE: &str =
    "CREATE TABLE endless AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";

/// A read that ends only when it is interrupted.
pub(crate) const ENDLESS_READ: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c WHERE n < 0";

/// A directory of its own, removed when it is dropped, and a database file in it.
pub(crate) struct Place {
    /// The directory.
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    /// A new one.
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens `test.db` in it.
    pub(crate) fn open(&self, options: Options) -> Database {
        Database::open(self.path("test.db"), options).expect("open the database")
    }

    /// The names of all files in it, sorted.
    pub(crate) fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("read the directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// An in-memory database with default options.
pub(crate) fn memory() -> Database {
    Database::open(":memory:", Options::default()).expect("open a database in memory")
}

/// Runs one step and gives its outcome, which may be a failure.
pub(crate) fn step(db: &Database, step: Step) -> StepOutcome {
    let mut outcome = db.execute_blocking(Batch::one(step)).expect("an outcome");
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

/// Runs the owner's script, which must succeed.
pub(crate) fn script(db: &Database, sql: &str) {
    block_on(db.run_script(sql)).expect("run a script").expect(sql);
}

/// The rows of a query that must succeed.
pub(crate) fn rows(db: &Database, sql: &str) -> Vec<Vec<Value>> {
    rows_with(db, sql, ())
}

/// The rows of a query with values that must succeed.
pub(crate) fn rows_with(db: &Database, sql: &str, bindings: impl Into<Bindings>) -> Vec<Vec<Value>> {
    match step(db, Step::query(sql, bindings)) {
        StepOutcome::Rows(rows) => values(&rows),
        other => panic!("{sql}: {other:?}"),
    }
}

/// The one value of a query that must succeed.
pub(crate) fn scalar(db: &Database, sql: &str) -> Value {
    let mut rows = rows(db, sql);
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0).remove(0)
}

/// The one integer of a query that must succeed.
pub(crate) fn integer(db: &Database, sql: &str) -> i64 {
    match scalar(db, sql) {
        Value::Integer(i) => i,
        other => panic!("{sql}: {other:?}"),
    }
}

/// Why SQL that must fail fails.
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

/// Text as a value.
pub(crate) fn text(s: &str) -> Value {
    Value::Text(s.to_owned())
}

/// A batch of steps of plain SQL, as one transaction.
pub(crate) fn transaction(sql: &[&str]) -> Batch {
    Batch::transaction(sql.iter().map(|sql| Step::query(*sql, ())).collect())
}

/// Everything that is in a database: the schema, and all rows of all its tables.
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

/// Waits for a future on this thread, with neither the engine's help nor a runtime's.
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

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An outcome that somebody waits for.
pub(crate) type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send + 'a>>;

/// Hands a batch to the database, and comes back while it waits.
pub(crate) fn start(db: &Database, batch: Batch) -> Waiting<'_> {
    let mut waiting: Waiting<'_> = Box::pin(db.execute(batch));
    assert!(poll_once(waiting.as_mut()).is_pending(), "it should have to wait");
    waiting
}

/// Keeps the writer of a database in a file busy until it is dropped.
pub(crate) struct Plug<'a> {
    _waiting: Waiting<'a>,
}

impl<'a> Plug<'a> {
    /// From now on.
    pub(crate) fn hold(db: &'a Database) -> Plug<'a> {
        let waiting = start(db, Batch::one(Step::execute(ENDLESS_WRITE, ())));
        wait_until("the writer is busy", || db.status().write_queue_len == 0);
        Plug { _waiting: waiting }
    }
}
