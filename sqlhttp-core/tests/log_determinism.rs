//! Replicas that apply the same log have the same content and return the same outcomes, although they differ in the way
//! in which they got there: in one call or entry by entry, with restarts, or from a copy of another replica's file.
#![allow(clippy::expect_used, clippy::panic, reason = "clippy does not see that this is a test")]
#![cfg(feature = "replication")]
mod common;
mod replicas;

use std::time::Duration;

use common::{TestDir, rows};
use replicas::{
    apply, assert_accepted, assert_each_refused, assert_refused, bound, close, content, each, failures, log_of, open,
    open_with, replicate,
};
use sqlhttp_core::{Batch, Bindings, Conditions, Options, Value};

/// Statements that write a value of the node, which an SQL expression computes.
fn writes_of(expression: &str) -> Vec<Vec<String>> {
    vec![
        vec![format!("INSERT INTO t VALUES ({expression})")],
        vec![format!("INSERT INTO t SELECT 1 UNION ALL SELECT {expression} RETURNING a")],
        vec![format!("CREATE TABLE made AS SELECT {expression} AS a")],
        vec![format!("UPDATE t SET a = 1 WHERE {expression} IS NULL")],
        vec![format!("DELETE FROM t WHERE a > {expression}")],
        vec![format!("CREATE VIEW v AS SELECT {expression} AS a"), "INSERT INTO t SELECT a FROM v".to_owned()],
        vec![
            format!("CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = {expression}; END"),
            "INSERT INTO t VALUES (1)".to_owned(),
        ],
    ]
}

#[test]
fn values_of_the_node_are_refused_in_writes() {
    let mut cases: Vec<(Batch, String)> = Vec::new();
    for table in [
        "pragma_cache_size",
        "pragma_compile_options",
        "pragma_data_version",
        "pragma_database_list",
        "pragma_foreign_key_check",
        "pragma_freelist_count",
        "pragma_function_list",
        "pragma_integrity_check",
        "pragma_module_list",
        "pragma_page_count",
        "pragma_schema_version",
        "pragma_table_list",
        "dbstat",
    ] {
        let sql = format!("INSERT INTO t SELECT count(*) FROM {table}");
        cases.push((each(&[&sql]), format!("{table} in a statement that writes")));
    }
    let pages = writes_of("(SELECT page_count FROM pragma_page_count)");
    for (expression, name) in [
        ("sqlite_version()", "sqlite_version"),
        ("sqlite_source_id()", "sqlite_source_id"),
        ("sqlite_compileoption_get(1)", "sqlite_compileoption_get"),
        ("sqlite_compileoption_used('FTS5')", "sqlite_compileoption_used"),
        ("length(SQLite_Version())", "sqlite_version"),
        ("fts5_source_id()", "fts5_source_id"),
        ("fts5_locale('en', 'a')", "fts5_locale"),
    ] {
        let default = format!("CREATE TABLE d(a, b DEFAULT ({expression}))");
        let by_default = vec![default, "INSERT INTO d(a) VALUES (1)".to_owned()];
        for texts in writes_of(expression).into_iter().chain([by_default]) {
            cases.push((undone(&texts), format!("{name}() in a statement that writes")));
        }
    }
    for texts in pages {
        cases.push((undone(&texts), "pragma_page_count in a statement that writes".to_owned()));
    }
    for sql in [
        "INSERT INTO t SELECT rootpage FROM sqlite_schema",
        "INSERT INTO t SELECT name FROM main.sqlite_master ORDER BY RootPage",
        "CREATE TABLE made AS SELECT * FROM sqlite_schema",
    ] {
        cases.push((each(&[sql]), "the column rootpage of the schema in a statement that writes".to_owned()));
    }
    assert_each_refused(&[each(&["CREATE TABLE t(a)"])], &cases);
}

#[test]
fn writes_may_read_the_rest_of_the_schema() {
    let (database, _dir) = assert_accepted(&[
        each(&["CREATE TABLE t(a, b); CREATE INDEX i ON t(a); CREATE TABLE copy(type, name, tbl_name, page, sql)"]),
        each(&["INSERT INTO t SELECT name, sql FROM sqlite_schema WHERE type = 'index'", "DROP INDEX i"]),
        each(&["INSERT INTO copy SELECT * FROM sqlite_schema WHERE name = 't'"]),
        each(&["PRAGMA auto_vacuum = FULL", "VACUUM"]),
        each(&["ALTER TABLE copy DROP COLUMN page", "DROP TABLE t", "VACUUM"]),
    ]);
    let found = rows(&database, "SELECT type, name, tbl_name, sql FROM copy");
    assert_eq!(found, [["table", "t", "t", "CREATE TABLE t(a, b)"].map(common::text)]);
    assert_eq!(rows(&database, "SELECT count(*) > 0 FROM sqlite_schema WHERE rootpage > 0"), [[Value::Integer(1)]]);
}

/// A transaction of these statements, the last of which must fail.
fn undone(texts: &[String]) -> Batch {
    common::transaction(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn reads_may_contain_values_of_the_node() {
    let dir = TestDir::new();
    let database = open(&dir.path("db"));
    for sql in ["SELECT sqlite_version()", "SELECT * FROM pragma_page_count", "SELECT count(*) FROM dbstat"] {
        assert_eq!(rows(&database, sql).len(), 1, "{sql}");
    }
    let direct = common::memory();
    common::exec(&direct, "CREATE TABLE t AS SELECT sqlite_version(), (SELECT page_count FROM pragma_page_count)");
}

/// A connection reads statistics when it loads the schema.
#[test]
fn changed_statistics_have_the_same_effect_after_a_restart() {
    let many = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 400)";
    let setup = [
        "CREATE TABLE t(a, b, v); CREATE INDEX by_a ON t(a); CREATE INDEX by_b ON t(b); CREATE TABLE log(v)",
        &format!("{many} INSERT INTO t SELECT x % 40, x * 37 % 101, x FROM c"),
        "ANALYZE",
    ];
    // The rows are found in the order of the chosen index.
    let insert = "INSERT INTO log SELECT v FROM t WHERE a = 7 AND b >= 0";
    for change in [
        "UPDATE sqlite_stat1 SET stat = CASE idx WHEN 'by_a' THEN '400 400' ELSE '400 1' END; DELETE FROM sqlite_stat4",
        "DELETE FROM sqlite_stat1; DELETE FROM sqlite_stat4",
        "DROP TABLE sqlite_stat1; DROP TABLE sqlite_stat4",
        "DELETE FROM sqlite_stat1; DELETE FROM sqlite_stat4; ANALYZE; INSERT INTO nowhere VALUES (1)",
    ] {
        let mut batches: Vec<Batch> = setup.iter().map(|sql| each(&[sql])).collect();
        batches.extend([each(&[insert]), each(&[change]), each(&[insert]), each(&[insert])]);
        replicate(&batches);
    }
}

/// SQLite makes the sixth and every further column of the same name unique with a random number.
#[test]
fn column_names_that_sqlite_chooses_at_random_are_refused() {
    let same = |count: usize| vec!["1 AS a"; count].join(", ");
    let refused = "t with more than five columns of the same name";
    let (five, six) =
        (format!("CREATE TABLE t AS SELECT {}", same(5)), format!("CREATE TABLE t AS SELECT {}", same(6)));
    assert_accepted(&[each(&[&five])]);
    assert_refused(&[each(&[&six])], refused);
    assert_refused(&[each(&[&six.replace("TABLE", "TEMP TABLE")])], refused);
    let view = format!("CREATE VIEW v AS SELECT {}", same(6));
    assert_refused(&[each(&[&view]), each(&["CREATE TABLE t AS SELECT * FROM v"])], refused);
    let names = "INSERT INTO names SELECT name FROM pragma_table_info";
    let create = "CREATE TABLE names(a)";
    assert_accepted(&[each(&[create]), each(&[&format!("{names}('names')")])]);
    for list in [format!("{names}('v')"), format!("{}('v')", names.replace("_info", "_xinfo"))] {
        assert_refused(
            &[each(&[create, &view]), each(&[&list])],
            "a list of columns while the view v has random column names",
        );
    }
}

/// FTS4 merges segments when a transaction ends, if its option `automerge` is set.
#[test]
fn the_segments_of_full_text_tables_do_not_depend_on_the_transactions() {
    let words = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 400) \
                 INSERT INTO f SELECT group_concat('word' || (x * ?1 % 7919) || 'x' || random(), ' ') FROM c";
    for (module, options) in [("fts4(a)", "automerge=2"), ("fts5(a)", ""), ("fts3(a)", "")] {
        let create = format!("CREATE VIRTUAL TABLE f USING {module}");
        let mut batches = vec![each(&[&create])];
        if !options.is_empty() {
            batches.push(each(&[&format!("INSERT INTO f(f) VALUES ('{options}')")]));
        }
        for number in 1..60_i64 {
            batches.push(bound(words, Bindings::positional([number])));
            if number % 7 == 0 {
                batches.push(each(&["DELETE FROM f WHERE rowid % 5 = 1", "INSERT INTO f VALUES ('one')"]));
            }
        }
        replicate(&batches);
    }
}

/// The settings of a batch come from its entry, not from the options of the node that applies it.
#[test]
fn the_options_of_a_node_do_not_matter() {
    let long = "INSERT INTO t VALUES (5, hex(zeroblob(1000000)))";
    let mut entries = log_of(&[
        each(&["CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE c(p REFERENCES t(id))"]),
        each(&["INSERT INTO c VALUES (1)", long]),
        each(&["INSERT INTO c VALUES (1)", long]),
        each(&["SELECT v FROM t, t, t, t", "INSERT INTO t VALUES (7, sqrt(2)) RETURNING *", "SELECT * FROM c"]),
        each(&["INSERT INTO t(v) SELECT total(v) + random() FROM t", "PRAGMA foreign_keys", "VACUUM"]),
    ]);
    for entry in &mut entries[2..] {
        entry.conditions = entry.conditions.map(|conditions| Conditions {
            foreign_keys: false,
            value_bytes_max: 1 << 20,
            ..conditions
        });
    }
    let dir = TestDir::new();
    let defaults = Options::default();
    let mut all = Vec::new();
    for (name, options) in [
        ("default", defaults.clone()),
        ("strict", defaults.clone().foreign_keys(true).value_bytes_max(1 << 16).rows_max(Some(1))),
        ("small", defaults.clone().held_bytes_max(1).block_bytes(1).statement_cache_len(0)),
        ("slow", defaults.group_len_max(1).group_time_max(Duration::ZERO).read_threads(1)),
    ] {
        let database = open_with(&dir.path(name), options);
        let outcomes = apply(&database, &entries);
        close(database);
        let database = open(&dir.path(name));
        all.push((outcomes.iter().map(failures).collect::<Vec<_>>(), content(&database)));
    }
    let orphan = Some("FOREIGN KEY constraint failed".to_owned());
    assert_eq!(all[0].0[1], [orphan, None]);
    assert!(all[0].0[2][0].is_none() && all[0].0[2][1].is_some(), "{:?}", all[0].0[2]);
    for other in &all[1..] {
        assert_eq!(all[0], *other);
    }
}
