//! A database that applies a log: outcomes, progress, restarts, statements that end transactions, replacement of the
//! content.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "replication")]
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use sqlhttp_core::{
    Atomicity, Batch, Database, Ending, Error, Failure, LogEntry, LogWork, Options, Outcome, ReadLevel, Stamp, Step,
    StepOutcome, Value, Writes,
};

const STAMP: Stamp = Stamp { unix_ms: 1_700_000_000_000, seed: 7 };

fn open(dir: &Path) -> Database {
    Database::open(dir.join("db.sqlite"), Options::default().writes(Writes::Log)).unwrap()
}

fn steps(texts: &[&str]) -> Vec<Step> {
    texts.iter().map(|text| Step::execute(*text, ())).collect()
}

fn all(texts: &[&str]) -> Batch {
    Batch { stamp: Some(STAMP), ..Batch::transaction(steps(texts)) }
}

fn each(texts: &[&str]) -> Batch {
    Batch { atomicity: Atomicity::Each, ..all(texts) }
}

/// The same batch, continued after failures.
fn continuing(mut batch: Batch) -> Batch {
    batch.steps = batch.steps.into_iter().map(Step::or_continue).collect();
    batch
}

fn entry(index: u64, batches: Vec<Batch>) -> LogEntry {
    let work = batches
        .into_iter()
        .map(|batch| LogWork::Batch { batch: Arc::new(batch), exclusive: false, steps_max: 0 })
        .collect();
    LogEntry { term: 1, index, conditions: None, work }
}

/// Creates the entry like the proposing node, which classifies the batch to learn whether it must run alone.
fn proposed(database: &Database, index: u64, batch: Batch) -> LogEntry {
    let alone = database.classify_blocking(batch.clone()).unwrap().exclusive;
    LogEntry {
        term: 1,
        index,
        conditions: None,
        work: vec![LogWork::Batch { batch: Arc::new(batch), exclusive: alone, steps_max: 0 }],
    }
}

async fn rows(database: &Database, sql: &str) -> Vec<Vec<Value>> {
    use sqlhttp_core::{Backend as _, Deadline};
    let batch = Batch::one(Step::query(sql, ()));
    let outcome = database.read_batch(batch, ReadLevel::None, Deadline::NEVER).await.unwrap().whole().await.unwrap();
    let Some(StepOutcome::Rows(rows)) = outcome.steps.into_iter().next() else { panic!("no rows: {sql}") };
    let width = rows.columns.len();
    rows.iter().map(|row| (0..width).map(|column| row.get(column).unwrap().to_value()).collect()).collect()
}

fn integers(rows: &[Vec<Value>]) -> Vec<i64> {
    let one = |row: &Vec<Value>| match row[0] {
        Value::Integer(integer) => integer,
        ref other => panic!("{other:?}"),
    };
    rows.iter().map(one).collect()
}

fn failures(outcome: &Outcome) -> Vec<bool> {
    outcome.steps.iter().map(|step| matches!(step, StepOutcome::Failed(_))).collect()
}

#[tokio::test]
async fn entries_are_applied_once() {
    let dir = tempfile::tempdir().unwrap();
    let create = || entry(2, vec![all(&["CREATE TABLE t(a)"])]);
    let insert = || entry(3, vec![all(&["INSERT INTO t VALUES (1)"]), all(&["INSERT INTO t VALUES (2)"])]);
    {
        let database = open(dir.path());
        assert_eq!(database.progress().index, 0);
        let blank = LogEntry { term: 1, index: 1, conditions: None, work: vec![] };
        let outcomes = database.apply(vec![blank, create(), insert()]).await.unwrap();
        assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 2]);
        // The same entries again, followed by a new one.
        let barrier = LogEntry { term: 2, index: 4, conditions: None, work: vec![LogWork::Barrier] };
        let outcomes = database.apply(vec![create(), insert(), barrier]).await.unwrap();
        assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
        let progress = database.progress();
        assert_eq!((progress.term, progress.index), (2, 4));
        assert_eq!((progress.command_index, progress.write_index), (4, 3));
        database.close().await.unwrap();
    }
    let database = open(dir.path());
    assert_eq!(database.progress().index, 4);
    database.apply(vec![create(), insert()]).await.unwrap();
    assert_eq!(integers(&rows(&database, "SELECT a FROM t ORDER BY a").await), [1, 2]);
}

#[tokio::test]
async fn the_membership_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let membership = LogEntry { term: 1, index: 1, conditions: None, work: vec![LogWork::Membership(b"us".to_vec())] };
    let database = open(dir.path());
    database.apply(vec![membership, entry(2, vec![all(&["CREATE TABLE t(a)"])])]).await.unwrap();
    database.close().await.unwrap();
    drop(database);
    assert_eq!(open(dir.path()).progress().membership, b"us");
}

/// Entries that are applied in one call and in separate calls must have the same results, and the same as on a database
/// that is written directly.
#[tokio::test]
async fn a_statement_that_ends_the_transaction_affects_only_its_own_batch() {
    let scripts = [
        all(&["CREATE TABLE t(a UNIQUE)"]),
        all(&["INSERT INTO t VALUES (1)"]),
        each(&["INSERT INTO t VALUES (2)", "INSERT OR ROLLBACK INTO t VALUES (1)", "INSERT INTO t VALUES (random())"]),
        all(&["INSERT INTO t VALUES (4)", "INSERT OR ROLLBACK INTO t VALUES (1)", "INSERT INTO t VALUES (5)"]),
        each(&["INSERT OR ROLLBACK INTO t VALUES (1)", "INSERT OR ROLLBACK INTO t VALUES (2)"]),
        continuing(all(&[
            "INSERT INTO t VALUES (7)",
            "INSERT OR ROLLBACK INTO t VALUES (1)",
            "INSERT INTO t VALUES (8)",
        ])),
        all(&["INSERT INTO t VALUES (6)"]),
    ];
    let direct_dir = tempfile::tempdir().unwrap();
    let direct = Database::open(direct_dir.path().join("db"), Options::default()).unwrap();
    let mut expected = Vec::new();
    for batch in &scripts {
        expected.push(direct.run(batch.clone()).await.unwrap());
    }
    for together in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let database = open(dir.path());
        let entries: Vec<_> = scripts.iter().zip(1..).map(|(batch, index)| entry(index, vec![batch.clone()])).collect();
        let mut outcomes = Vec::new();
        for chunk in entries.chunks(if together { entries.len() } else { 1 }) {
            outcomes.extend(database.apply(chunk.to_vec()).await.unwrap().into_iter().flatten());
        }
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            assert_eq!((failures(outcome), &outcome.ending), (failures(expected), &expected.ending));
        }
        let all = "SELECT rowid, a FROM t ORDER BY rowid";
        assert_eq!(rows(&database, all).await, rows(&direct, all).await, "together: {together}");
    }
}

#[tokio::test]
async fn changed_connection_state_does_not_reach_the_next_batch() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let secret = each(&["CREATE TEMP TABLE secret AS SELECT 1 AS a", "CREATE TABLE t AS SELECT a FROM secret"]);
    let spy = all(&["CREATE TABLE found AS SELECT * FROM temp.sqlite_schema"]);
    // The entry does not say that the first batch must run alone.
    let outcomes = database.apply(vec![entry(1, vec![secret, spy])]).await.unwrap().remove(0);
    assert_eq!(failures(&outcomes[0]), [false, false]);
    assert!(rows(&database, "SELECT name FROM found").await.is_empty());
    assert_eq!(integers(&rows(&database, "SELECT a FROM t").await), [1]);
}

#[tokio::test]
async fn vacuum_runs_between_other_steps() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    database.apply(vec![entry(1, vec![all(&["CREATE TABLE t(a UNIQUE)"])])]).await.unwrap();
    let batch = each(&[
        "INSERT INTO t VALUES (1)",
        "VACUUM",
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "INSERT INTO t VALUES (2)",
    ]);
    let outcomes = database.apply(vec![proposed(&database, 2, batch)]).await.unwrap();
    assert_eq!(failures(&outcomes[0][0]), [false, false, true, false]);
    assert_eq!(integers(&rows(&database, "SELECT a FROM t ORDER BY a").await), [1, 2]);
    let progress = database.progress();
    assert_eq!((progress.index, progress.operations, progress.steps), (2, 0, 0));
    // VACUUM as the only step, before any other statement has been prepared.
    let outcomes = database.apply(vec![proposed(&database, 3, each(&["VACUUM"]))]).await.unwrap();
    assert_eq!(failures(&outcomes[0][0]), [false], "{:?}", outcomes[0][0]);
}

#[tokio::test]
async fn a_deferred_constraint_fails_its_batch_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().writes(Writes::Log).foreign_keys(true);
    let database = Database::open(dir.path().join("db.sqlite"), options).unwrap();
    let tables =
        all(&["CREATE TABLE p(a PRIMARY KEY)", "CREATE TABLE c(a REFERENCES p DEFERRABLE INITIALLY DEFERRED)"]);
    let (orphan, fine) = (all(&["INSERT INTO c VALUES (1)"]), all(&["INSERT INTO p VALUES (1)"]));
    let outcomes = database.apply(vec![entry(1, vec![tables]), entry(2, vec![orphan, fine])]).await.unwrap();
    assert!(matches!(outcomes[1][0].ending, Ending::NotCommitted(_)));
    assert_eq!(outcomes[1][1].ending, Ending::Done);
    assert!(rows(&database, "SELECT * FROM c").await.is_empty());
}

#[tokio::test]
async fn only_the_log_writes() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let error = database.run(Batch::one(Step::execute("CREATE TABLE t(a)", ()))).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let direct = Database::open(":memory:", Options::default()).unwrap();
    assert!(matches!(direct.apply(vec![]).await.unwrap_err(), Error::Unsupported(_)));
}

#[tokio::test]
async fn clients_cannot_use_the_table_of_the_progress() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let texts = [
        "SELECT * FROM sqlite_sqlhttp",
        "UPDATE SQLITE_SQLHTTP SET position = 99",
        "DELETE FROM sqlite_sqlhttp",
        "INSERT INTO sqlite_sqlhttp(id) VALUES (2)",
        "ALTER TABLE sqlite_sqlhttp ADD COLUMN x",
        "ALTER TABLE sqlite_sqlhttp RENAME TO y",
        "CREATE INDEX i ON sqlite_sqlhttp(term)",
        "CREATE TRIGGER r AFTER UPDATE ON sqlite_sqlhttp BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT * FROM sqlite_sqlhttp; CREATE TABLE copy AS SELECT * FROM v",
    ];
    let outcomes = database.apply(vec![entry(1, vec![each(&texts)])]).await.unwrap();
    assert_eq!(failures(&outcomes[0][0]), [true; 9]);
    // Dropping the table succeeds without an effect, for tools that drop all tables.
    let dropped = database.apply(vec![entry(2, vec![each(&["DROP TABLE sqlite_sqlhttp"])])]).await.unwrap();
    assert_eq!(failures(&dropped[0][0]), [false]);
    assert_eq!(database.progress().index, 2);
    assert!(
        rows(&database, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'").await.is_empty()
    );
}

#[tokio::test]
async fn content_is_replaced_at_its_place_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    {
        let other = Connection::open(&image).unwrap();
        other.execute_batch("PRAGMA encoding='UTF-16'; PRAGMA page_size=1024; PRAGMA journal_mode=WAL").unwrap();
        other.execute_batch("CREATE TABLE n(a TEXT); INSERT INTO n VALUES ('näw'); CREATE INDEX i ON n(a)").unwrap();
    }
    let database = open(dir.path());
    database.apply(vec![entry(1, vec![all(&["CREATE TABLE old(a)"])])]).await.unwrap();
    assert!(rows(&database, "SELECT * FROM old").await.is_empty());
    database.check_image(image.clone()).await.unwrap();
    let replace = LogEntry { term: 1, index: 2, conditions: None, work: vec![LogWork::Replace(image)] };
    let after = entry(3, vec![all(&["INSERT INTO n VALUES ('after')"])]);
    let outcomes = database.apply(vec![replace, after]).await.unwrap();
    assert_eq!(outcomes[1][0].ending, Ending::Done);
    let found = rows(&database, "SELECT a FROM n ORDER BY rowid").await;
    assert_eq!(found, [[Value::Text("näw".into())], [Value::Text("after".into())]]);
    assert!(rows(&database, "SELECT name FROM sqlite_schema WHERE name = 'old'").await.is_empty());
    assert_eq!(database.progress().index, 3);
    database.close().await.unwrap();
    drop(database);
    let database = open(dir.path());
    assert_eq!(database.progress().index, 3);
    assert_eq!(rows(&database, "SELECT count(*) FROM n").await, [[Value::Integer(2)]]);
}

#[tokio::test]
async fn a_file_that_is_not_a_sound_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    for (name, bytes) in [("empty header", b"SQLite format 3\0".to_vec()), ("noise", vec![7; 9000])] {
        let image = dir.path().join(name);
        std::fs::write(&image, bytes).unwrap();
        assert!(matches!(database.check_image(image).await.unwrap_err(), Error::Sqlite { .. }), "{name}");
    }
    let damaged = dir.path().join("damaged");
    {
        let other = Connection::open(&damaged).unwrap();
        other
            .execute_batch("CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (zeroblob(20000)), (zeroblob(20001))")
            .unwrap();
    }
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[4096..8192].fill(0x55);
    std::fs::write(&damaged, bytes).unwrap();
    assert!(database.check_image(damaged).await.is_err());
}

#[tokio::test]
async fn sync_returns_the_progress_and_copies_do_not_contain_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    database.apply(vec![entry(1, vec![all(&["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"])])]).await.unwrap();
    assert_eq!(database.sync().await.unwrap(), database.progress());
    let copy = dir.path().join("copy");
    database.backup(&copy).await.unwrap();
    Database::remove_progress(&copy).unwrap();
    let connection = Connection::open(&copy).unwrap();
    let names: String = connection.query_row("SELECT group_concat(name) FROM sqlite_schema", [], |r| r.get(0)).unwrap();
    assert_eq!(names, "t");
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn an_exhausted_autoincrement_is_not_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let texts = [
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO t VALUES (9223372036854775807)",
        "INSERT INTO t DEFAULT VALUES",
    ];
    let outcomes = database.apply(vec![entry(1, vec![each(&texts)])]).await.unwrap();
    assert_eq!(failures(&outcomes[0][0]), [false, false, true]);
    let StepOutcome::Failed(Failure::Sql(error)) = &outcomes[0][0].steps[2] else { panic!() };
    assert_eq!(error.primary_code(), rusqlite::ffi::SQLITE_FULL);
    assert_eq!(database.status().poisoned, None);
}

/// ANALYZE visits tables in the order in which the connection loaded them, so without a reload its result would depend
/// on when the node was started.
#[tokio::test]
async fn analyze_has_the_same_result_after_a_restart() {
    let create = (0..60).map(|n| format!("CREATE TABLE a{n}(x); INSERT INTO a{n} VALUES (1)"));
    let drop = (0..60).filter(|n| n % 9 != 0).map(|n| format!("DROP TABLE a{n}"));
    let texts: Vec<String> = create.chain(drop).collect();
    let last = texts.len() as u64;
    let mut seen = Vec::new();
    for restart in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut database = open(dir.path());
        for (text, index) in texts.iter().zip(1..) {
            database.apply(vec![entry(index, vec![all(&[text])])]).await.unwrap();
        }
        if restart {
            database.close().await.unwrap();
            database = open(dir.path());
        }
        let mut orders = Vec::new();
        for (sql, index) in [("ANALYZE", last + 1), ("PRAGMA optimize=0x10002", last + 2)] {
            database.apply(vec![proposed(&database, index, each(&[sql]))]).await.unwrap();
            orders.push(rows(&database, "SELECT rowid, tbl FROM sqlite_stat1 ORDER BY rowid").await);
        }
        assert!(orders.iter().all(|order| order.len() == 7), "{orders:?}");
        seen.push(orders);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_database_that_was_not_written_by_a_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let direct = Database::open(dir.path().join("db"), Options::default()).unwrap();
    direct.run(all(&["CREATE TABLE t(a)"])).await.unwrap().into_result().unwrap();
    direct.close().await.unwrap();
    let options = Options::default().writes(sqlhttp_core::Writes::Log);
    let refused = Database::open(dir.path().join("db"), options.clone()).unwrap_err();
    assert!(refused.to_string().contains("no log has written"), "{refused}");
    // A crash during the creation of the database leaves an empty file.
    std::fs::write(dir.path().join("empty"), b"").unwrap();
    Database::open(dir.path().join("empty"), options).unwrap();
}

/// An AUTOINCREMENT table without an unused rowid is a property of the data, not of the disk, however the table got
/// there.
#[tokio::test]
async fn an_exhausted_autoincrement_does_not_poison_the_database() {
    let create = "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT)";
    let last = "INSERT INTO t VALUES (9223372036854775807)";
    let next = "INSERT INTO t DEFAULT VALUES";
    let both = format!("{last}; {next}");
    for batch in [
        all(&[create, "INSERT INTO t VALUES (9223372036854775807), (NULL)"]),
        all(&[create, &both]),
        all(&[create, last, next]),
        all(&[create, last, &next.replace("INSERT", "INSERT OR ROLLBACK")]),
        each(&[create, last, next, "DROP TABLE t"]),
        each(&[create, "INSERT INTO t VALUES (1)", "UPDATE sqlite_sequence SET seq = '9223372036854775807'", next]),
        each(&[&create.replace("TABLE", "TEMP TABLE"), last, next]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let database = open(dir.path());
        let outcomes = database.apply(vec![entry(1, vec![batch.clone()])]).await.unwrap();
        let failed = outcomes[0][0].steps.iter().find_map(|step| match step {
            StepOutcome::Failed(Failure::Sql(error)) => Some(error.primary_code()),
            _ => None,
        });
        assert_eq!(failed, Some(rusqlite::ffi::SQLITE_FULL), "{batch:?}");
        assert_eq!(database.status().poisoned, None);
    }
}

/// A cached statement that SQLite prepares again must still be checked as a client's statement.
#[tokio::test]
async fn a_cached_statement_is_checked_again_when_the_schema_changes() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let insert = "INSERT INTO t VALUES (1)";
    let spy = "CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO t SELECT page_count FROM pragma_page_count; END";
    let setup = vec![all(&["CREATE TABLE t(a)"]), all(&[insert]), all(&[insert]), all(&[spy])];
    database.apply(vec![entry(1, setup)]).await.unwrap();
    let outcomes = database.apply(vec![proposed(&database, 2, each(&[insert, "VACUUM"]))]).await.unwrap();
    assert_eq!(failures(&outcomes[0][0]), [true, false]);
    assert_eq!(integers(&rows(&database, "SELECT count(*) FROM t").await), [2]);
}

#[tokio::test]
async fn a_gap_in_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    database.apply(vec![entry(1, vec![all(&["CREATE TABLE t(a)"])])]).await.unwrap();
    let refused = database.apply(vec![entry(3, vec![all(&["INSERT INTO t VALUES (3)"])])]).await.unwrap_err();
    assert!(refused.to_string().contains("entry 3 of the log came where 2 had to"), "{refused}");
    assert_eq!(database.progress().index, 1);
    assert!(rows(&database, "SELECT a FROM t").await.is_empty());
}

/// A file whose content cannot be applied on any node must be refused before it is appended to the log.
#[tokio::test]
async fn a_file_that_uses_the_name_of_the_progress_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    for object in ["VIEW sqlhttp_x AS SELECT 1", "TABLE t(a); CREATE INDEX sqlhttp_x ON t(a)"] {
        let file = dir.path().join("crafted");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(&format!("CREATE {object}; PRAGMA writable_schema=ON")).unwrap();
        let rename = "UPDATE sqlite_schema SET name = 'sqlite_sqlhttp', sql = replace(sql, 'sqlhttp_x', 'sqlite_sqlhttp') \
                      WHERE name = 'sqlhttp_x'";
        connection.execute(rename, []).unwrap();
        connection.close().unwrap();
        database.check_image(file.clone()).await.unwrap_err();
        std::fs::remove_file(file).unwrap();
    }
}

/// SQLite's quick_check does not detect an index that lacks rows.
#[tokio::test]
async fn a_file_with_an_index_that_lacks_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let file = dir.path().join("lacking");
    let connection = Connection::open(&file).unwrap();
    let lacking = "CREATE TABLE t(a TEXT); CREATE INDEX p ON t(a) WHERE a LIKE 'a%'; PRAGMA case_sensitive_like=1; \
                   INSERT INTO t VALUES ('ABC')";
    connection.execute_batch(lacking).unwrap();
    connection.close().unwrap();
    let refused = database.check_image(file).await.unwrap_err();
    assert!(refused.to_string().contains("missing from index"), "{refused:?}");
}

#[tokio::test]
async fn interrupt_ends_an_endless_entry() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    database.apply(vec![entry(1, vec![all(&["CREATE TABLE t(a)"])])]).await.unwrap();
    let endless =
        "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0";
    let applying = {
        let database = database.clone();
        tokio::spawn(async move { database.apply(vec![entry(2, vec![all(&[endless])])]).await })
    };
    // The entry does not end by itself, whether it has started or not.
    database.interrupt();
    applying.await.unwrap().unwrap_err();
    assert_eq!(database.progress().index, 1);
    database.close().await.unwrap_err();
}

/// The entries before it are in the same transaction, so the progress does not name the entry.
#[tokio::test]
async fn the_entry_that_is_being_applied_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let endless =
        "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0";
    let texts = ["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)", endless];
    let entries = texts.iter().zip(1..).map(|(text, index)| entry(index, vec![all(&[text])])).collect();
    let applying = {
        let database = database.clone();
        tokio::spawn(async move { database.apply(entries).await })
    };
    while database.applying_index() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.progress().index, 0);
    database.interrupt();
    applying.await.unwrap().unwrap_err();
    assert_eq!(database.applying_index(), 3);
    database.close().await.unwrap_err();
}
