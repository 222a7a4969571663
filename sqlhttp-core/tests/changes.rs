//! Notifications about committed changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::block_on;
use sqlhttp_core::{
    Atomicity, Batch, Change, Changes, Database, Error, Executor as _, Operation, Options, Step, StepOutcome,
};

/// A database in memory with the tables `t` and `u` (without rowids), and a stream of its changes.
fn watched() -> (Database, Changes) {
    let db = Database::open_in_memory(Options::default()).unwrap();
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b);
        CREATE TABLE u(k PRIMARY KEY, t_id REFERENCES t ON DELETE CASCADE) WITHOUT ROWID";
    db.blocking().execute(schema, ()).unwrap();
    let changes = db.changes().unwrap();
    (db, changes)
}

fn run(db: &Database, sql: &str) {
    db.blocking().execute(sql, ()).unwrap();
}

/// The changes that are waiting, as text: `+t1` is an inserted row of `t`, `!t` any rows of `t`, `*` everything.
fn waiting(changes: &mut Changes) -> String {
    let show = |change: Change| match change {
        Change::Row { operation, table, rowid, .. } => {
            let sign = match operation {
                Operation::Insert => '+',
                Operation::Update => '~',
                Operation::Delete => '-',
            };
            format!("{sign}{table}{rowid}")
        }
        Change::Table { table, .. } => format!("!{table}"),
        Change::Everything => "*".to_owned(),
        other => format!("{other:?}"),
    };
    std::iter::from_fn(|| changes.try_next()).map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn committed_rows_are_reported_in_order() {
    let (db, mut changes) = watched();
    run(&db, "INSERT INTO t VALUES (1, 'a', 0), (7, 'b', 0)");
    run(&db, "UPDATE t SET b = 1 WHERE id = 7; DELETE FROM t WHERE id = 1");
    assert_eq!(waiting(&mut changes), "+t1 +t7 ~t7 -t1");
    // The statement comes from the cache of the connection.
    run(&db, "INSERT INTO t VALUES (1, 'a', 0), (8, 'c', 0)");
    assert_eq!(waiting(&mut changes), "+t1 +t8");
    run(&db, "CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1)");
    assert_eq!(waiting(&mut changes).replace('*', ""), "");
}

#[test]
fn changes_that_are_rolled_back_are_not_reported() {
    let (db, mut changes) = watched();
    run(&db, "INSERT INTO t VALUES (1, 'a', 0)");
    assert!(db.blocking().execute("INSERT INTO t VALUES (2, 'b', 0), (3, 'a', 0)", ()).is_err());
    let steps = vec![
        Step::execute("INSERT INTO t VALUES (4, 'd', 0)", ()),
        Step::execute("INSERT INTO t VALUES (5, 'e', 0); INSERT INTO t VALUES (6, 'a', 0)", ()).or_continue(),
        Step::execute("INSERT INTO t VALUES (7, 'g', 0)", ()),
    ];
    db.blocking().batch(steps).unwrap();
    let steps = vec![Step::execute("DELETE FROM t WHERE id = 1", ()), Step::execute("no SQL", ())];
    assert!(db.blocking().batch(steps).is_err());
    let kept = db.blocking().transaction(|tx| {
        tx.execute("INSERT INTO t VALUES (8, 'h', 0)", ())?;
        Err::<(), _>(Error::Closed)
    });
    assert!(kept.is_err());
    let rolled_back =
        db.blocking().execute("INSERT INTO t VALUES (9, 'i', 0); INSERT OR ROLLBACK INTO t VALUES (1, 1, 1)", ());
    assert!(rolled_back.is_err());
    run(&db, "INSERT INTO t VALUES (10, 'j', 0)");
    assert_eq!(waiting(&mut changes), "+t1 +t4 +t7 +t10");
}

#[test]
fn the_writes_of_a_group_are_reported_without_those_that_fail() {
    let (db, mut changes) = watched();
    let inserts = (0..40).map(|i| {
        let db = db.clone();
        std::thread::spawn(move || db.blocking().execute("INSERT INTO t(id, a) VALUES (?, ?)", (i, i / 2)).is_ok())
    });
    let inserts: Vec<_> = inserts.collect();
    let succeeded: Vec<bool> = inserts.into_iter().map(|insert| insert.join().unwrap()).collect();
    assert_eq!(succeeded.iter().filter(|ok| **ok).count(), 20);
    let mut reported: Vec<String> = waiting(&mut changes).split(' ').map(str::to_owned).collect();
    let mut expected: Vec<String> = (0..40).filter(|i| succeeded[*i]).map(|i| format!("+t{i}")).collect();
    reported.sort();
    expected.sort();
    assert_eq!(reported, expected);
}

#[test]
fn tables_are_reported_where_sqlite_does_not_report_rows() {
    let (db, mut changes) = watched();
    run(&db, "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0)");
    assert_eq!(waiting(&mut changes), "+t1 +t2 +t3");
    run(&db, "INSERT INTO u VALUES ('k', 1)");
    assert_eq!(waiting(&mut changes), "!u");
    // Row 2 is deleted, because it has the same value.
    run(&db, "INSERT OR REPLACE INTO t VALUES (4, 'b', 0)");
    assert_eq!(waiting(&mut changes), "+t4 !t");
    run(&db, "UPDATE t SET id = 9 WHERE id = 4");
    assert_eq!(waiting(&mut changes), "~t9 !t");
    run(&db, "UPDATE t SET rowid = 10 WHERE id = 9");
    assert_eq!(waiting(&mut changes), "~t10 !t");
    run(&db, "DELETE FROM t");
    assert_eq!(waiting(&mut changes), "!t");
    // Nothing has changed.
    run(&db, "DELETE FROM t; UPDATE u SET k = 1 WHERE k = 2; REPLACE INTO t SELECT 1, 2, 3 WHERE 0");
    assert_eq!(waiting(&mut changes), "");
    run(&db, "CREATE TABLE v(a UNIQUE ON CONFLICT REPLACE)");
    assert_eq!(waiting(&mut changes), "*");
    run(&db, "INSERT INTO v VALUES (1); INSERT INTO v VALUES (1)");
    assert_eq!(waiting(&mut changes), "+v1 !v +v2 !v");
    run(&db, "DROP TABLE v");
    assert_eq!(waiting(&mut changes), "*");
}

#[test]
fn triggers_and_cascades_are_reported() {
    let mut options = Options::default();
    options.foreign_keys = true;
    let db = Database::open_in_memory(options).unwrap();
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE log(a); INSERT INTO p VALUES (1), (2);
        CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE); INSERT INTO c VALUES (5, 1);
        CREATE TABLE w(k PRIMARY KEY, p REFERENCES p ON DELETE CASCADE) WITHOUT ROWID; INSERT INTO w VALUES ('k', 2);
        CREATE TRIGGER tr AFTER DELETE ON p BEGIN INSERT INTO log VALUES (old.id); END",
    );
    let mut changes = db.changes().unwrap();
    run(&db, "DELETE FROM p WHERE id = 1");
    let reported = waiting(&mut changes);
    for change in ["-p1", "-c5", "+log1"] {
        assert!(reported.split(' ').any(|one| one == change), "{reported}");
    }
    run(&db, "DELETE FROM p WHERE id = 2");
    let reported = waiting(&mut changes);
    for change in ["-p2", "!w", "+log2"] {
        assert!(reported.split(' ').any(|one| one == change), "{reported}");
    }
}

/// Runs each step in a transaction of its own.
fn run_each(db: &Database, steps: Vec<Step>) {
    let batch = Batch { steps, atomicity: Atomicity::Each, ..Batch::default() };
    let outcome = block_on(db.run(batch)).unwrap();
    assert!(outcome.steps.iter().all(|step| !matches!(step, StepOutcome::Failed(_))), "{outcome:?}");
}

fn contains(changes: &mut Changes, wanted: &[&str]) {
    let reported = waiting(changes);
    for one in wanted {
        assert!(reported.split(' ').any(|change| change == *one || change == "*"), "{one} is not in {reported}");
    }
}

#[test]
fn a_change_of_the_schema_that_is_rolled_back_does_not_hide_changes() {
    let (db, mut changes) = watched();
    run(
        &db,
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN REPLACE INTO v VALUES (new.id, 'x'); END;
        CREATE TABLE v(id INTEGER PRIMARY KEY, a UNIQUE)",
    );
    run(&db, "INSERT INTO t(id) VALUES (1)");
    contains(&mut changes, &["+t1", "!v"]);
    let undone = db.blocking().transaction(|tx| {
        tx.execute("DROP TRIGGER tr", ())?;
        tx.execute("INSERT INTO t(id) VALUES (2)", ())?;
        Err::<(), _>(Error::Closed)
    });
    assert!(undone.is_err());
    assert_eq!(waiting(&mut changes), "");
    run(&db, "INSERT INTO t(id) VALUES (2)");
    // Row 1 of v was deleted. The statement is not the one that was prepared without the trigger.
    assert_eq!(waiting(&mut changes), "+t2 +v2 !t !v");
}

#[test]
fn a_statement_that_sqlite_prepares_again_is_reported() {
    let db = Database::open_in_memory(Options::new()).unwrap();
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1), (2);
        CREATE TABLE w(k PRIMARY KEY, p REFERENCES p ON DELETE CASCADE) WITHOUT ROWID; INSERT INTO w VALUES ('k', 2)",
    );
    let mut changes = db.changes().unwrap();
    let delete = |id: i64| Step::execute("DELETE FROM p WHERE id = ?", [id]);
    run_each(&db, vec![delete(1)]);
    assert_eq!(waiting(&mut changes), "-p1");
    run_each(&db, vec![Step::execute("PRAGMA foreign_keys = ON", ()), delete(2)]);
    contains(&mut changes, &["-p2", "!w"]);
}

#[test]
fn an_attempt_that_sqlite_undoes_does_not_hide_changes() {
    let (db, mut changes) = watched();
    // The pattern is longer than the first attempt allows.
    run(
        &db,
        "CREATE TRIGGER tr AFTER INSERT ON t
        BEGIN INSERT INTO u SELECT new.a, NULL WHERE new.a NOT LIKE 'a pattern with more than sixteen bytes%'; END",
    );
    waiting(&mut changes);
    run(&db, "INSERT INTO t VALUES (1, 'x', 0)");
    assert_eq!(db.blocking().query_one::<i64>("SELECT count(*) FROM u", ()).unwrap(), 1);
    contains(&mut changes, &["+t1", "!u"]);
}

#[test]
fn a_cascade_that_changes_a_rowid_is_reported_although_the_statement_is_cached() {
    let db = Database::open_in_memory(Options::new()).unwrap();
    run(
        &db,
        "CREATE TABLE p(k PRIMARY KEY, u UNIQUE); INSERT INTO p VALUES (1, 10);
        CREATE TABLE c(id INTEGER PRIMARY KEY REFERENCES p(u) ON UPDATE CASCADE); INSERT INTO c VALUES (10)",
    );
    let mut changes = db.changes().unwrap();
    let update = |u: i64| Step::execute("UPDATE p SET u = ?", [u]);
    run_each(&db, vec![update(10)]);
    assert_eq!(waiting(&mut changes), "~p1");
    run_each(&db, vec![Step::execute("PRAGMA foreign_keys = ON", ()), update(11)]);
    assert_eq!(db.blocking().query_all::<i64>("SELECT id FROM c", ()).unwrap(), [11]);
    contains(&mut changes, &["~p1", "!c"]);
}

#[test]
fn a_changed_rowid_is_reported_although_a_column_has_its_name() {
    let (db, mut changes) = watched();
    run(&db, "CREATE TABLE r(rowid TEXT, x); INSERT INTO r VALUES ('a', 1)");
    waiting(&mut changes);
    run(&db, "UPDATE r SET _rowid_ = 9");
    contains(&mut changes, &["!r"]);
}

#[test]
fn what_runs_outside_a_transaction_is_reported() {
    let (db, mut changes) = watched();
    run(&db, "CREATE TABLE r(a); INSERT INTO r VALUES (1), (2); DELETE FROM r WHERE a = 1");
    contains(&mut changes, &["*"]);
    // The rowid of the second row becomes 1.
    run_each(&db, vec![Step::execute("VACUUM; INSERT INTO t(id) VALUES (5)", ())]);
    contains(&mut changes, &["*"]);
    assert_eq!(db.blocking().query_all::<i64>("SELECT rowid FROM r", ()).unwrap(), [1]);
    assert_eq!(db.blocking().query_all::<i64>("SELECT id FROM t", ()).unwrap(), [5]);
}

#[test]
fn a_statement_that_fails_and_keeps_rows_is_reported() {
    let (db, mut changes) = watched();
    let keeps = Step::execute("INSERT OR FAIL INTO t(id, a) VALUES (1, 'a'), (2, 'a')", ()).or_continue();
    db.blocking().batch(vec![keeps]).unwrap();
    assert_eq!(db.blocking().query_all::<i64>("SELECT id FROM t", ()).unwrap(), [1]);
    contains(&mut changes, &["!t"]);
}

#[test]
fn a_full_text_index_and_a_failing_step_report_what_is_committed() {
    let (db, mut changes) = watched();
    run(&db, "CREATE VIRTUAL TABLE f USING fts5(a)");
    waiting(&mut changes);
    let steps = vec![
        Step::execute("INSERT INTO f VALUES ('one two')", ()),
        Step::execute("INSERT INTO t(id, a) VALUES (1, 'a'), (2, 'a')", ()).or_continue(),
        Step::execute("INSERT INTO t(id) VALUES (3)", ()),
    ];
    db.blocking().batch(steps).unwrap();
    let reported = waiting(&mut changes);
    for table in ["f_data", "f_content", "f_docsize"] {
        assert!(reported.contains(table), "{table} is not in {reported}");
    }
}

#[test]
fn the_policy_for_clients_is_the_same_while_changes_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.db"), Options::new()).unwrap();
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let _changes = db.changes().unwrap();
    let copy = dir.path().join("copy.db");
    for sql in [format!("VACUUM INTO '{}'; SELECT 1", copy.display()), format!("VACUUM INTO '{}'", copy.display())] {
        let batch = Batch { steps: vec![Step::execute(sql, ())], atomicity: Atomicity::Each, ..Batch::default() };
        let outcome = block_on(db.run(batch)).unwrap();
        assert!(matches!(outcome.steps[..], [StepOutcome::Failed(_)]), "{outcome:?}");
        assert!(!copy.exists());
    }
    assert!(db.blocking().execute("INSERT INTO t VALUES (1); ATTACH ':memory:' AS a", ()).is_err());
}

#[test]
fn attached_and_temporary_tables_are_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.db"), Options::new().allow_attach(true)).unwrap();
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let mut changes = db.changes().unwrap();
    let attach = format!("ATTACH '{}' AS aux", dir.path().join("b.db").display());
    run_each(
        &db,
        vec![
            Step::execute(attach, ()),
            Step::execute("CREATE TABLE aux.t(id INTEGER PRIMARY KEY)", ()),
            Step::execute("INSERT INTO aux.t VALUES (7)", ()),
            Step::execute("CREATE TEMP TABLE x(id INTEGER PRIMARY KEY)", ()),
            Step::execute("INSERT INTO x VALUES (8)", ()),
            Step::execute("INSERT INTO main.t VALUES (9)", ()),
        ],
    );
    let reported = waiting(&mut changes).replace("* ", "");
    assert_eq!(reported, "+t9");
}

#[test]
fn a_hook_may_own_the_last_handle_and_another_hook() {
    let (db, changes) = watched();
    drop(changes);
    let inner = db.on_commit(|_| {}).unwrap();
    let own = db.clone();
    let hook = db
        .on_commit(move |_| {
            let _ = (&own, &inner);
        })
        .unwrap();
    run(&db, "INSERT INTO t(id) VALUES (1)");
    drop(db);
    let (send, dropped) = mpsc::channel();
    std::thread::spawn(move || {
        drop(hook);
        send.send(()).unwrap();
    });
    dropped.recv_timeout(Duration::from_secs(20)).expect("dropping the hook closes the database");
}

#[test]
fn a_transaction_with_very_many_rows_is_reported_as_tables() {
    let (db, mut changes) = watched();
    run(
        &db,
        "INSERT INTO t(b) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) SELECT n FROM c",
    );
    assert_eq!(waiting(&mut changes), "!t");
    run(&db, "INSERT INTO t(id) VALUES (-1)");
    assert_eq!(waiting(&mut changes), "+t-1");
}

#[test]
fn a_receiver_that_takes_nothing_holds_a_limited_number_of_changes() {
    let (db, mut changes) = watched();
    for _ in 0..3 {
        let insert = "INSERT INTO t(b) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 30000) SELECT n FROM c";
        run(&db, insert);
    }
    assert_eq!(changes.try_next(), Some(Change::Everything));
    assert_eq!(changes.try_next(), None);
    run(&db, "INSERT INTO t(id) VALUES (-1)");
    assert_eq!(waiting(&mut changes), "+t-1");
}

#[test]
fn a_stream_waits_and_ends_with_the_database() {
    let (db, mut changes) = watched();
    let (send, received) = mpsc::channel();
    let receiver = std::thread::spawn(move || {
        while let Some(change) = block_on(changes.next()) {
            send.send(change.table().map(str::to_owned)).unwrap();
        }
    });
    run(&db, "INSERT INTO t VALUES (1, 'a', 0)");
    assert_eq!(received.recv_timeout(Duration::from_secs(10)).unwrap().as_deref(), Some("t"));
    block_on(db.close()).unwrap();
    receiver.join().unwrap();
    let mut late = db.changes().unwrap();
    assert_eq!(block_on(late.next()), None);
}

#[test]
fn a_hook_is_called_after_each_commit_until_it_is_dropped() {
    let (db, changes) = watched();
    drop(changes);
    let seen = Arc::<Mutex<Vec<usize>>>::default();
    let noted = seen.clone();
    let other = db.clone();
    let hook = db.on_commit(move |changes| {
        noted.lock().unwrap().push(changes.len());
        // The handle must not be used here, but it may be owned.
        let _ = &other;
        assert!(changes.len() < 3, "on purpose");
    });
    let hook = hook.unwrap();
    run(&db, "INSERT INTO t(id) VALUES (1), (2)");
    run(&db, "INSERT INTO t(id) VALUES (3), (4), (5)");
    run(&db, "SELECT * FROM t");
    run(&db, "INSERT INTO t(id) VALUES (6)");
    assert_eq!(*seen.lock().unwrap(), [2, 3, 1], "the panic of the hook has had no effect");
    drop(hook);
    run(&db, "INSERT INTO t(id) VALUES (7)");
    assert_eq!(seen.lock().unwrap().len(), 3);
    // After a time without receivers, changes are collected again.
    let mut changes = db.changes().unwrap();
    run(&db, "INSERT INTO t(id) VALUES (8)");
    assert_eq!(waiting(&mut changes), "+t8");
}

#[test]
fn other_ways_to_write_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.db"), Options::default()).unwrap();
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let mut changes = db.changes().unwrap();
    block_on(db.transaction(|tx| tx.execute("INSERT INTO t VALUES (1)", ()).map(drop))).unwrap();
    assert_eq!(waiting(&mut changes), "+t1");
    block_on(db.run_script("INSERT INTO t VALUES (2)")).unwrap().unwrap();
    assert_eq!(waiting(&mut changes), "+t2 *");
    block_on(db.run_script("INSERT OR FAIL INTO t VALUES (9), (9)")).unwrap().unwrap_err();
    assert!(waiting(&mut changes).contains('*'), "OR FAIL has committed a row");
    block_on(db.checkpoint()).unwrap();
    assert_eq!(waiting(&mut changes), "");
    let copy = dir.path().join("copy.db");
    block_on(db.backup(&copy)).unwrap();
    block_on(db.check_image(copy.clone())).unwrap();
    block_on(db.replace(copy)).unwrap();
    assert_eq!(waiting(&mut changes), "*");
    block_on(db.execute("INSERT INTO t VALUES (3)", ())).unwrap();
    assert_eq!(waiting(&mut changes), "+t3");
    block_on(db.close()).unwrap();

    let read_only = Database::open(dir.path().join("a.db"), Options::default().read_only(true)).unwrap();
    assert!(matches!(read_only.changes(), Err(Error::ReadOnly)));
}

#[test]
fn a_backup_is_written_to_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    for location in [dir.path().join("a.db").as_path().into(), sqlhttp_core::Location::Memory] {
        let db = Database::open(location, Options::default()).unwrap();
        run(&db, "CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(100000)), (7)");
        let bytes = block_on(db.backup_to(Vec::new())).unwrap();
        let file = dir.path().join("copy.db");
        std::fs::write(&file, bytes).unwrap();
        let copy = Database::open(file.as_path(), Options::default()).unwrap();
        assert_eq!(copy.blocking().query_all::<i64>("SELECT length(a) FROM t", ()).unwrap(), [100_000, 1]);
        block_on(copy.close()).unwrap();
        std::fs::remove_file(file).unwrap();

        let full = block_on(db.backup_to(Full)).err().expect("the writer fails");
        assert!(full.to_string().contains("no space"), "{full}");
    }
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("backup")), "{names:?}");
}

/// A writer on a full disk.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no space"))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
