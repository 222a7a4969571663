//! VACUUM INTO of the database's owner copies the database without the writer; VACUUM runs on the writer thread.
#![allow(clippy::unwrap_used)]

use sqlhttp_core::{Batch, Database, Options, Step};

fn filled(dir: &std::path::Path) -> Database {
    let db = Database::open(dir.join("source.db"), Options::default()).unwrap();
    db.blocking().run(Batch::transaction(vec![
        Step::execute("CREATE TABLE t(a)", ()),
        Step::execute(
            "INSERT INTO t WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<1000) SELECT x FROM n",
            (),
        ),
    ]))
    .unwrap().into_result().unwrap();
    db
}

fn count(db: &Database) -> i64 {
    let outcome = db.blocking().run(Batch::one(Step::query("SELECT count(*) FROM t", ()))).unwrap();
    let sqlhttp_core::StepOutcome::Rows(rows) = &outcome.steps[0] else { unreachable!("a query returns rows") };
    rows.iter().next().and_then(|row| row.get(0)?.as_integer()).unwrap()
}

#[tokio::test]
async fn vacuum_into_copies_the_database_and_vacuum_rebuilds_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    let copy = dir.path().join("copy.db");
    let sql = format!("VACUUM INTO '{}';", copy.display());

    db.run_script(&sql).await.unwrap().unwrap();
    let copied = Database::open(copy, Options::default()).unwrap();
    assert_eq!(count(&copied), 1000);

    let again = db.run_script(&sql).await.unwrap().unwrap_err();
    assert_eq!(again.message, "output file already exists");
    db.run_script("DELETE FROM t; VACUUM").await.unwrap().unwrap();
    db.run_script("VACUUM").await.unwrap().unwrap();
    assert_eq!(count(&db), 0);
}

#[tokio::test]
async fn vacuum_into_does_not_wait_for_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    // The copy does not use the writer thread: it completes although the write before it never does.
    let endless =
        "INSERT INTO t WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n) SELECT x FROM n WHERE x < 0";
    let writing = db.clone();
    let write = tokio::spawn(async move { writing.run(Batch::one(Step::execute(endless, ()))).await });
    while db.status().batches_written < 1 || db.status().write_queue_len > 0 {
        tokio::task::yield_now().await;
    }
    let sql = format!("VACUUM INTO '{}'", dir.path().join("copy.db").display());
    db.run_script(&sql).await.unwrap().unwrap();
    assert!(!write.is_finished());
    write.abort();
    let _ = write.await;
    assert_eq!(count(&db), 1000);
}
