//! Functions, collations and extensions of the program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::block_on;
use sqlhttp_core::{
    Aggregate, Arguments, Arity, Collation, Database, Error, Extension, Function, FunctionError, Options, Value, Writes,
};

/// A database in memory with these functions.
fn with_functions(functions: Vec<Function>) -> Database {
    Database::open_in_memory(functions.into_iter().fold(Options::new(), Options::function)).unwrap()
}

fn double() -> Function {
    Function::scalar("double", 1, |arguments| Ok(2 * arguments.get::<i64>(0)?))
}

#[test]
fn a_scalar_function_reads_and_returns_values() {
    let describe = Function::scalar("describe", Arity::Any, |arguments: &Arguments<'_>| {
        Ok(arguments.iter().map(|value| value.storage_class()).collect::<Vec<_>>().join(" "))
    });
    let echo = Function::scalar("echo", 1, |arguments: &Arguments<'_>| arguments.get::<Value>(0));
    let db = with_functions(vec![describe, echo, double()]);
    let one = |sql: &str| db.blocking().query_one::<Value>(sql, ());
    assert_eq!(one("SELECT describe(NULL, 1, 1.5, 'a', x'00')").unwrap(), "NULL INTEGER REAL TEXT BLOB".into());
    assert_eq!(one("SELECT describe()").unwrap(), "".into());
    assert_eq!(one("SELECT double(21)").unwrap(), Value::Integer(42));
    for (sql, value) in [
        ("SELECT echo(NULL)", Value::Null),
        ("SELECT echo(1.5)", Value::Real(1.5)),
        ("SELECT echo('a' || char(0) || 'b')", Value::Text("a\0b".into())),
        ("SELECT echo(x'00ff')", Value::Blob(vec![0, 255])),
    ] {
        assert_eq!(one(sql).unwrap(), value, "{sql}");
    }
    let wrong = one("SELECT double('a')").unwrap_err().to_string();
    assert!(wrong.contains("argument 1: i64 was asked for, and the value is TEXT"), "{wrong}");
    let wrong = one("SELECT double(1, 2)").unwrap_err().to_string();
    assert!(wrong.contains("wrong number of arguments"), "{wrong}");
}

#[test]
fn an_error_or_a_panic_of_a_function_fails_the_statement_only() {
    let fail = Function::scalar("fail", 0, |_| -> Result<i64, FunctionError> { Err("no luck".into()) });
    let panics = Function::scalar("panics", 0, |_| -> Result<i64, FunctionError> { panic!("on purpose") });
    let too_large = Function::scalar("too_large", 0, |_| Ok(u64::MAX));
    let db = with_functions(vec![fail, panics, too_large]);
    db.blocking().execute("CREATE TABLE t(a)", ()).unwrap();
    for (sql, message) in [
        ("INSERT INTO t SELECT fail()", "no luck"),
        ("SELECT fail()", "no luck"),
        ("INSERT INTO t SELECT panics()", "panic"),
        ("INSERT INTO t SELECT too_large()", "18446744073709551615"),
    ] {
        let error = db.blocking().execute(sql, ()).unwrap_err();
        assert!(matches!(error, Error::Failed { .. }) && error.to_string().contains(message), "{sql}: {error}");
    }
    db.blocking().execute("INSERT INTO t VALUES (1)", ()).unwrap();
    assert_eq!(db.blocking().query_one::<i64>("SELECT count(*) FROM t", ()).unwrap(), 1);
}

/// The product of the values of a group.
struct Product(f64);

impl Aggregate for Product {
    type Output = Option<f64>;

    fn step(&mut self, arguments: &Arguments<'_>) -> Result<(), FunctionError> {
        self.0 *= arguments.get::<f64>(0)?;
        Ok(())
    }

    fn finish(self) -> Result<Option<f64>, FunctionError> {
        if self.0 > 1e6 { Err("the product is too large".into()) } else { Ok(Some(self.0)) }
    }
}

#[test]
fn an_aggregate_function_sees_each_group() {
    let db = with_functions(vec![Function::aggregate("product", 1, || Product(1.0))]);
    let sql = "SELECT g, product(v) FROM (SELECT 'a' AS g, 2 AS v UNION ALL SELECT 'a', 3.5 UNION ALL SELECT 'b', 4)
        GROUP BY g ORDER BY g";
    let groups: Vec<(String, f64)> = db.blocking().query_all(sql, ()).unwrap();
    assert_eq!(groups, [("a".to_owned(), 7.0), ("b".to_owned(), 4.0)]);
    let empty: Option<f64> = db.blocking().query_one("SELECT product(v) FROM (SELECT 1 AS v) WHERE v > 1", ()).unwrap();
    assert_eq!(empty, Some(1.0));
    let too_large = db.blocking().query_one::<f64>("SELECT product(v) FROM (SELECT 1e7 AS v)", ()).unwrap_err();
    assert!(too_large.to_string().contains("the product is too large"), "{too_large}");
}

#[test]
fn an_aggregate_that_has_failed_is_not_finished() {
    /// Notes whether it was finished.
    struct Fails(Arc<AtomicBool>);
    impl Aggregate for Fails {
        type Output = i64;

        fn step(&mut self, _: &Arguments<'_>) -> Result<(), FunctionError> {
            Err("no luck".into())
        }

        fn finish(self) -> Result<i64, FunctionError> {
            self.0.store(true, Ordering::Relaxed);
            Ok(1)
        }
    }
    let finished = Arc::<AtomicBool>::default();
    let noted = finished.clone();
    let db = with_functions(vec![Function::aggregate("fails", 1, move || Fails(noted.clone()))]);
    let error = db.blocking().query_one::<i64>("SELECT fails(1)", ()).unwrap_err();
    assert_eq!(error.to_string(), "no luck");
    assert!(!finished.load(Ordering::Relaxed));
}

#[test]
fn a_collation_that_panics_still_defines_an_order() {
    let panics = Collation::new("panics", |_, _| panic!("on purpose"));
    let db = Database::open_in_memory(Options::new().collation(panics)).unwrap();
    db.blocking()
        .execute("CREATE TABLE t(a COLLATE panics PRIMARY KEY); INSERT INTO t VALUES ('b'), ('a'), ('c')", ())
        .unwrap();
    assert_eq!(db.blocking().query_all::<String>("SELECT a FROM t ORDER BY a", ()).unwrap(), ["a", "b", "c"]);
    assert!(db.blocking().execute("INSERT INTO t VALUES ('a')", ()).unwrap_err().is_unique());
}

#[test]
fn schemas_use_functions_as_far_as_these_allow_it() {
    let functions = || {
        let pure = Function::scalar("pure", 1, |arguments| Ok(arguments.get::<i64>(0)? % 3)).deterministic();
        let secret = Function::scalar("secret", 0, |_| Ok("s3cret")).direct_only();
        vec![pure, secret, double()]
    };
    let dir = tempfile::tempdir().unwrap();
    let options = functions().into_iter().fold(Options::new(), Options::function);
    let db = Database::open(dir.path().join("a.db"), options.clone()).unwrap();
    let run = |sql: &str| db.blocking().execute(sql, ());
    run("CREATE TABLE t(a INTEGER DEFAULT (double(4)), b AS (pure(a)) STORED); CREATE INDEX i ON t(pure(a), a)")
        .unwrap();
    run("INSERT INTO t DEFAULT VALUES; INSERT INTO t(a) VALUES (10)").unwrap();
    let plan: String = db
        .blocking()
        .query_one::<(i64, i64, i64, String)>("EXPLAIN QUERY PLAN SELECT a FROM t WHERE pure(a) = 2", ())
        .unwrap()
        .3;
    assert!(plan.contains("INDEX i"), "{plan}");
    let found: Vec<i64> = db.blocking().query_all("SELECT a FROM t WHERE pure(a) = 2", ()).unwrap();
    assert_eq!(found, [8]);

    assert!(run("CREATE INDEX j ON t(double(a))").unwrap_err().to_string().contains("non-deterministic"));
    run("CREATE VIEW v AS SELECT secret() AS s").unwrap();
    let refused = db.blocking().query_one::<String>("SELECT s FROM v", ()).unwrap_err();
    assert!(refused.to_string().contains("unsafe use of secret"), "{refused}");
    assert_eq!(db.blocking().query_one::<String>("SELECT secret()", ()).unwrap(), "s3cret");

    // Copies are checked for damage, which needs the functions.
    block_on(db.backup(&dir.path().join("copy.db"))).unwrap();
    let copy = Database::open(dir.path().join("copy.db"), options).unwrap();
    assert_eq!(copy.blocking().query_all::<i64>("SELECT b FROM t ORDER BY a", ()).unwrap(), [2, 1]);
    block_on(copy.close()).unwrap();
    block_on(db.check_image(dir.path().join("copy.db"))).unwrap();
}

#[test]
fn functions_run_on_threads_of_the_engine() {
    let (send, threads) = mpsc::channel();
    let thread = Function::scalar("thread", 0, move |_| {
        send.send(std::thread::current().name().unwrap_or_default().to_owned())?;
        Ok(1)
    });
    let db = with_functions(vec![thread]);
    db.blocking().query_one::<i64>("SELECT thread()", ()).unwrap();
    assert!(threads.recv().unwrap().contains("sqlhttp"), "a function may block, so it does not run on the caller");
    db.blocking().execute("CREATE TABLE t(a DEFAULT (thread())); INSERT INTO t DEFAULT VALUES", ()).unwrap();
    assert_eq!(threads.recv_timeout(Duration::from_secs(10)).unwrap(), "sqlhttp-writer");
}

#[test]
fn a_collation_orders_text_and_indexes() {
    let mut options = Options::default();
    options.collations.push(Collation::new("by_length", |one, other| one.len().cmp(&other.len()).then(one.cmp(other))));
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.db"), options).unwrap();
    let sql =
        "CREATE TABLE t(a TEXT COLLATE by_length PRIMARY KEY); INSERT INTO t VALUES ('ccc'), ('bb'), ('dddd'), ('a')";
    db.blocking().execute(sql, ()).unwrap();
    let all: Vec<String> = db.blocking().query_all("SELECT a FROM t ORDER BY a", ()).unwrap();
    assert_eq!(all, ["a", "bb", "ccc", "dddd"]);
    block_on(db.backup(&dir.path().join("copy.db"))).unwrap();
    block_on(db.close()).unwrap();

    let without = Database::open(dir.path().join("a.db"), Options::default()).unwrap();
    let error = without.blocking().execute("INSERT INTO t VALUES ('e')", ()).unwrap_err();
    assert!(error.to_string().contains("no such collation sequence: by_length"), "{error}");
}

#[test]
fn a_database_with_a_log_has_no_functions() {
    let options = Options::new().function(double()).writes(Writes::Log);
    let dir = tempfile::tempdir().unwrap();
    let refused = Database::open(dir.path().join("a.db"), options).unwrap_err();
    assert!(matches!(refused, Error::Unsupported(_)), "{refused}");
}

/// The source of an extension without SQLite's header: the fields of `sqlite3_api_routines`, to which new ones are only
/// appended, are found by their number (<https://sqlite.org/loadext.html>).
const EXTENSION: &str = r#"
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_value sqlite3_value;
static void (*result_int)(sqlite3_context*, int);
static void answer(sqlite3_context *context, int count, sqlite3_value **values) { result_int(context, 42); }
int sqlite3_extension_init(sqlite3 *db, char **error, void **api) {
    result_int = (void (*)(sqlite3_context*, int))api[82];
    int (*create_function)(sqlite3*, const char*, int, int, void*,
        void (*)(sqlite3_context*, int, sqlite3_value**), void*, void*) = api[45];
    return create_function(db, "answer", 0, 1, 0, answer, 0, 0);
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn each_connection_loads_the_extensions() {
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("answer.c"), dir.path().join("answer.so"));
    std::fs::write(&source, EXTENSION).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(compiled.success());

    let mut options = Options::default();
    options.extensions.push(Extension::new(&library));
    let db = Database::open(dir.path().join("a.db"), options.clone()).unwrap();
    assert_eq!(db.blocking().query_one::<i64>("SELECT answer()", ()).unwrap(), 42);
    db.blocking().execute("CREATE TABLE t AS SELECT answer() AS a", ()).unwrap();
    assert_eq!(db.blocking().query_one::<i64>("SELECT a FROM t", ()).unwrap(), 42);
    let refused = db.blocking().query_one::<Value>("SELECT load_extension('x')", ()).unwrap_err();
    assert!(refused.to_string().contains("not authorized"), "{refused}");

    options.extensions.push(Extension::new(dir.path().join("missing.so")).entry_point("init"));
    let missing = Database::open(dir.path().join("a.db"), options).unwrap_err().to_string();
    assert!(missing.contains("cannot load the extension") && missing.contains("missing.so"), "{missing}");
}
