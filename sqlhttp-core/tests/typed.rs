//! The methods of `Executor`, and the transactions of closures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::block_on;
use sqlhttp_core::{
    CallOptions, Database, Deadline, Error, Executor, Failure, Options, RowError, Step, StepOutcome, Value, Writes,
    named_params, params,
};

const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

fn with_accounts() -> Database {
    let db = Database::open(":memory:", Options::default()).unwrap();
    let sql = "CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
        INSERT INTO accounts VALUES (1, 100), (2, 0)";
    db.blocking().execute(sql, ()).unwrap();
    db
}

fn balances(db: &Database) -> Vec<i64> {
    db.blocking().query_all("SELECT balance FROM accounts ORDER BY id", ()).unwrap()
}

#[derive(Debug, PartialEq)]
enum TransferError {
    Short,
    Database(String),
}

impl From<Error> for TransferError {
    fn from(error: Error) -> Self {
        TransferError::Database(error.to_string())
    }
}

fn transfer(db: &Database, amount: i64) -> Result<i64, TransferError> {
    db.blocking().transaction(move |tx| {
        tx.execute("UPDATE accounts SET balance = balance + ? WHERE id = 2", [amount])?;
        let balance: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = 1", ())?;
        if balance < amount {
            return Err(TransferError::Short);
        }
        tx.execute(
            "UPDATE accounts SET balance = balance - :amount WHERE id = 1",
            named_params! { ":amount": amount },
        )?;
        Ok(tx.query_one("SELECT balance FROM accounts WHERE id = 1", ())?)
    })
}

#[test]
fn a_failed_statement_is_an_error() {
    let db = with_accounts();
    let error = db.blocking().execute("INSERT INTO accounts VALUES (1, 5)", ()).unwrap_err();
    assert!(error.is_unique() && error.is_constraint() && !error.is_foreign_key());
    assert_eq!(error.sql_error().map(|error| error.code), Some(1555));
    assert_eq!(error.to_string(), "UNIQUE constraint failed: accounts.id");
    let error = db.blocking().query_all::<i64>("SELECT nope FROM accounts", ()).unwrap_err();
    assert_eq!(error.sql_error().and_then(|error| error.offset), Some(7));
    let error = db.blocking().query_iter::<i64>("SELECT nope FROM accounts", ()).unwrap_err();
    assert_eq!(error.to_string(), "no such column: nope");
    let steps = vec![
        Step::execute("UPDATE accounts SET balance = 7", ()),
        Step::execute("UPDATE accounts SET balance = balance - ?", [8]),
    ];
    let error = db.blocking().batch(steps).unwrap_err();
    assert!(matches!(error, Error::Failed { step: Some(1), .. }), "{error:?}");
    assert_eq!(error.to_string(), "step 2: CHECK constraint failed: balance >= 0");
    assert_eq!(balances(&db), [100, 0]);
    let error = db.blocking().execute("SELECT ?", [u64::MAX]).unwrap_err();
    assert!(matches!(error.failure(), Some(Failure::BadParameter { .. })), "{error:?}");
    let error = db.blocking().execute("SELECT ?, ?", [1]).unwrap_err();
    assert_eq!(error.failure(), Some(&Failure::MissingPositional(2)));
}

#[test]
fn a_failure_after_which_the_batch_continues_is_a_result() {
    let db = with_accounts();
    let steps = vec![
        Step::execute("INSERT INTO accounts VALUES (1, 1)", ()).or_continue(),
        Step::execute("UPDATE accounts SET balance = 7 WHERE id = 2", ()),
    ];
    let results = db.blocking().batch(steps).unwrap();
    assert!(matches!(&results[0], StepOutcome::Failed(failure) if failure.is_unique()), "{results:?}");
    assert_eq!((results[1].changed().rows, balances(&db)), (1, vec![100, 7]));
}

#[test]
fn values_go_in_and_come_out() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    db.blocking().execute("CREATE TABLE t(a, b, c, d, e)", ()).unwrap();
    let blob: Arc<[u8]> = Arc::from([0, 255].as_slice());
    let name = String::from("Ada");
    let insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?)";
    let changed = db.blocking().execute(insert, params![7_u64, 0.5_f32, &name, blob.clone(), None::<i64>]).unwrap();
    assert_eq!((changed.rows, changed.last_insert_id), (1, Some(1)));
    let row: (u8, f64, String, Vec<u8>, Option<String>) = db.blocking().query_one("SELECT * FROM t", ()).unwrap();
    assert_eq!(row, (7, 0.5, name, vec![0, 255], None));
    let values: Vec<Value> = db.blocking().query_one("SELECT * FROM t", ()).unwrap();
    assert_eq!(values[3], Value::Blob(vec![0, 255]));
    assert_eq!(db.blocking().query_opt::<i64>("SELECT a FROM t WHERE a > ?", [7]).unwrap(), None);
    let inserted: i64 = db.blocking().query_one("INSERT INTO t(a) VALUES (9) RETURNING a", ()).unwrap();
    assert_eq!(inserted, 9);
    let error = db.blocking().query_one::<i64>("SELECT a FROM t", ()).unwrap_err();
    assert!(matches!(error, Error::Row(RowError::SeveralRows)), "{error:?}");
    let error = db.blocking().query_one::<(i64, i64)>("SELECT a, c FROM t LIMIT 1", ()).unwrap_err();
    assert_eq!(error.to_string(), "column c: i64 was asked for, and the value is TEXT");
}

#[test]
fn a_batch_returns_the_result_of_each_step() {
    let db = with_accounts();
    let steps = vec![
        Step::execute("UPDATE accounts SET balance = balance + 1", ()),
        Step::query("SELECT id, balance FROM accounts ORDER BY id", ()),
    ];
    let mut results = db.blocking().batch(steps).unwrap();
    let rows = results.pop().unwrap().into_rows().unwrap();
    assert_eq!(rows.read::<(i64, i64)>().unwrap(), [(1, 101), (2, 1)]);
    assert_eq!(results.pop().unwrap().changed().rows, 2);
    assert!(StepOutcome::Changed(Default::default()).into_rows().is_err());
}

#[test]
fn a_stream_yields_all_rows_and_ends_early() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    let numbers =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n, 'x' || n FROM c";
    for count in [0_i64, 1, 7, 300_000] {
        let sum: Result<i64, Error> =
            db.blocking().query_iter::<(i64, String)>(numbers, [count.max(1)]).unwrap().map(|row| Ok(row?.0)).sum();
        let count = count.max(1);
        assert_eq!(sum.unwrap(), count * (count + 1) / 2);
    }
    let mut endless = db
        .blocking()
        .query_iter::<i64>("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c", ());
    let first: Vec<i64> = endless.as_mut().unwrap().take(100_000).map(Result::unwrap).collect();
    assert_eq!(first.last(), Some(&100_000));
    drop(endless);
    block_on(db.close()).unwrap();
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_its_last_element() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    let sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000)
        SELECT CASE n WHEN 150000 THEN abs(-9223372036854775808) ELSE n END FROM c";
    let mut rows = db.blocking().query_iter::<i64>(sql, ()).unwrap();
    let error = rows.find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "integer overflow");
    assert!(rows.next().is_none());
    let sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9) SELECT n * 100 FROM c";
    let rows: Vec<_> = db.blocking().query_iter::<u8>(sql, ()).unwrap().collect();
    assert_eq!(rows.len(), 3);
    assert!(matches!(&rows[..], [Ok(100), Ok(200), Err(Error::Row(RowError::Conversion { .. }))]));
}

#[test]
fn a_transaction_commits_on_ok_and_rolls_back_on_err() {
    let db = with_accounts();
    assert_eq!(transfer(&db, 30), Ok(70));
    assert_eq!(balances(&db), [70, 30]);
    assert_eq!(transfer(&db, 71), Err(TransferError::Short));
    assert_eq!(balances(&db), [70, 30]);
    assert!(matches!(transfer(&db, -31), Err(TransferError::Database(why)) if why.contains("CHECK")));
    assert_eq!(balances(&db), [70, 30]);
}

#[test]
fn concurrent_transactions_run_one_after_the_other() {
    let db = with_accounts();
    let results: Vec<Result<i64, TransferError>> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| [(); 5].map(|()| transfer(&db, 3)))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(balances(&db), [1, 99]);
    assert_eq!(results.iter().filter(|result| **result == Err(TransferError::Short)).count(), 7);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 33);
}

#[test]
fn a_statement_that_fails_leaves_the_transaction_open() {
    let db = with_accounts();
    db.blocking()
        .transaction(|tx| {
            let twice = "INSERT INTO accounts VALUES (3, 3); INSERT INTO accounts VALUES (1, 1)";
            assert!(tx.execute(twice, ()).unwrap_err().is_unique());
            tx.execute("INSERT INTO accounts VALUES (4, 4)", ()).map(drop)
        })
        .unwrap();
    assert_eq!(balances(&db), [100, 0, 4], "the failed step was undone as a whole");
}

#[test]
fn a_rollback_by_sqlite_ends_the_transaction() {
    let db = with_accounts();
    let result: Result<(), Error> = db.blocking().transaction(|tx| {
        tx.execute("INSERT INTO accounts VALUES (3, 3)", ())?;
        assert!(tx.execute("INSERT OR ROLLBACK INTO accounts VALUES (1, 1)", ()).is_err());
        assert!(tx.execute("INSERT INTO accounts VALUES (4, 4)", ()).unwrap_err().is_unique());
        Ok(())
    });
    assert!(result.unwrap_err().is_unique(), "the closure has hidden the error, but nothing took effect");
    assert_eq!(balances(&db), [100, 0]);
}

#[test]
fn a_violated_deferred_constraint_fails_the_commit() {
    let options = Options::default().foreign_keys(true);
    let db = Database::open(":memory:", options).unwrap();
    let sql = "CREATE TABLE p(id PRIMARY KEY);
        CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)";
    db.blocking().execute(sql, ()).unwrap();
    let orphan = |tx: &mut sqlhttp_core::Transaction<'_>| tx.execute("INSERT INTO c VALUES (7)", ());
    let error = db.blocking().transaction(orphan).unwrap_err();
    assert!(error.is_foreign_key(), "{error:?}");
    assert_eq!(db.blocking().query_one::<i64>("SELECT count(*) FROM c", ()).unwrap(), 0);
}

#[test]
fn a_panic_rolls_back_and_continues_in_the_caller() {
    let db = with_accounts();
    let panic = std::panic::catch_unwind(|| {
        db.blocking().transaction(|tx| -> Result<(), Error> {
            tx.execute("DELETE FROM accounts", ())?;
            panic!("on purpose")
        })
    });
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(balances(&db), [100, 0]);
    let panic = std::panic::catch_unwind(|| db.blocking().read(|_| -> Result<(), Error> { panic!("again") }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"again"));
    assert_eq!(transfer(&db, 1), Ok(99), "the database goes on");
}

#[test]
fn transaction_control_and_settings_are_refused() {
    let db = with_accounts();
    for sql in [
        "COMMIT",
        "BEGIN",
        "ROLLBACK",
        "SAVEPOINT a",
        "VACUUM",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA foreign_keys = OFF",
    ] {
        let result = db.blocking().transaction(move |tx| {
            tx.execute("DELETE FROM accounts", ())?;
            tx.execute(sql, ())
        });
        assert!(matches!(result, Err(Error::Failed { .. })), "{sql}: {result:?}");
        assert_eq!(balances(&db), [100, 0], "{sql}");
    }
}

#[test]
fn a_time_limit_ends_the_sql_of_a_transaction() {
    let db = with_accounts();
    let limited = CallOptions::new().deadline(Deadline::after(Instant::now(), Duration::from_millis(50)));
    let result: Result<i64, Error> = db.blocking().with(limited).transaction(|tx| {
        tx.execute("DELETE FROM accounts", ())?;
        let error = tx.query_one::<i64>(ENDLESS, ()).unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        Ok(7)
    });
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(balances(&db), [100, 0]);
    let limited = CallOptions::new().deadline(Deadline::after(Instant::now(), Duration::from_millis(50)));
    let result: Result<i64, Error> = db.blocking().with(limited).read(|tx| tx.query_one(ENDLESS, ()));
    assert!(result.unwrap_err().is_timeout());
    let error = db.blocking().with(limited).query_one::<i64>(ENDLESS, ()).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn a_dropped_call_rolls_its_transaction_back() {
    let db = with_accounts();
    let (started, has_started) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let ends = ended.clone();
    let running = async {
        db.transaction(move |tx| -> Result<(), Error> {
            tx.execute("DELETE FROM accounts", ())?;
            started.send(()).unwrap();
            let result = tx.query_one::<i64>(ENDLESS, ());
            ends.store(true, Ordering::SeqCst);
            result.map(drop)
        })
        .await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            result = running => panic!("{result:?}"),
            () = async { while has_started.try_recv().is_err() { tokio::task::yield_now().await } } => {}
        }
    });
    assert_eq!(balances(&db), [100, 0]);
    assert_eq!(transfer(&db, 1), Ok(99), "the writer is free");
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn a_read_sees_one_state_and_writes_nothing() {
    let db = with_accounts();
    let (read_once, has_read) = mpsc::channel();
    let (wrote, has_written) = mpsc::channel::<()>();
    let seen = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            db.blocking().read(move |tx| {
                let before: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = 1", ())?;
                read_once.send(()).unwrap();
                has_written.recv().unwrap();
                let after: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = 1", ())?;
                let refused = tx.execute("DELETE FROM accounts", ()).unwrap_err();
                assert_eq!(refused.sql_error().map(|error| error.primary_code()), Some(8), "{refused:?}");
                Ok::<_, Error>((before, after))
            })
        });
        has_read.recv().unwrap();
        transfer(&db, 10).unwrap();
        wrote.send(()).unwrap();
        reading.join().unwrap().unwrap()
    });
    assert_eq!(seen, (100, 100));
    assert_eq!(balances(&db), [90, 10]);
}

#[test]
fn the_state_of_the_connection_does_not_survive_a_transaction() {
    let db = with_accounts();
    db.blocking().transaction(|tx| tx.execute("CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1)", ())).unwrap();
    let error = db.blocking().transaction(|tx| tx.execute("INSERT INTO x VALUES (2)", ())).unwrap_err();
    assert_eq!(error.to_string(), "no such table: x");
}

#[test]
fn random_values_differ_between_the_statements_of_a_transaction() {
    let db = with_accounts();
    let values: Result<[i64; 2], Error> = db
        .blocking()
        .transaction(|tx| Ok([tx.query_one("SELECT random()", ())?, tx.query_one("SELECT random()", ())?]));
    let [first, second] = values.unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_database_that_applies_a_log_takes_no_closures() {
    let options = Options::default().writes(Writes::Log);
    let db = Database::open(":memory:", options).unwrap();
    let result = db.blocking().transaction(|tx| tx.execute("CREATE TABLE t(a)", ()));
    assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
    assert_eq!(db.blocking().read(|tx| tx.query_one::<i64>("SELECT 7", ())).unwrap(), 7);
}

#[test]
fn closed_and_read_only_databases_refuse_closures() {
    let db = with_accounts();
    block_on(db.close()).unwrap();
    assert!(matches!(transfer(&db, 1), Err(TransferError::Database(why)) if why == "the database is closed"));
    assert!(matches!(db.blocking().read(|tx| tx.query_one::<i64>("SELECT 1", ())), Err(Error::Closed)));
    let dir = common::TestDir::new();
    let db = Database::open(dir.path("db"), Options::default().read_only(true)).unwrap();
    let result = db.blocking().transaction(|tx| tx.execute("CREATE TABLE t(a)", ()));
    assert!(matches!(result, Err(Error::ReadOnly)), "{result:?}");
}

#[tokio::test]
async fn the_methods_work_on_any_backend() {
    async fn count(db: &impl Executor) -> Result<i64, Error> {
        db.execute("CREATE TABLE IF NOT EXISTS t(a)", ()).await?;
        db.execute("INSERT INTO t VALUES (:a)", [("a", 1)]).await?;
        let mut rows = db.query_stream::<i64>("SELECT a FROM t", ()).await?;
        let mut sum = 0;
        while let Some(row) = rows.next().await {
            sum += row?;
        }
        Ok(sum)
    }
    let db = Database::open(":memory:", Options::default()).unwrap();
    assert_eq!(count(&db).await.unwrap(), 1);
    assert_eq!(count(&db.with(CallOptions::new())).await.unwrap(), 2);
}

#[test]
fn a_number_of_rows_can_be_a_condition_of_a_batch() {
    let db = with_accounts();
    let transfer = |amount: i64| {
        let take = "UPDATE accounts SET balance = balance - ?1 WHERE id = 1 AND balance >= ?1";
        let give = Step::execute("UPDATE accounts SET balance = balance + ? WHERE id = 2", [amount]);
        db.blocking().batch(vec![give, Step::execute(take, [amount]).expect_changed(1)])
    };
    transfer(60).unwrap();
    let error = transfer(41).unwrap_err();
    assert_eq!(error.failure(), Some(&Failure::UnexpectedRows { want: 1, got: 0 }));
    assert_eq!(error.to_string(), "step 2: 0 rows instead of 1");
    assert_eq!(balances(&db), [40, 60]);
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000) SELECT n FROM c";
    for (sql, want) in [("SELECT * FROM accounts", 2), (many, 100_000), ("SELECT 1 WHERE 0", 0)] {
        let exactly = |rows| db.blocking().batch(vec![Step::query(sql, ()).expect_rows(rows)]);
        assert_eq!(exactly(want).unwrap().pop().unwrap().into_rows().unwrap().len() as u64, want, "{sql}");
        let error = exactly(want + 1).unwrap_err();
        assert_eq!(error.failure(), Some(&Failure::UnexpectedRows { want: want + 1, got: want }), "{sql}");
    }
    let returning = Step::query("UPDATE accounts SET balance = 0 RETURNING id", ()).expect_rows(1);
    assert!(db.blocking().batch(vec![returning]).is_err());
    assert_eq!(balances(&db), [40, 60]);
}

#[test]
fn migrations_run_once_and_all_or_none() {
    let dir = common::TestDir::new();
    let mut list = vec!["CREATE TABLE t(a); INSERT INTO t VALUES (1)".to_owned()];
    let migrate = |list: &[String]| {
        let db = dir.open(Options::default());
        let migrated = db.blocking().migrate(list).map(|migrated| (migrated.from, migrated.to));
        (migrated, db.blocking().query_all::<i64>("SELECT a FROM t ORDER BY a", ()).unwrap())
    };
    let (migrated, rows) = migrate(&list);
    assert_eq!((migrated.unwrap(), rows), ((0, 1), vec![1]));
    list.extend(
        ["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3); INSERT INTO nope VALUES (4)"].map(str::to_owned),
    );
    let (migrated, rows) = migrate(&list);
    let error = migrated.unwrap_err();
    assert_eq!(error.to_string(), "step 3: no such table: nope");
    assert_eq!(rows, [1], "the second migration was rolled back, too");
    list[2] = "INSERT INTO t VALUES (3)".to_owned();
    let (migrated, rows) = migrate(&list);
    assert_eq!((migrated.unwrap(), rows), ((1, 3), vec![1, 2, 3]));
    let (migrated, rows) = migrate(&list);
    assert_eq!((migrated.unwrap(), rows), ((3, 3), vec![1, 2, 3]));
    let error = migrate(&list[..2]).0.unwrap_err();
    assert_eq!(error.to_string(), "the database has the schema version 3, and this program knows only 2");
}

#[test]
fn a_surplus_value_is_an_error() {
    let db = Database::open_in_memory(Options::default()).unwrap();
    db.blocking().execute("CREATE TABLE t(a, b)", ()).unwrap();
    let error = db.blocking().execute("INSERT INTO t(a) VALUES (?)", *b"abc").unwrap_err();
    assert_eq!(error.to_string(), "there is no parameter for the value 2");
    let error = db.blocking().execute("INSERT INTO t(a) VALUES (:a)", [(":a", 1), ("c", 2)]).unwrap_err();
    assert_eq!(error.failure(), Some(&Failure::SurplusValue("c".to_owned())));
    let count = || db.blocking().query_one::<i64>("SELECT count(*) FROM t", ()).unwrap();
    assert_eq!(count(), 0, "the inserts were undone");
    // Each statement uses some of the values.
    db.blocking().execute("INSERT INTO t(a) VALUES (?1); INSERT INTO t(a) VALUES (?2)", [1, 2]).unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn limits_apply_between_the_statements_of_a_transaction() {
    let db = with_accounts();
    let soon = || Deadline::after(Instant::now(), Duration::from_millis(30));
    let wait_for = |deadline: Deadline| {
        while !deadline.passed(Instant::now()) {
            std::thread::yield_now();
        }
    };
    let deadline = soon();
    let result = db.blocking().with(CallOptions::new().deadline(deadline)).transaction(move |tx| {
        tx.execute("DELETE FROM accounts", ())?;
        wait_for(deadline);
        Ok::<_, Error>(())
    });
    assert!(result.unwrap_err().is_timeout(), "no statement runs after the deadline");
    let deadline = soon();
    let result = db.blocking().with(CallOptions::new().deadline(deadline)).transaction(move |tx| {
        wait_for(deadline);
        assert!(tx.execute("DELETE FROM accounts", ()).unwrap_err().is_timeout());
        Ok::<_, Error>(())
    });
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(balances(&db), [100, 0]);
}

#[test]
fn a_caller_that_is_gone_does_not_write() {
    let db = with_accounts();
    let (started, has_started) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let running = async {
        let closure = move |tx: &mut sqlhttp_core::Transaction<'_>| -> Result<(), Error> {
            tx.execute("DELETE FROM accounts", ())?;
            started.send(()).unwrap();
            goes_on.recv().unwrap();
            Ok(())
        };
        db.transaction(closure).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            result = running => panic!("{result:?}"),
            () = async { while has_started.try_recv().is_err() { tokio::task::yield_now().await } } => {}
        }
    });
    go_on.send(()).unwrap();
    assert_eq!(transfer(&db, 1), Ok(99), "the first transaction has ended");
    assert_eq!(balances(&db), [99, 1]);
}

/// A value whose destructor panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor on purpose");
    }
}

/// An error that cannot be made from one of the database.
#[derive(Debug)]
struct NoError;

impl From<Error> for NoError {
    fn from(error: Error) -> Self {
        panic!("a conversion on purpose: {error}")
    }
}

#[test]
fn panics_of_conversions_and_destructors_do_not_end_threads_of_the_engine() {
    let db = with_accounts();
    let soon = || CallOptions::new().deadline(Deadline::after(Instant::now(), Duration::from_millis(20)));
    let (started, has_started) = mpsc::channel();
    std::thread::scope(|scope| {
        let db = &db;
        let (release, released) = mpsc::channel::<()>();
        let blocking = scope.spawn(move || {
            db.blocking().transaction(move |_| {
                started.send(()).unwrap();
                released.recv().unwrap();
                Ok::<_, Error>(())
            })
        });
        has_started.recv().unwrap();
        // The calls wait in the queue until their deadline. Then the supervisor ends them.
        let converted =
            std::panic::catch_unwind(|| db.blocking().with(soon()).transaction(|_| Ok::<(), NoError>(())).is_ok());
        assert!(converted.is_err(), "the conversion panics in the caller");
        let bomb = Bomb;
        let closure = move |_: &mut sqlhttp_core::Transaction<'_>| {
            drop(bomb);
            Ok::<_, Error>(())
        };
        assert!(db.blocking().with(soon()).transaction(closure).unwrap_err().is_timeout());
        release.send(()).unwrap();
        blocking.join().unwrap().unwrap();
    });
    assert_eq!(transfer(&db, 1), Ok(99), "the writer goes on");
    let error = db.blocking().with(soon()).query_one::<i64>(ENDLESS, ()).unwrap_err();
    assert!(error.is_timeout(), "the supervisor goes on");
}

#[test]
fn the_last_handle_may_be_dropped_by_a_closure() {
    let dir = common::TestDir::new();
    for write in [false, true] {
        let db = dir.open(Options::default());
        let last = db.clone();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let closure = move |_: &mut sqlhttp_core::Transaction<'_>| -> Result<(), Error> {
            started.send(()).unwrap();
            goes_on.recv().unwrap();
            drop(last);
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let running = async { if write { db.transaction(closure).await } else { db.read(closure).await } };
            tokio::select! {
                result = running => panic!("{result:?}"),
                () = async { while has_started.try_recv().is_err() { tokio::task::yield_now().await } } => {}
            }
        });
        drop(db);
        go_on.send(()).unwrap();
        // The write-ahead log is checkpointed and removed when the last connection is closed.
        common::wait_until("the database is closed", || dir.listing() == ["test.db"]);
    }
}

#[test]
fn a_query_for_one_row_does_not_read_the_others() {
    let db = Database::open_in_memory(Options::default()).unwrap();
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
    let limit = CallOptions::new().deadline(Deadline::after(Instant::now(), Duration::from_secs(20)));
    let error = db.blocking().with(limit).query_one::<i64>(endless, ()).unwrap_err();
    assert!(matches!(error, Error::Row(RowError::SeveralRows)), "{error:?}");
}
