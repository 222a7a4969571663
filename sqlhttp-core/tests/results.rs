//! Results of statements: rows, counts, columns, the binding of values to parameters, values and errors.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{
    Action, Batch, BindRule, Binding, Bindings, Changed, Expect, Failure, OnError, Step, StepOutcome, Value,
};

fn changed(rows: u64, last_insert_id: Option<i64>) -> StepOutcome {
    StepOutcome::Changed(Changed { rows, last_insert_id })
}

fn columns_of(outcome: &StepOutcome) -> Vec<String> {
    match outcome {
        StepOutcome::Rows(rows) => rows.columns.iter().map(|column| column.name.clone()).collect(),
        other => panic!("no rows: {other:?}"),
    }
}

fn with_expect(sql: &str, expect: Expect) -> Step {
    Step { expect, ..Step::query(sql, ()) }
}

// --- kinds of statements ---

#[test]
fn every_kind_of_statement_returns_its_rows_or_counts() {
    let db = memory();
    exec(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    let cte = step(&db, with_expect("WITH x(a) AS (VALUES (1), (2)) INSERT INTO t(v) SELECT a FROM x", Expect::Either));
    assert_eq!(cte, changed(2, Some(2)));
    assert_eq!(rows(&db, "VALUES (1, 'a'), (2, 'b')").len(), 2);
    assert!(!rows(&db, "EXPLAIN INSERT INTO t(v) VALUES (9)").is_empty());
    assert!(!rows(&db, "EXPLAIN QUERY PLAN DELETE FROM t WHERE id = 1").is_empty());
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2, "EXPLAIN does not run the statement");
    assert_eq!(rows(&db, "PRAGMA table_info(t)").len(), 2);
    assert_eq!(rows(&db, "INSERT INTO t(v) VALUES (5) RETURNING id, v"), [[Value::Integer(3), Value::Integer(5)]]);
    let either = step(&db, with_expect("DELETE FROM t WHERE v = 5 RETURNING v", Expect::Either));
    assert_eq!(columns_of(&either), ["v"]);
    let counted = step(&db, with_expect("DELETE FROM t RETURNING v", Expect::Count));
    assert_eq!(counted, changed(2, None));
    let StepOutcome::Rows(none) = step(&db, with_expect("CREATE TABLE u(a)", Expect::Rows)) else {
        panic!("the result is not rows without columns")
    };
    assert!(none.columns.is_empty() && none.is_empty());
    assert_eq!(step(&db, with_expect("CREATE TABLE w(a)", Expect::Either)), changed(0, None));
}

#[test]
fn a_select_without_rows_returns_its_columns() {
    let db = memory();
    let outcome = step(&db, Step::query("SELECT 1 AS a, 2 AS b WHERE 0", ()));
    assert_eq!(columns_of(&outcome), ["a", "b"]);
}

#[test]
fn empty_texts_and_comments_succeed_without_a_result() {
    let db = memory();
    for sql in ["", "  ", ";", ";;;", "-- nothing", "/* nothing */ ; -- at all\n"] {
        assert_eq!(columns_of(&step(&db, Step::query(sql, ()))), Vec::<String>::new(), "{sql:?}");
        assert_eq!(step(&db, Step::execute(sql, ())), changed(0, None), "{sql:?}");
    }
}

// --- counts ---

#[test]
fn counts_belong_to_one_statement_only() {
    let db = memory();
    exec(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)");
    exec(&db, "CREATE TABLE log(v)");
    exec(&db, "CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1), (2), (3); END");
    let steps = [
        ("INSERT INTO t VALUES (7, 1), (8, 2)", changed(2, Some(8))),
        ("SELECT 1", changed(0, None)),
        ("CREATE TABLE u(a)", changed(0, None)),
        ("ALTER TABLE u ADD COLUMN b", changed(0, None)),
        ("CREATE INDEX i ON t(v)", changed(0, None)),
        ("CREATE TABLE copy AS SELECT * FROM t", changed(0, None)),
        ("PRAGMA user_version", changed(0, None)),
        ("UPDATE t SET v = v + 10", changed(2, None)),
        ("UPDATE t SET v = 0 WHERE 0", changed(0, None)),
        ("INSERT OR IGNORE INTO t VALUES (7, 99)", changed(0, None)),
        ("REPLACE INTO t VALUES (7, 5)", changed(1, Some(7))),
        ("DROP TABLE u", changed(0, None)),
        ("DELETE FROM log", changed(9, None)),
        ("EXPLAIN DELETE FROM t", changed(0, None)),
    ];
    // All in one batch, so that every statement follows one whose counts it could return by mistake.
    let batch = Batch::transaction(steps.iter().map(|(sql, _)| Step::execute(*sql, ())).collect());
    let outcome = db.blocking().run(batch).expect("an outcome");
    for ((sql, want), got) in steps.iter().zip(&outcome.steps) {
        assert_eq!(got, want, "{sql}");
    }
    assert_eq!(outcome.steps.len(), steps.len());
}

#[test]
fn only_an_insert_that_inserted_a_row_with_a_rowid_has_a_last_insert_id() {
    let db = memory();
    exec(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    exec(&db, "CREATE TABLE w(k TEXT PRIMARY KEY) WITHOUT ROWID");
    exec(&db, "CREATE VIEW vw AS SELECT v FROM t");
    exec(&db, "CREATE TRIGGER tr INSTEAD OF INSERT ON vw BEGIN INSERT INTO t(v) VALUES (new.v); END");
    let batch = Batch::transaction(
        [
            "INSERT INTO t VALUES (41, 'a')",
            "INSERT INTO t VALUES (41, 'b') ON CONFLICT(id) DO UPDATE SET v = excluded.v",
            "INSERT INTO t VALUES (41, 'b') ON CONFLICT DO NOTHING",
            "INSERT INTO w VALUES ('k')",
            "INSERT INTO vw VALUES (1)",
            "INSERT INTO t SELECT 1, 2 WHERE 0",
        ]
        .map(|sql| Step::execute(sql, ()))
        .to_vec(),
    );
    let outcome = db.blocking().run(batch).expect("an outcome");
    assert_eq!(outcome.steps[0], changed(1, Some(41)));
    assert_eq!(outcome.steps[1], changed(1, None), "an upsert that updated");
    assert_eq!(outcome.steps[2], changed(0, None), "an upsert that did nothing");
    assert_eq!(outcome.steps[3], changed(1, None), "a table without rowids");
    assert_eq!(outcome.steps[4], changed(0, None), "a view");
    assert_eq!(outcome.steps[5], changed(0, None), "an insert of no rows");
}

#[test]
fn a_returning_clause_also_returns_the_counts() {
    let db = memory();
    exec(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    let StepOutcome::Rows(rows) = step(&db, Step::query("INSERT INTO t(v) VALUES (1), (2) RETURNING v", ())) else {
        panic!("no rows")
    };
    assert_eq!((rows.len(), rows.changed.rows, rows.changed.last_insert_id), (2, 2, Some(2)));
    let StepOutcome::Rows(rows) = step(&db, Step::query("SELECT v FROM t", ())) else { panic!("no rows") };
    assert_eq!(rows.changed, Changed::default());
}

#[test]
fn run_each_returns_the_counts_of_each_run() {
    let db = memory();
    exec(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)");
    let each = |values: &[i64]| Step {
        action: Action::RunEach {
            sql: "INSERT INTO t(v) VALUES (?)".into(),
            bindings: values.iter().map(|v| Ok(Bindings::positional([*v]))).collect(),
        },
        expect: Expect::Count,
        on_error: OnError::Continue,
    };
    let one = |id| Changed { rows: 1, last_insert_id: Some(id) };
    assert_eq!(step(&db, each(&[10, 20])), StepOutcome::ChangedEach(vec![one(1), one(2)]));
    assert!(matches!(step(&db, each(&[30, 10, 40])), StepOutcome::Failed(_)));
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2, "the failed step was not rolled back");
    let mut broken = each(&[50]);
    if let Action::RunEach { bindings, .. } = &mut broken.action {
        bindings.push(Err(Failure::MissingPositional(1)));
    }
    assert_eq!(step(&db, broken), StepOutcome::Failed(Failure::MissingPositional(1)));
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
}

// --- several statements in one text ---

#[test]
fn the_result_of_a_text_is_that_of_its_last_statement() {
    let db = memory();
    let last = |sql: &str| rows(&db, sql);
    assert_eq!(last("SELECT 1; SELECT 2; SELECT 3;"), [[Value::Integer(3)]]);
    assert_eq!(last("SELECT 1; SELECT 2 /* last */; -- the end\n ;; "), [[Value::Integer(2)]]);
    assert_eq!(last("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); SELECT count(*) FROM t"), [[Value::Integer(2)]]);
    assert_eq!(last("BEGIN; INSERT INTO t VALUES (3); SELECT max(a) FROM t; COMMIT"), [[Value::Integer(3)]]);
    assert_eq!(last("/* x */ BEGIN IMMEDIATE TRANSACTION; SELECT 7; END TRANSACTION; -- y"), [[Value::Integer(7)]]);
    assert_eq!(exec(&db, "INSERT INTO t VALUES (4), (5); DELETE FROM t WHERE a = 4;"), changed(1, None));
    assert!(last("SELECT 1; DELETE FROM t WHERE 0").is_empty());
}

#[test]
fn a_text_that_fails_leaves_nothing_behind() {
    let db = memory();
    exec(&db, "CREATE TABLE t(a UNIQUE)");
    for sql in [
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1); SELECT * FROM nowhere",
        "BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); COMMIT",
        "BEGIN; INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1); COMMIT",
    ] {
        let failed = step(&db, Step::execute(sql, ()));
        assert!(matches!(failed, StepOutcome::Failed(_)), "{sql}: {failed:?}");
        let failed = step(&db, Step::execute(sql, ()).or_continue());
        assert!(matches!(failed, StepOutcome::Failed(_)), "{sql}: {failed:?}");
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0, "{sql}");
    }
}

#[test]
fn all_statements_of_a_text_use_the_same_named_values() {
    let db = memory();
    let sql = "CREATE TABLE t(a, b); ";
    exec(&db, sql);
    step(&db, Step::execute("INSERT INTO t(a) VALUES (:x); UPDATE t SET b = :x", [("x", 5)]));
    assert_eq!(rows(&db, "SELECT a, b FROM t"), [[Value::Integer(5), Value::Integer(5)]]);
}

// --- parameters ---

fn bound(sql: &str, rule: BindRule, entries: &[(Option<&str>, i64)]) -> Result<Vec<Value>, Failure> {
    let entries =
        entries.iter().map(|(name, value)| Binding { name: name.map(Into::into), value: Value::Integer(*value) });
    let bindings = Bindings { entries: entries.collect(), rule };
    match step(&memory(), Step::query(sql, bindings)) {
        StepOutcome::Rows(rows) => Ok(values(&rows).remove(0)),
        StepOutcome::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

fn ints(values: &[i64]) -> Result<Vec<Value>, Failure> {
    Ok(values.iter().map(|i| Value::Integer(*i)).collect())
}

#[test]
fn strict_binding_requires_a_value_for_every_parameter() {
    let strict = |sql, entries: &[_]| bound(sql, BindRule::Strict, entries);
    let (one, two, three) = ((None, 1), (None, 2), (None, 3));
    assert_eq!(strict("SELECT ?, ?", &[one, two]), ints(&[1, 2]));
    assert_eq!(strict("SELECT ?2, ?1, ?2", &[one, two]), ints(&[2, 1, 2]));
    assert_eq!(strict("SELECT $2, $1", &[one, two]), ints(&[2, 1]));
    assert_eq!(strict("SELECT ?", &[one, two, three]), ints(&[1]), "surplus values are ignored");
    assert_eq!(strict("SELECT ?, ?", &[one]), Err(Failure::MissingPositional(2)));
    assert_eq!(strict("SELECT 1", &[one]), ints(&[1]));
    let (a, b) = ((Some("a"), 10), (Some("b"), 20));
    assert_eq!(strict("SELECT :a, @a, $a, :b", &[a, b]), ints(&[10, 10, 10, 20]));
    assert_eq!(strict("SELECT :a", &[(Some(":a"), 1)]), ints(&[1]));
    assert_eq!(strict("SELECT @a", &[(Some("@a"), 2)]), ints(&[2]));
    assert_eq!(strict("SELECT $a", &[(Some("$a"), 3)]), ints(&[3]));
    assert_eq!(strict("SELECT :a, :a", &[(Some("a"), 1), (Some("a"), 2)]), ints(&[2, 2]), "the last one wins");
    assert_eq!(strict("SELECT :a", &[b]), Err(Failure::MissingNamed("a".into())));
    assert_eq!(strict("SELECT :A", &[a]), Err(Failure::MissingNamed("A".into())), "names are case-sensitive");
    assert_eq!(
        strict("SELECT :größe, :_1, :名前", &[(Some("größe"), 1), (Some("_1"), 2), (Some(":名前"), 3)]),
        ints(&[1, 2, 3])
    );
    assert_eq!(strict("SELECT ?, :a", &[one, a]), ints(&[1, 10]), "mixed");
    assert_eq!(strict("SELECT :a WHERE :a = 10", &[a]), ints(&[10]));
}

#[test]
fn counted_binding_requires_enough_values() {
    let counted = |sql, entries: &[_]| bound(sql, BindRule::Counted, entries);
    let (one, two) = ((None, 1), (None, 2));
    assert_eq!(counted("SELECT ?, ?", &[one, two]), ints(&[1, 2]));
    assert_eq!(counted("SELECT :x, @y", &[one, two]), ints(&[1, 2]), "unnamed values bind in order");
    assert_eq!(counted("SELECT ?", &[one, two]), ints(&[1]));
    assert_eq!(counted("SELECT ?, ?", &[one]), Err(Failure::NotEnough { want: 2, got: 1 }));
    let (a, b) = ((Some("a"), 10), (Some("b"), 20));
    assert_eq!(counted("SELECT :b, :a", &[a, b]), ints(&[20, 10]));
    assert_eq!(counted("SELECT ?, :a", &[one, a]), ints(&[1, 10]));
    assert_eq!(counted("SELECT :c, :a", &[a, b]), Ok(vec![Value::Null, Value::Integer(10)]));
}

#[test]
fn the_statements_of_a_text_consume_counted_values_in_order() {
    let counted = |sql, entries: &[_]| bound(sql, BindRule::Counted, entries);
    let (one, two, three) = ((None, 1), (None, 2), (None, 3));
    assert_eq!(counted("SELECT ?; SELECT ?, ?", &[one, two, three]), ints(&[2, 3]));
    assert_eq!(counted("SELECT 1; SELECT ?", &[one]), ints(&[1]));
    assert_eq!(counted("SELECT ?; SELECT ?", &[one]), Err(Failure::NotEnough { want: 1, got: 0 }));
}

#[test]
fn expect_returning_returns_rows_of_writes_only() {
    let db = memory();
    exec(&db, "CREATE TABLE t(a)");
    let outcome = step(&db, with_expect("INSERT INTO t VALUES (1) RETURNING a", Expect::Returning));
    assert_eq!(columns_of(&outcome), ["a"]);
    assert_eq!(step(&db, with_expect("INSERT INTO t VALUES (1)", Expect::Returning)), changed(1, Some(2)));
    assert_eq!(step(&db, with_expect("SELECT a FROM t", Expect::Returning)), changed(0, None));
}

// --- values ---

#[test]
fn values_are_returned_as_they_were_bound() {
    let db = memory();
    exec(&db, "CREATE TABLE t(v)");
    let all = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Integer(9_007_199_254_740_993),
        Value::Real(0.1),
        Value::Real(f64::INFINITY),
        Value::Real(f64::NEG_INFINITY),
        Value::Real(f64::MIN_POSITIVE),
        text(""),
        text("a\0b"),
        text("größer 名前 🦀"),
        Value::Blob(vec![]),
        Value::Blob(vec![0, 255, 0]),
    ];
    for value in all {
        assert_eq!(rows_with(&db, "SELECT ?", [value.clone()]), [[value.clone()]]);
        step(&db, Step::execute("DELETE FROM t", ()));
        step(&db, Step::execute("INSERT INTO t VALUES (?)", [value.clone()]));
        assert_eq!(rows(&db, "SELECT v FROM t"), [[value]]);
    }
    assert_eq!(rows_with(&db, "SELECT ?", [Value::Real(f64::NAN)]), [[Value::Null]]);
    let kinds = "SELECT typeof(?1), typeof(?2), typeof(?3), length(?4)";
    let bindings = [text(""), Value::Blob(vec![]), Value::Real(1.0), Value::Blob(vec![0; 3])];
    let want = [text("text"), text("blob"), text("real"), Value::Integer(3)];
    assert_eq!(rows_with(&db, kinds, bindings), [want]);
}

#[test]
fn text_that_is_not_utf8_is_returned_as_its_bytes() {
    let db = memory();
    let StepOutcome::Rows(rows) = step(&db, Step::query("SELECT CAST(x'61ff62' AS TEXT)", ())) else {
        panic!("no rows")
    };
    let row = rows.iter().next().expect("a row");
    let value = row.get(0).expect("a value");
    assert_eq!(value, sqlhttp_core::ValueRef::Text(b"a\xffb"));
    assert_eq!(value.as_text().as_deref(), Some("a\u{fffd}b"));
}

#[test]
fn long_results_keep_their_order() {
    let db = memory();
    let sql =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) SELECT n, 'row ' || n FROM c";
    let all = rows(&db, sql);
    assert_eq!(all.len(), 50_000);
    for (index, row) in all.iter().enumerate() {
        assert_eq!(row[0], Value::Integer(index as i64 + 1));
        assert_eq!(row[1], text(&format!("row {}", index + 1)));
    }
}

// --- columns ---

#[test]
fn column_names_and_types_are_those_of_sqlite() {
    let db = memory();
    exec(&db, "CREATE TABLE t(\"\" TEXT, a VARCHAR(10), b DATETIME, c)");
    let outcome = step(&db, Step::query("SELECT \"\", a, a, b, c, 1 + 1, a || 'x' AS y FROM t", ()));
    assert_eq!(columns_of(&outcome), ["", "a", "a", "b", "c", "1 + 1", "y"]);
    let StepOutcome::Rows(rows) = outcome else { panic!("no rows") };
    let types: Vec<Option<&str>> = rows.columns.iter().map(|column| column.decl_type.as_deref()).collect();
    assert_eq!(types, [Some("TEXT"), Some("VARCHAR(10)"), Some("VARCHAR(10)"), Some("DATETIME"), None, None, None]);
    assert_eq!(rows.columns[1].table.as_deref(), Some("t"));
    assert_eq!(rows.columns[5].table, None);
}

#[test]
fn a_cached_statement_uses_a_changed_schema() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(sqlhttp_core::Options::default())] {
        exec(&db, "CREATE TABLE t(a)");
        exec(&db, "INSERT INTO t VALUES (1)");
        let select = || step(&db, Step::query("SELECT * FROM t", ()));
        let insert = || step(&db, Step::query("INSERT INTO t(a) VALUES (2) RETURNING *", ()));
        assert_eq!(columns_of(&select()), ["a"]);
        assert_eq!(columns_of(&insert()), ["a"]);
        exec(&db, "ALTER TABLE t ADD COLUMN b DEFAULT 'new'");
        assert_eq!(columns_of(&select()), ["a", "b"]);
        assert_eq!(columns_of(&insert()), ["a", "b"]);
        exec(&db, "ALTER TABLE t RENAME COLUMN a TO z");
        assert_eq!(columns_of(&select()), ["z", "b"]);
        exec(&db, "DROP TABLE t");
        assert!(matches!(select(), StepOutcome::Failed(Failure::Sql(_))));
        exec(&db, "CREATE TABLE t(x, y, a)");
        assert_eq!(columns_of(&select()), ["x", "y", "a"]);
        assert_eq!(columns_of(&insert()), ["x", "y", "a"]);
    }
}

#[test]
fn failures_contain_sqlites_codes_and_messages() {
    let db = memory();
    exec(&db, "CREATE TABLE t(a UNIQUE)");
    let Failure::Sql(error) = failure(&db, "SELECT * FROM nowhere") else { panic!("not an error of SQLite") };
    assert_eq!((error.code, error.message.as_str()), (1, "no such table: nowhere"));
    assert_eq!(error.generic, "SQL logic error");
    exec(&db, "INSERT INTO t VALUES (1)");
    let Failure::Sql(error) = failure(&db, "INSERT INTO t VALUES (1)") else { panic!("not an error of SQLite") };
    assert_eq!((error.code, error.primary_code()), (2067, 19));
    assert_eq!(error.message, "UNIQUE constraint failed: t.a");
    let Failure::Sql(error) = failure(&db, "SELECT 1 FROM FROM") else { panic!("not an error of SQLite") };
    assert_eq!(error.offset, Some(14));
    assert_eq!(integer(&db, "SELECT \"text\" = 'text'"), 1, "double-quoted strings are enabled");
}

#[test]
fn the_optional_features_of_sqlite_are_available() {
    let db = memory();
    exec(&db, "CREATE VIRTUAL TABLE f USING fts5(body)");
    exec(&db, "INSERT INTO f VALUES ('hello world')");
    assert_eq!(integer(&db, "SELECT count(*) FROM f WHERE f MATCH 'hello'"), 1);
    exec(&db, "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)");
    exec(&db, "CREATE VIRTUAL TABLE g USING geopoly()");
    assert_eq!(scalar(&db, "SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')"), Value::Integer(2));
    assert_eq!(scalar(&db, "SELECT ceil(1.5)"), Value::Real(2.0));
    assert!(integer(&db, "SELECT count(*) FROM dbstat") > 0);
    assert_eq!(integer(&db, "PRAGMA foreign_keys"), 0, "off by default");
}
