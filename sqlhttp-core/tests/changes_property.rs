//! A property of notifications: every row that a batch has changed is reported, as a row, as its table, or as
//! everything. The content before and after each batch is compared. `SQLHTTP_CHANGES_CASES` sets the number of random
//! cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::block_on;
use proptest::prelude::*;
use sqlhttp_core::{Atomicity, Batch, Change, Changes, Database, Error, Options, Step, Value};

const SCHEMA: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b);
    CREATE TABLE w(k PRIMARY KEY, t REFERENCES t ON DELETE CASCADE) WITHOUT ROWID;
    CREATE TABLE c(t REFERENCES t ON DELETE SET NULL, x);
    CREATE TABLE d(id INTEGER PRIMARY KEY REFERENCES t(a) ON UPDATE CASCADE ON DELETE CASCADE);
    CREATE TABLE v(id INTEGER PRIMARY KEY, a UNIQUE);
    CREATE TABLE log(a);
    CREATE VIRTUAL TABLE f USING fts5(a);
    CREATE TRIGGER deleted AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.a); END;
    CREATE VIEW view AS SELECT id, a FROM v;
    CREATE TRIGGER instead INSTEAD OF INSERT ON view BEGIN INSERT OR REPLACE INTO v VALUES (new.id, new.a); END";

/// Statements, in which `?1` and `?2` are small integers.
const STATEMENTS: [&str; 38] = [
    "INSERT INTO t(id, a) VALUES (?1, ?2)",
    "INSERT INTO t(a, b) VALUES (?1, ?2)",
    "INSERT INTO t(id, a) VALUES (?1, ?2), (?1 + 1, ?2 + 1), (?1 + 2, ?2)",
    "INSERT OR FAIL INTO t(id, a) VALUES (?1, ?2), (?1 + 1, ?2)",
    "INSERT OR IGNORE INTO t(id, a) VALUES (?1, ?2), (?1 + 1, ?2)",
    "INSERT OR ROLLBACK INTO t(id, a) VALUES (?1, ?2)",
    "INSERT OR REPLACE INTO t(id, a) VALUES (?1, ?2)",
    "REPLACE INTO t(a, b) VALUES (?1, ?2)",
    "INSERT INTO t(a, b) VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = excluded.b, id = id + 50",
    "INSERT INTO t(a, b) VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING id",
    "INSERT INTO v SELECT id, a FROM t WHERE id > ?1",
    "INSERT INTO v SELECT * FROM v WHERE 0",
    "UPDATE t SET b = ?1 WHERE id < ?2",
    "UPDATE t SET id = id + 100 WHERE id = ?1",
    "UPDATE t SET rowid = ?2 WHERE id = ?1",
    "UPDATE OR REPLACE t SET a = ?1 WHERE id = ?2",
    "UPDATE OR IGNORE v SET a = ?1",
    "DELETE FROM t WHERE id = ?1",
    "DELETE FROM t WHERE a > ?1 RETURNING id",
    "DELETE FROM t",
    "DELETE FROM v",
    "INSERT OR IGNORE INTO w VALUES (?1, ?2)",
    "UPDATE w SET t = ?2 WHERE k = ?1",
    "DELETE FROM w WHERE k > ?1",
    "INSERT INTO c VALUES (?1, ?2)",
    "INSERT OR IGNORE INTO d SELECT a FROM t WHERE typeof(a) = 'integer' AND id = ?1",
    "INSERT INTO view VALUES (?1, ?2)",
    "INSERT INTO f VALUES ('word' || ?1 || ' other' || ?2)",
    "DELETE FROM f WHERE rowid = ?1",
    "CREATE TRIGGER IF NOT EXISTS copies AFTER INSERT ON t BEGIN REPLACE INTO v VALUES (new.id % 5, new.a); END",
    "DROP TRIGGER IF EXISTS copies",
    "INSERT INTO v SELECT ?1, 'a' || ?2 WHERE 'b' NOT LIKE 'a pattern with more than sixteen bytes%'",
    "CREATE TRIGGER IF NOT EXISTS long AFTER INSERT ON v
        BEGIN INSERT OR IGNORE INTO w SELECT new.a, NULL WHERE new.a NOT LIKE 'a pattern of over sixteen bytes%'; END",
    "UPDATE t SET a = a + 20 WHERE id = ?1",
    "PRAGMA foreign_keys = ON",
    "PRAGMA foreign_keys = OFF",
    "VACUUM",
    "CREATE TABLE IF NOT EXISTS extra AS SELECT * FROM t",
];

#[derive(Debug, Clone)]
struct Statement {
    sql: usize,
    values: (i64, i64),
    continues: bool,
}

#[derive(Debug, Clone)]
enum Call {
    /// A batch, and whether each of its steps is a transaction.
    Batch(Vec<Statement>, bool),
    /// A closure, and whether it returns an error.
    Closure(Vec<Statement>, bool),
    Script(Statement),
}

fn statement() -> impl Strategy<Value = Statement> {
    (0..STATEMENTS.len(), (0..12_i64, 0..12_i64), any::<bool>()).prop_map(|(sql, values, continues)| Statement {
        sql,
        values,
        continues,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let statements = || prop::collection::vec(statement(), 1..5);
    prop_oneof![
        6 => (statements(), any::<bool>()).prop_map(|(statements, each)| Call::Batch(statements, each)),
        2 => (statements(), any::<bool>()).prop_map(|(statements, fails)| Call::Closure(statements, fails)),
        1 => statement().prop_map(Call::Script),
    ]
}

impl Statement {
    /// The SQL text with the values, so that texts with several parameters and scripts are the same.
    fn text(&self) -> String {
        let (one, two) = self.values;
        STATEMENTS[self.sql].replace("?1", &one.to_string()).replace("?2", &two.to_string())
    }

    fn step(&self) -> Step {
        let sql = STATEMENTS[self.sql];
        // Most statements come from the cache of the connection, because their texts are the same.
        let step = match (sql.contains("?1"), sql.contains("?2")) {
            (true, true) => Step::query(sql, [self.values.0, self.values.1]),
            (true, false) => Step::query(sql, [self.values.0]),
            _ => Step::query(sql, ()),
        };
        if self.continues { step.or_continue() } else { step }
    }
}

fn run(db: &Database, call: &Call) {
    match call {
        Call::Batch(statements, each) => {
            let steps = statements.iter().map(Statement::step).collect();
            let atomicity = if *each { Atomicity::Each } else { Atomicity::All };
            // Failures are as interesting as successes.
            let _ = block_on(db.run(Batch { steps, atomicity, ..Batch::default() }));
        }
        Call::Closure(statements, fails) => {
            let (texts, fails): (Vec<String>, bool) = (statements.iter().map(Statement::text).collect(), *fails);
            let _ = block_on(db.transaction(move |tx| {
                for text in texts {
                    let _ = tx.query(text, ());
                }
                if fails { Err(Error::Closed) } else { Ok(()) }
            }));
        }
        Call::Script(statement) => drop(block_on(db.run_script(&statement.text())).unwrap()),
    }
}

/// The content of a database: the rows of each table by their rowid; `None` for a table without rowids.
type Content = BTreeMap<String, BTreeSet<(Option<i64>, String)>>;

fn content(db: &Database) -> Content {
    let list = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')
        AND name NOT LIKE 'sqlite_%'";
    let tables: Vec<(String, bool)> = db.blocking().query_all(list, ()).unwrap();
    let rows = |(table, without_rowid): (String, bool)| {
        let rowid = if without_rowid { "NULL" } else { "rowid" };
        let rows = common::rows(db, &format!("SELECT {rowid}, * FROM {table}"));
        let rows = rows
            .iter()
            .map(|row| (if let Value::Integer(rowid) = row[0] { Some(rowid) } else { None }, format!("{row:?}")));
        (table, rows.collect())
    };
    tables.into_iter().map(rows).collect()
}

/// The number of random cases.
fn cases() -> u32 {
    std::env::var("SQLHTTP_CHANGES_CASES").ok().and_then(|wanted| wanted.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_changed_row_is_reported(calls in prop::collection::vec(call(), 1..12)) {
        let db = Database::open_in_memory(Options::new()).unwrap();
        db.blocking().execute(SCHEMA, ()).unwrap();
        let mut changes: Changes = db.changes().unwrap();
        let mut before = content(&db);
        for call in calls {
            run(&db, &call);
            let after = content(&db);
            let reported: Vec<Change> = std::iter::from_fn(|| changes.try_next()).collect();
            check(&before, &after, &reported).map_err(|why| TestCaseError::fail(format!("{why} after {call:?}, reported: {reported:?}")))?;
            before = after;
        }
    }
}

fn check(before: &Content, after: &Content, reported: &[Change]) -> Result<(), String> {
    if reported.contains(&Change::Everything) {
        return Ok(());
    }
    let empty = BTreeSet::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name).unwrap_or(&empty), after.get(name).unwrap_or(&empty));
        for (rowid, _) in old.symmetric_difference(new) {
            let is_it = |change: &Change| match change {
                Change::Row { table, rowid: changed, .. } => **table == **name && Some(*changed) == *rowid,
                // Of a virtual table, the table itself is reported, and only some of those that contain its content.
                Change::Table { table, .. } => **table == **name || &**table == "f" && name.starts_with("f_"),
                _ => false,
            };
            if !reported.iter().any(is_it) {
                return Err(format!("row {rowid:?} of {name} has changed"));
            }
        }
    }
    Ok(())
}
