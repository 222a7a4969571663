//! The operations that clients may not use, in all spellings; and the isolation of a batch from changes that earlier
//! batches make to the connection.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{
    Atomicity, Backend, Batch, Bindings, Database, Deadline, Ending, Failure, Options, ReadLevel, Step, StepOutcome,
    TransactionKeyword, Value,
};

/// The ways in which SQL reaches the engine: as a query or a write, with both atomicities, with and without continuing
/// after a failure.
fn all_ways(sql: &str) -> Vec<Batch> {
    let step = Step::query(sql, ());
    let each = |step: Step| Batch { atomicity: Atomicity::Each, ..Batch::one(step) };
    vec![
        Batch::one(step.clone()),
        Batch::one(step.clone().or_continue()),
        Batch::one(Step::execute(sql, ())),
        each(step),
        each(Step::execute(sql, ())),
    ]
}

fn first_failure(outcome: sqlhttp_core::Outcome) -> Option<Failure> {
    outcome.steps.into_iter().find_map(|step| match step {
        StepOutcome::Failed(failure) => Some(failure),
        _ => None,
    })
}

/// The failures of some SQL, run in all of these ways, as a read and as a write.
fn failures(db: &Database, sql: &str) -> Vec<Option<Failure>> {
    let mut all = Vec::new();
    for batch in all_ways(sql) {
        let read = block_on(async {
            let answer = db.read_batch(batch.clone(), ReadLevel::None, Deadline::NEVER).await?;
            answer.whole().await
        });
        all.push(first_failure(read.expect("an outcome")));
        all.push(first_failure(db.blocking().run(batch).expect("an outcome")));
    }
    all
}

fn assert_refused(db: &Database, sql: &str, what: &str) {
    for failure in failures(db, sql) {
        assert_eq!(failure, Some(Failure::NotAllowed(what.to_owned())), "{sql}");
    }
}

#[test]
fn attach_and_detach_are_refused_in_every_spelling() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        for sql in [
            "ATTACH 'x.db' AS x",
            "attach database ':memory:' as [y]",
            "/* hidden */ aTtAcH/**/DATABASE/**/'x.db'/**/AS x",
            "-- a comment\nATTACH '' AS x",
            "SELECT 1; ATTACH 'x.db' AS x",
            "BEGIN; ATTACH 'x.db' AS x; COMMIT",
            "ATTACH 'file:x.db?mode=memory' AS x",
            "ATTACH 'a' || 'b' AS x",
            "ATTACH (SELECT 'x.db') AS x",
            "ATTACH x AS y",
            "ATTACH \"x.db\" AS y KEY 'z'",
            "ATTACH NULL AS y",
        ] {
            assert_refused(&db, sql, "ATTACH");
        }
        for sql in ["DETACH main", "detach database /* */ temp", ";;DETACH x", "DETACH 'x' || 'y'"] {
            assert_refused(&db, sql, "DETACH");
        }
    }
    assert_eq!(test_dir.listing().iter().filter(|name| !name.starts_with("test.db")).count(), 0);
}

#[test]
fn vacuum_is_allowed_and_vacuum_into_is_not() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    let copy = test_dir.path("copy.db");
    let copy = copy.display();
    for sql in [
        format!("VACUUM INTO '{copy}'"),
        format!("vacuum main into '{copy}'"),
        format!("/* */ VACUUM/**/INTO '{copy}' || ''"),
        format!("EXPLAIN VACUUM INTO '{copy}'; VACUUM INTO '{copy}'"),
    ] {
        for failure in failures(&db, &sql) {
            assert!(failure.is_some(), "{sql}");
        }
    }
    assert!(!test_dir.path("copy.db").exists());
    let vacuum = Batch {
        atomicity: Atomicity::Each,
        ..transaction(&["INSERT INTO t VALUES (1)", "VACUUM", "INSERT INTO t VALUES (2)"])
    };
    let outcome = db.blocking().run(vacuum).expect("an outcome");
    assert_eq!(first_failure(outcome), None);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
    let inside = db.blocking().run(transaction(&["INSERT INTO t VALUES (3)", "VACUUM"]));
    let inside = inside.expect("an outcome");
    assert_eq!(inside.ending, Ending::Aborted(1), "VACUUM cannot run in a transaction");
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
}

#[test]
fn extensions_cannot_be_loaded() {
    let db = memory();
    for sql in [
        "SELECT load_extension('x')",
        "SELECT load_extension('x', 'y')",
        "SELECT LOAD_EXTENSION('x')",
        "SELECT \"load_extension\"('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('x', 'y')",
    ] {
        for failure in failures(&db, sql) {
            assert!(failure.is_some(), "{sql}");
        }
    }
}

/// With bound arguments, the function returns the address of a tokenizer or registers any address as one
/// (<https://sqlite.org/fts3.html#custom_application_defined_tokenizers>).
#[test]
fn addresses_of_tokenizers_can_be_neither_read_nor_set() {
    let db = memory();
    exec(&db, "CREATE TABLE t(a)");
    exec(&db, "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = fts3_tokenizer(new.a); END");
    let simple = || vec![text("simple")];
    for (sql, bindings) in [
        ("SELECT fts3_tokenizer(?)", simple()),
        ("SELECT FTS3_Tokenizer(?, ?)", vec![text("mine"), Value::Blob(vec![0; 8])]),
        ("SELECT fts3_tokenizer('simple', x'00')", Vec::new()),
        ("CREATE TABLE made AS SELECT fts3_tokenizer(?) AS a", simple()),
        ("INSERT INTO t VALUES (?)", simple()),
    ] {
        let StepOutcome::Failed(failure) = step(&db, Step::query(sql, Bindings::positional(bindings))) else {
            panic!("{sql} is not refused")
        };
        assert_eq!(failure, Failure::NotAllowed("fts3_tokenizer()".to_owned()), "{sql}");
    }
}

#[test]
fn dangerous_pragmas_are_refused_in_every_spelling() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        for (name, value) in [
            ("journal_mode", "DELETE"),
            ("synchronous", "0"),
            ("locking_mode", "EXCLUSIVE"),
            ("page_size", "512"),
            ("writable_schema", "1"),
            ("writable_schema", "RESET"),
            ("query_only", "0"),
            ("wal_checkpoint", "TRUNCATE"),
            ("schema_version", "99"),
            ("case_sensitive_like", "1"),
            ("max_page_count", "5"),
            ("temp_store_directory", "'/tmp'"),
        ] {
            let what = format!("PRAGMA {name}");
            let upper = name.to_uppercase();
            for sql in [
                format!("PRAGMA {name}={value}"),
                format!("PRAGMA {name}({value})"),
                format!("pragma main.{name} = {value};"),
                format!("/**/PRAGMA/**/{upper}/**/=/**/{value}"),
                format!("PRAGMA [{name}] = {value}"),
                format!("PRAGMA \"main\".\"{name}\"={value}"),
                format!("-- x\n;; PRAGMA temp.{name}({value}) -- y"),
                format!("SELECT 1; PRAGMA {name}={value}; SELECT 2"),
                format!("BEGIN; PRAGMA {name}={value}; COMMIT"),
                format!("EXPLAIN SELECT 1; PRAGMA {name} = {value}"),
            ] {
                assert_refused(&db, &sql, &what);
            }
        }
        assert_refused(&db, "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint");
    }
}

/// Client libraries send these pragmas when they connect.
#[test]
fn harmless_pragmas_are_accepted_and_have_no_effect() {
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        for name in [
            "busy_timeout",
            "cache_spill",
            "journal_size_limit",
            "mmap_size",
            "soft_heap_limit",
            "threads",
            "trusted_schema",
            "wal_autocheckpoint",
        ] {
            let before = rows(&db, &format!("PRAGMA {name}"));
            for sql in [format!("PRAGMA {name}=7"), format!("pragma main.{name}(7); PRAGMA {}=7", name.to_uppercase())]
            {
                for failure in failures(&db, &sql) {
                    assert_eq!(failure, None, "{sql}");
                }
            }
            assert_eq!(rows(&db, &format!("PRAGMA {name}")), before, "{name}");
        }
    }
}

/// Matching a pattern takes time proportional to the product of both lengths, and SQLite cannot be interrupted during
/// it.
#[test]
fn long_patterns_match_short_values_only() {
    let db = memory();
    let like = |pattern: usize, text: usize| {
        let sql = format!("SELECT hex(zeroblob({})) LIKE '%' || hex(zeroblob({})) || '%'", text / 2, (pattern - 2) / 2);
        let outcome = db.blocking().run(Batch::one(Step::query(sql, ()))).expect("an outcome");
        first_failure(outcome).is_none()
    };
    for (pattern, text) in [(16, 60 << 20), (64, 16 << 20), (256, 4 << 20), (4096, 256 << 10)] {
        // SQLite includes the terminating NUL of a text that a function returns.
        assert!(like(pattern, text - 2), "{pattern} {text}");
        assert!(!like(pattern + 2, text + 2), "{pattern} {text}");
    }
    assert!(!like(4098, 10));
}

/// A row is copied as a whole before it is sent, so its size is limited like that of a value.
#[test]
fn a_result_row_has_the_size_limit_of_a_value() {
    let test_dir = TestDir::new();
    let options = Options::default().value_bytes_max(1 << 20).value_bytes_max_name("-max");
    let db = test_dir.open(options);
    let wide = |columns: usize| {
        let columns = vec!["hex(zeroblob(100000))"; columns].join(", ");
        first_failure(db.blocking().run(Batch::one(Step::query(format!("SELECT {columns}"), ()))).expect("an outcome"))
    };
    assert_eq!(wide(5), None);
    let Some(Failure::Sql(error)) = wide(6) else { panic!("a row above the limit was returned") };
    assert_eq!(error.message, "string or blob too big: the limit is 1048576 bytes (-max)");
}

/// Statements with many columns, one of which is long, must not exceed the weight that limits the length of values.
#[test]
fn ordinary_statements_accept_long_values() {
    let db = memory();
    let columns = |each: &dyn Fn(usize) -> String| (0..200).map(each).collect::<Vec<_>>().join(", ");
    let names = columns(&|i| format!("c{i}"));
    exec(&db, &format!("CREATE TABLE wide({names}, long)"));
    let long = "zeroblob(20000000)";
    exec(&db, &format!("INSERT INTO wide VALUES ({}, {long})", columns(&|i| format!("'q' || {i}"))));
    exec(&db, &format!("UPDATE wide SET {}", columns(&|i| format!("c{i} = c{i} || 'x'"))));
    exec(&db, "CREATE INDEX by_long ON wide(long)");
    for i in 0..20 {
        exec(&db, &format!("CREATE INDEX by{i} ON wide(c{i}, c{})", i + 1));
    }
    for i in 0..5 {
        exec(&db, &format!("CREATE INDEX sum{i} ON wide({})", vec![format!("c{i}"); 60].join(" + ")));
    }
    exec(&db, "REINDEX");
    for (select, times) in [("coalesce(c{}, '')", 200), ("max(c{})", 150), ("c{}", 200)] {
        let list: Vec<_> = (0..times).map(|i| select.replace("{}", &i.to_string())).collect();
        let sql = format!("SELECT length(long) FROM (SELECT {}, long FROM wide)", list.join(", "));
        assert_eq!(integer(&db, &sql), 20_000_000, "{select}");
    }
}

#[test]
fn trim_accepts_long_sets_of_characters() {
    let db = memory();
    assert_eq!(integer(&db, "SELECT length(trim('bbbb', hex(zeroblob(30000000)) || '1'))"), 4);
    assert_eq!(integer(&db, "SELECT length(trim('a01b10', hex(zeroblob(1000)) || '1'))"), 4);
    assert_eq!(integer(&db, "SELECT length(trim('01b10', hex(zeroblob(1000)) || '1'))"), 1);
}

#[test]
fn explain_does_not_run_a_forbidden_statement() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    for sql in [
        "EXPLAIN PRAGMA journal_mode=DELETE",
        "EXPLAIN QUERY PLAN PRAGMA synchronous=OFF",
        "EXPLAIN PRAGMA locking_mode=EXCLUSIVE",
        "EXPLAIN PRAGMA writable_schema=1",
        "EXPLAIN ATTACH 'x.db' AS x",
        "EXPLAIN BEGIN",
        "EXPLAIN COMMIT",
    ] {
        // The statement may be refused or explained.
        failures(&db, sql);
    }
    assert_settings_unchanged(&db);
    assert!(failures(&db, "UPDATE sqlite_schema SET sql = ''").iter().all(Option::is_some));
}

#[test]
fn pragma_functions_cannot_change_settings() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a, b)");
    assert_eq!(rows(&db, "SELECT name FROM pragma_table_info('t')"), [[text("a")], [text("b")]]);
    assert_eq!(rows(&db, "SELECT * FROM pragma_journal_mode"), [[text("wal")]]);
    assert_eq!(rows(&db, "SELECT * FROM pragma_user_version"), [[Value::Integer(0)]]);
    for sql in [
        "SELECT * FROM pragma_journal_mode('delete')",
        "SELECT * FROM pragma_synchronous(0)",
        "SELECT * FROM pragma_writable_schema(1)",
        "SELECT * FROM pragma_query_only(0)",
        "SELECT * FROM pragma_wal_checkpoint('truncate')",
        "SELECT * FROM pragma_locking_mode('exclusive')",
    ] {
        failures(&db, sql);
    }
    assert_settings_unchanged(&db);
}

/// Checks that the settings of all connections are those of the engine.
fn assert_settings_unchanged(db: &Database) {
    for on_the_writer in [false, true] {
        let read = |sql: &str| match on_the_writer {
            false => rows(db, sql),
            true => {
                let batch = transaction(&["CREATE TABLE IF NOT EXISTS marker(a)", sql]);
                let mut outcome = db.blocking().run(batch).expect("an outcome");
                let Some(StepOutcome::Rows(rows)) = outcome.steps.pop() else { panic!("no rows") };
                values(&rows)
            }
        };
        assert_eq!(read("PRAGMA journal_mode"), [[text("wal")]]);
        assert_eq!(read("PRAGMA synchronous"), [[Value::Integer(2)]]);
        assert_eq!(read("PRAGMA locking_mode"), [[text("normal")]]);
        assert_eq!(read("PRAGMA writable_schema"), [[Value::Integer(0)]]);
        if on_the_writer {
            assert_eq!(read("PRAGMA query_only"), [[Value::Integer(0)]]);
        }
        assert_eq!(read("PRAGMA database_list").len(), 1);
    }
}

#[test]
fn reading_a_pragma_is_allowed() {
    let db = memory();
    for name in
        ["journal_mode", "synchronous", "page_size", "foreign_keys", "encoding", "compile_options", "freelist_count"]
    {
        assert!(!rows(&db, &format!("PRAGMA {name}")).is_empty(), "{name}");
    }
}

#[test]
fn the_schema_table_and_the_pages_cannot_be_written() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    exec(&db, "CREATE TABLE t(a)");
    exec(&db, "CREATE VIRTUAL TABLE f USING fts5(x)");
    for sql in [
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a, b)'",
        "DELETE FROM sqlite_master",
        "INSERT INTO main.sqlite_schema VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x(a)')",
        "UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1",
        "INSERT INTO sqlite_dbpage VALUES (1, zeroblob(4096))",
        "DELETE FROM f_data",
        "DROP TABLE f_content",
        "CREATE TABLE sqlite_mine(a)",
        "WITH x AS (SELECT 1) DELETE FROM sqlite_schema",
    ] {
        for failure in failures(&db, sql) {
            assert!(failure.is_some(), "{sql}");
        }
    }
    assert_eq!(rows(&db, "PRAGMA integrity_check"), [[text("ok")]]);
}

#[test]
fn transaction_control_is_refused_in_every_spelling() {
    use TransactionKeyword::{Begin, Commit, Release, Rollback, Savepoint};
    let test_dir = TestDir::new();
    for db in [memory(), test_dir.open(Options::default())] {
        exec(&db, "CREATE TABLE t(a)");
        for (sql, keyword) in [
            ("BEGIN", Begin),
            (" \n\t begin", Begin),
            ("/* c */ BEGIN EXCLUSIVE TRANSACTION", Begin),
            ("-- c\nBEGIN DEFERRED;", Begin),
            (";;BEGIN IMMEDIATE", Begin),
            ("COMMIT", Commit),
            ("commit transaction", Commit),
            ("END", Commit),
            ("/**/END TRANSACTION;", Commit),
            ("ROLLBACK", Rollback),
            ("ROLLBACK TRANSACTION TO SAVEPOINT x", Rollback),
            ("rollback to sqlhttp_member", Rollback),
            ("ROLLBACK TO sqlhttp_step", Rollback),
            ("SAVEPOINT x", Savepoint),
            ("savepoint sqlhttp_member", Savepoint),
            ("RELEASE x", Release),
            ("RELEASE SAVEPOINT sqlhttp_step", Release),
            ("SELECT 1; COMMIT", Commit),
            ("SELECT 1; BEGIN; SELECT 2; COMMIT", Begin),
            ("BEGIN; SELECT 1; ROLLBACK", Rollback),
            ("BEGIN; SELECT 1; SAVEPOINT x; COMMIT", Savepoint),
            ("BEGIN; BEGIN; SELECT 1; COMMIT; COMMIT", Begin),
            ("BEGIN; SELECT 1; COMMIT; SELECT 2", Commit),
            ("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT", Commit),
            ("BEGIN; SELECT 1", Begin),
        ] {
            for failure in failures(&db, sql) {
                assert_eq!(failure, Some(Failure::TransactionControl(keyword)), "{sql}");
            }
            let writing = format!("INSERT INTO t VALUES (1); {sql}");
            let outcome = db.blocking().run(transaction(&[&writing])).expect("an outcome");
            assert_eq!(outcome.ending, Ending::Aborted(0), "{writing}");
            let second = db.blocking().run(transaction(&["INSERT INTO t VALUES (1)", sql])).expect("an outcome");
            assert_eq!(second.ending, Ending::Aborted(1), "{sql}");
            assert_eq!(integer(&db, "SELECT count(*) FROM t"), 0, "{sql}");
        }
        // The connection is still usable.
        exec(&db, "BEGIN; INSERT INTO t VALUES (1); COMMIT");
        assert_eq!(integer(&db, "SELECT count(*) FROM t"), 1);
    }
}

#[test]
fn attach_can_be_allowed_and_ends_with_the_batch() {
    let test_dir = TestDir::new();
    let options = Options::default().allow_attach(true);
    let db = test_dir.open(options);
    exec(&db, "CREATE TABLE t(a)");
    let other = test_dir.path("other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    let batch =
        transaction(&[&attach, "CREATE TABLE other.o(a)", "INSERT INTO o VALUES (5)", "INSERT INTO t SELECT a FROM o"]);
    let outcome = db.blocking().run(batch).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
    assert_eq!(integer(&db, "SELECT a FROM t"), 5);
    assert!(matches!(failure(&db, "SELECT * FROM other.o"), Failure::Sql(_)));
    let read = db.blocking().run(transaction(&[&attach, "SELECT a FROM other.o"])).expect("an outcome");
    assert!(matches!(&read.steps[1], StepOutcome::Rows(rows) if rows.len() == 1), "{read:?}");
    assert_eq!(rows(&db, "PRAGMA database_list").len(), 1);
    // All other restrictions still apply.
    assert_refused(&db, "PRAGMA synchronous=OFF", "PRAGMA synchronous");
    let attached = format!("{attach}; PRAGMA other.journal_mode=OFF");
    assert_eq!(failure(&db, &attached), Failure::NotAllowed("PRAGMA journal_mode".into()));
}

/// Runs SQL that changes the state of its connection, and returns whether another batch can observe that.
fn leaks(db: &Database, change: &str, look: &str) -> bool {
    let looks = |db: &Database| {
        let reader = rows(db, look);
        let batch = transaction(&["CREATE TABLE IF NOT EXISTS marker(a)", "INSERT INTO marker VALUES (1)", look]);
        let mut outcome = db.blocking().run(batch).expect("an outcome");
        let Some(StepOutcome::Rows(writer)) = outcome.steps.pop() else { panic!("no rows") };
        (reader, values(&writer))
    };
    let before = looks(db);
    for batch in all_ways(change) {
        for _ in 0..3 {
            let _ = block_on(db.read_batch(batch.clone(), ReadLevel::None, Deadline::NEVER));
            let _ = db.blocking().run(batch.clone());
            if looks(db) != before {
                return true;
            }
        }
    }
    false
}

#[test]
fn changed_connection_state_is_not_visible_to_the_next_batch() {
    let mut leaking = Vec::new();
    for in_memory in [true, false] {
        for (change, look) in [
            ("PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
            ("PRAGMA case_sensitive_like(1); SELECT 1", "SELECT 'a' LIKE 'A'"),
            ("PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers"),
            ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys"),
            ("PRAGMA defer_foreign_keys = ON", "PRAGMA defer_foreign_keys"),
            ("PRAGMA ignore_check_constraints = ON", "PRAGMA ignore_check_constraints"),
            ("PRAGMA cache_size = 7", "PRAGMA cache_size"),
            ("PRAGMA temp_store = MEMORY", "PRAGMA temp_store"),
            ("PRAGMA secure_delete = ON", "PRAGMA secure_delete"),
            ("PRAGMA read_uncommitted = 1", "PRAGMA read_uncommitted"),
            ("PRAGMA reverse_unordered_selects = 1", "PRAGMA reverse_unordered_selects"),
            ("PRAGMA max_page_count = 5", "PRAGMA max_page_count"),
            ("PRAGMA full_column_names = 1; PRAGMA short_column_names = 0", "PRAGMA full_column_names"),
            ("CREATE TEMP TABLE temporary(a)", "SELECT name FROM temp.sqlite_schema"),
            ("CREATE TEMPORARY VIEW tv AS SELECT 1", "SELECT name FROM temp.sqlite_schema"),
            ("CREATE TABLE temp.temporary(a)", "SELECT name FROM temp.sqlite_schema"),
            ("CREATE TABLE \"TEMP\".x AS SELECT 1", "SELECT name FROM temp.sqlite_schema"),
            ("CREATE VIEW temp.tv AS SELECT 1", "SELECT name FROM temp.sqlite_schema"),
            ("CREATE TRIGGER temp.tr AFTER INSERT ON t BEGIN SELECT 1; END", "SELECT name FROM temp.sqlite_schema"),
            (
                "CREATE TEMP TRIGGER tr AFTER INSERT ON t BEGIN SELECT RAISE(ABORT, 'x'); END",
                "SELECT name FROM temp.sqlite_schema",
            ),
            ("CREATE VIRTUAL TABLE temp.tf USING fts5(x)", "SELECT name FROM temp.sqlite_schema"),
            (
                "CREATE TABLE IF NOT EXISTS dep(a); INSERT INTO dep VALUES (1); CREATE TEMP TABLE late AS SELECT a FROM dep; DROP TABLE dep",
                "SELECT name FROM temp.sqlite_schema",
            ),
            ("INSERT INTO t VALUES (1), (2)", "SELECT changes(), total_changes(), last_insert_rowid()"),
            ("EXPLAIN PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
            ("SELECT * FROM pragma_case_sensitive_like(1)", "SELECT 'a' LIKE 'A'"),
        ] {
            let test_dir = TestDir::new();
            let db = if in_memory { memory() } else { test_dir.open(Options::default()) };
            exec(&db, "CREATE TABLE t(a, CHECK (a IS NULL OR a < 100))");
            if look.contains("changes") {
                // On the writer, the batch that looks has itself written before, so only a reader is compared.
                exec(&db, change);
                assert_eq!(rows(&db, look), [[Value::Integer(0), Value::Integer(0), Value::Integer(0)]]);
                continue;
            }
            if leaks(&db, change, look) {
                leaking.push((in_memory, change));
            }
        }
    }
    assert!(leaking.is_empty(), "{leaking:#?}");
}

#[test]
fn a_batch_sees_the_connection_state_that_it_has_changed() {
    let db = memory();
    exec(&db, "CREATE TABLE t(a)");
    let own = transaction(&[
        "CREATE TEMP TABLE x(a)",
        "INSERT INTO x VALUES (1), (2)",
        "INSERT INTO t SELECT a FROM x",
        "PRAGMA recursive_triggers = ON",
        "SELECT (SELECT recursive_triggers FROM pragma_recursive_triggers), (SELECT count(*) FROM x)",
    ]);
    let mut outcome = db.blocking().run(own).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Done, "{outcome:?}");
    let Some(StepOutcome::Rows(last)) = outcome.steps.pop() else { panic!("no rows") };
    assert_eq!(values(&last), [[Value::Integer(1), Value::Integer(2)]]);
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
}
