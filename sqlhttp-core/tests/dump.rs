//! Restores dumps of the `sqlite3` shell that contain virtual tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use sqlhttp_core::{Batch, Database, Options, Step, StepOutcome};

/// A dump as the shell writes it: shadow tables follow their virtual table.
const DUMP: &str = include_str!("../../sqlhttp-server/tests/data/dumps/virtual_tables.sql");
/// A dump of the same database after VACUUM: shadow tables precede their virtual table.
const VACUUMED: &str = include_str!("../../sqlhttp-server/tests/data/dumps/vacuumed.sql");

/// A dump of one virtual table.
const SMALL: &str = "BEGIN TRANSACTION;
PRAGMA writable_schema=ON;
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','f','f',0,'CREATE VIRTUAL TABLE f USING fts5(t)');
CREATE TABLE IF NOT EXISTS 'f_data'(id INTEGER PRIMARY KEY, block BLOB);
INSERT INTO f_data VALUES(1,X'0101');
INSERT INTO f_data VALUES(10,X'000000000101010001010101');
INSERT INTO f_data VALUES(137438953473,X'0000000E063068656C6C6F01020204');
CREATE TABLE IF NOT EXISTS 'f_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
INSERT INTO f_idx VALUES(1,X'',2);
CREATE TABLE IF NOT EXISTS 'f_content'(id INTEGER PRIMARY KEY, c0);
INSERT INTO f_content VALUES(1,'hello');
CREATE TABLE IF NOT EXISTS 'f_docsize'(id INTEGER PRIMARY KEY, sz BLOB);
INSERT INTO f_docsize VALUES(1,X'01');
CREATE TABLE IF NOT EXISTS 'f_config'(k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO f_config VALUES('version',4);
PRAGMA writable_schema=OFF;
COMMIT;
";

fn run(db: &Database, sql: &str) -> Option<String> {
    let outcome = db.blocking().run(Batch::one(Step::execute(sql, ()))).expect("an outcome");
    outcome.steps.into_iter().find_map(|step| match step {
        StepOutcome::Failed(failure) => Some(failure.to_string()),
        _ => None,
    })
}

fn assert_restored(db: &Database, dump: &str) {
    for (sql, rows) in [
        ("SELECT count(*) FROM f WHERE f MATCH 'hello'", 1),
        ("SELECT rowid FROM fx WHERE fx MATCH 'quoted'", 2),
        ("SELECT rowid FROM fc WHERE fc MATCH 'none'", 7),
        ("SELECT count(*) FROM \"f four\" WHERE \"f four\" MATCH 'times'", 1),
        ("SELECT count(*) FROM f3 WHERE f3 MATCH 'run'", 1),
        ("SELECT count(*) FROM v WHERE term = 'world'", 1),
        ("SELECT id FROM r WHERE a > 1", 2),
        ("SELECT seq FROM sqlite_sequence WHERE name = 'doc'", 3),
        ("SELECT count(*) FROM log", 0),
    ] {
        assert_eq!(integer(db, sql), rows, "{sql} after\n{dump}");
    }
}

#[test]
fn virtual_tables_are_restored_in_any_order() {
    for dump in [DUMP.to_owned(), VACUUMED.to_owned(), DUMP.replace("sqlite_schema", "sqlite_master")] {
        let test_dir = TestDir::new();
        let db = test_dir.open(Options::default());
        assert_eq!(run(&db, &dump), None);
        assert_restored(&db, &dump);
        assert_eq!(run(&db, "INSERT INTO doc(b) VALUES('fresh pear'); INSERT INTO r VALUES(3, 7, 8)"), None);
        assert_eq!(run(&db, "INSERT INTO f VALUES('later words'); INSERT INTO f3 VALUES('late')"), None);
        assert_eq!(integer(&db, "SELECT rowid FROM fx WHERE fx MATCH 'pear'"), 4);
        assert_eq!(integer(&db, "SELECT count(*) FROM f WHERE f MATCH 'later OR hello'"), 2);
        assert!(
            run(&db, "INSERT INTO f_data VALUES(99, x'00')").is_some(),
            "shadow tables are writable after the restore"
        );
        assert!(run(&db, &dump).is_some(), "the dump was restored although its tables exist");
        drop(db);
        let db = test_dir.open(Options::default());
        assert_eq!(integer(&db, "SELECT count(*) FROM f WHERE f MATCH 'later OR hello'"), 2);
        assert_eq!(run(&db, "INSERT INTO f(f) VALUES('integrity-check')"), None);
    }
}

#[test]
fn a_dump_with_an_invalid_virtual_table_is_refused_as_a_whole() {
    let test_dir = TestDir::new();
    let db = test_dir.open(Options::default());
    for (from, to) in [
        ("',0,'", "',2,'"),
        ("('table'", "('index'"),
        ("'f','f'", "'f','g'"),
        ("'f','f'", "'g','g'"),
        ("CREATE VIRTUAL TABLE f USING fts5(t)", "CREATE TABLE f(t)"),
        ("fts5(t)'", "fts5(t); DROP TABLE kept'"),
        ("fts5(t)'", "nowhere(t)'"),
        ("fts5(t)'", "sqlite_stmt'"),
        ("PRAGMA writable_schema=ON", "SELECT 1"),
        ("X'0000000E", "X'0000000Eff"),
        ("INSERT INTO f_data VALUES(1,X'0101');", ""),
        ("(1,'hello')", "(1,'other')"),
        ("INSERT INTO f_config VALUES('version',4);", "INSERT INTO f_config VALUES('version',77);"),
        ("PRAGMA writable_schema=OFF", "CREATE TRIGGER x AFTER INSERT ON f_data BEGIN SELECT 1; END"),
        ("PRAGMA writable_schema=OFF", "INSERT INTO kept_data VALUES(99, x'00')"),
        ("PRAGMA writable_schema=OFF", "INSERT INTO nowhere VALUES(1)"),
    ] {
        if integer(&db, "SELECT count(*) FROM sqlite_schema") == 0 {
            assert_eq!(run(&db, "CREATE VIRTUAL TABLE kept USING fts5(a); INSERT INTO kept VALUES('x')"), None);
        }
        let before = integer(&db, "SELECT count(*) FROM sqlite_schema");
        let dump = SMALL.replacen(from, to, 1);
        assert_ne!(dump, SMALL);
        let failure = run(&db, &dump);
        println!("{to}: {failure:?}");
        assert!(failure.is_some(), "{dump}");
        assert_eq!(integer(&db, "SELECT count(*) FROM sqlite_schema"), before, "{dump}");
        assert!(run(&db, "INSERT INTO kept_data VALUES(99, x'00')").is_some());
        assert!(run(&db, "SELECT * FROM f").is_some(), "a part of this dump was restored: {dump}");
    }
    assert_eq!(run(&db, SMALL), None);
    assert_eq!(integer(&db, "SELECT count(*) FROM f WHERE f MATCH 'hello'"), 1);
    for alone in [
        "PRAGMA writable_schema=ON",
        "SELECT 1; PRAGMA writable_schema=ON; SELECT 2",
        SMALL.lines().nth(2).expect("a row"),
    ] {
        assert!(run(&db, alone).is_some(), "{alone}");
    }
}
